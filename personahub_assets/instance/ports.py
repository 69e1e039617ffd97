"""Ports of the servers that this program runs."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

from personahub_assets.core.errors import ConfigError


@contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """Listen on a port before the work that follows, which takes seconds.

    Args:
        host: an address, or a name of one.
        port: 0 takes a free one.

    Raises:
        ConfigError: if the port is taken, or the address is not of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            server.bind((host, port))
            server.listen()  # without listen, another process can still take a bound port
        except OSError as error:
            raise ConfigError(
                f"port {port} of {host}: {error.strerror}; if it is not this UI already, choose another with: "
                "--port NUMBER"
            ) from error
        yield server
