"""Bespoke Curator: an LLM subclass on its openai backend, with its viewer, telemetry and rate limits out of the way.

Its probe of the endpoint and its progress display are part of making the LLM and of the call; the meter runs around
the call alone.
"""

import os
from importlib.util import find_spec
from pathlib import Path

os.environ["OPENAI_API_KEY"] = "none"
# It counts tokens with a table that it would download; litellm, which it depends on, ships the same file.
_LITELLM = Path(find_spec("litellm").origin).parent
os.environ.setdefault("TIKTOKEN_CACHE_DIR", str(_LITELLM / "litellm_core_utils" / "tokenizers"))

# Imports come after the environment is set, and `input` is the tool's own name for the argument.
# ruff: noqa: E402, A002
from bespokelabs import curator
from datasets import Dataset
from task import MODEL, TEMPERATURE, TIMEOUT_S, Instruction, messages, run

_NO_LIMIT = 10**9


class Writer(curator.LLM):
    """One row per persona."""

    def prompt(self, input):
        return input["messages"]

    def parse(self, input, response):
        return [{"number": input["number"], "answer": response.model_dump_json()}]


def generate(chosen, tally, meter):
    writer = Writer(
        model_name=MODEL,
        backend="openai",
        response_format=Instruction,
        generation_params={"temperature": TEMPERATURE, "max_tokens": chosen.max_tokens},
        backend_params={
            "base_url": f"{chosen.url}/v1",
            "request_timeout": TIMEOUT_S,
            "max_concurrent_requests": chosen.window,
            "max_requests_per_minute": _NO_LIMIT,
            "max_tokens_per_minute": _NO_LIMIT,
            "require_all_responses": False,
        },
    )
    rows = Dataset.from_list([{"number": number, "messages": messages(number)} for number in range(1, chosen.rows + 1)])
    meter.start()
    response = writer(rows, working_dir=str(chosen.home / "cache"))
    meter.stop()
    for row in response.dataset:
        tally.keep(row["number"], row["answer"])
    failures = response.failed_requests_path
    if failures and failures.exists():
        for _ in failures.read_text().splitlines():
            tally.fail("in failed_requests.jsonl")


if __name__ == "__main__":
    run(generate, __doc__, ["bespokelabs-curator", "litellm"])
