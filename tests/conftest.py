"""What the tests of several rooms share: an empty home, its store, one stand-in for the whole run."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

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


@pytest.fixture(scope="session")
def standin() -> Iterator[StandinServer]:
    with StandinServer() as server:
        yield server
