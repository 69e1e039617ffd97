"""Fixtures of all tests: an empty home, its store, one stand-in for the whole test run."""

import contextlib
import io
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from hypothesis import settings

from personahub_assets.cli import app
from personahub_assets.standin.server import StandinServer
from personahub_assets.store.tables import Store

# No deadline: the machine may be busy. Derandomised: a failure is seen again, and by everybody.
settings.register_profile("hub", deadline=None, derandomize=True, max_examples=40)
settings.load_profile("hub")

# Modules with tests that take long: begun last, one of them would keep one worker busy while the others are done.
_FIRST = (
    "test_docs.py",
    "test_takedown.py",
    "test_foreign_project.py",
    "test_runs.py",
    "test_engine.py",
    "test_kernels.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.name not in _FIRST)


# Every process that a test starts would compile the same libraries anew, which takes longer than its work.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "hub"


@pytest.fixture
def store(home: Path) -> Store:
    return Store(home=str(home))


Called = Callable[..., tuple[int, str, str]]


def command(patch: pytest.MonkeyPatch, *arguments: str, home: Path, **environment: str) -> int:
    """Run a command in this process through `main`; return its exit code."""
    for name in [name for name in os.environ if name.startswith("PERSONAHUB_") and name != "PERSONAHUB_CACHE"]:
        patch.delenv(name)
    patch.setenv("DAGSTER_HOME", "")  # which `run` changes
    for name, value in {"PERSONAHUB_HOME": str(home), **environment}.items():
        patch.setenv(name, value)
    patch.setattr(sys, "argv", ["personahub", *arguments])
    try:
        app.main()
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 0
    return 0


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Called:
    """Run a command in this process; return exit code, standard output and standard error."""
    return lambda *arguments, **rest: (command(monkeypatch, *arguments, **rest), *capsys.readouterr())


@pytest.fixture(scope="session")
def called_once() -> Called:
    """The same as `called`, for session fixtures."""

    def run(*arguments: str, **rest: Any) -> tuple[int, str, str]:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "stdin", io.StringIO())
            code = command(patch, *arguments, **rest)
        return code, out.getvalue(), err.getvalue()

    return run


Once = Callable[[str, Callable[[Path], None]], Path]


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Once:
    """Create a named folder once for all workers; for data that takes seconds to make and is only read or copied."""
    base = tmp_path_factory.getbasetemp()
    shared = base if worker_id == "master" else base.parent

    def made(name: str, make: Callable[[Path], None]) -> Path:
        folder, done = shared / name, shared / f"{name}.done"
        with FileLock(shared / f"{name}.lock"):
            if not done.exists():
                shutil.rmtree(folder, ignore_errors=True)  # of a worker whose try failed
                folder.mkdir()
                make(folder)
                done.touch()
        return folder

    return made


@pytest.fixture(scope="session")
def standin() -> Iterator[StandinServer]:
    with StandinServer() as server:
        yield server
