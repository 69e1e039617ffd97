"""A home as after runs with a small model, written directly through the store without runs."""

from datetime import datetime
from typing import Any

import polars as pl

from personahub_assets.store.tables import Store, table_schema

MODEL = "tiny"
TOOL = {
    "name": "Tide clock",
    "description": "Tells when the tide turns.",
    "function_name": "tide_clock",
    "returns": "A time",
    "dependencies": ["tide tables"],
}


def write_home(store: Store, batches: dict[str, int], model: str = MODEL) -> None:
    """Write batches of given sizes; each persona has a math problem, every second one a tool."""
    store.root.mkdir(parents=True, exist_ok=True)
    (store.root / "writer").write_text("model")
    for batch, count in batches.items():
        write_batch(store, batch, count, model)


def write_batch(store: Store, batch: str, count: int, model: str = MODEL) -> None:
    """Write one batch; the first persona of it is imported, the second is related to it."""
    source = f"/home/ann/secret/{batch}.jsonl"
    registered = {"source": source, "path": source, "sha256": "ab" * 32, "rows": count + 1, "format": "jsonl"}
    numbers = {"first_row": 0, "first_byte": 0, "bytes": 9, "registered_at": datetime(2024, 5, 1)}
    put(store, "batches", batch, [{**registered, **numbers}])
    put(
        store,
        "documents",
        batch,
        [{"document_id": f"d{n}", "source": f"crawl{n % 2}", "text": "x"} for n in range(count)],
    )
    put(store, "personas", batch, [persona(batch, n) for n in range(count)])
    put(store, "math_problems", batch, [problem(batch, n) for n in range(count)])
    put(store, "tools", batch, [tool(batch, n) for n in range(0, count, 2)])
    calls(store, batch, "text_personas", [f"p{batch}{n}" for n in range(2, count)], model)
    calls(store, batch, "related_personas", [f"p{batch}1"], model)
    calls(store, batch, "math_problems", [f"m{batch}{n}" for n in range(count)], model)
    calls(store, batch, "tools", [f"t{batch}{n}" for n in range(0, count, 2)], model)
    fault = {"asset": "tools", "input_id": "p", "reason": "refused", "detail": "", "raw": "Sorry"}
    put(store, "quarantine", batch, [fault], "tools")
    run = {"stage": "lexical", "rule": "exact, words 1, Jaccard 0.9", "method": "exact", "recall": 1.0}
    put(store, "dedup_runs", batch, [{**run, "candidates": count + 2, "kept": count}], "lexical_duplicates")


def persona(batch: str, number: int) -> dict[str, Any]:
    """A persona: imported, related, or inferred from a document of its number."""
    row = {"persona_id": f"p{batch}{number}", "persona": f"A keeper of the {number}th lighthouse of {batch}."}
    if number == 0:
        return {**row, "origin": "imported", "hop": 0, "root_id": row["persona_id"]}
    call = {"generation_id": f"g{row['persona_id']}"}
    if number == 1:
        parent = f"p{batch}0"
        return {
            **row,
            **call,
            "origin": "relation",
            "hop": 1,
            "root_id": parent,
            "parent_id": parent,
            "relation": "rival",
        }
    return {**row, **call, "origin": "text", "hop": 0, "root_id": row["persona_id"], "document_id": f"d{number}"}


def problem(batch: str, number: int) -> dict[str, Any]:
    """A math problem."""
    text = "A lamp turns once in " + "x" * number + f" seconds – {number}."
    return {**_item("m", batch, number), "topic": "Rates", "problem": text, "text": f"Topic: Rates\nProblem: {text}"}


def tool(batch: str, number: int) -> dict[str, Any]:
    """A tool with as many arguments as its number, at most three."""
    arguments = [{"name": f"a{n}", "type": "number", "description": "Höhe"} for n in range(min(number, 3))]
    return {**_item("t", batch, number), **TOOL, "input_arguments": arguments, "text": f"Name: Tide clock {number}"}


def _item(kind: str, batch: str, number: int) -> dict[str, Any]:
    name = f"{kind}{batch}{number}"
    return {"item_id": f"i{name}", "persona_id": f"p{batch}{number}", "sample": 0, "generation_id": f"g{name}"}


def calls(store: Store, batch: str, asset: str, names: list[str], model: str = MODEL) -> None:
    """Write the accepted calls of an asset, whose ids are `g` and a name, and one that was rejected."""
    same: dict[str, Any] = {
        name: 0 if dtype.is_numeric() else "x" if dtype == pl.String else False if dtype == pl.Boolean else None
        for name, dtype in table_schema("generations").items()
    }
    same |= {"asset": asset, "model": model, "prompt": asset, "prompt_fingerprint": f"f-{asset}", "reason": None}
    rows = [{**same, "generation_id": f"g{name}", "request_key": name, "status": "accepted"} for name in names]
    rows.append({**same, "generation_id": f"g{asset}-bad", "status": "rejected", "reason": "refused"})
    put(store, "generations", batch, rows, asset)


def put(store: Store, table: str, batch: str, rows: list[dict[str, Any]], asset: str | None = None) -> None:
    """Write a partition; columns that are not given are null."""
    schema = table_schema(table)
    store.write(table, batch, pl.DataFrame([{**row, "batch": batch} for row in rows], schema), asset)
