"""The process that runs SQL of users: `python -m personahub_assets.warehouse.query_worker`.

It reads one job from standard input, drops its rights (`sandbox`), and answers on standard output in frames: a line of
JSON with a length, then the bytes. Its parent (`query_process`) ends it at the time limit. Imports are few, because
every query pays for them.
"""

import json
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from personahub_assets.core.errors import QueryError, StoreError
from personahub_assets.warehouse import sandbox

_SHOWN = 200
_CELL_CHARS = 20_000
_IDS_PER_FRAME = 50_000
# A column without values is an INTEGER in DuckDB 1.5 and has the type "NULL" in 2.0.
_NUMBERS = {"BIGINT", "INTEGER", "DOUBLE", "HUGEINT", "TINYINT", '"NULL"'}
# Types that Polars stores exactly: an unsigned 128-bit integer would become -1, a MAP ends the process.
_FIT = {"boolean", "float", "double", "decimal", "varchar", "uuid", "enum", "json", "sqlnull", "null", "date", "time"}
_FIT |= {sign + name for name in ("tinyint", "smallint", "integer", "bigint") for sign in ("", "u")} | {"hugeint"}
_FIT |= {"timestamp", "timestamp_s", "timestamp_ms", "timestamp_ns", "timestamp with time zone"}
_NESTED = {"list", "array", "struct"}
_DATES, _LAST_YEAR = ("DATE", "TIMESTAMP"), 100_000
_SLICE_BYTES = 32 << 20
_FIRST_SLICE, _LARGEST_SLICE = 2_048, 131_072
_OVERHEAD_MB, _OVERHEAD_PER_CPU_MB = 640, 48
"""Memory besides that of queries: libraries, threads, and the slice being written."""

_MACRO = """
CREATE TEMP MACRO search_personas(query, k := 10) AS TABLE
SELECT hits.similarity, personas.*
FROM (SELECT unnest(nearest_to_text(query, k), recursive := true)) AS hits
JOIN personas ON personas.persona_id = hits.persona_id
ORDER BY hits.similarity DESC, hits.persona_id
"""
_HITS = "STRUCT(persona_id VARCHAR, similarity DOUBLE)[]"


class Channel:
    """Messages between this process and its parent; the end of standard input means that the parent has ended."""

    def __init__(self) -> None:
        self._output = os.fdopen(os.dup(1), "wb")
        # Output of libraries must not mix with frames.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        self._sending, self._asking = threading.Lock(), threading.Lock()
        self._replies: SimpleQueue[dict[str, Any]] = SimpleQueue()

    def receive_job(self) -> dict[str, Any]:
        """Receive the job, and then listen for replies."""
        return dict(json.loads(sys.stdin.buffer.readline()))

    def listen(self) -> None:
        """Receive replies in a thread, and end with the parent."""
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        for line in sys.stdin.buffer:
            self._replies.put(json.loads(line))
        os._exit(1)

    def send(self, kind: str, payload: bytes = b"", **fields: Any) -> None:
        """Send one frame."""
        head = json.dumps({"kind": kind, "size": len(payload), **fields})
        with self._sending:
            self._output.write(head.encode() + b"\n" + payload)
            self._output.flush()

    def search(self, text: str, count: int) -> list[dict[str, Any]]:
        """Request the personas nearest to a text from the parent, which can load models and write an index."""
        with self._asking:
            self.send("search", text=text, count=count)
            reply = self._replies.get()
        if "error" in reply:
            raise ValueError(reply["error"])
        return list(reply["hits"])


def main() -> None:
    """Run one job; errors are sent as frames."""
    sandbox.end_with_parent()
    channel = Channel()
    job = channel.receive_job()
    aside = Path(job["aside"])
    sandbox.confine(aside)
    sandbox.bound_memory(job["memory_mb"] + _OVERHEAD_MB + _OVERHEAD_PER_CPU_MB * (os.cpu_count() or 1))
    channel.listen()
    try:
        (_meet if "tests" in job else _answer)(job, aside, channel)
        channel.send("done")
    except StoreError as error:
        channel.send("error", name="store", text=str(error))
    except MemoryError:
        channel.send("error", name="memory", text="")
    except Exception as error:  # noqa: BLE001 - what a library raises is said, too
        name, text = _described(error, job)
        channel.send("error", name=name, text=text)


def _described(error: Exception, job: dict[str, Any]) -> tuple[str, str]:
    """Class and message of an error; for a failed search only its message."""
    import re

    import duckdb

    text = str(error)
    if isinstance(error, duckdb.OutOfMemoryException) or "bad allocation" in text or "bad_alloc" in text:
        return ("disk", text) if "max_temp_directory_size" in text else ("memory", text)
    outside = re.search(r'Cannot access file "(.*)/tables/[\w=*/-]+/part\.parquet"', text)
    # Views contain absolute paths; one that the query itself names is refused as any other file.
    if isinstance(error, duckdb.PermissionException) and outside and outside[1] not in str(job.get("text", outside[1])):
        return "store", (
            f"the warehouse was built when the home was {outside[1]}, and the home is now {job['home']}: rebuild it "
            "with personahub run --select warehouse"
        )
    if isinstance(error, (QueryError, duckdb.Error)):
        raised = re.search(r"executing the UDF: (?:[\w.]+: )?(.*?)(?:\n\nAt:|\Z)", text, re.DOTALL)
        return "query", raised[1] if raised else text
    return "query", f"{type(error).__name__}: {text}"


def _answer(job: dict[str, Any], aside: Path, channel: Channel) -> None:
    from personahub_assets.warehouse import guard, readers

    connection = readers.open_reader(Path(job["home"]), aside, job["memory_mb"])
    connection.create_function("nearest_to_text", channel.search, ["VARCHAR", "INTEGER"], _HITS)
    connection.execute(_MACRO)
    checked = guard.checked(connection, job["text"])
    results = sum(guard.gives_rows(statement) for statement in checked)
    if job["single"] and results > 1:
        raise QueryError(f"a file can have one result, and the query has {results}: run them one by one")
    for statement in checked:
        if not guard.gives_rows(statement):
            connection.execute(statement)
        elif job["form"] == "rows":
            channel.send("rows", rows=_rows(connection.execute(statement).fetchall()))
        elif job["form"] == "table":
            channel.send("table", **_shown(connection, statement))
        else:
            for data in _encoded(connection, statement, job, aside):
                channel.send("data", data)


def _meet(job: dict[str, Any], aside: Path, channel: Channel) -> None:
    """Send the requested columns of the rows that meet all conditions."""
    from personahub_assets.warehouse import guard, readers

    connection = readers.open_reader(Path(job["home"]), aside, job["memory_mb"])
    tests = [guard.condition(connection, text) for text in job["tests"]]

    def meeting() -> list[Any]:
        rows = connection.table(job["view"]).set_alias(job["view"])
        for test in tests:
            rows = rows.filter(test)
        return list(rows.project(", ".join(job["columns"])).fetchall())

    matches = readers.retry_on_replacement(meeting)
    for start in range(0, len(matches), _IDS_PER_FRAME):
        channel.send("rows", rows=_rows(matches[start : start + _IDS_PER_FRAME]))


def _shown(connection: Any, statement: Any) -> dict[str, Any]:
    """The first rows of a result as texts; the result is a stream, so the rest is not computed."""
    result = connection.execute(statement)
    columns = [(name, str(kind)) for name, kind, *_ in result.description]
    rows = result.fetchmany(_SHOWN + 1)
    texts = _rows(rows[:_SHOWN])
    is_cut = any(text is not None and len(text) > _CELL_CHARS for row in texts for text in row)
    return {
        "columns": [name for name, _ in columns],
        "numbers": [name for name, kind in columns if kind in _NUMBERS],
        "rows": [[text and text[:_CELL_CHARS] for text in row] for row in texts],
        "notes": [
            *(
                [f"The first {_SHOWN} rows; all of them with --format csv, json or parquet, or LIMIT."]
                * (len(rows) > _SHOWN)
            ),
            *([f"Texts are cut at {_CELL_CHARS:,} characters; whole with --format csv, json or parquet."] * is_cut),
        ],
    }


def _rows(rows: list[Any]) -> list[list[str | None]]:
    return [[None if value is None else str(value) for value in row] for row in rows]


def _encoded(connection: Any, statement: Any, job: dict[str, Any], aside: Path) -> Iterator[bytes]:
    """Encode a result in a format."""
    from personahub_assets.warehouse.result_formats import encoder

    relation = connection.sql(statement)
    _check_columns(relation, job["form"])
    encode = encoder(job["form"], aside, safe=job["safe"])
    for piece in _slices(connection, relation, job["form"]):
        yield encode.add(piece)
    yield from encode.end()


def _check_columns(relation: Any, form: str) -> None:
    unfit = {name: str(kind) for name, kind in zip(relation.columns, relation.types, strict=True) if not _fits(kind)}
    if unfit:
        raise QueryError(
            f"{form} cannot store the columns {list(unfit)} ({', '.join(sorted(set(unfit.values())))}): cast them "
            "to VARCHAR, or make JSON of them (to_json)"
        )
    names = [name.lower() for name in relation.columns]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise QueryError(f"several columns have the name {twice}: give them different names with AS")


def _fits(kind: Any) -> bool:
    if kind.id in _NESTED:
        return all(_fits(each) for _, each in kind.children if hasattr(each, "id"))
    return kind.id in _FIT


def _check_times(connection: Any, relation: Any, form: str) -> None:
    """Refuse dates and times that crash Polars or become NULL in it."""
    tests = {
        name: test
        for name, kind in zip(relation.columns, relation.types, strict=True)
        if (test := _beyond(str(kind), '"' + name.replace('"', '""') + '"', form))
    }
    if not tests:
        return
    (flags,) = connection.execute(f"SELECT {', '.join(tests.values())} FROM temp.main.result").fetchall()
    if unfit := [name for name, flag in zip(tests, flags, strict=True) if flag]:
        raise QueryError(f"{form} cannot store some dates or times of the columns {unfit}: cast them to VARCHAR")


def _beyond(kind: str, name: str, form: str) -> str | None:
    """An SQL test for values of a column that the format cannot store; None if it can store all."""
    if kind == "TIME":
        return f"bool_or({name} = TIME '24:00:00')"
    if kind.startswith(_DATES) and form != "parquet":
        return f"bool_or(NOT isfinite({name}) OR abs(year({name})) > {_LAST_YEAR})"
    return None


def _typed(kind: Any) -> Any:
    """A type of Polars with the integers of DuckDB 1.5 where 2.0 has the type of no values."""
    import polars as pl

    if isinstance(kind, pl.List):
        return pl.List(_typed(kind.inner))
    if isinstance(kind, pl.Array):
        return pl.Array(_typed(kind.inner), kind.size)
    if isinstance(kind, pl.Struct):
        return pl.Struct({field.name: _typed(field.dtype) for field in kind.fields})
    return pl.Int32() if kind == pl.Null else kind


def _slices(connection: Any, relation: Any, form: str) -> Iterator[Any]:
    """A result in pieces of about the same size, from a temporary table, which DuckDB spills to disk if it is large."""
    import polars as pl

    relation.query("shown", "CREATE OR REPLACE TEMP TABLE result AS FROM shown")
    _check_times(connection, relation, form)
    # All rows: with a row left, DuckDB 2.0 refuses other work on the connection.
    ((total,),) = connection.execute("SELECT count(*) FROM temp.main.result").fetchall()
    start, rows = 0, _FIRST_SLICE
    while start < total or start == 0:
        piece = pl.DataFrame(
            connection.sql(f"FROM temp.main.result WHERE rowid >= {start} AND rowid < {start + rows} ORDER BY rowid")
        )
        yield piece.cast({name: _typed(kind) for name, kind in piece.schema.items() if kind != _typed(kind)})
        start += rows
        size = max(1, piece.estimated_size()) / max(1, piece.height)
        rows = min(_LARGEST_SLICE, max(1, int(_SLICE_BYTES / size)))
    connection.execute("DROP TABLE temp.main.result")


if __name__ == "__main__":
    main()
