"""Where things are in a home."""

from pathlib import Path

from personahub_assets.domain.errors import ConfigError, StoreError

_BUILD = "build it with: personahub run --select warehouse"
_OWN = ("aside", "cache", "dagster", "journal", "locks", "releases", "seeds", "tables", "hub.toml", "warehouse.duckdb")


def warehouse_path(home: Path) -> Path:
    """The file of the warehouse of a home."""
    return home / "warehouse.duckdb"


def check_warehouse(home: Path) -> None:
    """Refuse a home without a warehouse.

    Raises:
        StoreError: saying how it is built.
    """
    if not warehouse_path(home).exists():
        raise StoreError(f"{warehouse_path(home)} does not exist yet; {_BUILD}")


def check_output(home: Path, file: Path) -> None:
    """Refuse to write a result where the home keeps its own files.

    Raises:
        ConfigError: naming the folder.
    """
    target, own = file.resolve(), [home.resolve() / name for name in _OWN]
    if inside := next((each for each in own if target == each or each in target.parents), None):
        raise ConfigError(f"--output {file}: {inside} is the home's own; choose a file elsewhere")
