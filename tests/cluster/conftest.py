"""Fixtures of the tests of a cluster: one storage server and one Postgres for all, and a new home for each test.

What these tests need is in the environment of `make test-cluster` only.
"""

import uuid
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest
from postgres_server import PostgresServer

from personahub_assets.core.object_homes import working_copy
from personahub_assets.store.tables import Store

if TYPE_CHECKING:
    from storage_server import Proxy

if find_spec("moto") is None:
    collect_ignore_glob = ["test_*.py"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker("cluster")


@pytest.fixture(scope="session")
def bucket() -> "Iterator[Proxy]":
    from storage_server import storage

    with storage() as proxy:
        yield proxy


@pytest.fixture
def url(bucket: "Proxy") -> Iterator[str]:
    """The address of a new home."""
    from storage_server import BUCKET

    bucket.hidden, bucket.trouble = [], None
    yield f"s3://{BUCKET}/{uuid.uuid4().hex}"
    bucket.hidden, bucket.trouble = [], None


@pytest.fixture
def worker(url: str, tmp_path: Path) -> Callable[[str], Store]:
    """The home as the worker with a name sees it."""
    return lambda name: Store(home=str(working_copy(url, tmp_path / name)))


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    # The server runs as another user, who may not enter the folders of pytest.
    with TemporaryDirectory(prefix="postgres-") as folder:
        Path(folder).chmod(0o755)
        with PostgresServer(Path(folder) / "server") as server:
            yield server


@pytest.fixture(scope="session")
def instance_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DAGSTER_HOME with the dagster.yaml of deploy/."""
    folder = tmp_path_factory.mktemp("instance")
    (folder / "dagster.yaml").write_text((Path(__file__).parents[2] / "deploy" / "dagster.yaml").read_text())
    return folder
