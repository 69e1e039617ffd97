"""Fixtures of the tests of `generation`."""

from collections.abc import Iterator

import pytest
from scripted import Script, serving

from personahub_assets.core.retrying import Backoff
from personahub_assets.generation import transport
from personahub_assets.generation.servers import pace


@pytest.fixture(scope="module")
def script() -> Iterator[Script]:
    with serving() as scripted:
        yield scripted


@pytest.fixture
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retry without a delay, unless the server asks for one."""
    monkeypatch.setattr(transport, "_BACKOFF", Backoff(0.0, 0.0, 300.0))
    monkeypatch.setattr(pace, "_FIRST_S", 0.0)
    monkeypatch.setattr(pace, "_JITTER_S", 0.0)
