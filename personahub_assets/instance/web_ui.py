"""The Dagster UI of a home: web server, code server and daemon as in `dagster dev`, behind `WebGuard`.

`dagster dev` starts a web server that cannot take a middleware. So the web server runs in this process, and the other
processes are started as `dagster dev` does.
"""

import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import dagster as dg
import uvicorn
import yaml
from dagster_shared.ipc import get_ipc_shutdown_pipe, open_ipc_subprocess, send_ipc_shutdown_message
from dagster_webserver.cli import DEFAULT_DB_STATEMENT_TIMEOUT, DEFAULT_POOL_MAX_OVERFLOW, DEFAULT_POOL_RECYCLE
from dagster_webserver.version import __version__

from personahub_assets.core import project_files
from personahub_assets.core.errors import PersonaHubError
from personahub_assets.instance import compat
from personahub_assets.instance.compat import (
    ProxyServerManager,
    WorkspaceFileTarget,
    WorkspaceProcessContext,
    configure_loggers,
    serialize_value,
    setup_interrupt_handlers,
)
from personahub_assets.instance.launch_guard import Check, guarded_webserver
from personahub_assets.instance.ports import listening
from personahub_assets.instance.web_guard import WebGuard

HOST = "127.0.0.1"
_POLL_MS = 2_000
_STOP_S = 60
_CLOSE_S = 5  # for open pages to close their connections


def serve(port: int, names: Collection[str], ready: Callable[[], None], check: Check) -> None:
    """Serve the UI of the instance in DAGSTER_HOME until it is interrupted.

    Args:
        port: on 127.0.0.1.
        names: further host names that are accepted.
        ready: called when the port is taken, before the processes start.
        check: called with what somebody starts, before a run exists; a PersonaHubError refuses it.

    Raises:
        ConfigError: if the port is taken.
        PersonaHubError: if the daemon ends by itself.
    """
    os.environ["DAGSTER_IS_DEV_CLI"] = "1"  # shorter errors if the code does not load
    configure_loggers(formatter="colored", log_level="INFO")
    setup_interrupt_handlers()
    with ExitStack() as stack, suppress(KeyboardInterrupt):
        web_socket = stack.enter_context(listening(HOST, port))
        ready()
        instance = stack.enter_context(dg.DagsterInstance.get())
        workspace = stack.enter_context(_code_servers(instance))
        daemon = stack.enter_context(_daemon(instance, workspace))
        server = stack.enter_context(_web_server(instance, workspace, names, check))
        threading.Thread(target=_follow, args=(daemon, server), daemon=True).start()
        server.run(sockets=[web_socket])
        if daemon.poll() is not None:
            raise PersonaHubError(f"the Dagster daemon ended with code {daemon.returncode}; see its last lines above")


@contextmanager
def _code_servers(instance: dg.DagsterInstance) -> Iterator[str]:
    """Start one process that serves the graph to web server and daemon; yields a workspace file."""
    target = WorkspaceFileTarget([str(project_files.root() / "workspace.yaml")])
    with (
        ProxyServerManager(instance, target, code_server_log_level="warning") as servers,
        tempfile.TemporaryDirectory() as folder,
    ):
        workspace = Path(folder) / "workspace.yaml"
        workspace.write_text(yaml.dump({"load_from": servers.get_code_server_specs()}), "utf-8")
        yield str(workspace)


@contextmanager
def _daemon(instance: dg.DagsterInstance, workspace: str) -> Iterator["subprocess.Popen[bytes]"]:
    """Start the daemon for sensors, schedules, backfills and queued runs."""
    reading, writing = get_ipc_shutdown_pipe()
    command = [sys.executable, "-m", compat.DAEMON_MODULE, "run", "--log-level", "info", "--log-format", "colored"]
    options = ["--shutdown-pipe", str(reading), "--instance-ref", serialize_value(instance.get_ref()), "-w", workspace]
    daemon = open_ipc_subprocess([*command, *options], pass_fds=[reading])
    try:
        yield daemon
    finally:
        with suppress(OSError):  # it has ended
            send_ipc_shutdown_message(writing)
        try:
            daemon.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            daemon.kill()


@contextmanager
def _web_server(
    instance: dg.DagsterInstance, workspace: str, names: Collection[str], check: Check
) -> Iterator[uvicorn.Server]:
    instance.optimize_for_webserver(DEFAULT_DB_STATEMENT_TIMEOUT, DEFAULT_POOL_RECYCLE, DEFAULT_POOL_MAX_OVERFLOW)
    target = WorkspaceFileTarget([workspace])
    with WorkspaceProcessContext(
        instance, workspace_load_target=target, version=__version__, code_server_log_level="warning"
    ) as context:
        app = WebGuard(guarded_webserver(check, context, "", _POLL_MS).create_asgi_app(), names)
        yield uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=_CLOSE_S))


def _follow(daemon: "subprocess.Popen[bytes]", server: uvicorn.Server) -> None:
    """Stop the web server when the daemon ends: without it runs would stay queued for ever."""
    daemon.wait()
    server.should_exit = True
