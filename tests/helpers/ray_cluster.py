"""A Ray cluster on this machine that wants a token; its processes are stopped by their group."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from services import free_port

TOKEN = "cAnArY-ray-token-of-the-cluster"
_START_S = 120


class RayCluster:
    """Use as a context manager.

    Args:
        environment: of the nodes, besides that of this process.
    """

    def __init__(self, environment: Mapping[str, str]):
        # Paths of sockets may have some hundred characters, fewer than those of the folders of tests.
        self._folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")
        self._log = Path(self._folder, "head.log")
        self._port, self._dashboard = free_port(), free_port()
        self.variables = {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": TOKEN,
            "RAY_DASHBOARD_URL": f"http://127.0.0.1:{self._dashboard}",
            "RAY_USAGE_STATS_ENABLED": "0",
        }
        # A job calls `dagster`, as in an image.
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
        self._environment = {**os.environ, **environment, **self.variables, "PATH": path}

    def __enter__(self) -> "RayCluster":
        ports = ["--port", str(self._port), "--dashboard-port", str(self._dashboard)]
        options = ["--node-ip-address", "127.0.0.1", "--num-cpus", "2", "--temp-dir", self._folder]
        with self._log.open("wb") as log:
            self._head = subprocess.Popen(
                [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", *ports, *options],
                stdout=log,
                stderr=log,
                env=self._environment,
                start_new_session=True,
            )
        until = time.monotonic() + _START_S
        while self.status() == 0:
            assert self._head.poll() is None, self._log.read_text()
            assert time.monotonic() < until, self._log.read_text()
            time.sleep(0.5)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._head.send_signal(signal.SIGTERM)
        try:
            self._head.wait(30)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._head.pid, signal.SIGKILL)
            self._head.wait()
            shutil.rmtree(self._folder, ignore_errors=True)

    def status(self, token: str = TOKEN) -> int:
        """The HTTP status of the list of jobs with a token; 0 without an answer."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        request = urllib.request.Request(f"{self.variables['RAY_DASHBOARD_URL']}/api/jobs/", headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0

    def jobs(self) -> str:
        """All that the dashboard shows about jobs, and their output."""
        jobs = self._get("/api/jobs/")
        return jobs + "".join(self._get(f"/api/jobs/{job['submission_id']}/logs") for job in json.loads(jobs))

    def _get(self, path: str) -> str:
        address = self.variables["RAY_DASHBOARD_URL"] + path
        request = urllib.request.Request(address, headers={"Authorization": f"Bearer {TOKEN}"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            return str(answer.read().decode())
