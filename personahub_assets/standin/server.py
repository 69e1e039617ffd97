"""The stand-in as a server: in the foreground, or as a child process that ends with its parent.

with StandinServer(faults="429=0.02,seed=7") as server:
    client = OpenAI(base_url=server.url, api_key="none")
"""

import argparse
import asyncio
import contextlib
import errno
import json
import os
import queue
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from personahub_assets.standin.app import create_app
from personahub_assets.standin.faults import Faults

HOST = "127.0.0.1"
_BACKLOG = 2048
_START_S = 60.0
_STOP_S = 5.0
_ROOT = Path(__file__).resolve().parents[2]


class StandinError(RuntimeError):
    """The stand-in could not be started or reached."""


class StandinServer:
    """Runs the stand-in as a child process on a loopback port, for as long as the `with` block lasts.

    `faults` is a specification for `Faults.parse`; `port` 0 chooses a free port. The child ends when `stop` is called
    or when this process ends for any reason. Raises StandinError if the child does not start, and FaultError if the
    faults are invalid.
    """

    def __init__(self, faults: str = "", latency_ms: float = 0.0, port: int = 0) -> None:
        Faults.parse(faults)
        self._arguments = ["--port", str(port), "--faults", faults, "--latency-ms", str(latency_ms), "--watch-stdin"]
        self._child: subprocess.Popen[str] | None = None
        self.port = 0

    @property
    def url(self) -> str:
        """The base address for an OpenAI client, ending in `/v1`."""
        return f"{self._root}/v1"

    @property
    def pid(self) -> int:
        """The process id of the child."""
        return self._running().pid

    def start(self) -> "StandinServer":
        """Starts the child and waits until it is ready."""
        if self._child is not None:
            raise StandinError(f"the stand-in is already running on port {self.port}")
        command = [sys.executable, "-m", "personahub_assets.standin.server", *self._arguments]
        paths = [str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
        self._child = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            # Ctrl-C in a terminal is sent to the process group; the parent decides when its server ends.
            start_new_session=os.name == "posix",
        )
        try:
            self.port = self._greeting(self._child)["port"]
        except BaseException:
            self.stop()
            raise
        return self

    def stats(self) -> dict[str, Any]:
        """Returns the counters of `/stats`."""
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with direct.open(f"{self._root}/stats", timeout=_STOP_S) as response:
            counters: dict[str, Any] = json.load(response)
        return counters

    def stop(self) -> None:
        """Ends the child and waits for it; does nothing if it is not running."""
        child, self._child = self._child, None
        if child is None:
            return
        with contextlib.suppress(OSError):
            _pipe(child.stdin).close()  # the child ends at the end of its input
        try:
            child.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        _pipe(child.stdout).close()

    def __enter__(self) -> "StandinServer":
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def _root(self) -> str:
        self._running()
        return f"http://{HOST}:{self.port}"

    def _running(self) -> "subprocess.Popen[str]":
        if self._child is None:
            raise StandinError("the stand-in is not running; call start() or use it in a with block")
        return self._child

    def _greeting(self, child: "subprocess.Popen[str]") -> dict[str, Any]:
        """Reads the line that the child writes: its port, or the reason why it cannot start."""
        lines: queue.Queue[str] = queue.Queue()
        # Pipes have no portable timeout, so a thread waits for the line.
        threading.Thread(target=lambda: lines.put(_pipe(child.stdout).readline()), daemon=True).start()
        try:
            line = lines.get(timeout=_START_S)
        except queue.Empty:
            child.kill()
            raise StandinError(f"the stand-in did not start within {_START_S:g} s") from None
        if not line:
            raise StandinError(f"the stand-in ended with code {child.wait()} before it was ready; see its error output")
        greeting: dict[str, Any] = json.loads(line)
        if "error" in greeting:
            raise StandinError(greeting["error"])
        return greeting


def serve(
    port: int, faults: str = "", latency_ms: float = 0.0, ready: Callable[[int], None] = lambda _port: None
) -> None:
    """Serves on 127.0.0.1 until interrupted; calls `ready` with the port once requests are answered.

    Raises StandinError if the port is taken and FaultError if the faults are invalid.
    """
    parsed = Faults.parse(faults)
    listener = _listen(port)
    with listener, contextlib.suppress(KeyboardInterrupt):
        app = create_app(parsed, latency_ms, _Connection.hang_up)
        config = uvicorn.Config(
            app,
            http=_Connection,
            ws="none",
            lifespan="off",
            log_level="critical",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            backlog=_BACKLOG,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=1,
        )
        _Server(config, ready).run(sockets=[listener])


class _Connection(HttpToolsProtocol):
    """uvicorn's protocol with a list of open connections, so that one can be closed without a reply."""

    _open: dict[Any, asyncio.Transport] = {}  # noqa: RUF012 - shared by all connections of the process

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        _Connection._open[self.client] = transport

    def connection_lost(self, exc: Exception | None) -> None:
        _Connection._open.pop(self.client, None)
        super().connection_lost(exc)

    @staticmethod
    def hang_up(client: Any) -> None:
        """Closes the connection of a client (host, port) at once."""
        transport = _Connection._open.get(tuple(client) if client else None)
        if transport is not None:
            transport.abort()


class _Server(uvicorn.Server):
    """uvicorn's server with a callback when it is ready."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[int], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if sockets:
            self._ready(sockets[0].getsockname()[1])


def _listen(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        if os.name == "posix":  # elsewhere this option lets two servers share a port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, port))
    except (OSError, OverflowError) as error:
        listener.close()
        raise StandinError(_bind_problem(port, error)) from error
    return listener


def _bind_problem(port: int, error: Exception) -> str:
    if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
        return f"port {port} on {HOST} is taken; stop what listens there, or use another port (0 takes a free one)"
    return f"cannot listen on port {port} of {HOST}: {error} (ports go from 1 to 65535; 0 takes a free one)"


def _pipe(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe


def _say(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def _leave_with_parent() -> None:
    """Ends this process at the end of its input: the parent has closed the pipe, or has ended."""
    while os.read(0, 4096):
        pass
    os._exit(0)


def main(arguments: list[str] | None = None) -> int:
    """Runs the child process: writes one JSON line with its port or an error, then serves."""
    parser = argparse.ArgumentParser(prog="python -m personahub_assets.standin.server", description=main.__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--faults", default="")
    parser.add_argument("--latency-ms", type=float, default=0.0)
    parser.add_argument("--watch-stdin", action="store_true")
    options = parser.parse_args(arguments)
    if options.watch_stdin:
        threading.Thread(target=_leave_with_parent, daemon=True).start()
    try:
        serve(
            options.port,
            options.faults,
            options.latency_ms,
            ready=lambda port: _say({"port": port, "pid": os.getpid()}),
        )
    except ValueError as error:
        _say({"error": str(error)})
        return 2
    except StandinError as error:
        _say({"error": str(error)})
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
