"""Presets of servers: every entry is valid, docs/servers.md describes it, and the wheel has the table."""

import tomllib
from pathlib import Path

import pytest

from personahub_assets.core import presets
from personahub_assets.core.addresses import base_url
from personahub_assets.core.config import Generation

ROOT = Path(__file__).resolve().parent.parent.parent
SETTINGS = set(Generation.model_fields) - {"server"}


@pytest.mark.parametrize("name", presets.names())
def test_every_preset_has_a_title_an_address_and_valid_settings(name: str) -> None:
    entry = presets.table()[name]
    assert entry["title"]
    base_url(entry["url"], "X")
    settings = presets.named(name)
    assert settings is not None
    assert settings.keys() <= SETTINGS
    assert {key: getattr(Generation(server=name), key) for key in settings} == {
        key: getattr(Generation(**settings), key) for key in settings
    }


def test_an_address_tells_its_preset() -> None:
    for name, entry in presets.table().items():
        if "host" in entry:
            assert presets.for_address(entry["url"]) == name
    assert presets.for_address("https://user:pw@my.openai.azure.com/openai?api-version=1") == "azure"
    for other in ("http://127.0.0.1:8000/v1", "https://notopenrouter.ai/v1", "http://[::1", "standin:", ""):
        assert presets.for_address(other) is None


def test_tables_are_merged_and_other_values_replaced() -> None:
    preset = {"headers": {"a": "1", "b": "2"}, "omit": ["x"], "mode": "tools"}
    own = {"server": "s", "headers": {"b": "3"}, "omit": ["y"]}
    assert presets.merged(preset, own) == {
        "server": "s",
        "headers": {"a": "1", "b": "3"},
        "omit": ["y"],
        "mode": "tools",
    }
    assert presets.merged(preset, {"headers": "wrong"})["headers"] == "wrong"


def test_the_table_lies_in_the_package_which_the_wheel_has() -> None:
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel["packages"] == ["personahub_assets"]
    assert (ROOT / "personahub_assets" / "core" / "servers.toml").is_file()
    assert Path(presets.__file__).parent == ROOT / "personahub_assets" / "core"
