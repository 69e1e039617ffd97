"""Rows that are in no table any more, found in superseded answers: those of an earlier prompt, input or selection.

Superseded answers are kept for generation.keep_superseded_days; after that nothing is known about their rows.
"""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import polars as pl

from personahub_assets.core.errors import PersonaHubError
from personahub_assets.core.text import digest
from personahub_assets.steps.candidates import identities
from personahub_assets.store.tables import CANDIDATES, Store
from personahub_assets.warehouse.why import Line, Thing

_MADE_ID = re.compile(r"[ip][0-9a-f]{20}")
_COLUMNS = [
    *("batch", "asset", "generation_id", "input_id", "sample", "status", "reason", "response", "superseded_at"),
    *("prompt", "prompt_fingerprint", "schema_fingerprint", "model", "prompt_tokens", "completion_tokens", "cost"),
]
Call = dict[str, Any]


def find_replaced(store: Store, wanted: str) -> list[Thing]:
    """Explain an id that no table has, from the superseded answers that gave its row.

    Args:
        store: the tables of the home.
        wanted: an id of an item, a persona, a document or a persona that was asked about; or `batch/id`.

    Returns:
        One entry for each batch that had the id; empty if no stored answer has it.

    Raises:
        StoreError: if a table file is damaged.
    """
    batch, _, last = wanted.rpartition("/")
    batches = store.batches()
    identity, searched = (last, [batch]) if batch in batches else (wanted, batches)
    return [entry for each in searched if (entry := _in_batch(store, each, identity))]


def _in_batch(store: Store, batch: str, identity: str) -> Thing | None:
    calls = _superseded(store, batch)
    for kind, texts_of in _readers(identity).items():
        origins = [(call, text) for call in calls for text in texts_of(store, call)]
        if origins:
            return _thing(store, kind, identity, origins)
    return None


def add_earlier(store: Store, entries: list[Thing]) -> list[Thing]:
    """Add the earlier versions of items: an item keeps its id when a prompt is changed."""
    for entry in entries:
        call = next((line["facts"] for line in entry["lines"] if line["what"] == "made by"), None)
        if entry["kind"] != "item" or not call:
            continue
        earlier = [
            old
            for old in _superseded(store, entry["batch"], call["asset"])
            if (old["input_id"], old["sample"]) == (call["input_id"], call["sample"])
        ]
        entry["lines"] += [
            _line(
                len(entry["lines"]) + number, "replaced", old["generation_id"], _described(old), _text(store, old), old
            )
            for number, old in enumerate(earlier, 1)
        ]
    return entries


TextsOf = Callable[[Store, Call], Iterator[str]]


def _readers(identity: str) -> dict[str, TextsOf]:
    """For each kind of row: the texts of those rows of a call that have the id."""

    def items(store: Store, call: Call) -> Iterator[str]:
        if call["asset"] not in CANDIDATES and identity == "i" + digest(
            call["asset"], call["input_id"], call["sample"]
        ):
            yield _text(store, call)

    def personas(_: Store, call: Call) -> Iterator[str]:
        if call["asset"] in CANDIDATES and not call["reason"]:
            listed = [(each["relation"], each["persona"]) for each in json.loads(call["response"])["personas"]]
            ids = identities(call["batch"], call["input_id"], listed)
            yield from (text for id_, (_, text) in zip(ids, listed, strict=True) if id_ == identity)

    def inputs(_: Store, call: Call) -> Iterator[str]:
        if call["input_id"] == identity:
            yield ""

    by_prefix: dict[str, dict[str, TextsOf]] = {"i": {"item": items}, "p": {"persona": personas}}
    return {**(by_prefix[identity[0]] if _MADE_ID.fullmatch(identity) else {}), "input": inputs}


def _superseded(store: Store, batch: str, asset: str | None = None) -> list[Call]:
    """The superseded answers of a batch, the last replaced first."""
    assets = [asset] if asset else [*CANDIDATES, *store.catalog.names]
    frames = [
        rows.filter(pl.col("status") == "superseded")
        for each in assets
        for rows in store.slices("generations", batch, _COLUMNS, asset=each)
    ]
    return pl.concat(frames).sort("superseded_at", descending=True).to_dicts() if frames else []


def _thing(store: Store, kind: str, identity: str, origins: list[tuple[Call, str]]) -> Thing:
    call, text = origins[0]
    batch, asset = call["batch"], call["asset"]
    detail = "replaced: in no table any more" if kind != "input" else "no document or persona of its batch any more"
    lines = [_line(1, kind, identity, detail, text or None, None)]
    for old, _ in origins:
        label = "call" if kind == "input" else "made by"
        lines.append(_line(len(lines) + 1, label, old["generation_id"], _described(old), None, old))
    if kind != "input":
        lines.append(_line(len(lines) + 1, "asked about", call["input_id"], None, None, None))
        lines.append(_replacement(store, call, len(lines) + 1))
    lines.append(_line(len(lines) + 1, "in", None, f"asset {asset} of batch {batch}", None, None))
    return Thing(id=identity, kind=kind, batch=batch, lines=lines)


def _replacement(store: Store, call: Call, step: int) -> Line:
    """What is there instead of the row of a superseded answer."""
    asset, batch = call["asset"], call["batch"]
    is_same = pl.col("input_id") == call["input_id"]
    rows = [rows.filter(is_same) for rows in store.slices("generations", batch, _COLUMNS, asset=asset)]
    current = [new for frame in rows for new in frame.to_dicts() if new["status"] != "superseded"]
    if current:
        new = next((each for each in current if each["sample"] == call["sample"]), current[0])
        return _line(step, "replaced by", new["generation_id"], _described(new), None, new)
    kept = store.read("personas", batch, columns=["persona_id"])["persona_id"]
    if asset in CANDIDATES or store.catalog.derivation(asset) is not None:
        reason = f"nothing: {asset} does not ask about {call['input_id']} any more"
    elif call["input_id"] in kept:
        reason = (
            f"nothing: the last run of {asset} did not ask about its persona, which is in the hub; a selection of "
            "personas, a share or a number of samples left it out"
        )
    else:
        reason = "nothing: its persona is not in the hub any more"
    return _line(step, "replaced by", None, reason, None, None)


def _described(call: Call) -> str:
    when = f", superseded at {call['superseded_at']:%Y-%m-%d %H:%M} UTC" if call["superseded_at"] else ""
    refused = f" as {call['reason']}" if call["reason"] else ""
    return (
        f"prompt {call['prompt']} {call['prompt_fingerprint']}, model {call['model']}, {call['status']}{refused}{when}"
    )


def _text(store: Store, call: Call) -> str:
    """The item of an answer as text; the answer itself if its class has changed since."""
    try:
        return store.catalog.item(call["asset"]).model_validate_json(call["response"] or "").as_text()
    except (PersonaHubError, ValueError):
        return str(call["response"])


def _line(step: int, label: str, id_: str | None, detail: str | None, text: str | None, call: Call | None) -> Line:
    facts = {name: value for name, value in (call or {}).items() if name not in ("response", "generation_id")}
    if facts.get("superseded_at"):
        facts["superseded_at"] = facts["superseded_at"].isoformat(sep=" ")
    return Line(step=step, what=label, id=id_, detail=detail, text=text, facts=facts or None)
