"""Personas as pages of cards: filters, words, meaning."""

import json
import threading
from collections.abc import Mapping
from typing import Any

from personahub_assets.browse import filters
from personahub_assets.browse.filters import Conditions, Page, number
from personahub_assets.browse.reader import Reader, Row
from personahub_assets.core.config import Environment
from personahub_assets.core.errors import QueryError, StoreError

PAGE = 30
NEAREST = 60
"""Number of personas that a search by meaning shows."""

_FIELDS = "persona_id, persona, batch, hop, origin, relation, granularity"
_SOURCES = 40
_ATTRIBUTE_ROWS, _ATTRIBUTE_VALUES = 20_000, 30
STATES = {"kept": "kept", "dropped": "dropped as duplicates", "all": "kept and dropped"}
_TABLES = {"kept": "personas", "dropped": "candidate_personas", "all": "candidate_personas"}


def state_of(wanted: Mapping[str, str]) -> str:
    """Which personas are asked for: kept, dropped or all."""
    return wanted.get("state", "") if wanted.get("state") in STATES else "kept"


def conditions(wanted: Mapping[str, str]) -> Conditions:
    """The conditions of the filters, without a search by meaning."""
    chosen = Conditions()
    chosen.equal(wanted, ("batch", "origin", "parent_id", "root_id"))
    hop = number(wanted.get("hop"))
    if hop is not None:
        chosen.add("hop = $hop", hop=hop)
    if wanted.get("document"):
        chosen.add("document_id = $document", document=wanted["document"])
    if wanted.get("source"):
        chosen.add(
            "(batch, document_id) IN (SELECT batch, document_id FROM documents WHERE source = $source)",
            source=wanted["source"],
        )
    name, equals, value = wanted.get("attribute", "").partition("=")
    if equals:
        chosen.add(
            "attributes IS NOT NULL AND json_extract_string(attributes, [$attribute]) = [$value]",
            attribute=f"$.{json.dumps(name)}",
            value=value,
        )
    if state_of(wanted) == "dropped":
        chosen.add("persona_id IN (SELECT persona_id FROM duplicates)")
    if wanted.get("q") and wanted.get("by") != "meaning":
        chosen.contain("persona", wanted["q"])
    return chosen


def page(reader: Reader, wanted: Mapping[str, str]) -> Page:
    """One page of personas; ids are hashes, so their order is a shuffled one."""
    select = f"SELECT {_FIELDS} FROM {_TABLES[state_of(wanted)]}"
    rows, after = filters.page(reader, select, conditions(wanted), wanted, "persona_id", PAGE)
    return Page(_with_fate(reader, rows, state_of(wanted)), after)


def count(reader: Reader, wanted: Mapping[str, str]) -> int:
    """Number of personas under the filters."""
    chosen = conditions(wanted)
    row = reader.row(f"SELECT count(*) AS rows FROM {_TABLES[state_of(wanted)]} {chosen.where}", **chosen.values)
    return int(row["rows"]) if row else 0


def by_ids(reader: Reader, ids: list[str]) -> list[Row]:
    """The personas with these ids, in this order."""
    rows = filters.by_id(reader, f"SELECT {_FIELDS} FROM personas", "persona_id", ids)
    row_of = {row["persona_id"]: row for row in rows}
    return [row_of[persona_id] for persona_id in ids if persona_id in row_of]


def _with_fate(reader: Reader, rows: list[Row], state: str) -> list[Row]:
    """Add keeper and similarity to the rows that were dropped."""
    if state == "kept" or not rows:
        return rows
    select = "SELECT persona_id, stage, keeper_id, similarity FROM duplicates"
    dropped = filters.by_id(reader, select, "persona_id", (row["persona_id"] for row in rows))
    drops = {drop["persona_id"]: drop for drop in dropped}
    return [row | drops.get(row["persona_id"], {}) for row in rows]


def choices(reader: Reader) -> dict[str, Any]:
    """What the filters offer: batches, hops and origins with counts, sources, values of attributes."""
    return reader.cached("choices", lambda: _choices(reader))


def _choices(reader: Reader) -> dict[str, Any]:
    groups = reader.rows("SELECT batch, hop, origin, count(*) AS rows FROM candidate_personas GROUP BY ALL")
    return {
        **{name: _totals(groups, name) for name in ("batch", "hop", "origin")},
        "source": reader.rows(
            "SELECT source AS value, count(*) AS rows FROM documents WHERE source <> '' GROUP BY 1 "
            f"ORDER BY 2 DESC, 1 LIMIT {_SOURCES}"
        ),
        "attributes": _attributes(reader),
    }


def _totals(groups: list[Row], name: str) -> list[Row]:
    totals: dict[Any, int] = {}
    for group in groups:
        totals[group[name]] = totals.get(group[name], 0) + group["rows"]
    return [{"value": value, "rows": rows} for value, rows in sorted(totals.items())]


def _attributes(reader: Reader) -> dict[str, list[Row]]:
    """Attributes with few values, and these, as the first rows have them; a language comes first."""
    rows = reader.rows(
        f"""
        WITH sampled AS (SELECT attributes FROM text_personas WHERE attributes IS NOT NULL LIMIT {_ATTRIBUTE_ROWS})
        SELECT e.key AS name, e.value ->> '$' AS value, count(*) AS rows
        FROM sampled, json_each(sampled.attributes) AS e
        WHERE e.type NOT IN ('OBJECT', 'ARRAY', 'NULL') AND length(e.value ->> '$') <= 60
        GROUP BY e.key, e.value ->> '$'
        QUALIFY count(*) OVER (PARTITION BY e.key) <= {_ATTRIBUTE_VALUES}
        ORDER BY starts_with(lower(e.key), 'lang') DESC, e.key, rows DESC, value
        """
    )
    named: dict[str, list[Row]] = {}
    for row in rows:
        named.setdefault(row["name"], []).append(row)
    return named


class Meaning:
    """Search by meaning for pages. The model is loaded at the first search, and the vectors for each warehouse."""

    def __init__(self, reader: Reader, environment: Environment):
        self._reader, self._environment = reader, environment
        self._lock = threading.Lock()
        self._embedder: Any = None

    def search(self, text: str, wanted: Mapping[str, str]) -> tuple[list[Row], list[str]]:
        """Find the kept personas nearest to a text under the filters, the nearest first, with notices.

        Raises:
            ConfigError: the text is empty, or the model does not read it.
            StoreError: the hub has no vectors of this model, or no index for as many.
            QueryError: no persona is under the filters.
        """
        import polars as pl

        chosen = conditions({**wanted, "state": "kept", "by": "meaning"})
        among = None
        if chosen.tests:
            rows = self._reader.rows(f"SELECT persona_id FROM personas {chosen.where}", **chosen.values)
            if not rows:
                raise QueryError("no kept persona is under these filters")
            among = pl.Series("persona_id", [row["persona_id"] for row in rows])
        with self._lock:  # one at a time: each may read many vectors
            searcher, notices = self._reader.cached("searcher", self._searcher)
            notices.clear()
            nearest = dict(searcher.find(text, NEAREST, among).select("persona_id", "similarity").iter_rows())
        rows = by_ids(self._reader, list(nearest))
        return [row | {"similarity": nearest[row["persona_id"]]} for row in rows], list(notices)

    def _searcher(self) -> Any:
        from personahub_assets.embedding.embedder import Embedder
        from personahub_assets.search.searcher import Searcher

        store, notices = self._reader.store, list[str]()
        self._embedder = self._embedder or Embedder.of(self._environment, store.config)
        return Searcher(store, self._embedder, notices.append, _refuse_index), notices


def _refuse_index(_: int, personas: int) -> None:
    """Stop a search before it writes an index: a page only reads, and must not wait for minutes."""
    raise StoreError(f"the index of {personas:,} personas is missing or old. Build it with: personahub search TEXT")
