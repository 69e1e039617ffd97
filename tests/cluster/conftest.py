"""Fixtures of the tests of a cluster: one storage server for all, and a new home for each test."""

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from storage_server import BUCKET, Proxy, storage

from personahub_assets.core.object_homes import working_copy
from personahub_assets.store.tables import Store


@pytest.fixture(scope="session")
def bucket() -> Iterator[Proxy]:
    with storage() as proxy:
        yield proxy


@pytest.fixture
def url(bucket: Proxy) -> Iterator[str]:
    """The address of a new home."""
    bucket.hidden, bucket.trouble = [], None
    yield f"s3://{BUCKET}/{uuid.uuid4().hex}"
    bucket.hidden, bucket.trouble = [], None


@pytest.fixture
def worker(url: str, tmp_path: Path) -> Callable[[str], Store]:
    """The home as the worker with a name sees it."""
    return lambda name: Store(home=str(working_copy(url, tmp_path / name)))
