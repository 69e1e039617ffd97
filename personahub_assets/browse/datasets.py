"""Datasets as pages of items, two versions of a prompt side by side, and quarantined rows."""

import difflib
import json
from collections.abc import Mapping
from itertools import islice
from typing import Any, NamedTuple

from personahub_assets.browse import filters
from personahub_assets.browse.filters import Conditions, Page
from personahub_assets.browse.persona import fields_of, with_fields
from personahub_assets.browse.reader import Reader, Row
from personahub_assets.core.errors import UnknownId, choices

PAGE = 24
_OF_REFUSAL = "batch, asset, input_id, reason, detail, raw"


def check(reader: Reader, dataset: str) -> None:
    """Refuse an unknown dataset.

    Raises:
        UnknownId: naming the datasets.
    """
    names = list(reader.datasets())
    if dataset not in names:
        raise UnknownId(f"no dataset {choices(dataset, names)}")


def overview(reader: Reader) -> list[Row]:
    """Every dataset with its number of items and of personas."""
    return reader.cached("datasets", lambda: [_summary(reader, name) for name in reader.datasets()])


def _summary(reader: Reader, name: str) -> Row:
    row = reader.row(f"SELECT count(*) AS items, count(DISTINCT batch) AS batches FROM {name}") or {}
    return {"name": name, "description": reader.datasets()[name], **row}


def page(reader: Reader, dataset: str, wanted: Mapping[str, str]) -> Page:
    """One page of items, each with the text of its persona."""
    chosen = Conditions()
    chosen.equal(wanted, ("batch",))
    if wanted.get("q"):
        chosen.contain("text", wanted["q"])
    rows, after = filters.page(reader, f"SELECT * FROM {dataset}", chosen, wanted, "item_id", PAGE)
    return Page(_with_personas(reader, [with_fields(row) for row in rows], "persona_id"), after)


def _with_personas(reader: Reader, rows: list[Row], column: str) -> list[Row]:
    select = "SELECT persona_id, persona FROM candidate_personas"
    texts = filters.by_id(reader, select, "persona_id", (row[column] for row in rows))
    persona_of = {text["persona_id"]: text["persona"] for text in texts}
    return [row | {"persona": persona_of.get(row[column])} for row in rows]


def versions(reader: Reader, dataset: str) -> list[Row]:
    """The prompts and models that have answered for a dataset, the one in use first.

    Counts are of answers: `accepted` are in use, `unpublished` are in journals. Dates are of the record of prompts, and
    null for versions that it does not have.
    """
    return reader.cached(f"versions {dataset}", lambda: reader.rows(_VERSIONS, asset=dataset))


_VERSIONS = """
    WITH requests AS (
        SELECT prompt_fingerprint, model, status, 1 AS requests, if(reused, 0, attempts) AS calls,
            prompt_tokens + completion_tokens AS tokens, answer_tokens, cost,
            if(NOT reused AND cost = 0 AND tokens > 0, attempts, 0) AS unpriced
        FROM generations WHERE asset = $asset
        UNION ALL
        SELECT prompt_fingerprint, model, 'unpublished', requests, calls, prompt_tokens + completion_tokens, NULL, cost,
            calls_without_price
        FROM unpublished_calls WHERE asset = $asset
    ),
    used AS (
        SELECT prompt_fingerprint, model, min(first_used) AS first_used, max(last_used) AS last_used
        FROM prompt_uses WHERE asset = $asset GROUP BY ALL
    )
    SELECT prompt_fingerprint, model, prompt_fingerprint || '/' || model AS version, first_used, last_used,
        sum(calls)::BIGINT AS calls,
        coalesce(sum(requests) FILTER (status = 'accepted'), 0)::BIGINT AS accepted,
        coalesce(sum(requests) FILTER (status = 'rejected'), 0)::BIGINT AS rejected,
        coalesce(sum(requests) FILTER (status = 'superseded'), 0)::BIGINT AS superseded,
        coalesce(sum(requests) FILTER (status = 'unpublished'), 0)::BIGINT AS unpublished,
        sum(tokens)::BIGINT AS tokens, avg(answer_tokens) AS answer_tokens, sum(unpriced)::BIGINT AS unpriced,
        if(coalesce(sum(cost), 0) = 0 AND sum(unpriced) > 0, NULL, coalesce(sum(cost), 0)) AS cost
    FROM requests LEFT JOIN used USING (prompt_fingerprint, model)
    GROUP BY ALL
    ORDER BY accepted DESC, last_used DESC NULLS LAST, calls DESC, prompt_fingerprint, model
    LIMIT 50
"""


class Difference(NamedTuple):
    """The difference between the texts of two versions: lines, each with its kind."""

    lines: list[tuple[str, str]]
    """`(kind, text)`; the kind is removed, added, same or gap."""
    missing: list[str]
    """Sides whose prompt is not on record."""


def difference(reader: Reader, dataset: str, sides: Mapping[str, str]) -> Difference:
    """Compare the prompts of two versions as text, with their parameters, sampling and schema.

    Args:
        sides: `left` and `right`, each `fingerprint/model`.
    """
    texts = {side: _recorded_text(reader, dataset, version) for side, version in sides.items()}
    missing = [side for side, text in texts.items() if text is None]
    if missing or len(texts) < 2:
        return Difference([], missing)
    left, right = ((text or "").splitlines() for text in texts.values())
    compared = islice(difflib.unified_diff(left, right, lineterm="", n=_CONTEXT), 2, _MOST_LINES)
    return Difference([(_KINDS[line[0]], line[1:]) for line in compared], [])


_CONTEXT, _MOST_LINES = 2, 2_000
_KINDS = {"-": "removed", "+": "added", " ": "same", "@": "gap"}


def _recorded_text(reader: Reader, dataset: str, version: str) -> str | None:
    """The prompt of a version as text; None if it is not on record, or a takedown removed its text."""
    fingerprint, _, model = version.partition("/")
    row = reader.row(
        """
        SELECT instructions, message, parameters, sampling, "schema" FROM prompt_uses
        WHERE asset = $asset AND prompt_fingerprint = $fingerprint AND model = $model
        ORDER BY last_used DESC LIMIT 1
        """,
        asset=dataset,
        fingerprint=fingerprint,
        model=model,
    )
    if row is None or not (row["instructions"] or row["message"]):
        return None
    settings = [f"{name}: {line}" for name in ("sampling", "parameters") for line in _json_lines(row[name])]
    schema = [f"answer: {line}" for line in _json_lines(row["schema"])]
    return "\n".join([row["instructions"], "---", row["message"], "---", *settings, *schema])


def _json_lines(text: str) -> list[str]:
    """A JSON object with one of its values on each line; nested ones are indented."""
    try:
        return json.dumps(json.loads(text), ensure_ascii=False, indent=1).splitlines()[1:-1]
    except ValueError:
        return [text]


def comparison(reader: Reader, dataset: str, wanted: Mapping[str, str]) -> Page:
    """Answers for the same persona and sample by two prompts or models.

    Args:
        wanted: `left` and `right`, each `fingerprint/model`, and `after`.
    """
    chosen = _of_both(dataset, wanted)
    columns = ", ".join(
        f"{table}.{name} AS {side}_{name}"
        for side, table in (("left", "l"), ("right", "r"))
        for name in ("response", "status", "reason", "completion_tokens", "cost", "latency_s")
    )
    # A persona may have several samples, and its id may be in several batches.
    select = f"""
        SELECT l.input_id AS persona_id, concat_ws('/', l.input_id, l.sample, l.batch) AS pair, {columns}
        {_PAIRS}
    """
    rows, after = filters.page(reader, select, chosen, wanted, "pair", PAGE)
    for row in rows:
        row["left_fields"], row["right_fields"] = fields_of(row["left_response"]), fields_of(row["right_response"])
    return Page(_with_personas(reader, rows, "persona_id"), after)


def pairs(reader: Reader, dataset: str, sides: Mapping[str, str]) -> list[Row]:
    """Number of pairs that `comparison` lists, by the status of both answers."""
    chosen = _of_both(dataset, sides)
    query = f"""
        SELECT l.status AS left_status, r.status AS right_status, count(*) AS rows
        {_PAIRS} {chosen.where} GROUP BY ALL ORDER BY rows DESC, left_status, right_status
    """
    return reader.cached(f"pairs {dataset} {sides}", lambda: reader.rows(query, **chosen.values))


_PAIRS = "FROM generations AS l JOIN generations AS r USING (batch, input_id, sample)"


def _of_both(dataset: str, wanted: Mapping[str, str]) -> Conditions:
    """Conditions for the answers of two versions."""
    chosen = Conditions(["l.asset = $asset", "r.asset = $asset"], {"asset": dataset})
    for side, table in (("left", "l"), ("right", "r")):
        fingerprint, _, model = wanted.get(side, "").partition("/")
        chosen.add(
            f"{table}.prompt_fingerprint = ${side} AND {table}.model = ${side}_model",
            **{side: fingerprint, f"{side}_model": model},
        )
    return chosen


def reasons(reader: Reader) -> list[Row]:
    """Quarantined rows by asset and reason, the most frequent first."""
    query = "SELECT asset, reason, count(*) AS rows FROM quarantine GROUP BY ALL ORDER BY rows DESC, asset, reason"
    return reader.cached("reasons", lambda: reader.rows(query))


def quarantine(reader: Reader, wanted: Mapping[str, str]) -> Page:
    """One page of quarantined rows."""
    chosen = Conditions()
    chosen.equal(wanted, ("asset", "reason", "batch"))
    if wanted.get("q"):
        chosen.contain("concat_ws(' ', detail, raw)", wanted["q"])
    rows, after = filters.page(reader, f"SELECT {_OF_REFUSAL} FROM quarantine", chosen, wanted, None, PAGE)
    return Page([row | {"is_persona": row["asset"] in (*reader.datasets(), "related_personas")} for row in rows], after)


def totals(reader: Reader) -> dict[str, Any]:
    """Numbers of documents, candidates, kept and dropped personas, items and quarantined rows."""
    return reader.cached("totals", lambda: _totals(reader))


def _totals(reader: Reader) -> dict[str, Any]:
    names = ("documents", "candidate_personas", "personas", "duplicates", "dataset_items", "quarantine")
    return reader.row("SELECT " + ", ".join(f"(SELECT count(*) FROM {name}) AS {name}" for name in names)) or {}
