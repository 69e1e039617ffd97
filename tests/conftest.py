"""What the tests of several rooms share: an empty home, its store, one stand-in for the whole run."""

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from filelock import FileLock
from hypothesis import settings

from personahub_assets import cli
from personahub_assets.resources.store import Store
from personahub_assets.standin.server import StandinServer

# No deadline: the machine may be busy. Derandomised: a failure is seen again, and by everybody.
settings.register_profile("hub", deadline=None, derandomize=True, max_examples=100)
settings.load_profile("hub")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "hub"


@pytest.fixture
def store(home: Path) -> Store:
    return Store(home=str(home))


Called = Callable[..., tuple[int, str, str]]


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Called:
    """Run a command in this process, from `main` on; gives exit code, standard output and standard error."""

    def run(*arguments: str, home: Path, **environment: str) -> tuple[int, str, str]:
        for name in [name for name in os.environ if name.startswith("PERSONAHUB_") and name != "PERSONAHUB_CACHE"]:
            monkeypatch.delenv(name)
        monkeypatch.setenv("DAGSTER_HOME", "")  # which `run` changes
        for name, value in {"PERSONAHUB_HOME": str(home), **environment}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "argv", ["personahub", *arguments])
        code = 0
        try:
            cli.main()
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 0
        return (code, *capsys.readouterr())

    return run


Once = Callable[[str, Callable[[Path], None]], Path]


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Once:
    """Make a folder by its name, once for all workers: what takes seconds to make and is only read, or copied."""
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
