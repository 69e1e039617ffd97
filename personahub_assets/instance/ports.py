"""Ports of the servers that this program runs."""

import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from personahub_assets.core.errors import ConfigError

BROWSE_PORT = 3001
"""Default port of `personahub browse`; the UI's is 3000."""


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
            raise ConfigError(f"port {port} of {host}: {error.strerror}. {_remedy(error)}") from error
        yield server


def _remedy(error: OSError) -> str:
    if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
        return "Give an address of this machine: --host 127.0.0.1"
    if error.errno == errno.EADDRINUSE:
        return "It may be open already, in another terminal; else choose another port: --port NUMBER"
    return "Choose another port: --port NUMBER"
