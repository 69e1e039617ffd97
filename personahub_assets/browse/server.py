"""Serve the pages of a home on a port, and open them in the browser."""

import os
import sys
import threading
import webbrowser
from collections.abc import Callable, Collection
from contextlib import closing, suppress

import uvicorn

from personahub_assets.browse.app import make_app, warm_up
from personahub_assets.browse.reader import Reader
from personahub_assets.core.config import Environment
from personahub_assets.instance.ports import listening
from personahub_assets.store.tables import Store

_CLOSE_S = 2


def serve(
    environment: Environment,
    store: Store,
    *,
    host: str,
    port: int,
    names: Collection[str],
    ready: Callable[[str], None],
    open_browser: bool,
) -> None:
    """Serve until it is interrupted.

    Args:
        environment: names the embedding model.
        store: the tables of the home.
        host: address to listen on.
        port: 0 takes a free one.
        names: further host names that are accepted.
        ready: called with the address once it is listening.
        open_browser: whether to open the address in the browser of this desktop.

    Raises:
        ConfigError: if the port is taken.
        StoreError: if there is no warehouse yet, or it cannot be opened.
    """
    with listening(host, port) as socket, closing(Reader(store)) as reader, suppress(KeyboardInterrupt):
        shown = f"[{host}]" if ":" in host else host  # as in an address of the web
        server = uvicorn.Server(
            uvicorn.Config(
                make_app(reader, environment, [shown, *names]),
                log_level="warning",
                ws="none",
                lifespan="off",
                server_header=False,
                timeout_graceful_shutdown=_CLOSE_S,
            )
        )
        warm_up(reader)
        address = f"http://{shown}:{socket.getsockname()[1]}"
        ready(address)
        if open_browser and _has_desktop():
            threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
        server.run(sockets=[socket])


def _has_desktop() -> bool:
    """Whether a browser opens in a window; on a terminal it would take over the screen."""
    return not sys.platform.startswith("linux") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
