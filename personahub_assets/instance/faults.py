"""Describe any error in one line: the failure, the remedy, and the traceback file if the program is at fault."""

import os
import sqlite3
import tempfile
import traceback
from pathlib import Path

from personahub_assets.core.access import checked, obstacle, path_of
from personahub_assets.core.errors import PersonaHubError, StoreError
from personahub_assets.core.secrets import hide_secrets
from personahub_assets.core.text import shorten
from personahub_assets.instance.shared import shared_folder, storage_problem
from personahub_assets.store.home import Home

_PACKAGE = Path(__file__).parents[1]
_CHARS = 500
_KEPT = 20  # tracebacks


def explain(error: BaseException, home: Path) -> str:
    """Describe an error in one line: what failed and what to do. Secrets of the environment are hidden.

    Args:
        error: the error that ended a command or a step of a run.
        home: its folder.
    """
    return _without_secrets(_explain(error, home), Home(home))


def _without_secrets(text: str, paths: Home) -> str:
    try:
        settings = paths.config.read_text("utf-8")
    except (OSError, UnicodeError):
        settings = ""
    return hide_secrets(text, settings)


def _explain(error: BaseException, home: Path) -> str:
    if isinstance(error, PersonaHubError):
        return str(error)
    if _is_of_history(error):
        folder = shared_folder()
        return str(storage_problem(folder, error) if folder else history_problem(Home(home), error))
    if reason := obstacle(error, path_of(error) or home):
        return reason
    return _message(error) if isinstance(error, OSError) else _unexpected(error, Home(home))


def _is_of_history(error: BaseException) -> bool:
    """Whether an error comes from Dagster's databases; errors of the journals are worded in their module."""
    return type(error).__module__.startswith("sqlalchemy.") or isinstance(error, sqlite3.Error)


def history_problem(paths: Home, error: BaseException) -> StoreError:
    """The error for unreadable databases of Dagster, with the consequences of removing them."""
    return checked(
        error,
        paths.history,
        f"{paths.history}: the databases of Dagster's history cannot be read: {_message(error)}. Move the folder "
        "away, then run again: the UI then shows no earlier runs and its sensor is off; batches, rows and answers are "
        "not in it",
        is_folder=True,
    )


def _unexpected(error: BaseException, paths: Home) -> str:
    file = _write_traceback(error, paths)
    suffix = f"; the traceback is in {file}" if file else ""
    return f"unexpected {type(error).__name__}{_at(error)}: {_message(error)}. This is a fault of the program{suffix}"


def _message(error: BaseException) -> str:
    cause = getattr(error, "orig", None) or error
    return shorten(" ".join(str(cause).split()) or type(cause).__name__, _CHARS)


def _at(error: BaseException) -> str:
    """The innermost line of this package in the traceback."""
    frames = [
        frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename).is_relative_to(_PACKAGE)
    ]
    if not frames:
        return ""
    return f" at {Path(frames[-1].filename).relative_to(_PACKAGE.parent)}:{frames[-1].lineno}"


def _write_traceback(error: BaseException, paths: Home) -> str | None:
    """Write the traceback beside Dagster's history, where a takedown finds it; else to the temporary folder."""
    for parent in (paths.tracebacks, None):
        try:
            if parent and paths.dagster.exists():
                parent.mkdir(exist_ok=True)
                _drop_old(parent)
            handle, name = tempfile.mkstemp(prefix="personahub-", suffix=".txt", dir=parent)
            # Python's writer handles a cycle of causes.
            with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
                file.write(_without_secrets("".join(traceback.format_exception(error)), paths))
        except (OSError, RecursionError, MemoryError):
            continue
        return name
    return None


def _drop_old(folder: Path) -> None:
    for file in sorted(folder.iterdir(), key=lambda file: file.stat().st_mtime)[:-_KEPT]:
        file.unlink(missing_ok=True)
