"""datatrove: an InferenceRunner against an endpoint, checkpointed, run by the local executor as one task.

It has no retries of its own for an answer that does not fit; the rollout function parses, as its examples do.
To a server on localhost it speaks HTTP of its own, a connection per request, and there `request_timeout` has no effect.
"""

import json

from datatrove.data import Document
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.inference.run_inference import InferenceConfig, InferenceRunner
from datatrove.pipeline.writers import JsonlWriter
from task import MODEL, TEMPERATURE, TIMEOUT_S, Instruction, messages, run, user_text

_FORMAT = {"type": "json_schema", "json_schema": {"name": "Instruction", "schema": Instruction.model_json_schema()}}


async def ask(document, generate):
    result = await generate({"messages": messages(int(document.id)), "response_format": _FORMAT})
    try:
        return Instruction.model_validate_json(result.text).model_dump()
    except ValueError:
        return {"invalid": result.text}


def executor_of(chosen):
    config = InferenceConfig(
        server_type="endpoint",
        model_name_or_path=MODEL,
        endpoint_url=chosen.url,
        max_concurrent_generations=chosen.window,
        request_timeout=TIMEOUT_S,
        default_generation_params={"temperature": TEMPERATURE, "max_tokens": chosen.max_tokens},
    )
    runner = InferenceRunner(
        rollout_fn=ask,
        config=config,
        output_writer=JsonlWriter(
            str(chosen.home / "out"), output_filename="${rank}_chunk_${chunk_index}.jsonl", compression=None
        ),
        checkpoints_local_dir=str(chosen.home / "checkpoints"),
        records_per_chunk=500,
    )
    documents = [Document(text=user_text(number), id=str(number)) for number in range(1, chosen.rows + 1)]
    return LocalPipelineExecutor(
        pipeline=[documents, runner], tasks=1, workers=1, logging_dir=str(chosen.home / "logs")
    )


def generate(chosen, tally, meter):
    executor = executor_of(chosen)
    meter.start()
    try:
        executor.run()
    finally:
        meter.stop()
        collect(chosen, tally)


def collect(chosen, tally):
    """Read back what was published."""
    for path in (chosen.home / "out").glob("*.jsonl"):
        for line in path.read_text().splitlines():
            row = json.loads(line)
            (answer,) = row["metadata"]["rollout_results"]
            if "invalid" in answer:
                tally.fail("invalid answer")
            else:
                tally.keep(int(row["id"]), answer)


if __name__ == "__main__":
    run(generate, __doc__, ["datatrove"])
