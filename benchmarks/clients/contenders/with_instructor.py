"""Instructor as its documentation shows it: an async client, a semaphore, asyncio.gather, retries left as they are."""

import asyncio

import instructor
from openai import AsyncOpenAI
from task import MODEL, TEMPERATURE, TIMEOUT_S, Instruction, messages, run


async def ask_all(chosen, tally):
    endpoint = AsyncOpenAI(base_url=f"{chosen.url}/v1", api_key="none", timeout=TIMEOUT_S)
    client = instructor.from_openai(endpoint, mode=instructor.Mode.JSON_SCHEMA)
    slots = asyncio.Semaphore(chosen.window)

    async def ask(number):
        async with slots:
            try:
                answer = await client.chat.completions.create(
                    model=MODEL,
                    messages=messages(number),
                    response_model=Instruction,
                    temperature=TEMPERATURE,
                    max_tokens=chosen.max_tokens,
                )
            except Exception as error:  # noqa: BLE001 (counted by its name)
                tally.fail(type(error).__name__)
            else:
                tally.keep(number, answer)

    await asyncio.gather(*(ask(number) for number in range(1, chosen.rows + 1)))


def generate(chosen, tally, meter):
    meter.start()
    asyncio.run(ask_all(chosen, tally))
    meter.stop()


if __name__ == "__main__":
    run(generate, __doc__, ["instructor", "openai"])
