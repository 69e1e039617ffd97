"""Undocumented parts of Dagster: all exist, and only one module uses them."""

import re
from importlib.util import find_spec
from pathlib import Path

import pytest

import personahub_assets
from personahub_assets.instance import compat

PACKAGE = Path(personahub_assets.__file__).parent
PRIVATE = re.compile(r"\b(?:dagster|dagster_\w+|instructor|uvicorn)(?:\.\w+)*\._[a-z]\w*")


@pytest.mark.parametrize("name", sorted(compat.MODULES))
def test_what_is_not_documented_is_there(name: str) -> None:
    assert getattr(compat, name) is not None


@pytest.mark.parametrize("module", [compat.DAEMON_MODULE, compat.NO_COMPUTE_LOGS_MODULE])
def test_modules_that_are_named_are_there(module: str) -> None:
    assert find_spec(module) is not None


def test_every_name_is_exported() -> None:
    assert sorted(compat.MODULES) == sorted(compat.__all__)
    with pytest.raises(AttributeError, match="no attribute 'NoSuchThing'"):
        compat.NoSuchThing  # type: ignore[attr-defined]  # noqa: B018


def test_no_other_module_names_a_private_module() -> None:
    texts = {path.relative_to(PACKAGE).as_posix(): path.read_text("utf-8") for path in PACKAGE.rglob("*.py")}
    assert [name for name, text in texts.items() if PRIVATE.search(text)] == ["instance/compat.py"]
