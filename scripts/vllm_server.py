"""Run a vLLM server within a `with` block.

    with VllmServer("path/or/name", python=".venv-vllm/bin/python", log=Path("vllm.log")) as server:
        OpenAI(base_url=f"{server.url}/v1", api_key="none")

vLLM is not imported here: it is installed in its own environment and started with that environment's Python.
"""

import contextlib
import http.client
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

Runner = Literal["generate", "pooling"]

MODULE = "vllm.entrypoints.openai.api_server"  # the `vllm` command of the CPU build misses its own metadata
# Ends process group $0 when standard input closes, which happens however the parent dies. A second process is needed,
# because vLLM ignores a request to end while it starts: a signal at the parent's death (prctl) left it running.
WATCHER = 'read -r _; kill -s TERM -- "-$0" && sleep 10 && kill -s KILL -- "-$0"'
POLL_S = 0.25
STOP_S = 10.0
LOG_LINES = 30


class VllmServerError(RuntimeError):
    """The server did not start; the message ends with the last lines of its log."""


class VllmServer:
    """Starts vLLM on a free loopback port, waits until it answers, and stops it with all its child processes.

    After `kill -9` of this process the server ends within seconds.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        python: str | Path,
        log: Path,
        name: str | None = None,
        runner: Runner = "generate",
        config: Path | None = None,
        args: Sequence[str] = (),
        timeout_s: float = 900.0,
    ) -> None:
        """Describe the server; entering the `with` block starts it.

        Args:
            model: name or folder of the model.
            python: Python of the environment with vLLM.
            log: file for the output of the server.
            name: name of the model in requests; default: `model`.
            runner: runner of vLLM.
            config: a file like `vllm/serve.yaml`.
            args: further options of `vllm serve`; they override `config`.
            timeout_s: maximum seconds until the server is healthy.
        """
        self.model = str(model)
        self.python = str(python)
        self.log = log
        self.name = name or self.model
        self.runner = runner
        self.config = config
        self.args = tuple(args)
        self.timeout_s = timeout_s
        self.port = 0
        self.started_in_s = 0.0
        self._process: subprocess.Popen[bytes] | None = None
        self._watcher: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The address of the running server, without `/v1`."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int | None:
        """Id of the process and process group of the running server; None if it does not run."""
        return self._process.pid if self._process else None

    def __enter__(self) -> Self:
        """Start the server and wait until it is healthy.

        Raises:
            VllmServerError: if Python is missing, the process ends, or `timeout_s` seconds pass.
        """
        if shutil.which(self.python) is None:
            raise VllmServerError(f"no python at {self.python!r}: `make test-vllm` creates .venv-vllm with vLLM in it")
        began = time.monotonic()
        self.port = free_port()
        self._process = self._spawn()
        try:
            self._watcher = watch_over(self._process.pid)
            self._wait_until_healthy(began + self.timeout_s)
        except BaseException:
            self.stop()
            raise
        self.started_in_s = time.monotonic() - began
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the server."""
        self.stop()

    def stop(self) -> None:
        """Ask the server to end, then end its process group; does nothing if it does not run."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_S)
        kill_group(process.pid)
        process.wait()
        watcher, self._watcher = self._watcher, None
        if watcher:
            watcher.kill()
            watcher.communicate()  # closes the pipe and reaps it

    def command(self) -> list[str]:
        """The command line; `args` come after `config`, so they override it."""
        config = ["--config", str(self.config)] if self.config else []
        where = ["--model", self.model, "--served-model-name", self.name, "--runner", self.runner]
        return [self.python, "-m", MODULE, *config, *where, "--host", "127.0.0.1", "--port", str(self.port), *self.args]

    def _spawn(self) -> subprocess.Popen[bytes]:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("wb") as log:
            return subprocess.Popen(
                self.command(),
                env=server_environment(self.model, os.environ, gpu=has_gpu()),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _wait_until_healthy(self, deadline: float) -> None:
        while not is_healthy(self.port):
            if self._process is None or self._process.poll() is not None:
                raise VllmServerError(f"vLLM ended before it served {self.model!r}; {self._log_tail()}")
            if time.monotonic() > deadline:
                raise VllmServerError(f"vLLM did not serve {self.model!r} in {self.timeout_s:g} s; {self._log_tail()}")
            time.sleep(POLL_S)

    def _log_tail(self) -> str:
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return f"the end of {self.log}:\n" + "\n".join(lines[-LOG_LINES:])


def server_environment(model: str, inherited: Mapping[str, str], *, gpu: bool) -> dict[str, str]:
    """The environment of the server: inherited variables, with telemetry and unneeded network access disabled.

    Without a GPU: one thread per two logical processors, not pinned, so that two servers can share a machine, and
    1 GiB for the key-value cache.
    """
    defaults: dict[str, str] = {} if gpu else cpu_defaults()
    offline = {"HF_HUB_OFFLINE": "1"} if Path(model).is_dir() else {}
    return {**defaults, **inherited, **offline, "VLLM_NO_USAGE_STATS": "1"}


def cpu_defaults() -> dict[str, str]:
    """Settings of vLLM's CPU backend; see `server_environment`."""
    return {
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 2) // 2)),
    }


def has_gpu() -> bool:
    """Whether this machine has a working NVIDIA GPU."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return False
    return subprocess.run([tool, "--list-gpus"], capture_output=True, check=False).returncode == 0


def free_port() -> int:
    """A TCP port that was free on the loopback address a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_healthy(port: int) -> bool:
    """Whether `/health` on the loopback port answers 200."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def kill_group(group: int) -> None:
    """Kill the remaining processes of a process group."""
    try:
        os.killpg(group, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):  # macOS raises the second for a group of zombies
        return


def watch_over(group: int) -> subprocess.Popen[bytes]:
    """Start the shell that ends a process group when this process has ended."""
    shell = ["/bin/sh", "-c", WATCHER, str(group)]
    return subprocess.Popen(
        shell, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
