"""The command line: output, refusals, and the state after interrupted and concurrent runs."""

import csv
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import polars as pl
import pytest
import typer
from processes import Process
from sites import serving

from personahub_assets.cli import app
from personahub_assets.core.config import Environment
from personahub_assets.core.errors import QueryError, StoreError
from personahub_assets.core.records import DATASETS
from personahub_assets.hub import Hub
from personahub_assets.instance.instance import open_instance
from personahub_assets.sources.register import register
from personahub_assets.standin.server import StandinServer
from personahub_assets.store.tables import Store
from personahub_assets.warehouse import build
from personahub_assets.warehouse.query_process import ids_meeting

COMMANDS = ["ingest", "plan", "run", "release", "maintain", "takedown", "sql", "why", "search", "standin", "doctor"]
COMMANDS += ["batch-api", "browse", "context", "mcp", "new", "try", "ui", "version"]
ROWS = [
    {"id": "d1", "text": "The tide tables of the harbour were wrong by eleven minutes, so the pilot wrote his own."},
    {"id": "d2", "text": "Bread proves slowly in a cold kitchen; the crumb is better for it, and the crust darker."},
    {"persona": "A retired bridge engineer who restores old clocks in a mountain village"},
    {"persona": "A [bold]jazz[/bold] drummer \u001b[31mwho builds :drum: cymbals from scrap metal"},
]
SOURCE = "My Pages.jsonl"
SETTINGS = "[text_personas]\nper_document = 1\n[related_personas]\nhops = 0\n"


@dataclass(frozen=True)
class Said:
    """Result of a command."""

    code: int
    out: str
    err: str

    def refusal(self, code: int = 1) -> str:
        """The message of an expected failure: one message, no traceback, no standard output.

        Args:
            code: 2 if an argument is wrong by itself.
        """
        assert self.code == code, self
        assert self.out == ""
        assert "Traceback" not in self.err
        assert self.err.count("error:") == 1, self.err
        return self.err


Cli = Callable[..., Said]


def environment(home: Path, url: str | None = None) -> dict[str, str]:
    """The environment of a command, without the developer's settings."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PERSONAHUB_", "DAGSTER"))}
    cache = {name: value for name, value in os.environ.items() if name == "PERSONAHUB_CACHE"}
    return {**inherited, **cache, "PERSONAHUB_HOME": str(home), **({"PERSONAHUB_LLM_URL": url} if url else {})}


def begin(home: Path, *arguments: str) -> "subprocess.Popen[str]":
    """Start a command as a process."""
    return subprocess.Popen(
        [sys.executable, "-m", "personahub_assets.cli.app", *arguments],
        env=environment(home),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def begin_run(home: Path, *arguments: str, url: str) -> Process:
    """Start a run as a process that has all imports done."""
    return Process(["run", *arguments], environment(home, url), home.parent)


@pytest.fixture
def here(home: Path, monkeypatch: pytest.MonkeyPatch, called: Callable[..., tuple[int, str, str]]) -> Cli:
    """Run a command in this process: the same code from `main`, without the start of a process."""

    def run(*arguments: str, stdin: str = "", at: Path = home, url: str | None = None) -> Said:
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        return Said(*called(*arguments, home=at, **({"PERSONAHUB_LLM_URL": url} if url else {})))

    return run


@dataclass(frozen=True)
class Demo:
    """A home that was made by the command line."""

    home: Path
    source: Path
    ingested: Said
    ran: Said


@pytest.fixture(scope="session")
def demo(once: Callable[[str, Callable[[Path], None]], Path], called_once: Callable[..., tuple[int, str, str]]) -> Demo:
    folder = once("cli", partial(_make_demo, called_once))
    said = [Said(**each) for each in json.loads((folder / "said.json").read_text())]
    return Demo(folder / "hub", folder / SOURCE, *said)


def _make_demo(called: Callable[..., tuple[int, str, str]], folder: Path) -> None:
    home = folder / "hub"
    home.mkdir()
    (home / "hub.toml").write_text(SETTINGS)
    source = write(folder / SOURCE, ROWS)
    ingested = Said(*called("ingest", str(source), home=home))
    ran = Said(*called("run", "--select", "+personas", home=home, PERSONAHUB_LLM_URL="standin:"))
    (folder / "said.json").write_text(json.dumps([asdict(each) for each in (ingested, ran)]))


def write(path: Path, rows: list[dict[str, str]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def pages(path: Path, count: int, book: str = "almanac") -> Path:
    """A source file of different documents."""
    who = ["the bear", "the miller", "a choir", "the harbour", "the court", "a surgeon"]
    text = "Page {} of the {} says that {} sleeps in winter and sings in spring."
    return write(path, [{"id": f"d{n}", "text": text.format(n, book, who[n % len(who)])} for n in range(count)])


def until(condition: Callable[[], bool], what: str) -> None:
    """Wait for a condition that another process fulfils."""
    deadline = time.monotonic() + 90
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain until {what}"
        time.sleep(0.02)


# --- help and version ---


@pytest.mark.parametrize("command", COMMANDS)
def test_help_names_every_option(here: Cli, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    said = here(command, "--help")
    assert said.code == 0
    found: Any = typer.main.get_command(app.app)
    parameters = found.commands[command].params
    plain = re.sub(r"\x1b\[[0-9;]*m", "", said.out)
    for parameter in parameters:
        assert parameter.help, f"{command} {parameter.name}"
        assert parameter.metavar in plain if parameter.param_type_name == "argument" and parameter.metavar else True
        assert all(option in plain for option in parameter.opts if option.startswith("-")), parameter.name


def test_help_names_every_command(here: Cli) -> None:
    said = here("--help")
    assert said.code == 0
    assert all(command in said.out for command in COMMANDS)
    assert "PERSONAHUB_LLM_URL" in said.out
    found: Any = typer.main.get_command(app.app)
    assert sorted(found.commands) == sorted(COMMANDS)


def test_version(here: Cli) -> None:
    versions = json.loads(here("version").out)
    assert versions["dagster"] == dg.__version__
    assert versions["duckdb"] == duckdb.__version__
    assert "personahub-assets" in versions


# --- ingest ---


def test_ingest_says_what_it_registered_and_what_comes_next(demo: Demo) -> None:
    assert demo.ingested.code == 0
    assert f"batch my-pages: {len(ROWS)} rows of {demo.source}" in demo.ingested.err
    assert "personahub run" in demo.ingested.err
    assert demo.ingested.out == ""


def test_ingest_takes_a_name_and_several_files(here: Cli, home: Path, tmp_path: Path) -> None:
    one, two = write(tmp_path / "one [b].jsonl", ROWS), write(tmp_path / "two.jsonl", ROWS[:1])
    assert here("ingest", str(one), "--name", "uno").code == 0
    said = here("ingest", str(one), str(two))
    assert said.code == 0
    assert f"of {one}" in said.err
    assert sorted(Store(home=str(home)).batches()) == ["one-b", "two", "uno"]


def test_ingest_takes_columns(here: Cli, home: Path, tmp_path: Path) -> None:
    source = write(tmp_path / "odd.jsonl", [{"who": "A piano tuner who restores church organs", "text": "no"}])
    assert here("ingest", str(source), "--persona-column", "who").code == 0
    assert Store(home=str(home)).read("batches", "odd")["persona_column"].to_list() == ["who"]


INGEST_FAULTS = {
    "missing": (["nowhere.jsonl"], "nowhere.jsonl: there is no such file"),
    "suffix": (["pages.docx"], "unknown format '.docx'; supported: .jsonl"),
    "name": (["one.jsonl", "--name", "Über Name"], "batch key 'Über Name' is not allowed"),
    "names": (["one.jsonl", "two.jsonl", "--name", "both"], "--name 'both' is for one file, got 2"),
    "collision": (["other/one.jsonl"], "batch 'one' belongs to"),
}


@pytest.mark.parametrize("fault", INGEST_FAULTS)
def test_ingest_refuses(here: Cli, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "pages.docx").write_text("x")
    for name in ("one", "two", "other/one"):
        write(tmp_path / f"{name}.jsonl", ROWS)
    register(Store(home=str(home)), str(tmp_path / "one.jsonl"))
    monkeypatch.chdir(tmp_path)
    arguments, message = INGEST_FAULTS[fault]
    assert message in here("ingest", *arguments).refusal(2 if "--name" in arguments else 1)
    assert Store(home=str(home)).batches() == ["one"]


def test_a_home_that_cannot_be_made_is_one_message(here: Cli, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    source = write(tmp_path / "one.jsonl", ROWS)
    assert str(blocked) in here("ingest", str(source), at=blocked / "hub").refusal()


# --- run ---


def test_run_shows_progress_rows_and_what_comes_next(demo: Demo) -> None:
    said = demo.ran
    assert said.code == 0, said
    for asset in ("documents", "text_personas", "semantic_duplicates"):
        assert asset in said.err
    assert "Rows in the warehouse" in said.err
    assert "It is not a language model" in said.err.replace("\n", " ")
    assert f"PERSONAHUB_HOME={demo.home} personahub sql" in said.err.replace("\n", " ")
    assert "Traceback" not in said.err
    assert Store(home=str(demo.home)).read_all("personas").height == len(ROWS)


def test_run_needs_a_batch(here: Cli) -> None:
    assert "has no batches yet; register a source file first: personahub ingest FILE" in here("run").refusal()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--batch", "my-page"], "unknown batch 'my-page' (did you mean 'my-pages'?"),
        (["--select", "persona"], "no asset 'persona' (did you mean 'personas'?"),
        (["--select", "+tool+"], "no asset 'tool' (did you mean 'tools'?"),
    ],
)
def test_run_suggests_what_was_meant(here: Cli, demo: Demo, arguments: list[str], message: str) -> None:
    assert message in here("run", *arguments, at=demo.home).refusal()


def test_run_without_an_endpoint_names_the_remedies(here: Cli, home: Path, tmp_path: Path) -> None:
    register(Store(home=str(home)), str(write(tmp_path / "one.jsonl", ROWS)))
    said = here("run", "--select", "+text_personas")
    assert said.code == 1
    assert said.err.count("PERSONAHUB_LLM_URL is not set") == 1
    for remedy in ("PERSONAHUB_LLM_URL=http://127.0.0.1:8000/v1", "make demo-vllm", "PERSONAHUB_LLM_URL=standin:"):
        assert remedy in said.err
    assert "Traceback" not in said.err
    assert "dagster" not in said.err
    assert not Store(home=str(home)).files("documents")  # refused before any run


def test_run_of_one_asset_makes_nothing_else(here: Cli, home: Path, tmp_path: Path) -> None:
    store = Store(home=str(home))
    for name in ("one", "two"):
        register(store, str(write(tmp_path / f"{name}.jsonl", ROWS)))
    assert here("run", "--select", "documents", "--batch", "two").code == 0
    made = {path.name for path in (home / "tables").iterdir()}
    assert made == {"batches", "documents", "quarantine", "skipped"}
    assert [path.parent.name for path in store.files("documents")] == ["batch=two"]


@pytest.fixture
def some_model(standin: StandinServer) -> Iterator[str]:
    """The address of a server that reports another model; the stand-in writes its answers."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._reply(json.dumps({"object": "list", "data": [{"id": "some-model", "object": "model"}]}).encode())

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            request = urllib.request.Request(
                f"{standin.url}/chat/completions", body, {"Content-Type": "application/json"}
            )
            with urllib.request.urlopen(request, timeout=30) as answer:
                self._reply(answer.read().replace(b'"model": "standin"', b'"model": "some-model"'))

        def _reply(self, body: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with serving(Handler) as address:
        yield f"{address}/v1"


def test_rows_of_the_standin_and_of_a_model_are_never_mixed(
    here: Cli, demo: Demo, home: Path, tmp_path: Path, standin: StandinServer, some_model: str
) -> None:
    """A home of either kind refuses the other, and keeps its rows."""
    store = Store(home=str(home))
    register(store, str(write(tmp_path / "one.jsonl", ROWS)))
    assert here("run", "--select", "+text_personas", url=some_model).code == 0
    assert store.read_all("generations")["model"].to_list() == ["some-model"] * 2
    rows = store.read_all("text_personas")

    said = here("run", "--select", "text_personas", url=standin.url)
    assert said.code == 1
    assert f"{home} holds rows written by a language model" in said.err
    assert f"{standin.url} is the stand-in (not a language model)" in said.err
    assert "PERSONAHUB_HOME" in said.err
    assert "Traceback" not in said.err
    assert store.read_all("text_personas").equals(rows)

    other = tmp_path / "other"
    for part in ("tables", "writer", "hub.toml"):
        copy = shutil.copytree if (demo.home / part).is_dir() else shutil.copy
        other.mkdir(exist_ok=True)
        copy(demo.home / part, other / part)
    said = here("run", "--select", "text_personas", url=some_model, at=other)
    assert said.code == 1
    assert f"{other} holds rows written by the stand-in (not a language model)" in said.err
    assert Store(home=str(other)).read_all("text_personas").equals(Store(home=str(demo.home)).read_all("text_personas"))


# --- plan ---


def test_plan_says_what_a_run_would_ask_and_asks_nothing(here: Cli, demo: Demo, standin: StandinServer) -> None:
    before = standin.stats()["calls"]
    said = here("plan", "--select", "tools", at=demo.home, url=standin.url)
    assert said.code == 0
    assert re.search(r"tools +│ +4 │ never run │ +4 │", said.out)
    assert "A run makes 4 calls" in said.out
    assert "set prompt and completion in [prices]" in said.out
    plain = json.loads(here("plan", "--select", "tools", "--json", at=demo.home, url=standin.url).out)
    assert (plain["total"]["to_ask"], plain["total"]["exact"]) == (4, True)
    assert "A run makes no call." in here("plan", "--select", "+personas", at=demo.home, url=standin.url).out
    assert standin.stats()["calls"] == before


def test_plan_refuses_what_run_refuses(here: Cli, demo: Demo) -> None:
    assert "personahub ingest FILE" in here("plan").refusal()
    assert "did you mean 'my-pages'" in here("plan", "--batch", "my-page", at=demo.home).refusal()
    assert "did you mean 'tools'" in here("plan", "--select", "tool", at=demo.home).refusal()
    assert "personahub plan --retry refused" in here("plan", "refused", at=demo.home).refusal(2)
    assert (
        "nowhere.csv: there is no such file" in here("plan", "--personas-from", "nowhere.csv", at=demo.home).refusal()
    )


def test_a_run_above_the_threshold_begins_when_a_person_says_so(
    here: Cli, demo: Demo, tmp_path: Path, standin: StandinServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = shutil.copytree(demo.home, tmp_path / "hub")
    monkeypatch.setattr(app, "_is_attended", lambda: True)
    before = standin.stats()["calls"]

    def run(settings: str, *arguments: str, stdin: str = "n\n") -> Said:
        (home / "hub.toml").write_text(SETTINGS + settings)
        return here("run", "--select", "tools", *arguments, stdin=stdin, at=home, url=standin.url)

    prices = "[prices]\nprompt = 1000\ncompletion = 1000\n[run]\n"
    for settings in ("[run]\nconfirm_calls = 3\n", prices + "confirm_cost = 0.1\n"):
        said = run(settings)
        assert said.code == 1
        assert "This run would make 4 calls" in said.err
        assert "not begun; no request was sent" in said.err
    assert standin.stats()["calls"] == before
    said = run(prices, "--max-calls", "1", "--max-cost", "9")  # what it may spend is below the threshold
    assert said.code == 3
    assert "This run would make" not in said.err
    said = run("[run]\nconfirm_calls = 2\n", stdin="y\n")
    assert said.code == 0, said
    assert "This run would make 3 calls" in said.err
    assert standin.stats()["calls"] - before == 4
    assert Store(home=str(home)).read_all("tools").height == 4


# --- sql ---


def test_sql_without_a_warehouse_says_how_to_build_it(here: Cli) -> None:
    assert "does not exist yet; build it with: personahub run --select warehouse" in here("sql", "SELECT 1").refusal()


def test_sql_lists_the_tables(here: Cli, demo: Demo) -> None:
    said = here("sql", at=demo.home)
    assert said.code == 0
    for name in ("personas", "tools", "generations", "persona_lineage", "dataset_items"):
        assert f" {name} " in said.out
    assert "The hub: candidates that both dedup stages kept" in said.out


def test_sql_as_a_process_reads_a_pipe_and_writes_a_pipe(demo: Demo) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "personahub_assets.cli.app", "sql", "--format", "csv"],
        env=environment(demo.home),
        input="SELECT batch, rows FROM batches",
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, f"batch,rows\nmy-pages,{len(ROWS)}\n", "")


@pytest.mark.parametrize("arguments", [["-"], []])
def test_sql_takes_queries_from_standard_input(here: Cli, demo: Demo, arguments: list[str]) -> None:
    said = here("sql", *arguments, "--format", "json", stdin="SELECT count(*) AS n FROM personas", at=demo.home)
    assert json.loads(said.out) == {"n": 4}


def test_sql_takes_a_file(here: Cli, demo: Demo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "question.sql").write_text("-- How many?\nSELECT count(*) AS n FROM personas;\n")
    monkeypatch.chdir(tmp_path)
    assert json.loads(here("sql", "question.sql", "--format", "json", at=demo.home).out) == {"n": 4}
    ready = here("sql", "sql/analysis/batch_overview.sql", "--format", "json", at=demo.home)
    assert json.loads(ready.out)["batch"] == "my-pages"
    assert "none.sql: there is no such file" in here("sql", "none.sql", at=demo.home).refusal()


def test_sql_runs_several_statements(here: Cli, demo: Demo) -> None:
    said = here("sql", "SELECT 1 AS a; WITH t AS (SELECT 7 AS b) FROM t;", "--format", "csv", at=demo.home)
    assert said.out == "a\n1\nb\n7\n"


NESTED = "SELECT 1 AS n, ['x', 'y, \"z\"'] AS l, {'a': 1, 'b': [true]} AS s, NULL::INTEGER[] AS none, 'é\n' AS t"
NESTED_ROW = {"n": 1, "l": ["x", 'y, "z"'], "s": {"a": 1, "b": [True]}, "none": None, "t": "é\n"}


@pytest.mark.parametrize("to_file", [False, True])
def test_sql_writes_csv_with_nested_columns_as_json(here: Cli, demo: Demo, tmp_path: Path, to_file: bool) -> None:
    target = tmp_path / "out.csv"
    said = here("sql", NESTED, "--format", "csv", *(["--output", str(target)] if to_file else []), at=demo.home)
    assert said.code == 0
    (row,) = csv.DictReader(io.StringIO(target.read_text("utf-8") if to_file else said.out, newline=""))
    assert {name: json.loads(row[name]) for name in ("n", "l", "s")} == {k: NESTED_ROW[k] for k in ("n", "l", "s")}
    assert (row["none"], row["t"]) == ("", "é\n")


def test_sql_writes_json_lines(here: Cli, demo: Demo, tmp_path: Path) -> None:
    assert json.loads(here("sql", NESTED, "--format", "json", at=demo.home).out) == NESTED_ROW
    target = tmp_path / "items.json"
    said = here("sql", "FROM personas ORDER BY persona_id", "--format", "json", "--output", str(target), at=demo.home)
    assert (said.code, said.out) == (0, "")
    rows = [json.loads(line) for line in target.read_text("utf-8").splitlines()]
    assert rows == Store(home=str(demo.home)).read_all("personas").sort("persona_id").to_dicts()


def test_sql_writes_parquet(here: Cli, demo: Demo, tmp_path: Path) -> None:
    target = tmp_path / "items.parquet"
    assert here("sql", "FROM personas", "--format", "parquet", "--output", str(target), at=demo.home).code == 0
    table = Store(home=str(demo.home)).read_all("personas")
    assert pl.read_parquet(target).sort("persona_id").equals(table.sort("persona_id"))
    assert here("sql", NESTED, "--format", "parquet", "--output", str(target), at=demo.home).code == 0
    assert pl.read_parquet(target).to_dicts() == [NESTED_ROW]


def test_sql_writes_a_table(here: Cli, demo: Demo, tmp_path: Path) -> None:
    target = tmp_path / "out.txt"
    wide = "SELECT repeat('x', 300) AS long, * FROM range(201) AS t(number)"
    said = here("sql", wide, "--output", str(target), at=demo.home)
    assert (said.code, said.out) == (0, "")
    text = target.read_text("utf-8")
    assert " number " in text
    assert "│    199 │" in text
    assert "│    200 │" not in text
    assert "The first 200 rows" in text


def test_sql_shows_text_as_it_is(here: Cli, demo: Demo) -> None:
    """Markup, emoji codes and control characters of a page are plain text."""
    said = here("sql", "SELECT persona FROM personas WHERE origin = 'imported'", at=demo.home)
    assert "A [bold]jazz[/bold] drummer \\x1b[31mwho builds :drum: cymbals" in said.out
    assert "\x1b" not in said.out
    assert "[/nothing]" in here("sql", "SELECT '[/nothing]' AS x", at=demo.home).out


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("SELEC 1", "syntax error"),
        ("SELECT * FROM persona", "Did you mean"),
        ("SELECT 1 AS a, 2 AS A", "give them different names with AS"),
        ("SELECT INTERVAL 1 DAY AS i", "cast them to VARCHAR"),
        ("DELETE FROM personas", "read-only"),
        ("COPY (SELECT 1 AS a) TO '{home}/tables/personas/batch=my-pages/part.parquet' (FORMAT parquet)", "COPY"),
        ("EXPLAIN ANALYZE COPY (SELECT 1) TO '{home}/tables/x.csv'", "EXPLAIN accepts only a query"),
        ("SELECT * FROM read_text('{home}/hub.toml')", "Permission Error"),
        ("FROM enable_logging('QueryLog', storage='file', storage_path='{home}/tables/x'); SELECT 1", "enable_logging"),
        (".read {home}/hub.toml", "only files that end with .sql"),
        (".read none.sql", "there is no such file"),
        ("IMPORT DATABASE '/etc'", "Permission Error"),
        ("SELECT getenv('HOME')", "getenv"),
    ],
)
def test_sql_refuses(here: Cli, demo: Demo, query: str, message: str) -> None:
    files = lasting(demo.home)
    said = here("sql", query.format(home=demo.home), "--format", "csv", at=demo.home)
    assert message in said.refusal()
    assert lasting(demo.home) == files


def lasting(home: Path) -> list[Path]:
    """Files of a home, without those of queries and of SQLite, which come and go: other workers use the same home."""
    sidecars = (".lock", "-journal", "-shm", "-wal")
    return sorted(
        file
        for file in home.rglob("*")
        if "aside" not in file.relative_to(home).parts and not file.name.endswith(sidecars)
    )


def test_sql_describes_a_table(here: Cli, demo: Demo) -> None:
    said = here("sql", "--schema", "personas", at=demo.home)
    assert said.out.startswith("personas (table, 4 rows): The hub: candidates that both dedup stages kept\n")
    assert "│ hop           │ TINYINT │ Relations followed from the root persona, 0 for roots" in said.out
    assert " generations " not in said.out


def test_sql_describes_everything_for_programs(here: Cli, demo: Demo) -> None:
    rows = [json.loads(line) for line in here("sql", "--schema", "--format", "json", at=demo.home).out.splitlines()]
    found = {(row["table"], row["column"]): row for row in rows}
    assert found["generations", "latency_s"]["meaning"] == "Seconds from the first send to the last answer"
    assert found["persona_lineage", "step"] | {"meaning": None} == {
        "table": "persona_lineage",
        "kind": "view",
        "rows": None,
        "about": "Every candidate with its parents up to its root and the document. For one id use lineage(id)",
        "column": "step",
        "type": "INTEGER",
        "meaning": None,
    }
    listed = here("sql", "--format", "csv", at=demo.home).out.splitlines()[1:]
    assert {row["table"] for row in rows} == {line.split(",")[0] for line in listed}


def test_sql_names_the_table_that_was_meant(here: Cli, demo: Demo) -> None:
    assert "'persona' (did you mean 'personas'? valid: " in here("sql", "--schema", "persona", at=demo.home).refusal()


def test_sql_reads_files_within_a_query(here: Cli, demo: Demo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "both.sql").write_text("SELECT 1 AS a;\n.read other.sql\n")
    (tmp_path / "parts" / "other.sql").write_text("SELECT '.read x.sql' AS b;")
    monkeypatch.chdir(tmp_path)
    query = ".read parts/both.sql\n.read 'sql/analysis/batch_overview.sql';\nSELECT 3 AS c"
    out = here("sql", query, "--format", "csv", at=demo.home).out.splitlines()
    assert [out[0], out[2], out[3], out[-1]] == ["a", "b", ".read x.sql", "3"]
    assert any(line.startswith("my-pages,") for line in out)
    (tmp_path / "parts" / "other.sql").write_text(".read both.sql")
    assert "reads itself: both.sql → other.sql → both.sql" in here("sql", query, at=demo.home).refusal()


def test_sql_gives_the_result_of_a_pivot(here: Cli, demo: Demo) -> None:
    said = here("sql", "PIVOT personas ON origin USING count(*) GROUP BY hop", "--format", "csv", at=demo.home)
    assert said.out.splitlines()[0].startswith("hop,imported,")


def _doubled(times: int) -> str:
    """A query whose plan doubles with every step."""
    steps = ", ".join(f"a{n} AS NOT MATERIALIZED (FROM a{n - 1} UNION ALL FROM a{n - 1})" for n in range(1, times))
    return f"WITH a0 AS (SELECT 1 AS x), {steps} SELECT count(*) FROM a{times - 1}"


@pytest.mark.parametrize(
    "query",
    [
        "SELECT count(*) FROM range(10_000_000_000_000) AS t(a) WHERE a % 7 = 3",
        _doubled(60),
        "SELECT regexp_replace(repeat('a', 300_000_000), 'a', 'bb', 'g')",
    ],
)
def test_sql_stops_after_a_time(here: Cli, demo: Demo, query: str) -> None:
    """Also in DuckDB's planner and within one call of a function, which DuckDB does not interrupt."""
    said = here("sql", query, "--max-time", ".6s", at=demo.home)
    assert said.refusal() == "error: stopped after 0.6 s (--max-time)\n"
    assert not list((demo.home / "aside").glob(f"{os.getpid()}-*"))


def test_sql_refuses_what_is_no_time(here: Cli, demo: Demo) -> None:
    assert "is not a time" in here("sql", "SELECT 1", "--max-time", "soon", at=demo.home).refusal(2)


def test_sql_is_bounded_in_memory(here: Cli, tmp_path: Path) -> None:
    """One value, and many values, none of which DuckDB can spill."""
    home = tmp_path / "hub"
    build.build(Store(home=str(home)))
    (home / "hub.toml").write_text("[warehouse]\nmemory_mb = 256\n")
    for query in (
        "SELECT length(repeat('x', 4_000_000_000))",
        "SELECT list(repeat('x', 1_000_000)) FROM range(2000)",
    ):
        assert here("sql", query, at=home).refusal().startswith("error: out of memory (warehouse.memory_mb = 256): ")


def test_a_condition_is_bounded_in_memory(demo: Demo) -> None:
    with pytest.raises(QueryError, match="out of memory"):
        ids_meeting(demo.home, 256, "personas", ["persona_id"], ["length(repeat('x', 4_000_000_000)) > hop"])


def test_sql_ends_with_the_command(demo: Demo, tmp_path: Path) -> None:
    """The query ends with the command for any reason; a closed pipe is not an error."""
    with begin(demo.home, "sql", "FROM range(3_000_000)", "--format", "csv") as command:
        assert command.stdout is not None
        assert command.stdout.readline() == "range\n"
        child = int(Path(f"/proc/{command.pid}/task/{command.pid}/children").read_text().split()[0])
        command.stdout.close()
        assert (command.wait(30), command.stderr and command.stderr.read()) == (141, "")
        _wait_for_end(child)
    with begin(demo.home, "sql", "SELECT count(*) FROM range(10_000_000_000_000) AS t(a) WHERE a % 7 = 3") as command:
        children = Path(f"/proc/{command.pid}/task/{command.pid}/children")
        while not (pids := children.read_text().split()):
            time.sleep(0.05)
        command.kill()
        _wait_for_end(int(pids[0]))


def _wait_for_end(pid: int) -> None:
    for _ in range(200):
        state = Path(f"/proc/{pid}/stat")
        if not state.exists() or state.read_text().rsplit(")", 1)[1].split()[0] == "Z":
            return
        time.sleep(0.05)
    raise AssertionError(f"process {pid} goes on")


HOSTILE = "\x1b[2J[/nope]\u202e\x9b31m\x07"


def test_sql_prints_nothing_that_commands_a_terminal(here: Cli, demo: Demo, monkeypatch: pytest.MonkeyPatch) -> None:
    """Headings, values and DuckDB's messages, as a table, and as CSV or JSON on a terminal."""
    queries = [
        f"SELECT '{HOSTILE}' AS \"a {HOSTILE}\"",
        f'SELECT "{HOSTILE}"',
        f"FROM '{HOSTILE}'",
        f"SELECT 1 {HOSTILE}",
    ]
    for query in queries:
        said = here("sql", query, at=demo.home)
        assert not set(HOSTILE) - set("[2J/nope]31m") & set(said.out + said.err), said
        assert "[/nope]" in said.out + said.err
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    for form in ("csv", "json"):
        said = here("sql", queries[0], "--format", form, at=demo.home)
        assert not set(HOSTILE) - set("[2J/nope]31m") & set(said.out), said


FORMULAS = [
    "=1+1",
    "+1",
    "-1",
    "@SUM(1)",
    "\t=1",
    "\r=1",
    "\n=1",
    " =1",
    "\u200b=1",
    "\ufeff@x",
    "＝1",
    "a;=cmd|' /C calc'!A1",
]


def test_sql_writes_csv_that_a_spreadsheet_does_not_run(here: Cli, demo: Demo) -> None:
    values = ", ".join(
        f"({n}, '{text.replace(chr(39), chr(39) * 2)}')" for n, text in enumerate([*FORMULAS, "a - b = c"])
    )
    query = f"""SELECT -n AS n, text AS "=text" FROM (VALUES {values}) AS t(n, text)"""
    (head, *rows) = csv.reader(
        io.StringIO(here("sql", query, "--format", "csv", "--safe", at=demo.home).out, newline="")
    )
    assert head == ["n", "'=text"]
    assert [n for n, _ in rows] == [str(-n) for n in range(len(rows))]
    for (_, shown), text in zip(rows, [*FORMULAS, "a - b = c"], strict=True):
        assert not re.search(r"(^|;)[\s\u200b\ufeff]*[=+\-@＝]", shown), shown
        assert shown.replace("'", "") == text.replace("'", "")
    assert rows[-1][1] == "a - b = c"
    plain = here("sql", query, "--format", "csv", at=demo.home).out
    assert next(csv.reader(io.StringIO(plain))) == ["n", "=text"]
    assert "--safe is for --format csv" in here("sql", query, "--safe", at=demo.home).refusal(2)


@pytest.mark.parametrize(
    "target", ["tables/personas/batch=my-pages/part.parquet", "warehouse.duckdb", "releases/x.csv"]
)
def test_sql_does_not_write_over_the_home(here: Cli, demo: Demo, target: str) -> None:
    said = here("sql", "SELECT 1", "--format", "csv", "--output", str(demo.home / target), at=demo.home)
    assert "is the home's own" in said.refusal()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["run", "--max-time", ""], "--max-time"),
        (["run", "--max-time="], "--max-time"),
        (["takedown", "--document", "a", "--batch", ""], "--batch"),
        (["ingest", ""], "argument 2"),
        (["ingest", "pages.jsonl", "--generations", ""], "--generations"),
        (["sql", "SELECT 1", "--max-time", ""], "--max-time"),
    ],
)
def test_an_empty_argument_is_refused(here: Cli, arguments: list[str], named: str) -> None:
    """A limit from an unset variable would be no limit, and an empty path the current folder."""
    assert f"error: {named} is empty" in here(*arguments).refusal(2)


@pytest.mark.parametrize("option", ["--document", "--persona", "--url-prefix", "--batch"])
def test_what_is_taken_down_is_text(here: Cli, option: str) -> None:
    assert "is not UTF-8" in here("takedown", option, "https://example.org/\udcff").refusal(2)


def test_an_error_about_an_argument_without_end_is_cut(here: Cli) -> None:
    message = here("run", "--batch", "x" * 100_000).refusal()
    assert len(message) < 10_000
    assert message.rstrip().endswith("personahub ingest FILE")


def test_sql_takes_a_short_query_of_long_letters(here: Cli, demo: Demo) -> None:
    """The text has more bytes than the maximum of a file name."""
    said = here("sql", f"SELECT '{'人' * 100}' AS a", "--format", "json", at=demo.home)
    assert json.loads(said.out) == {"a": "人" * 100}


def test_sql_leaves_a_file_as_it_was_where_it_fails(here: Cli, demo: Demo, tmp_path: Path) -> None:
    target = tmp_path / "out.csv"
    target.write_text("before")
    query = "SELECT a / 0 AS b, error('no') FROM range(3) AS t(a)"
    here("sql", query, "--format", "csv", "--output", str(target), at=demo.home).refusal()
    assert target.read_text() == "before"
    assert list(tmp_path.iterdir()) == [target]


def test_sql_writes_a_large_result_in_pieces(here: Cli, demo: Demo, tmp_path: Path) -> None:
    query = "SELECT a, repeat(chr(97 + (a % 26)::INTEGER), 20) AS b FROM range(30_000) AS t(a) ORDER BY a DESC"
    for form, read in (("csv", pl.read_csv), ("json", pl.read_ndjson), ("parquet", pl.read_parquet)):
        target = tmp_path / f"out.{form}"
        assert here("sql", query, "--format", form, "--output", str(target), at=demo.home).code == 0
        assert read(target)["a"].to_list() == list(range(29_999, -1, -1))  # type: ignore[operator]


def test_sql_reads_files_with_a_bound(here: Cli, demo: Demo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that read others twice would double at each level, even empty ones."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "0.sql").write_text("")
    for level in range(1, 40):
        (tmp_path / f"{level}.sql").write_text(f".read {level - 1}.sql\n" * 2)
    assert "include others several times" in here("sql", "39.sql", at=demo.home).refusal()
    (tmp_path / "0.sql").write_bytes(b"SELECT '\xff'")
    assert "0.sql: invalid start byte at byte 9: save it as UTF-8" in here("sql", "0.sql", at=demo.home).refusal()


def test_sql_lists_the_tables_where_a_pipe_is_silent(demo: Demo) -> None:
    """As under a scheduler: standard input is a pipe that is never written or closed."""
    command = [sys.executable, "-m", "personahub_assets.cli.app", "sql", "--format", "csv"]
    with subprocess.Popen(
        command, env=environment(demo.home), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert "table,rows,about" in process.stdout.readline()
        process.stdout.read()
        assert process.wait(60) == 0


def test_sql_reads_what_the_store_holds(here: Cli, demo: Demo) -> None:
    """The views over the store are readable, although other files are not."""
    said = here("sql", "SELECT count(*) AS n FROM generations", "--format", "json", at=demo.home)
    assert json.loads(said.out) == {"n": 2}


@pytest.mark.parametrize("form", ["table", "csv", "json", "parquet"])
def test_sql_puts_one_result_into_a_file_that_can_be_written(here: Cli, demo: Demo, tmp_path: Path, form: str) -> None:
    arguments = ["--format", form, "--output"]
    nowhere = tmp_path / "nowhere" / "out"
    assert str(nowhere) in here("sql", "SELECT 1", *arguments, str(nowhere), at=demo.home).refusal()
    said = here("sql", "SELECT 1; SELECT 2", *arguments, str(tmp_path / "out"), at=demo.home)
    assert "a file can have one result" in said.refusal()


# --- search ---


def test_search_finds_by_meaning(here: Cli, demo: Demo) -> None:
    said = here("search", "somebody who mends antique timepieces", "-k", "2", "--format", "json", at=demo.home)
    first, second = map(json.loads, said.out.splitlines())
    assert first["persona"] == ROWS[2]["persona"]
    assert first["similarity"] > second["similarity"]
    assert (said.code, said.err) == (0, "")
    found = here("search", "mends timepieces", "--where", "origin = 'text' -- and nobody else", at=demo.home)
    assert found.code == 0
    assert "old clocks" not in found.out
    assert " similarity " in found.out


def test_search_as_a_table_function_of_sql(here: Cli, demo: Demo) -> None:
    hits = "search_personas('antique timepieces', k := 3) AS s JOIN batches AS b USING (batch)"
    query = f"SELECT s.similarity, b.source FROM {hits} ORDER BY 1 DESC"
    rows = [json.loads(line) for line in here("sql", query, "--format", "json", at=demo.home).out.splitlines()]
    direct = here("search", "antique timepieces", "-k", "3", "--format", "json", at=demo.home).out
    assert [row["similarity"] for row in rows] == [json.loads(line)["similarity"] for line in direct.splitlines()]
    refusal = here("sql", "FROM search_personas(' ')", at=demo.home).refusal()
    assert "error: nothing to search for" in refusal
    assert ".py" not in refusal


@pytest.mark.parametrize("text", [[], ["jazz"]])
def test_search_chooses_personas_that_cover_the_hub(here: Cli, demo: Demo, tmp_path: Path, text: list[str]) -> None:
    target, backup = tmp_path / "my picks.parquet", tmp_path / "backup"
    backup.write_bytes(b"before")
    os.link(backup, target)
    said = here("search", *text, "--diverse", "-k", "3", "--output", str(target), at=demo.home)
    assert backup.read_bytes() == b"before"
    assert (said.code, said.out) == (0, "")
    picks = pl.read_parquet(target)
    assert picks.columns == ["pick", "stands_for", "persona", "persona_id", "batch", "hop"]
    assert picks["pick"].to_list() == [1, 2, 3]
    assert picks["stands_for"].sum() == len(ROWS)
    assert picks["persona_id"].n_unique() == 3
    assert "3 of 4 personas. Similarity of a persona to the nearest of them:" in said.err
    assert "of as many at random:" in said.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give a text, or --diverse"),
        ([" "], "nothing to search for"),
        (["x", "--output", ""], "--output is empty"),
        (["x", "--format", "parquet"], "--output picks.parquet"),
        (["x", "--output", "picks.docx"], "unknown format '.docx'"),
        (["x", "--where", "hop = "], "--where 'hop = ': "),
        (["x", "--where", "height > 2"], 'Referenced column "height" not found'),
        (["x", "--where", "hop = 99"], "no persona matches"),
        (["x", "--where", "true); SELECT (1"], 'syntax error at or near ")"'),
        (["x", "--where", "true) ORDER BY (1"], 'syntax error at or near ")"'),
        (["x", "--where", "true ORDER BY 1"], "give exactly one condition"),
        (["x", "--where", "persona IN (SELECT content FROM read_text('/etc/hostname'))"], "Permission Error"),
        (["x", "--where", "persona IN (SELECT * FROM query('SELECT 1'))"], "query() is refused"),
    ],
)
def test_search_refuses(here: Cli, demo: Demo, arguments: list[str], message: str) -> None:
    # A condition is wrong for the columns that the home has, all else for any home.
    assert message in here("search", *arguments, at=demo.home).refusal(1 if "--where" in arguments else 2)


def test_search_needs_personas(here: Cli, home: Path, tmp_path: Path) -> None:
    assert "has no personas yet: personahub run" in here("search", "x").refusal()
    assert "has no personas yet: personahub run" in here("search", "--diverse").refusal()
    assert not (home / "cache").exists()


def test_search_says_that_the_hub_was_embedded_with_another_model(
    demo: Demo, capsys: pytest.CaptureFixture[str]
) -> None:
    other = Environment(home=demo.home, embed_url="http://127.0.0.1:9/v1", embed_model="another")
    with pytest.raises(StoreError, match="none of the 4 personas has a vector of another"):
        Hub(environment=other).search("x", 3)


# --- doctor ---


def test_doctor_finds_all_well(here: Cli, home: Path, standin: StandinServer) -> None:
    said = here("doctor", url=standin.url)
    lines = said.err.splitlines()
    assert said.code == 0, said.err
    assert all(line.startswith("ok  ") for line in lines)
    names = " ".join(lines)
    for name in ("versions", "home", "hub.toml", "prompts", "embedder", "endpoint", "model", "schema tools"):
        assert f"ok  {name} " in names


def test_doctor_names_what_is_wrong(here: Cli, home: Path) -> None:
    home.mkdir()
    (home / "hub.toml").write_text("[text_personas]\nper_page = 3\n")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, but nobody listens
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        said = here("doctor", "--no-canary", url=url)
    assert said.code == 1
    wrong = [line for line in said.err.splitlines() if line.startswith("no  ")]
    assert {line.split()[1] for line in wrong} == {"hub.toml", "prompts", "embedder", "endpoint"}
    assert any(f"{url}/models" in line for line in wrong)
    assert any("text_personas.per_page" in line for line in wrong)
    assert "Traceback" not in said.err


def test_doctor_prints_a_fault_once_and_checks_the_rest(here: Cli, home: Path, standin: StandinServer) -> None:
    (home / "prompts").mkdir(parents=True)
    (home / "prompts" / "tools.md").write_text("no front matter")
    said = here("doctor", url=standin.url)
    lines = said.err.splitlines()
    assert said.code == 1
    assert [line.split("  ")[:2] for line in lines if line.startswith("no")] == [
        ["no", "prompts"],
        ["no", "schema tools"],
    ]
    assert "no  schema tools  as prompts" in lines
    assert sum(line.startswith("ok  schema ") for line in lines) == len(DATASETS) + 1


# --- standin ---


def test_standin_refuses_a_taken_port_and_unknown_faults(here: Cli, standin: StandinServer) -> None:
    assert f"port {standin.port} on 127.0.0.1 is taken" in here("standin", "--port", str(standin.port)).refusal()
    assert "unknown kind 'typo'" in here("standin", "--port", "0", "--faults", "typo=0.1").refusal(2)


def test_standin_lists_its_faults(here: Cli) -> None:
    listed = here("standin", "--faults", "help").out
    for word in ("bad_json", "no_credit", "limit_told", "no_system", "The endpoint"):
        assert word in listed


def test_standin_says_its_address_serves_and_ends_with_ctrl_c(home: Path) -> None:
    server = begin(home, "standin", "--port", "0", "--latency-ms", "1")
    assert server.stderr is not None
    found = re.search(r"PERSONAHUB_LLM_URL=(http://127\.0\.0\.1:\d+/v1)", server.stderr.readline())
    try:
        assert found
        with urllib.request.urlopen(f"{found[1]}/models", timeout=10) as answer:
            assert [model["id"] for model in json.load(answer)["data"]] == ["standin"]
        server.send_signal(signal.SIGINT)
    finally:
        if not found:
            server.kill()
        said = server.communicate(timeout=120)
    assert (server.returncode, *said) == (130, "", "stopped\n")


# --- stopped, killed, side by side ---


def test_a_run_that_was_stopped_and_killed_goes_on(
    here: Cli, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C, then kill -9, then a complete run: answered requests are not repeated, and no row is duplicated."""
    documents, window = 24, 4
    home.mkdir()
    (home / "hub.toml").write_text(f"{SETTINGS}[generation]\nmax_in_flight = {window}\n")
    store = Store(home=str(home))
    register(store, str(pages(tmp_path / "pages.jsonl", documents)))
    arguments = ["--select", "+text_personas"]

    with StandinServer(latency_ms=250) as server:
        for sent, calls in ((signal.SIGINT, 5), (signal.SIGKILL, 13)):
            stopped = begin_run(home, *arguments, url=server.url)
            until(lambda calls=calls: server.stats()["calls"] >= calls, f"{calls} calls were made")  # type: ignore[misc]
            stopped.send_signal(sent)
            said = Said(*stopped.end())
            assert "Traceback" not in said.err
            if sent is signal.SIGINT:
                assert said.code == 130
                assert "stopped; all answers so far are kept" in said.err.replace("\n", " ")
            else:
                assert said.code == -signal.SIGKILL
        said = here("run", *arguments, url=server.url)
        stats = server.stats()
    assert said.code == 0, said.err

    rows, asked = store.read_all("text_personas"), store.read_all("generations")
    assert rows.height == rows["document_id"].n_unique() == documents
    assert asked.height == asked["generation_id"].n_unique() == documents
    assert sorted(rows["generation_id"]) == sorted(asked["generation_id"])
    # Only what was in flight at the two interruptions is asked again.
    assert stats["calls"] <= documents + 2 * window
    assert stats["repeats"] <= 2 * window
    assert not list((home / "journal").rglob("*.sqlite*"))

    monkeypatch.setenv("DAGSTER_HOME", "")
    with open_instance(home) as instance:
        runs = sorted(instance.get_run_records(), key=lambda record: record.create_timestamp)
        stopped_run, killed_run, *rest = [record.dagster_run.status for record in runs]
        assert stopped_run in (dg.DagsterRunStatus.CANCELED, dg.DagsterRunStatus.FAILURE)
        assert killed_run is dg.DagsterRunStatus.FAILURE
        assert rest == [dg.DagsterRunStatus.SUCCESS] * 2
        pool = instance.event_log_storage.get_concurrency_info("llm")
        assert (pool.active_slot_count, pool.pending_step_count) == (0, 0)


def test_runs_of_two_batches_and_two_of_one_go_side_by_side_under_a_reader(home: Path, tmp_path: Path) -> None:
    """In a home without an instance; the second run of a batch waits, or names the process that holds it."""
    documents = 4
    home.mkdir()
    (home / "hub.toml").write_text(f"{SETTINGS}[generation]\nmax_in_flight = 2\n")
    store = Store(home=str(home))
    for name in ("one", "two"):
        source = pages(tmp_path / f"{name}.jsonl", documents, book=f"book {name}")
        source.write_text(source.read_text() + json.dumps(ROWS[2]) + "\n")
        register(store, str(source))
    build.build(store)
    with StandinServer(latency_ms=300) as server, reading(store) as seen:
        started = [
            begin_run(home, "--batch", name, "--select", "+lexical_duplicates", url=server.url)
            for name in ("one", "one", "two")
        ]
        *both, two = [Said(*each.end()) for each in started]
        calls = server.stats()["calls"]
    assert set(seen) == {0}  # what it opened

    assert two.code == 0, two
    assert 0 in [said.code for said in both], both
    for said, other in zip(both, reversed(started[:2]), strict=True):
        assert "Traceback" not in said.err
        if said.code:
            assert said.code == 1
            assert f"-one is being worked on by process {other.pid}" in said.err.replace("\n", " ")
    assert calls == 2 * documents
    rows, asked = store.read_all("text_personas"), store.read_all("generations")
    assert rows.height == rows["persona_id"].n_unique() == 2 * (documents + 1)
    assert asked.height == asked["generation_id"].n_unique() == 2 * documents
    with duckdb.connect(str(store.paths.warehouse), read_only=True) as connection:
        found = connection.execute("SELECT batch, count(*) FROM documents GROUP BY 1 ORDER BY 1").fetchall()
        fates = connection.execute(
            "SELECT count(*), count(keeper_id) FROM decisions WHERE stage = 'lexical'"
        ).fetchall()
    # The person of both files is kept for the batch that was admitted first, whichever it was.
    assert (found, fates) == ([("one", documents), ("two", documents)], [(2 * (documents + 1), 1)])
    assert sorted(store.read_all("decisions", asset="lexical_duplicates")["admission"].unique()) == [1, 2]


@contextmanager
def reading(store: Store) -> Iterator[list[int]]:
    """A connection that stays open while its file is replaced; returns the counts that it read."""
    seen: list[int] = []
    done = threading.Event()

    def read() -> None:
        with duckdb.connect(str(store.paths.warehouse), read_only=True) as connection:
            while not done.wait(0.1):
                (count,) = connection.execute("SELECT count(*) FROM personas, batches").fetchone() or (-1,)
                seen.append(count)

    with ThreadPoolExecutor(1) as threads:
        reader = threads.submit(read)
        try:
            yield seen
        finally:
            done.set()
        reader.result()
