"""distilabel: a pipeline of a loader and ChatGeneration over OpenAILLM with structured output (its TOOLS default).

Its steps are processes of their own. The meter starts when the step that asks has loaded its model, so that starting
and importing stay out, and stops when the pipeline has returned.
"""

import json
import os
import time
from pathlib import Path

from distilabel.models import OpenAILLM
from distilabel.pipeline import Pipeline
from distilabel.steps import LoadDataFromDicts
from distilabel.steps.tasks import ChatGeneration
from meter import tree_cpu_s
from task import MODEL, TEMPERATURE, TIMEOUT_S, Instruction, messages, run

_MARK = "BENCH_MARK"


class MarkedLLM(OpenAILLM):
    """OpenAILLM that notes when it has loaded."""

    def load(self):
        super().load()
        mark, root = os.environ[_MARK].split(":")
        Path(mark).write_text(json.dumps([time.time(), tree_cpu_s(int(root))]))


def pipeline_of(chosen):
    llm = MarkedLLM(
        model=MODEL,
        base_url=f"{chosen.url}/v1",
        api_key="none",
        timeout=TIMEOUT_S,
        structured_output={"schema": Instruction},
        generation_kwargs={"temperature": TEMPERATURE, "max_new_tokens": chosen.max_tokens},
    )
    rows = [{"number": number, "messages": messages(number)} for number in range(1, chosen.rows + 1)]
    with Pipeline(name="rows", cache_dir=str(chosen.home / "cache")) as pipeline:
        load = LoadDataFromDicts(name="load", data=rows, batch_size=chosen.window)
        ask = ChatGeneration(name="ask", llm=llm, input_batch_size=chosen.window)
        load >> ask
    return pipeline


def generate(chosen, tally, meter):
    mark = chosen.home / "loaded.json"
    mark.unlink(missing_ok=True)
    os.environ[_MARK] = f"{mark}:{os.getpid()}"
    pipeline = pipeline_of(chosen)
    try:
        data = pipeline.run(use_cache=True)
    finally:
        meter.stop()
        if mark.exists():
            meter.start_at(*json.loads(mark.read_text()))
    for row in data["default"]["train"]:
        if row["generation"] is None:
            tally.fail(None)
        else:
            tally.keep(row["number"], row["generation"])


if __name__ == "__main__":
    run(generate, __doc__, ["distilabel", "instructor", "openai"])
