"""The port of the UI: taken before any process starts."""

import re
import socket

import pytest

from personahub_assets.core.errors import ConfigError
from personahub_assets.instance.web_ui import HOST, _listening


def test_a_second_ui_on_a_port_is_refused_with_one_line() -> None:
    with socket.socket() as free:
        free.bind((HOST, 0))
        port = free.getsockname()[1]
    taken = re.escape(f"port {port} of {HOST}: ")
    with _listening(port), pytest.raises(ConfigError, match=taken + ".*--port NUMBER") as caught, _listening(port):
        pass
    assert "\n" not in str(caught.value)
    with _listening(port):
        """The port is free again."""
