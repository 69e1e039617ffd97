"""Run the demo with a local vLLM server: `make demo-vllm MODEL=<hub name or folder>`.

vLLM runs on the GPU if there is one, else on the CPU, and is stopped at the end. The home is ./demo-vllm-hub.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from vllm_server import VllmServer, VllmServerError

ROOT = Path(__file__).resolve().parent.parent
HOME = ROOT / "demo-vllm-hub"
# Small enough for a CPU: a page of notes and a page of bad input.
SOURCES = ["examples/notes.csv", "examples/messy.jsonl"]


def main() -> int:
    """Serve the model, run the demo, stop the server; return the exit code."""
    if len(sys.argv) != 2 or not sys.argv[1]:
        print("Name a model: make demo-vllm MODEL=<hub name or folder>", file=sys.stderr)
        return 2
    model = sys.argv[1]
    HOME.mkdir(exist_ok=True)
    shutil.copyfile(ROOT / "examples" / "hub.toml", HOME / "hub.toml")
    print(f"starting vLLM with {model}; its log: {HOME / 'vllm.log'}", file=sys.stderr)
    server = VllmServer(
        model,
        python=ROOT / ".venv-vllm" / "bin" / "python",
        log=HOME / "vllm.log",
        config=ROOT / "vllm" / "serve.yaml",
    )
    try:
        with server:
            print(f"vLLM answers at {server.url}/v1 after {server.started_in_s:.0f} s", file=sys.stderr)
            return _demo(f"{server.url}/v1")
    except VllmServerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _demo(url: str) -> int:
    environment = {**os.environ, "PERSONAHUB_HOME": str(HOME), "PERSONAHUB_LLM_URL": url}
    environment.pop("PERSONAHUB_LLM_MODEL", None)
    personahub = [sys.executable, "-m", "personahub_assets.cli.app"]
    subprocess.run([*personahub, "ingest", *SOURCES], cwd=ROOT, env=environment, check=True)
    return subprocess.run([*personahub, "run"], cwd=ROOT, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
