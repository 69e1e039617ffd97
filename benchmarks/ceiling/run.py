"""Throughput of the client compared with the maximum of a real vLLM, and the benefit of prefix cache and answer repair.

    .venv/bin/python benchmarks/ceiling/run.py            (after `sh scripts/vllm-env.sh`, which `make bench` calls)

One vLLM on the CPU serves a tiny model with random weights, which gives the worst answers possible. In one run:

    ceiling   a bare HTTP client sends the same requests at several widths and ignores the answers
    turns     the bare client at its best width, then the asset `instructions` with adaptive concurrency, for as many
              other personas of the same kind; twice, because the speed of a machine changes within minutes
    prefix    prompts with the shared instructions first, as we send them, compared with the row first; one token each
    before    first answers of a server without vllm/serve.yaml, parsed strictly as by a plain client

Results go to benchmarks/results/ceiling.json and into docs/benchmarks.md.
"""

import argparse
import asyncio
import json
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import uvloop

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
_CLIENTS = HERE.parent / "clients"
sys.path[:0] = [str(folder) for folder in (HERE.parent, _CLIENTS, _CLIENTS / "contenders", ROOT / "scripts")]
from common import write  # noqa: E402
from ours import BATCH, materialised, prepared  # noqa: E402
from task import persona  # noqa: E402
from vllm_server import VllmServer  # noqa: E402

from personahub_assets.core.catalog import Catalog  # noqa: E402
from personahub_assets.core.config import HubConfig  # noqa: E402
from personahub_assets.core.records import Instruction  # noqa: E402
from personahub_assets.steps.datasets import dataset_task  # noqa: E402

PYTHON = ROOT / ".venv-vllm" / "bin" / "python"
MODEL = "tiny"
TURNS = ("first turn", "second turn")
TASK = dataset_task("instructions", Catalog(), HubConfig(), MODEL)
# A random model fills every string up to its limit; max_tokens allows that, so that both clients get whole answers.
_SAMPLING = {"temperature": TASK.prompt.temperature, "top_p": TASK.prompt.top_p, "max_tokens": TASK.prompt.max_tokens}
_SCHEMA = {"type": "json_schema", "json_schema": {"name": "Instruction", "schema": Instruction.model_json_schema()}}

Body = dict[str, Any]


def body(number: int, **changes: Any) -> Body:
    """The request for one persona, as our client sends it."""
    messages = TASK.request(f"p{number}", {"persona": persona(number)}).messages
    return {"model": MODEL, **_SAMPLING, "response_format": _SCHEMA, "messages": messages, **changes}


async def post(session: aiohttp.ClientSession, url: str, request: Body) -> Body:
    """Send one request; again if the server closed the idle connection just then."""
    for _ in range(3):
        try:
            async with session.post(url, json=request) as reply:
                return json.loads(await reply.read())
        except aiohttp.ServerDisconnectedError:
            continue
    raise SystemExit(f"{url} closed three connections without a reply")


def raw(url: str, bodies: list[Body], width: int) -> tuple[list[Body], float]:
    """Send requests with a bare client; return the replies, and the seconds from the first to the last."""
    replies: list[Body] = []
    waiting = iter(bodies)

    async def work(session: aiohttp.ClientSession) -> None:
        for each in waiting:
            replies.append(await post(session, f"{url}/v1/chat/completions", each))

    async def all_of_them() -> None:
        timeout = aiohttp.ClientTimeout(total=900)
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as session:
            await asyncio.gather(*(work(session) for _ in range(width)))

    started = time.perf_counter()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(all_of_them())
    return replies, time.perf_counter() - started


def tokens(replies: list[Body]) -> int:
    return sum(reply["usage"]["completion_tokens"] for reply in replies)


def ceiling(url: str, first: int, rows: int, widths: list[int]) -> list[dict[str, float]]:
    """Throughput of the bare client at several widths."""
    found = []
    for place, width in enumerate(widths):
        start = first + place * rows
        replies, seconds = raw(url, [body(number) for number in range(start, start + rows)], width)
        found.append({"width": width, "rows_s": rows / seconds, "tokens_s": tokens(replies) / seconds})
        print(
            f"ceiling  width {width}: {rows / seconds:.1f} rows/s, {tokens(replies) / seconds:.0f} tokens/s", flush=True
        )
    return found


def ours(url: str, first: int, rows: int, most: int) -> dict[str, Any]:
    """Throughput, concurrency, cache share and answers of the asset; `rows` personas from number `first`."""
    with tempfile.TemporaryDirectory(prefix="ceiling-") as folder:
        home = Path(folder)
        store = prepared(home, range(first, first + rows), window=most, timeout_s=900, sampling="")
        before = cached(url)
        found = materialised(store, f"{url}/v1", MODEL)
        after = cached(url)
        generations = store.read("generations", BATCH, "instructions")
        metadata = found["metadata"]
        asked = {name: after[name] - before[name] for name in after}
        result = {
            "rows": rows,
            "seconds": metadata["seconds"],
            "rows_s": generations["attempts"].sum() / metadata["seconds"],
            "tokens_s": generations["completion_tokens"].sum() / metadata["seconds"],
            "window": metadata.get("window"),
            "server_share": metadata.get("server_share"),
            "cached_share": asked["hits"] / asked["queries"],
            "accepted": int((generations["status"] == "accepted").sum()),
            "repaired": int(generations["repaired"].sum()),
            "attempts": int(generations["attempts"].sum()),
            "reasons": dict(Counter(generations["reason"].drop_nulls())),
        }
        (HERE.parent / "results" / "ramp.svg").write_text(found["ramp"])
    print(f"ours     {result}", flush=True)
    return result


def cached(url: str) -> dict[str, float]:
    """Queries and hits of the prefix cache in prompt tokens, from the server's metrics."""
    with urllib.request.urlopen(f"{url}/metrics", timeout=30) as page:
        text = page.read().decode()
    return {
        name: sum(float(n) for n in re.findall(rf"^vllm:prefix_cache_{name}_total\S* (\S+)$", text, re.MULTILINE))
        for name in ("queries", "hits")
    }


def prefix(url: str, first: int, rows: int) -> dict[str, float]:
    """Rows/s of prompts with one-token answers, in both orders."""
    found = {}
    for place, order in enumerate(("instructions first", "row first", "instructions first again")):
        bodies = []
        for number in range(first + place * rows, first + (place + 1) * rows):
            each = body(number, max_tokens=1)
            del each["response_format"]
            if order == "row first":
                each["messages"] = [{**m, "content": m["content"]} for m in reversed(each["messages"])]
            bodies.append(each)
        before = cached(url)
        _, seconds = raw(url, bodies, 64)
        after = cached(url)
        share = (after["hits"] - before["hits"]) / (after["queries"] - before["queries"])
        found[order] = {"rows_s": rows / seconds, "cached_share": share}
        print(f"prefix   {order}: {rows / seconds:.1f} rows/s, {share:.0%} of the prompt tokens cached", flush=True)
    return found


def judged(replies: list[Body]) -> dict[str, int]:
    """Results of a client that parses strictly and does not retry."""
    verdicts: Counter[str] = Counter()
    for reply in replies:
        choice = reply["choices"][0]
        text = choice["message"]["content"] or ""
        if choice["finish_reason"] == "length":
            verdicts["truncated" + (", mostly whitespace" if len(text.split()) * 4 < len(text) / 4 else "")] += 1
            continue
        try:
            Instruction.model_validate_json(text)
            verdicts["valid"] += 1
        except ValueError:
            verdicts["control characters" if _lenient(text) else "invalid"] += 1
    return dict(verdicts)


def _lenient(text: str) -> bool:
    try:
        json.loads(text, strict=False)
    except ValueError:
        return False
    return True


def main() -> None:
    """Run all parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=500, help="rows per width")
    parser.add_argument("--ours", type=int, default=1000, help="rows of the asset")
    parser.add_argument("--widths", default="32,64,128,256,512")
    parser.add_argument("--no-docs", action="store_true", help="leave docs/benchmarks.md as it is")
    parser.add_argument("--no-before", action="store_true", help="leave out the server without vllm/serve.yaml")
    chosen = parser.parse_args()
    widths = [int(width) for width in chosen.widths.split(",")]
    results = HERE.parent / "results"
    results.mkdir(exist_ok=True)
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="ceiling-") as folder:
        model = Path(folder) / "model"
        subprocess.run([PYTHON, ROOT / "tests" / "vllm" / "tiny_model.py", model], check=True)
        log = results / "vllm.log"
        eager = ("--enforce-eager",)
        with VllmServer(
            model, name=MODEL, python=PYTHON, log=log, config=ROOT / "vllm" / "serve.yaml", args=eager
        ) as server:
            raw(server.url, [body(number) for number in range(900_000, 900_064)], 32)  # warm
            found["ceiling"] = ceiling(server.url, 1, chosen.rows, widths)
            width = int(max(found["ceiling"], key=lambda level: level["tokens_s"])["width"])
            for turn, name in enumerate(TURNS, 1):
                first = 100_000 * turn + 1
                found[f"bare, {name}"] = ceiling(server.url, first, chosen.ours, [width])[0]
                found[f"ours, {name}"] = ours(server.url, first + 50_000, chosen.ours, max(widths))
            found["prefix"] = prefix(server.url, 400_001, chosen.rows)
        if not chosen.no_before:
            with VllmServer(model, name=MODEL, python=PYTHON, log=log, args=eager) as server:
                replies, _ = raw(server.url, [body(number) for number in range(500_001, 500_201)], 64)
                found["before"] = judged(replies)
                print(f"before   {found['before']}", flush=True)
    for name in TURNS:
        found[f"ours, {name}"]["share"] = found[f"ours, {name}"]["tokens_s"] / found[f"bare, {name}"]["tokens_s"]
        print(f"share    {name}: {found[f'ours, {name}']['share']:.3f} of the bare client just before", flush=True)
    found["date"], found["arguments"] = datetime.now(UTC).date().isoformat(), " ".join(sys.argv[1:])
    (results / "ceiling.json").write_text(json.dumps(found, indent=2))
    if not chosen.no_docs:
        write(ROOT / "docs" / "benchmarks.md", "ceiling", page(found))
        (ROOT / "docs" / "ramp.svg").write_text((results / "ramp.svg").read_text())


def page(found: dict[str, Any]) -> str:
    """The results as Markdown."""
    rows = [
        (f"bare client, {level['width']} in flight", level["rows_s"], level["tokens_s"], "")
        for level in found["ceiling"]
    ]
    for name in TURNS:
        bare, mine = found[f"bare, {name}"], found[f"ours, {name}"]
        rows.append((f"{name}: bare client, {bare['width']} in flight", bare["rows_s"], bare["tokens_s"], ""))
        label = f"{name}: ours, window ends at {mine['window']:.0f}"
        rows.append((label, mine["rows_s"], mine["tokens_s"], f"{mine['share']:.3f}"))
    lines = [
        f"Run on {found['date']}: `.venv/bin/python benchmarks/ceiling/run.py {found['arguments']}`".rstrip(" `")
        + "`.",
        "",
        "| client | answers/s | completion tokens/s | share of the bare client just before |",
        "| --- | --- | --- | --- |",
        *(f"| {client} | {rate:.1f} | {tokens_s:,.0f} | {share} |" for client, rate, tokens_s, share in rows),
        "",
        "| prompts (one token per answer, 64 in flight) | rows/s | prompt tokens from the prefix cache |",
        "| --- | --- | --- |",
        *(
            f"| {order} | {each['rows_s']:.0f} | {each['cached_share']:.0%} |"
            for order, each in found["prefix"].items()
        ),
        "",
    ]
    mine = found[f"ours, {TURNS[-1]}"]
    lines.append(
        f"The asset's own requests: {mine['cached_share']:.0%} of the prompt tokens came from the prefix cache, by the "
        f"server's metrics. Of {mine['rows']:,} rows {mine['accepted']:,} were accepted, with {mine['attempts']:,} "
        f"answers; {mine['repaired']:,} of them were repaired; quarantined: {mine['reasons'] or 'none'}."
    )
    if "before" in found:
        total = sum(found["before"].values())
        said = ", ".join(f"{count / total:.0%} {verdict}" for verdict, count in sorted(found["before"].items()))
        lines.append(f"A client that asks a server without `vllm/serve.yaml` once and parses strictly has: {said}.")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
