"""Settings of `[generation]` that servers of a kind need, by name: the table `servers.toml` beside this file."""

import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

_TABLE = Path(__file__).with_name("servers.toml")
_ABOUT = ("title", "url", "host")
"""Keys of a preset that describe the server and are not settings."""


@cache
def table() -> dict[str, dict[str, Any]]:
    """All of servers.toml, by the name of the preset."""
    return tomllib.loads(_TABLE.read_text("utf-8"))


def names() -> list[str]:
    """The names that `[generation] server` takes."""
    return list(table())


def named(name: object) -> dict[str, Any] | None:
    """The settings of a preset, possibly empty; None if there is no preset of this name."""
    preset = table().get(name) if isinstance(name, str) else None
    return None if preset is None else {key: value for key, value in preset.items() if key not in _ABOUT}


def merged(preset: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """A preset's settings with those of hub.toml over them; tables are merged key by key."""
    return {**preset, **{key: _over(preset.get(key), value) for key, value in own.items()}}


def for_address(url: str) -> str | None:
    """The name of the preset that is for the host of an address; None if there is none."""
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        return None
    hosts = {name: preset["host"] for name, preset in table().items() if "host" in preset}
    return next((name for name, domain in hosts.items() if host == domain or host.endswith(f".{domain}")), None)


def _over(below: Any, above: Any) -> Any:
    return {**below, **above} if isinstance(below, dict) and isinstance(above, dict) else above
