"""Where things are in a home."""

from pathlib import Path

from personahub_assets.core.errors import ConfigError, StoreError

_BUILD = "build it with: personahub run --select warehouse"
_OWN = ["aside", "cache", "dagster", "journal", "locks", "releases", "seeds", "tables", "hub.toml", "warehouse.duckdb"]
_OWN += ["writer"]


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
    """Refuse to write a result where the home keeps its own files, or over a source file in its inbox.

    Raises:
        ConfigError: naming the folder.
    """
    target, own = _resolved(file), [(home / name).resolve() for name in _OWN]
    if inside := next((each for each in own if target == each or each in target.parents), None):
        raise ConfigError(f"--output {file}: {inside} is the home's own; choose a file elsewhere")
    if (home / "inbox").resolve() in target.parents and target.exists():
        raise ConfigError(f"--output {file}: {target} is a source file of the home; choose another name")


def _resolved(file: Path) -> Path:
    try:
        return file.resolve()
    except (OSError, RuntimeError, ValueError) as error:  # such as a circle of links
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"--output {file} cannot be written: {reason}") from error
