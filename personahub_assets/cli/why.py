"""Why a row is here, or where it went: the macro `why` asked, and its lines shown."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import groupby
from typing import Any

import duckdb
from rich.console import Console

from personahub_assets.cli.console import OUT, Piece, say, say_json, say_text
from personahub_assets.core.config import Environment
from personahub_assets.core.errors import UnknownId
from personahub_assets.core.text import sanitise, shorten
from personahub_assets.store.tables import Store
from personahub_assets.warehouse import build
from personahub_assets.warehouse.readers import steadily

Line = dict[str, Any]

_CHARS = 300
_SHOWN = 20
_WHY, _NEAR = "SELECT * FROM why($id)", "SELECT id, kind, batch FROM near($id)"


def explain(environment: Environment, asked: str, err: Console, *, as_json: bool, full: bool) -> None:
    """Say all that the home knows about an id.

    Args:
        environment: names the home.
        asked: an id of a document, persona, item, call or quarantined row; or `batch/id`.
        err: told when the warehouse is out of date.
        as_json: for scripts.
        full: long texts as they are.

    Raises:
        UnknownId: if nothing has it, with ids that are like it.
    """
    store = Store(home=str(environment.home))
    lines = steadily(partial(_lines, store, sanitise(asked.strip())[0], err))
    if as_json:
        say_json(_things(lines))
    else:
        _show(lines, full=full)


def _lines(store: Store, asked: str, err: Console) -> list[Line]:
    with _opened(store, err) as connection:
        result = connection.execute(_WHY, {"id": asked})
        names = [column[0] for column in result.description or ()]
        lines = [dict(zip(names, row, strict=True)) for row in result.fetchall()]
        if not lines:
            raise UnknownId(_unknown(connection, store, asked))
    return lines


@contextmanager
def _opened(store: Store, err: Console) -> Iterator[duckdb.DuckDBPyConnection]:
    """The warehouse; where it is older than the tables, the tables: where a row is now is what is asked."""
    if build.is_fresh(store):
        with build.reader(store) as connection:
            yield connection
        return
    say(
        "The warehouse is not up to date, so the tables themselves are read, which takes longer. "
        "It is built by: personahub run --select warehouse",
        style="dim",
        to=err,
    )
    with build.live(store, _WHY + _NEAR) as connection:
        yield connection


def _unknown(connection: duckdb.DuckDBPyConnection, store: Store, asked: str) -> str:
    near = connection.execute(_NEAR, {"id": asked.rpartition("/")[2]}).fetchall()
    found = "; ".join(f"{shorten(id_)} ({kind} of {batch})" if kind != "batch" else id_ for id_, kind, batch in near)
    hint = f"Ids like it: {found}." if near else "No id is like it."
    return (
        f"nothing in {store.root} has the id {shorten(asked)!r}: no document, persona, item, call or quarantined row. "
        f'{hint} A persona is found by what it is like: personahub search "words"; by its words: personahub sql '
        "\"SELECT persona_id, persona FROM candidate_personas WHERE persona ILIKE '%words%' LIMIT 20\""
    )


def _things(lines: list[Line]) -> list[dict[str, Any]]:
    """What has the id, one entry per kind and batch, each with its lines."""
    things = []
    for (kind, batch, asked), group in groupby(lines, lambda line: (line["kind"], line["batch"], line["of_id"])):
        facts = ("step", "what", "id", "detail", "text")
        shown = [
            {**{name: line[name] for name in facts}, "facts": json.loads(line["facts"] or "null")} for line in group
        ]
        things.append({"id": asked, "kind": kind, "batch": batch, "lines": shown})
    return things


def _show(lines: list[Line], *, full: bool) -> None:
    things = _things(lines)
    for place, thing in enumerate(things[:_SHOWN]):
        if place:
            say(to=OUT)
        say((thing["id"], "bold"), f": {thing['kind']} of batch {thing['batch']}", to=OUT)
        for line in thing["lines"]:
            say(*_pieces(line), indent=2, to=OUT)
            if line["text"]:
                text = line["text"] if full else shorten(" ".join(line["text"].split()), _CHARS)
                say_text(text, style="italic", indent=4, to=OUT)
    if len(things) > _SHOWN:
        say(to=OUT)
        say(f"The first {_SHOWN} of {len(things)}; ask for one as batch/id, or for all with --json", to=OUT)


def _pieces(line: Line) -> list[Piece]:
    pieces: list[Piece] = [(line["what"], "cyan")]
    pieces += ["  ", (line["id"], "bold")] if line["id"] and line["step"] > 1 else []
    return pieces + (["  ", line["detail"]] if line["detail"] else [])
