"""Everything about one persona, in parts, so that a page shows the first ones at once."""

import json
from typing import Any

from personahub_assets.browse.reader import Reader, Row
from personahub_assets.core.dialogues import DIALOGUES
from personahub_assets.core.errors import UnknownId
from personahub_assets.core.prompts import Message
from personahub_assets.core.text import shorten
from personahub_assets.core.verified import COMPARISONS

_LISTED = 60
_BASE = frozenset({"batch", "item_id", "persona_id", "sample", "text", "generation_id"})
_OF_CALL = """
    generation_id, asset, input_id, sample, request_key, prompt, prompt_fingerprint, schema_fingerprint, model, status,
    reason, detail, reused, attempts, finish_reason, prompt_tokens, cached_tokens, completion_tokens, wasted_tokens,
    latency_s, if(cost = 0 AND NOT reused AND prompt_tokens + completion_tokens > 0, NULL, cost) AS cost,
    temperature, superseded_at, response, reasoning, batch
"""


def head(reader: Reader, persona_id: str) -> dict[str, Any]:
    """A persona with its line, its fate and its relatives.

    Raises:
        UnknownId: if no batch has it.
    """
    persona = reader.row(
        "FROM candidate_personas WHERE persona_id = $id UNION FROM personas WHERE persona_id = $id", id=persona_id
    )
    if persona is None:
        raise UnknownId(f"no persona {shorten(persona_id)!r} is in the warehouse; look for it by its words")
    return {
        "persona": persona,
        "attributes": _json_object(persona["attributes"]),
        "line": reader.rows("SELECT * FROM lineage($id) ORDER BY step", id=persona_id),
        "fate": reader.rows("SELECT * FROM fate($id) ORDER BY link", id=persona_id),
        "children": reader.rows(
            "SELECT persona_id, persona, relation, hop FROM candidate_personas WHERE parent_id = $id "
            f"ORDER BY persona_id LIMIT {_LISTED}",
            id=persona_id,
        ),
        "kept_out": _kept_out(reader, persona_id),
    }


def _kept_out(reader: Reader, persona_id: str) -> list[Row]:
    """The duplicates that were dropped for it, the most similar first."""
    return reader.rows(
        f"""
        WITH drops AS MATERIALIZED (
            SELECT persona_id, stage, similarity, count(*) OVER () AS total
            FROM duplicates WHERE keeper_id = $id ORDER BY similarity DESC, persona_id LIMIT {_LISTED}
        )
        SELECT drops.*, persona FROM drops
        LEFT JOIN (
            SELECT persona_id, persona FROM candidate_personas WHERE persona_id IN (SELECT persona_id FROM drops)
        ) USING (persona_id)
        ORDER BY similarity DESC, persona_id
        """,
        id=persona_id,
    )


def items(reader: Reader, persona_id: str) -> dict[str, list[Row]]:
    """Its items by dataset."""
    rows_of = {
        name: reader.rows(f"FROM {name} WHERE persona_id = $id ORDER BY sample", id=persona_id)
        for name in reader.datasets()
    }
    return {name: [with_fields(row) for row in rows] for name, rows in rows_of.items() if rows}


def with_fields(row: Row) -> Row:
    """Add the fields of the dataset's answer class, as (name, value) in its order."""
    return row | {"fields": [(name, readable(value)) for name, value in row.items() if name not in _BASE]}


def readable(value: Any) -> str:
    """A value of a field as text."""
    if isinstance(value, dict):
        return ", ".join(f"{name}: {readable(each)}" for name, each in value.items())
    if isinstance(value, list):
        return "\n".join(f"• {readable(each)}" for each in value) or "none"
    return str(value)


def calls(reader: Reader, persona_id: str) -> dict[str, Any]:
    """The calls that made it and that were made for it, each with its messages if they can still be rendered.

    `cost` is their sum; None if no price was set for any of them.
    """
    # Two queries, each for one value of a column: an OR would read all rows of a large table.
    persona = reader.row("SELECT batch, generation_id FROM candidate_personas WHERE persona_id = $id", id=persona_id)
    batch, call = (persona["batch"], persona["generation_id"]) if persona else (None, None)
    select = f"SELECT {_OF_CALL} FROM generations WHERE batch = $batch"
    rows = reader.rows(f"{select} AND generation_id = $call", batch=batch, call=call) if call else []
    order = f"ORDER BY asset, sample, superseded_at DESC NULLS FIRST LIMIT {_LISTED}"
    rows += reader.rows(f"{select} AND input_id = $id {order}", batch=batch, id=persona_id)
    costs = [row["cost"] for row in rows if row["cost"] is not None]
    return {
        "calls": [row | {"messages": _messages(reader, row), "answer": fields_of(row["response"])} for row in rows],
        "cost": sum(costs) if costs or not rows else None,
        "unpriced": len(rows) - len(costs),
    }


def refused(reader: Reader, persona_id: str) -> list[Row]:
    """Its rows in quarantine."""
    return reader.rows(f"FROM quarantine WHERE input_id = $id ORDER BY asset LIMIT {_LISTED}", id=persona_id)


def explanation(reader: Reader, persona_id: str) -> list[Row]:
    """The lines of `personahub why`."""
    return reader.rows("SELECT * FROM why($id) ORDER BY kind, batch, of_id, step", id=persona_id)


def fields_of(response: str | None) -> list[tuple[str, str]]:
    """The fields of an answer in JSON; nothing for other answers."""
    return [(name, readable(value)) for name, value in _json_object(response).items()]


def _messages(reader: Reader, call: Row) -> list[Message]:
    """The messages of a call as sent; empty if they cannot be rendered again."""
    from personahub_assets.steps.inputs import Input
    from personahub_assets.steps.sent import messages_of, stored_inputs

    asset = call["asset"]
    if asset in COMPARISONS or asset == DIALOGUES or reader.store.catalog.derivation(asset):
        inputs = stored_inputs(reader.store, call["batch"], call["asset"], call["input_id"])
    else:
        text = _input(reader, call)
        inputs = [] if text is None else [Input(call["batch"], call["input_id"], text)]
    return messages_of(reader.store, call["asset"], call, inputs) or []


def _input(reader: Reader, call: Row) -> str | None:
    """The text of the document or persona that a call was about."""
    query = "SELECT persona AS text FROM candidate_personas WHERE persona_id = $id AND batch = $batch"
    if call["asset"] == "text_personas":
        query = "SELECT text FROM documents WHERE document_id = $id AND batch = $batch"
    row = reader.row(query, id=call["input_id"], batch=call["batch"])
    return None if row is None else str(row["text"])


def _json_object(text: str | None) -> dict[str, Any]:
    try:
        value = json.loads(text or "")
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
