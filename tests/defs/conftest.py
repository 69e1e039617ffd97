import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hub import EVERY, TOPICS, Hub

from personahub_assets.core import project_files
from personahub_assets.standin.server import StandinServer

Once = Callable[[str, Callable[[Path], None]], Path]


@pytest.fixture
def hub(tmp_path: Path, standin: StandinServer) -> Hub:
    """An empty home."""
    return Hub(tmp_path / "hub", standin)


@pytest.fixture(scope="session")
def finished(once: Once, standin: StandinServer) -> Path:
    """A home with two finished batches, two documents each; 'two' was admitted before 'one'."""

    def make(folder: Path) -> None:
        hub = Hub(folder / "hub", standin, EVERY)
        hub.pages("one", TOPICS[:2])
        hub.pages("two", TOPICS[2:4])
        assert hub.run("two") == {}
        assert hub.run("one") == {}

    return once("finished", make) / "hub"


@pytest.fixture
def ran(tmp_path: Path, finished: Path, standin: StandinServer) -> Hub:
    """A copy of the finished home, which the test can change."""
    return Hub(shutil.copytree(finished, tmp_path / "hub"), standin)


@pytest.fixture
def own_prompts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the project's files with prompts that the test can edit."""
    copy = tmp_path / "files"
    for name in ("sql", "prompts"):
        shutil.copytree(project_files.root() / name, copy / name)
    shutil.copy(project_files.root() / "dagster.yaml", copy / "dagster.yaml")
    monkeypatch.setattr(project_files, "root", lambda: copy)
    return copy / "prompts"
