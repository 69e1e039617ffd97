"""Datasets as pages of items, two versions of a prompt side by side, and quarantined rows."""

from collections.abc import Mapping
from typing import Any

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
    """The prompts and models that have answered for a dataset, the one in use first."""
    query = """
        SELECT prompt_fingerprint, model, count(*) AS calls, count(*) FILTER (status = 'accepted') AS accepted,
            count(*) FILTER (status = 'superseded') AS superseded, sum(prompt_tokens + completion_tokens) AS tokens,
            avg(answer_tokens) AS answer_tokens, sum(cost) AS cost
        FROM generations WHERE asset = $asset GROUP BY ALL
        ORDER BY accepted DESC, calls DESC, prompt_fingerprint, model LIMIT 50
    """
    return reader.cached(f"versions {dataset}", lambda: reader.rows(query, asset=dataset))


def comparison(reader: Reader, dataset: str, wanted: Mapping[str, str]) -> Page:
    """Answers for the same persona and sample by two prompts or models.

    Args:
        wanted: `left` and `right`, each `fingerprint/model`, and `after`.
    """
    chosen = Conditions(["l.asset = $asset", "r.asset = $asset"], {"asset": dataset})
    for side, table in (("left", "l"), ("right", "r")):
        fingerprint, _, model = wanted.get(side, "").partition("/")
        chosen.add(
            f"{table}.prompt_fingerprint = ${side} AND {table}.model = ${side}_model",
            **{side: fingerprint, f"{side}_model": model},
        )
    columns = ", ".join(
        f"{table}.{name} AS {side}_{name}"
        for side, table in (("left", "l"), ("right", "r"))
        for name in ("response", "status", "reason", "completion_tokens", "cost", "latency_s")
    )
    # A persona may have several samples, and its id may be in several batches.
    select = f"""
        SELECT l.input_id AS persona_id, concat_ws('/', l.input_id, l.sample, l.batch) AS pair, {columns}
        FROM generations AS l JOIN generations AS r USING (batch, input_id, sample)
    """
    rows, after = filters.page(reader, select, chosen, wanted, "pair", PAGE)
    for row in rows:
        row["left_fields"], row["right_fields"] = fields_of(row["left_response"]), fields_of(row["right_response"])
    return Page(_with_personas(reader, rows, "persona_id"), after)


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
