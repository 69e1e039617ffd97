"""Explain the origin of a row, or why it was dropped: the macro `why` on the warehouse or the tables."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import groupby
from typing import Any, TypedDict, cast

import duckdb

from personahub_assets.core.errors import UnknownId
from personahub_assets.core.text import sanitise, shorten
from personahub_assets.store.tables import Store
from personahub_assets.warehouse import build, live
from personahub_assets.warehouse.readers import retry_on_replacement

_WHY, _NEAR = "SELECT * FROM why($id)", "SELECT id, kind, batch FROM near($id)"
_FACTS = ("step", "what", "id", "detail", "text")


class Line(TypedDict):
    """One line of an explanation."""

    step: int
    what: str
    id: str | None
    detail: str | None
    text: str | None
    facts: Any


class Thing(TypedDict):
    """A document, persona, item, call or quarantined row of a batch, with its explanation."""

    id: str
    kind: str
    batch: str
    lines: list[Line]


def explain(store: Store, asked: str, tell: Callable[[str], None]) -> list[Thing]:
    """Find everything that a home has about an id.

    Args:
        store: the tables of the home.
        asked: an id of a document, persona, item, call or quarantined row; or `batch/id`.
        tell: called with a notice if the warehouse is out of date.

    Returns:
        One entry for each kind and batch that has the id.

    Raises:
        UnknownId: if no row has the id, with similar ids.
    """
    return retry_on_replacement(partial(_find_entries, store, sanitise(asked.strip())[0], tell))


def _find_entries(store: Store, asked: str, tell: Callable[[str], None]) -> list[Thing]:
    with _opened(store, tell) as connection:
        result = connection.execute(_WHY, {"id": asked})
        names = [column[0] for column in result.description or ()]
        rows = [dict(zip(names, row, strict=True)) for row in result.fetchall()]
        if not rows:
            raise UnknownId(_unknown(connection, store, asked))
    groups = groupby(rows, lambda row: (row["of_id"], row["kind"], row["batch"]))
    return [
        Thing(id=id_, kind=kind, batch=batch, lines=list(map(_line, lines))) for (id_, kind, batch), lines in groups
    ]


def _line(row: dict[str, Any]) -> Line:
    return cast("Line", {**{name: row[name] for name in _FACTS}, "facts": json.loads(row["facts"] or "null")})


@contextmanager
def _opened(store: Store, tell: Callable[[str], None]) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open the warehouse, or if the tables are newer a copy of it with their changes, so that the answer is current."""
    if build.is_fresh(store, live.tables_in(store, _WHY + _NEAR)):
        with build.reader(store) as connection:
            yield connection
        return
    tell(
        "The warehouse is out of date, so the changed tables are read, which takes longer. "
        "To build it: personahub run --select warehouse"
    )
    with build.updated_copy(store) as copy:
        if copy is not None:
            yield copy
            return
    with live.open_live(store, _WHY + _NEAR) as connection:
        yield connection


def _unknown(connection: duckdb.DuckDBPyConnection, store: Store, asked: str) -> str:
    near = connection.execute(_NEAR, {"id": asked.rpartition("/")[2]}).fetchall()
    names = "; ".join(f"{shorten(id_)} ({kind} of {batch})" if kind != "batch" else id_ for id_, kind, batch in near)
    hint = f"Ids like it: {names}." if near else "No id is like it."
    return (
        f"no row in {store.root} has the id {shorten(asked)!r}: no document, persona, item, call or quarantined row, "
        f"and no answer that was superseded in the last {store.config.generation.keep_superseded_days:g} days. "
        f'{hint} A persona is found by what it is like: personahub search "words"; by its words: personahub sql '
        "\"SELECT persona_id, persona FROM candidate_personas WHERE persona ILIKE '%words%' LIMIT 20\""
    )
