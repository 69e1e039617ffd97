"""The way of the paper's repository: a sequential loop over the personas with the openai client, each text appended.

The client's own retries (two) are left on; nothing looks at the texts.
"""

import json

from openai import OpenAI
from task import MODEL, TEMPERATURE, TIMEOUT_S, Instruction, messages, run

_FORMAT = {"type": "json_schema", "json_schema": {"name": "Instruction", "schema": Instruction.model_json_schema()}}


def generate(chosen, tally, meter):
    client = OpenAI(base_url=f"{chosen.url}/v1", api_key="none", timeout=TIMEOUT_S)
    meter.start()
    with (chosen.home / "out.jsonl").open("w") as out:
        for number in range(1, chosen.rows + 1):
            answer = client.chat.completions.create(
                model=MODEL,
                messages=messages(number),
                response_format=_FORMAT,
                temperature=TEMPERATURE,
                max_tokens=chosen.max_tokens,
            )
            text = answer.choices[0].message.content
            out.write(json.dumps({"number": number, "text": text}) + "\n")
            tally.keep(number, text)
    meter.stop()


if __name__ == "__main__":
    run(generate, __doc__, ["openai"])
