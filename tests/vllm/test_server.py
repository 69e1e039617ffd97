"""How the server process lives and ends, with a small program in vLLM's place, so these tests run always."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
import vllm_server
from vllm_server import (
    VllmServer,
    VllmServerError,
    cpu_defaults,
    is_healthy,
    server_environment,
)

PROGRAM = """
import http.server, subprocess, sys
helper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])  # stands for the engine's process
print("helper", helper.pid, "arguments", sys.argv[1:], flush=True)
if "--fail" in sys.argv:
    helper.kill()
    sys.exit("no such model")
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(503 if "--ill" in sys.argv else 200)
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])), Handler).serve_forever()
"""

PARENT = """
import sys, time
from pathlib import Path
from vllm_server import VllmServer
with VllmServer("m", python=sys.executable, log=Path(sys.argv[1])) as server:
    print(server.port, server.pid, flush=True)
    time.sleep(600)
"""


@pytest.fixture(autouse=True)
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the small program where python finds it under the name of vLLM's server module."""
    package = tmp_path / "path" / "vllm" / "entrypoints" / "openai"
    package.mkdir(parents=True)
    (package / "api_server.py").write_text(PROGRAM)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "path"))


def server(tmp_path: Path, *args: str, timeout_s: float = 60) -> VllmServer:
    return VllmServer("m", name="n", python=sys.executable, log=tmp_path / "vllm.log", args=args, timeout_s=timeout_s)


def helper_pid(log: Path) -> int:
    return int(log.read_text().split()[1])


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def eventually_gone(pid: int) -> bool:
    deadline = time.monotonic() + 30
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not is_running(pid)


linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@linux
def test_the_block_starts_a_healthy_server_and_ends_all_its_processes(tmp_path: Path) -> None:
    with server(tmp_path, "--max-num-seqs", "3") as running:
        pid = running.pid
        assert pid is not None
        assert is_healthy(running.port)
        assert "'--model', 'm', '--served-model-name', 'n'" in running.log.read_text()
        assert "'--max-num-seqs', '3'" in running.log.read_text()
    assert running.pid is None
    assert eventually_gone(pid)
    assert eventually_gone(helper_pid(running.log))


@linux
def test_a_killed_parent_takes_the_server_along(tmp_path: Path) -> None:
    log = tmp_path / "vllm.log"
    scripts = Path(vllm_server.__file__).parent
    parent = subprocess.Popen([sys.executable, "-c", PARENT, log], stdout=subprocess.PIPE, text=True, cwd=scripts)
    with parent:
        assert parent.stdout is not None
        port, pid = map(int, parent.stdout.readline().split())
        parent.kill()
    assert eventually_gone(pid)
    assert eventually_gone(helper_pid(log))
    assert not is_healthy(port)


def test_a_server_that_ends_at_once_is_reported_with_its_last_words(tmp_path: Path) -> None:
    with (
        pytest.raises(VllmServerError, match=r"(?s)ended before it served 'm'.*no such model"),
        server(tmp_path, "--fail"),
    ):
        pass


def test_a_server_that_never_gets_healthy_is_given_up_and_stopped(tmp_path: Path) -> None:
    ill = server(tmp_path, "--ill", timeout_s=2)
    with pytest.raises(VllmServerError, match="did not serve 'm' in 2 s"), ill:
        pass
    assert ill.pid is None


def test_a_missing_python_names_the_remedy(tmp_path: Path) -> None:
    missing = VllmServer("m", python=tmp_path / "none", log=tmp_path / "vllm.log")
    with pytest.raises(VllmServerError, match="make test-vllm"), missing:
        pass


def test_the_users_settings_win_over_the_defaults_without_a_gpu() -> None:
    environment = server_environment("some/name", {"VLLM_CPU_KVCACHE_SPACE": "40"}, gpu=False)
    assert environment == cpu_defaults() | {"VLLM_CPU_KVCACHE_SPACE": "40", "VLLM_NO_USAGE_STATS": "1"}


def test_a_gpu_gets_no_settings_of_the_cpu_and_a_folder_needs_no_hub(tmp_path: Path) -> None:
    assert server_environment(str(tmp_path), {}, gpu=True) == {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"}
