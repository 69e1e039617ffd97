"""The contracts of imports in pyproject.toml: `make lint` fails for a violation and names the contract."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

PLANTED = {
    # Which module gets which line, and what the linter says of it.
    "core/records.py": ("import aiohttp", "personahub_assets.core.records -> aiohttp"),
    "store/home.py": (
        "from personahub_assets.runs import plan",
        "personahub_assets.store.home -> personahub_assets.runs.plan",
    ),
    "steps/corpus.py": ("import dagster", "personahub_assets.steps.corpus -> dagster"),
    "standin/app.py": (
        "from personahub_assets.store import home",
        "personahub_assets.standin.app -> personahub_assets.store.home",
    ),
    "misc/__init__.py": ('"""A package that no layer names."""', "personahub_assets.misc"),
}


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Output of the linter for a copy in which every contract is broken."""
    copy = tmp_path_factory.mktemp("copy")
    shutil.copy(ROOT / "pyproject.toml", copy)
    shutil.copytree(ROOT / "personahub_assets", copy / "personahub_assets", ignore=shutil.ignore_patterns("*.nb[ic]"))
    for name, (line, _) in PLANTED.items():
        path = copy / "personahub_assets" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text((path.read_text("utf-8") if path.exists() else "") + f"\n{line}\n", "utf-8")
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([linter, "--no-cache"], cwd=copy, capture_output=True, text=True)
    assert done.returncode == 1, done.stdout + done.stderr
    return " ".join(done.stdout.split())


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_import_breaks_a_contract(said: str, name: str) -> None:
    assert PLANTED[name][1] in said
