"""The port of the UI: taken before any process starts."""

import re
import socket

import pytest

from personahub_assets.core.errors import ConfigError
from personahub_assets.instance.ports import listening
from personahub_assets.instance.web_ui import HOST


def test_a_second_ui_on_a_port_is_refused_with_one_line() -> None:
    with socket.socket() as free:
        free.bind((HOST, 0))
        port = free.getsockname()[1]
    taken = re.escape(f"port {port} of {HOST}: ")
    with (
        listening(HOST, port),
        pytest.raises(ConfigError, match=taken + ".*--port NUMBER") as caught,
        listening(HOST, port),
    ):
        pass
    assert "\n" not in str(caught.value)
    with listening(HOST, port):
        """The port is free again."""
