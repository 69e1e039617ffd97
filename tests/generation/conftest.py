"""What the tests of the generation room share."""

from collections.abc import Iterator

import pytest
import tenacity
from scripted import Script, serving

from personahub_assets.generation import transport


@pytest.fixture(scope="module")
def script() -> Iterator[Script]:
    with serving() as scripted:
        yield scripted


@pytest.fixture
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries come at once, unless the server asks for a pause."""
    monkeypatch.setattr(transport, "_BACKOFF", tenacity.wait_none())
    monkeypatch.setattr(transport, "_JITTER", tenacity.wait_none())
