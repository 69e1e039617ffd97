"""An instance that several machines share: DAGSTER_HOME, if its dagster.yaml names a storage such as Postgres.

    DAGSTER_HOME=/etc/personahub/dagster  personahub run     runs appear in the UI of that instance

Without a storage in its dagster.yaml, DAGSTER_HOME is not used: the instance of a home is a folder in the home, so that
history and rows stay together. Its webserver and daemon are services of their own: docs/deploy.md.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import yaml
from sqlalchemy.exc import SQLAlchemyError

from personahub_assets.core.errors import ConfigError, StoreError
from personahub_assets.core.text import shorten
from personahub_assets.instance.compat import InstanceRef
from personahub_assets.instance.storage import record_origins

FILE = "dagster.yaml"
_STORAGES = ("storage", "run_storage", "event_log_storage", "schedule_storage")
_CHARS = 500


def shared_folder() -> Path | None:
    """The folder of the shared instance; None if DAGSTER_HOME names none.

    Raises:
        ConfigError: if its dagster.yaml is not valid YAML.
    """
    name = os.environ.get("DAGSTER_HOME", "").strip()
    file = Path(name).expanduser() / FILE
    if not name or not file.is_file():
        return None
    try:
        settings = yaml.safe_load(file.read_text("utf-8"))
    except (yaml.YAMLError, UnicodeError) as error:
        raise ConfigError(f"{file}: not valid YAML: {shorten(str(error), _CHARS)}") from error
    return file.parent if isinstance(settings, dict) and any(settings.get(key) for key in _STORAGES) else None


def open_shared(folder: Path, overrides: dict[str, Any]) -> dg.DagsterInstance:
    """Open the shared instance for runs in this process.

    Args:
        folder: with its dagster.yaml.
        overrides: settings instead of those of the file.

    Raises:
        StoreError: if its storage cannot be reached, or its settings are wrong.
    """
    with reaching(folder):
        instance = dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(folder), overrides=overrides))
        instance.get_runs(limit=1)
        record_origins(instance.run_storage)
        return instance


@contextmanager
def reaching(folder: Path) -> Iterator[None]:
    """Turn errors of the storage into a StoreError that names the instance."""
    try:
        yield
    except Exception as error:
        if not _is_of_storage(error):
            raise
        raise storage_problem(folder, error) from error


def storage_problem(folder: Path, error: BaseException) -> StoreError:
    """The error for a storage of the shared instance that cannot be used."""
    cause = shorten(" ".join(_words(error).split()), _CHARS)
    return StoreError(
        f"the storage of the Dagster instance {folder} cannot be used: {cause}. "
        f"Check {FILE}, its variables, and that the server runs; unset DAGSTER_HOME to use the instance of the home"
    )


def _words(error: BaseException) -> str:
    if isinstance(error, dg.DagsterInvalidConfigError):
        return "; ".join(
            fault.message.partition("Stack Trace")[0] for fault in error.errors
        )  # not all the choices of the schema
    return str(error.__cause__ or error)


def _is_of_storage(error: Exception) -> bool:
    """Whether the storage fails, its package is not installed, or a variable of its settings is not set."""
    return isinstance(error, (SQLAlchemyError, ImportError, dg.DagsterError)) or "postgres" in type(error).__module__


def refuse_second_daemon() -> None:
    """Refuse to start a daemon beside that of a shared instance: both would launch the queued runs.

    Raises:
        ConfigError: if DAGSTER_HOME names a shared instance.
    """
    if folder := shared_folder():
        raise ConfigError(
            f"DAGSTER_HOME={folder} is an instance with a storage of its own, whose webserver and daemon are services: "
            "dagster-webserver and dagster-daemon run (docs/deploy.md). Unset DAGSTER_HOME to open the UI of this home"
        )
