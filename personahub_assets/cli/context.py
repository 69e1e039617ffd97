"""`personahub context`: one page about a home, as Markdown, for a language model or a new colleague."""

from collections.abc import Iterator
from itertools import groupby

from personahub_assets.cli.sql import SCHEMA_QUERY
from personahub_assets.hub import Hub

_COMMANDS = {
    "personahub sql 'SELECT ...'": "query the warehouse, read-only; --format json gives one line per row",
    "personahub sql --schema TABLE": "columns of a table with their meanings",
    "personahub why ID": "origin of a document, persona, item, call or quarantined row; --json",
    "personahub search 'TEXT'": "personas nearest in meaning to a text",
    "personahub plan --json": "requests that a run would send, and why; sends nothing",
    "personahub run --max-calls N": "materialise the graph; asks the language model, which may cost money",
}
_BATCHES = 40
_SCHEMA = SCHEMA_QUERY.format(condition="true")


def page(hub: Hub) -> str:
    """Describe a home: batches, tables with columns and counts, and commands.

    Raises:
        StoreError: if the warehouse cannot be read.
    """
    return "\n".join([*_head(hub), *_tables(hub), *_commands()]) + "\n"


def _head(hub: Hub) -> Iterator[str]:
    batches = hub.batches()
    yield f"# PersonaHub home {hub.home}"
    yield ""
    yield "Documents become personas, duplicates are dropped, and each kept persona gets items of datasets."
    yield "`personas` are the kept ones. Every row names the call (`generation_id`) or document that it came from."
    yield ""
    names = ", ".join(batches[:_BATCHES]) or "none; register files: personahub ingest FILE"
    omitted = f" and {len(batches) - _BATCHES:,} more" if len(batches) > _BATCHES else ""
    yield f"Batches ({len(batches):,}): {names}{omitted}"
    yield ""


def _tables(hub: Hub) -> Iterator[str]:
    """Tables, views and macros with their columns."""
    counts = hub.counts()
    yield "## Tables"
    yield ""
    if not counts:
        yield "No warehouse yet: personahub run"
        yield ""
        return
    rows = [row for frame in hub.results(_SCHEMA, "rows") for row in frame.head["rows"]]
    for (name, kind, size, comment), columns in groupby(rows, key=lambda row: tuple(row[:4])):
        count = counts.get(name, size)
        amount = "" if count is None else f", {int(count):,} rows"
        yield f"### {name} ({kind}{amount})"
        yield ""
        if comment:
            yield _line(comment)
            yield ""
        for *_, column, type_, meaning in columns:
            if column is not None:
                yield f"- `{column}` {type_ or ''}{': ' + _line(meaning) if meaning else ''}"
        yield ""


def _commands() -> Iterator[str]:
    yield "## Commands"
    yield ""
    for command, meaning in _COMMANDS.items():
        yield f"- `{command}`: {meaning}"


def _line(text: str) -> str:
    return " ".join(str(text).split())
