"""Files of requests, answered by vLLM's own program for files."""

import os
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest
from vllm_server import has_gpu, server_environment

from personahub_assets.core import project_files
from personahub_assets.core.errors import Submitted
from personahub_assets.core.records import MathProblem
from personahub_assets.generation.batch_api.ledger import Ledger
from personahub_assets.generation.batch_api.overview import open_standings
from personahub_assets.generation.llm import LLM
from personahub_assets.generation.requests import Request, Task
from personahub_assets.store.tables import Store

pytestmark = pytest.mark.vllm

ROWS = 3
TASK = Task("math_problems", project_files.prompt("math_problems"), MathProblem, "tiny")
OPTIONS = ["--served-model-name", "tiny", "--enforce-eager", "--generation-config", "vllm", "--max-num-seqs", "16"]


def requests() -> list[Request]:
    return [TASK.request(f"p{n}", {"persona": f"A keeper of lighthouse {n}"}) for n in range(ROWS)]


def ask(store: Store) -> None:
    """One pass: collect what is answered, and write files of what is not."""
    llm = LLM(url="files:", model="tiny")
    with llm.answers(store, TASK, "b", lambda _tally: None) as answers:
        for _ in answers.request_all(requests, ROWS):
            pass


def test_run_batch_answers_the_files(vllm_python: str, tmp_path: Path) -> None:
    model, store = tmp_path / "model", Store(home=str(tmp_path / "hub"))
    subprocess.run([vllm_python, Path(__file__).with_name("tiny_model.py"), model], check=True)
    with pytest.raises(Submitted):
        ask(store)
    (standing,) = open_standings(store)
    assert standing.files is not None
    files = standing.files.input(standing.submission), standing.files.output(standing.submission)
    command = [vllm_python, "-m", "vllm.entrypoints.openai.run_batch", "--model", str(model)]
    command += ["-i", str(files[0]), "-o", str(files[1])]
    environment = server_environment(str(model), os.environ, gpu=has_gpu())
    subprocess.run([*command, *OPTIONS], env=environment, check=True)
    with suppress(Submitted):  # a model with random weights: some answers are cut, and asked for again
        ask(store)
    with Ledger(store.paths.ledger("math_problems", "b")) as ledger:
        lines = [ledger.line(f"{request.key}-0") for request in requests()]
    assert [line and line.status for line in lines] == [200] * ROWS
    assert not any(file.exists() for file in files)
