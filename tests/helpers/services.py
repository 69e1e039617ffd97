"""Services of deploy/docker-compose.yaml as processes: the code location, the webserver and the daemon."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

_START_S = 120
_LAUNCH = """mutation($params: ExecutionParams!) { launchRun(executionParams: $params) { __typename
  ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""
_STATUS = """query($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Services:
    """Use as a context manager; all processes are stopped by their ids.

    Args:
        folder: of logs.
        environment: of all processes; DAGSTER_HOME has the settings of the instance.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str]):
        self._folder, self.environment = folder, {**os.environ, **environment}
        self._code, self._web = free_port(), free_port()
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> "Services":
        workspace = self._folder / "workspace.yaml"
        server = {"host": "127.0.0.1", "port": self._code, "location_name": "personahub"}
        workspace.write_text(json.dumps({"load_from": [{"grpc_server": server}]}))
        at = ["--host", "127.0.0.1", "--port", str(self._code)]
        self._start("code", "-m", "dagster", "api", "grpc", "-m", "personahub_assets.definitions", *at)
        self._wait("code", lambda: socket.create_connection(("127.0.0.1", self._code), 1).close())
        self._start("web", "-m", "dagster_webserver", "-h", "127.0.0.1", "-p", str(self._web), "-w", str(workspace))
        self._start("daemon", "-m", "dagster._daemon", "run", "-w", str(workspace))
        self._wait("web", lambda: self.ask("{ version }"))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name in list(self._processes):
            self.stop(name)

    def stop(self, name: str) -> int:
        """Stop a service like docker does; returns its exit code."""
        process = self._processes.pop(name)
        process.send_signal(signal.SIGTERM)
        try:
            return process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        """Send a GraphQL request to the webserver."""
        body = json.dumps({"query": query, "variables": variables}).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"http://127.0.0.1:{self._web}/graphql", body, headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            reply: dict[str, Any] = json.load(answer)
        assert not reply.get("errors"), reply
        return dict(reply["data"])

    def launch(self, batch: str, *assets: str) -> str:
        """Put a run of assets of a batch into the queue, like the UI; returns its id."""
        selector = {
            "repositoryLocationName": "personahub",
            "repositoryName": "__repository__",
            "jobName": "refresh_batch",
            "assetSelection": [{"path": [asset]} for asset in assets],
        }
        tags = [{"key": "dagster/partition", "value": batch}]
        params = {"selector": selector, "executionMetadata": {"tags": tags}, "runConfigData": "{}"}
        launched = self.ask(_LAUNCH, params=params)["launchRun"]
        assert launched["__typename"] == "LaunchRunSuccess", launched
        return str(launched["run"]["runId"])

    def status(self, run: str) -> str:
        """The status of a run."""
        return str(self.ask(_STATUS, id=run)["runOrError"]["status"])

    def finish(self, run: str, timeout: float = 300) -> str:
        """Wait for the end of a run, or for so many seconds; returns its status."""
        until = time.monotonic() + timeout
        while (status := self.status(run)) not in ("SUCCESS", "FAILURE", "CANCELED") and time.monotonic() < until:
            time.sleep(0.5)
        return status

    def logs(self) -> str:
        """The output of all services."""
        return "\n".join(path.read_text("utf-8", "replace") for path in sorted(self._folder.glob("*.log")))

    def _start(self, name: str, *arguments: str) -> None:
        with (self._folder / f"{name}.log").open("wb") as log:
            command = [sys.executable, *arguments]
            self._processes[name] = subprocess.Popen(command, stdout=log, stderr=log, env=self.environment)

    def _wait(self, name: str, check: Any) -> None:
        until = time.monotonic() + _START_S
        while True:
            try:
                check()
            except (OSError, urllib.error.URLError):
                assert self._processes[name].poll() is None, self.logs()
                assert time.monotonic() < until, self.logs()
                time.sleep(0.2)
            else:
                return
