"""The server for agents: it speaks the protocol, and no query writes, reads foreign files or ends it."""

import hashlib
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from written import write_home

from personahub_assets.cli import mcp
from personahub_assets.cli.context import page
from personahub_assets.hub import Hub
from personahub_assets.store.tables import Store
from personahub_assets.warehouse.build import build

SECRET = "the secret of another folder"

# {home} and {outside} stand for the home and a folder beside it.
WRITES = [
    "COPY personas TO '{outside}/x.csv'",
    "COPY (SELECT 1) TO '{outside}/x.parquet' (FORMAT parquet)",
    "COPY personas TO '{home}/hub.toml'",
    "EXPLAIN ANALYZE COPY personas TO '{outside}/x.csv'",
    "EXPORT DATABASE '{outside}/all'",
    "IMPORT DATABASE '{outside}'",
    "ATTACH '{outside}/new.duckdb' AS new",
    "ATTACH '{home}/warehouse.duckdb' AS again (READ_WRITE)",
    "DETACH warehouse",
    "USE memory",
    "CREATE TABLE t AS SELECT 1",
    "CREATE OR REPLACE VIEW personas AS SELECT 1",
    "CREATE OR REPLACE MACRO why(x) AS TABLE SELECT 1",
    "CREATE SECRET (TYPE s3)",
    "DROP VIEW personas",
    "ALTER TABLE batches RENAME TO b",
    "INSERT INTO batches SELECT * FROM batches",
    "UPDATE batches SET batch = 'x'",
    "DELETE FROM batches",
    "TRUNCATE batches",
    "MERGE INTO batches USING batches AS b ON false WHEN NOT MATCHED THEN INSERT *",
    "VACUUM",
    "CHECKPOINT",
    "INSTALL httpfs",
    "LOAD httpfs",
    "SET memory_limit = '100GB'",
    "SET allowed_directories = ['/']",
    "RESET lock_configuration",
    "PRAGMA enable_profiling",
    "PRAGMA temp_directory = '{outside}'",
    "CALL enable_logging('FileSystem')",
    "SELECT * FROM query('COPY personas TO ''{outside}/x.csv''')",
    "SELECT * FROM json_execute_serialized_sql('{{}}')",
    "SELECT 1; COPY personas TO '{outside}/x.csv'",
    "PREPARE p AS SELECT 1",
    "BEGIN; DROP VIEW personas; COMMIT",
    "WITH t AS (DELETE FROM batches RETURNING *) FROM t",
]
READS = [
    "SELECT * FROM read_text('{outside}/secret.txt')",
    "SELECT * FROM read_csv('{outside}/secret.txt')",
    "SELECT * FROM read_blob('{home}/../outside/secret.txt')",
    "FROM '{outside}/secret.txt'",
    "FROM '{outside}/secret.csv'",
    "SELECT * FROM read_text('/proc/self/environ')",
    "SELECT * FROM read_text('/etc/passwd')",
    "SELECT getenv('HOME')",
    "SELECT * FROM read_text('http://127.0.0.1:9/secret')",
    "SELECT * FROM sqlite_scan('{home}/dagster/history/runs.db', 'runs')",
]
ENDS = [
    "SELECT '\x00'",
    "SELECT '\ud800'",
    "SELECT list_sum(range(1000000000)) FROM range(1000000)",
]
# These can end their process, or never end, so each needs a process of its own.
DEEP = "SELECT " + "(" * 5_000 + "1" + ")" * 5_000
ENDLESS = "WITH RECURSIVE t AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM t) SELECT count(*) FROM t"
ONE_PROCESS = """
import json, sys
from pathlib import Path
from personahub_assets.warehouse import query_worker, sandbox

class Channel:
    def __init__(self): self.frames = []
    def send(self, kind, payload=b"", **fields): self.frames.append(str(fields))
    def search(self, text: str, count: int) -> list[dict[str, object]]: return []

home, aside, queries = json.load(sys.stdin)
sandbox.confine(Path(aside))
sandbox.bound_memory(2_000)
for query in queries:
    channel, error = Channel(), None
    try:
        query_worker._answer(
            {"home": home, "text": query, "memory_mb": 256, "form": "table", "single": False}, Path(aside), channel
        )
    except Exception as raised:
        error = str(raised)
    print(json.dumps([error, channel.frames]), flush=True)
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with three personas, and a folder beside it."""
    folder = tmp_path_factory.mktemp("mcp")
    home, outside = folder / "hub", folder / "outside"
    for each in (home, outside, folder / "aside"):
        each.mkdir()
    (outside / "secret.txt").write_text(SECRET)
    (outside / "secret.csv").write_text(f"a\n{SECRET}\n")
    (home / "hub.toml").write_text("[warehouse]\nmemory_mb = 256\n")
    store = Store(home=str(home))
    write_home(store, {"a": 3})
    build(store)
    return folder


def ask(home: Path, *messages: dict[str, Any] | str) -> list[dict[str, Any]]:
    lines = [message if isinstance(message, str) else json.dumps(message) for message in messages]
    return list(mcp.replies(Hub(home), io.BytesIO("".join(f"{line}\n" for line in lines).encode())))


def call(name: str, number: int = 1, **arguments: Any) -> dict[str, Any]:
    params = {"name": name, "arguments": arguments}
    return {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}


def state(folder: Path) -> dict[str, str]:
    """Hashes of all files of the home and beside it; the caches of searches may be built."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and "cache" not in path.parts]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def filled(query: str, folder: Path) -> str:
    query = query.replace("{{}}", "{}").replace("{outside}", str(folder / "outside"))
    return query.replace("{home}", str(folder / "hub"))


def test_fifty_hostile_queries_neither_write_nor_read(made: Path) -> None:
    """In one process with the rights of a query: each `sql` call starts one, which takes a second."""
    before, queries = state(made), [filled(query, made) for query in (*WRITES, *READS, *ENDS)]
    assert len(queries) >= 50
    done = subprocess.run(
        [sys.executable, "-c", ONE_PROCESS],
        input=json.dumps([str(made / "hub"), str(made / "aside"), queries]),
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    replies = [json.loads(line) for line in done.stdout.splitlines()]
    for query, (error, frames) in zip(queries, replies, strict=True):
        assert error, (query[:80], frames)
        assert SECRET not in done.stdout
        assert "root:" not in done.stdout
    assert state(made) == before


def test_queries_that_end_their_process_do_not_end_the_server(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, queries = state(made), [DEEP, *(filled(query, made) for query in (WRITES[0], READS[0], ""))]
    replies = ask(made / "hub", *(call("sql", number, query=query) for number, query in enumerate(queries)))
    monkeypatch.setattr(mcp, "SECONDS", 0.5)
    (endless,) = ask(made / "hub", call("sql", query=ENDLESS))
    assert "stopped after 0.5 s" in endless["result"]["content"][0]["text"]
    texts = [reply["result"]["content"][0]["text"] for reply in replies]
    assert [reply["id"] for reply in replies] == [0, 1, 2, 3]
    assert [reply["result"]["isError"] for reply in replies[1:]] == [True, True, False]
    assert not any(SECRET in text for text in texts)
    assert texts[3] == "[]"
    assert state(made) == before


def test_broken_messages_are_errors_of_the_protocol(made: Path) -> None:
    ping = {"jsonrpc": "2.0", "id": "p", "method": "ping"}
    unknown = {"jsonrpc": "2.0", "id": 2, "method": "tools/write"}
    old = {**ping, "params": {"_meta": {"io.modelcontextprotocol/protocolVersion": "1999-01-01"}}}
    note = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    replies = ask(
        made / "hub",
        "{",
        "[" * 100_000,
        "[]",
        unknown,
        call("drop"),
        old,
        note,
        call("sql", 5),
        call("why", id=[]),
        ping,
    )
    codes = [reply.get("error", {}).get("code") for reply in replies]
    assert codes == [-32700, -32700, -32600, -32601, -32602, -32022, None, None, None]
    assert [reply["result"]["isError"] for reply in replies[6:8]] == [True, True]
    assert replies[-1]["id"] == "p"


def test_a_client_of_either_revision_lists_and_calls_tools(made: Path) -> None:
    """Over real pipes: standard output has messages only."""
    begin = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {"protocolVersion": "2025-06-18"}}
    discover = {"jsonrpc": "2.0", "id": 1, "method": "server/discover", "params": {}}
    listing = {"jsonrpc": "2.0", "id": 2, "method": "tools/list"}
    messages = [begin, discover, listing, call("plan", 3), call("why", 4, id="nobody"), call("context", 5)]
    messages.append(call("sql", 6, query="SELECT count(*) AS n FROM personas"))
    done = subprocess.run(
        [sys.executable, "-m", "personahub_assets", "mcp"],
        input="".join(json.dumps(message) + "\n" for message in messages),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={"PERSONAHUB_HOME": str(made / "hub"), "PYTHONPATH": ":".join(sys.path), "PATH": "/usr/bin:/bin"},
    )
    assert done.returncode == 0, done.stderr
    began, discovered, listed, planned, why, context, counted = (
        json.loads(line)["result"] for line in done.stdout.splitlines()
    )
    assert began["protocolVersion"] == "2025-06-18"
    assert discovered["supportedVersions"] == ["2026-07-28"]
    assert [tool["name"] for tool in listed["tools"]] == ["sql", "why", "plan", "search", "context"]
    assert json.loads(planned["content"][0]["text"])["total"]["calls"] == 0
    assert why["isError"]
    assert "### personas (" in context["content"][0]["text"]
    assert json.loads(counted["content"][0]["text"])[0]["rows"] == [["3"]]


def test_the_page_names_tables_counts_and_commands(made: Path, home: Path) -> None:
    text = page(Hub(made / "hub"))
    assert "### personas (view, 3 rows)" in text or "### personas (table, 3 rows)" in text
    assert "- `persona_id` VARCHAR: " in text
    assert "`personahub why ID`" in text
    assert "No warehouse yet: personahub run" in page(Hub(home))
