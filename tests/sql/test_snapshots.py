"""Results of every ready query for the small home and a small demo, as text that is read in reviews.

After an intended change:  UPDATE_SNAPSHOTS=1 .venv/bin/python -m pytest tests/sql/test_snapshots.py
"""

import difflib
import itertools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest

from personahub_assets.cli.sql import print_schema
from personahub_assets.core import project_files
from personahub_assets.core.project_files import sql_files
from personahub_assets.hub import Hub
from personahub_assets.store.tables import Store
from personahub_assets.warehouse import build

SNAPSHOTS = Path(__file__).parent / "snapshots"
QUERIES = sql_files("analysis")
Called = Callable[..., tuple[int, str, str]]
SHELL = Path(sys.executable).with_name("duckdb")


@pytest.fixture(scope="module")
def still(built: Store, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """The small home, as `stopped` has it."""
    return stopped(built, tmp_path_factory.mktemp("still"))


@pytest.fixture(scope="module")
def still_demo(demo: Store, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """The demo, as `stopped` has it."""
    return stopped(demo, tmp_path_factory.mktemp("demo"))


def stopped(built: Store, folder: Path) -> Store:
    """The home without measured times and absolute paths: times are computed from tokens, paths are names."""
    store = Store(home=str(folder))
    shutil.copytree(built.root / "tables", store.root / "tables")
    shutil.copy(built.root / "hub.toml", store.root)
    for path in store.files("generations"):
        asset, batch = (part.name.partition("=")[2] for part in (path.parent.parent, path.parent))
        calls = store.read("generations", batch, asset).with_columns(
            latency_s=pl.col("completion_tokens") / 100, flight_s=pl.col("completion_tokens") / 125, queue_s=0.25
        )
        store.write("generations", batch, calls, asset)
    for batch in store.batches():
        named = store.read("batches", batch).with_columns(source=pl.col("source").str.split("/").list.last())
        store.write("batches", batch, named)
        bad = store.read("quarantine", batch, "documents")
        store.write("quarantine", batch, bad.with_columns(pl.col("detail").str.replace(r"^.*/", "")), "documents")
    build.build(store)
    return store


def shown(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Format a result as a text table."""
    cells = [list(head), *([_cell(value) for value in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in cells]
    return "\n".join(lines) + "\n"


def _cell(value: Any) -> str:
    return "-" if value is None else str(value).replace("\n", "⏎").rstrip()


@pytest.mark.parametrize("name", QUERIES)
def test_a_question_has_the_answer_of_its_snapshot(still: Store, name: str) -> None:
    compare(still, name, SNAPSHOTS / "small")


def test_the_questions_have_the_same_answers_over_every_demo(still_demo: Store) -> None:
    """One test for all: with several, a second worker would wait for the demo."""
    for name in QUERIES:
        compare(still_demo, name, SNAPSHOTS / "demo")


def compare(store: Store, name: str, folder: Path) -> None:
    """Compare the result of a query with its snapshot."""
    with build.reader(store) as connection:
        result = connection.execute(QUERIES[name])
        found = shown([column[0] for column in result.description or ()], result.fetchall())
    text = f"{QUERIES[name].splitlines()[0]}\n\n{found}"
    path = folder / f"{name}.txt"
    if os.environ.get("UPDATE_SNAPSHOTS"):
        path.write_text(text, "utf-8")
    expected = path.read_text("utf-8") if path.exists() else ""
    changes = difflib.unified_diff(expected.splitlines(), text.splitlines(), "snapshot", "now", lineterm="")
    assert text == expected, f"{path.name}; if that is meant, run again with UPDATE_SNAPSHOTS=1\n" + "\n".join(changes)


def test_every_snapshot_has_its_question() -> None:
    for folder in ("small", "demo"):
        stored = {path.stem for path in (SNAPSHOTS / folder).glob("*")}
        new, old = sorted(set(QUERIES) - stored), sorted(stored - set(QUERIES))
        assert not new, f"tests/sql/snapshots/{folder} has no {new}: run this file with UPDATE_SNAPSHOTS=1"
        assert not old, f"tests/sql/snapshots/{folder} has {old}, and sql/analysis has no such question: remove them"


def test_duckdbs_own_shell_gives_the_same_answers(still: Store, tmp_path: Path, called: Called) -> None:
    """All questions by `.read` in one shell, against `personahub sql`."""
    folder = project_files.root() / "sql" / "analysis"
    script = [f".once {tmp_path / name}.jsonl\n.read {folder / name}.sql" for name in QUERIES]
    command = [SHELL, "-readonly", "-jsonlines", "-bail", still.paths.warehouse]
    done = subprocess.run(command, input="\n".join(script), text=True, capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    everything = "".join(f".read sql/analysis/{name}.sql\n;\n" for name in QUERIES)
    code, out, err = called("sql", everything, "--format", "json", home=still.root)
    assert (code, err) == (0, "")
    ours = iter([json.loads(line) for line in out.splitlines()])
    for name in QUERIES:
        theirs = rows(tmp_path / f"{name}.jsonl")
        assert theirs == list(itertools.islice(ours, len(theirs))), name
    assert list(ours) == []


def rows(path: Path) -> list[dict[str, Any]]:
    """The lines of a JSON Lines file; DuckDB writes an empty one for a query without rows."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines() if line]


def test_a_shell_that_may_write_stops_no_run(copied: Store) -> None:
    build.build(copied)
    with subprocess.Popen([SHELL, copied.paths.warehouse], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as shell:
        assert shell.stdin is not None
        assert shell.stdout is not None
        shell.stdin.write(b"SELECT 'open';\n")
        shell.stdin.flush()
        while b"open" not in shell.stdout.readline():
            pass
        with pytest.raises(Exception, match="wants -readonly; else build it with: personahub run --select warehouse"):
            build.reader(copied)
        assert build.build(copied).rebuilt
        with build.reader(copied) as connection:
            assert connection.execute("SELECT count(*) > 0 FROM personas").fetchone() == (True,)
        shell.stdin.close()
    assert shell.returncode == 0


def test_a_view_that_points_elsewhere_is_not_followed(copied: Store, tmp_path: Path) -> None:
    """A replaced warehouse file gives its readers no access to other files."""
    (tmp_path / "other.csv").write_text("a\n1\n")
    with duckdb.connect(str(copied.paths.warehouse)) as connection:
        connection.execute(f"CREATE VIEW elsewhere AS FROM read_csv('{tmp_path}/other.csv')")
    with build.reader(copied) as connection, pytest.raises(duckdb.PermissionException):
        connection.execute("FROM elsewhere")


def test_macros_are_described_like_tables(copied: Store) -> None:
    build.build(copied)
    with duckdb.connect(str(copied.paths.warehouse)) as connection:
        connection.execute(
            "CREATE MACRO of_batch(key, least) AS TABLE FROM personas WHERE batch = key AND hop >= least"
        )
        connection.execute("COMMENT ON MACRO TABLE of_batch IS 'Personas of a batch'")
    target = copied.root / "schema.json"
    print_schema(Hub(copied.root), "of_batch", "json", target)
    assert [(row["kind"], row["about"], row["column"], row["type"]) for row in rows(target)] == [
        ("macro", "Personas of a batch", "key", "parameter"),
        ("macro", "Personas of a batch", "least", "parameter"),
    ]
