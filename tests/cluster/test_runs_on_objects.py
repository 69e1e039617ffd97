"""Runs of several workers on one home: the tables of an embedded run, nothing paid twice, little lost with a worker."""

import json
import os
import signal
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from hub import SETTINGS, TOPICS
from processes import Process
from storage_server import Handler, Proxy

from personahub_assets.core.object_homes import working_copy
from personahub_assets.standin.server import StandinServer
from personahub_assets.store.tables import Store

_ASSETS = ("--select", "+tools", "--select", "warehouse")
_TABLES = ("documents", "text_personas", "related_personas", "decisions", "personas", "tools")


class Worker:
    """A machine with a disk of its own."""

    def __init__(self, url: str, folder: Path, server: str):
        self.store = Store(home=str(working_copy(url, folder)))
        self._folder = folder
        variables = {"PERSONAHUB_HOME": url, "PERSONAHUB_WORK": str(folder), "PERSONAHUB_LLM_URL": server}
        self._variables = {**os.environ, **variables, "DAGSTER_HOME": "", "OPENBLAS_NUM_THREADS": "1"}
        folder.mkdir(exist_ok=True)

    def begin(self, *arguments: str) -> Process:
        return Process(list(arguments), self._variables, self._folder)

    def __call__(self, *arguments: str) -> str:
        code, out, err = self.begin(*arguments).end()
        assert code == 0, err
        return out


@pytest.fixture
def machine(url: str, tmp_path: Path) -> Callable[[str, str], Worker]:
    return lambda name, server: Worker(url, tmp_path / name, server)


def pages(path: Path, count: int) -> Path:
    path.write_text("".join(json.dumps({"id": f"p{n}", "text": f"{n}. {TOPICS[n % 6]}"}) + "\n" for n in range(count)))
    return path


def rows(store: Store, table: str) -> pl.DataFrame:
    frame = store.read_all(table)
    return frame.sort(frame.columns) if table != "tools" else frame.sort("item_id")


def test_workers_share_a_home_and_its_tables_are_those_of_an_embedded_run(
    machine, tmp_path, bucket: Proxy, monkeypatch
):
    settings = f"{SETTINGS}[storage]\njournal_copy_seconds = 1\n"
    with StandinServer() as server:
        embedded = tmp_path / "hub"
        embedded.mkdir()
        (embedded / "hub.toml").write_text(settings)
        first, second = machine("first", server.url), machine("second", server.url)
        first.store.pulled().working_copy.objects.write("hub.toml", settings.encode(), "absent")
        local = {**os.environ, "PERSONAHUB_HOME": str(embedded), "PERSONAHUB_LLM_URL": server.url, "DAGSTER_HOME": ""}
        for number in (1, 2):
            source = str(pages(tmp_path / f"pages{number}.jsonl", 4))
            worker = (first, second)[number - 1]
            worker("ingest", source)
            worker("run", "--batch", f"pages{number}", *_ASSETS)
            for arguments in (["ingest", source], ["run", "--batch", f"pages{number}", *_ASSETS]):
                code, _, err = Process(arguments, local, tmp_path).end()
                assert code == 0, err
        home, third = Store(home=str(embedded)), machine("third", server.url)
        calls = server.stats()["calls"]
        third("run", *_ASSETS)
        assert server.stats()["calls"] == calls
        for worker in (first, second, third):
            for table in _TABLES:
                assert rows(worker.store.pulled(), table).equals(rows(home, table)), table
        # The warehouse of another machine is taken over, and its views read the files here.
        reader = machine("reader", server.url)
        count = "SELECT count(*) AS n, count(DISTINCT batch) AS b FROM generations"
        (line,) = json.loads(f"[{reader('sql', '--format', 'json', count).strip()}]")
        assert line == {"n": home.read_all("generations").height, "b": 2}
        # The source file is at hand for the worker that needs it.
        assert not list(reader.store.paths.inbox.rglob("*.jsonl"))

        document = rows(home, "documents").row(0, named=True)
        second("takedown", "--document", document["document_id"], "--yes")
        words = document["text"][:40].encode()
        third.store.pulled()
        for worker in (first, second, third):
            assert document["document_id"] not in worker.store.pulled().read_all("documents")["document_id"].to_list()
            assert not list(worker.store.paths.cache.rglob("*")) or worker is second
        objects = second.store.working_copy.objects
        texts = [objects.read(key)[0] for key, _ in objects.list() if key.startswith("inbox/")]
        assert texts
        assert not any(words in text for text in texts)
        for worker in (first, third):
            worker("run", *_ASSETS)
            assert document["document_id"] not in rows(worker.store, "documents")["document_id"].to_list()
        assert server.stats()["calls"] == calls


def test_a_lost_worker_loses_one_interval_of_answers_at_most(machine, tmp_path):
    documents, window = 40, 4
    with StandinServer(latency_ms=200) as server:
        first, second = machine("first", server.url), machine("second", server.url)
        settings = f"{SETTINGS}[generation]\nmax_in_flight = {window}\n[storage]\njournal_copy_seconds = 1\n"
        objects = first.store.pulled().working_copy.objects
        objects.write("hub.toml", settings.encode(), "absent")
        first("ingest", str(pages(tmp_path / "pages.jsonl", documents)))
        lost = first.begin("run", "--select", "+text_personas")
        while (copied := copied_answers(objects, tmp_path)) < 8:
            time.sleep(0.2)
        os.kill(lost.pid, signal.SIGKILL)
        lost.end()
        made = server.stats()["calls"]
        second("run", "--select", "+text_personas")
        stats = server.stats()
        assert stats["calls"] <= documents + (made - copied)
        assert second.store.read_all("text_personas")["document_id"].n_unique() == documents
        assert [key for key, _ in objects.list("journal/")] == []


def test_a_storage_that_goes_away_ends_a_run_with_its_name_and_nothing_is_paid_twice(machine, tmp_path, bucket: Proxy):
    with StandinServer() as server:
        worker = machine("first", server.url)
        worker.store.pulled().working_copy.objects.write("hub.toml", SETTINGS.encode(), "absent")
        worker("ingest", str(pages(tmp_path / "pages.jsonl", 6)))

        def go_away(_: Proxy, handler: Handler, __: bytes) -> bool:
            is_away = server.stats()["calls"] > 2
            if is_away:
                handler.break_off()
            return is_away

        bucket.trouble = go_away
        code, _, err = worker.begin("run", *_ASSETS).end()
        bucket.trouble = None
        failed = [line for line in err.splitlines() if line.startswith("failed: ")]
        assert code == 1
        assert any(line.startswith("failed: warehouse: ") for line in failed)
        assert all("s3://bucket/" in line and "the network; then run again" in line for line in failed), failed
        worker("run", *_ASSETS)
        assert server.stats()["calls"] == worker.store.read_all("generations")["attempts"].sum()


def copied_answers(objects, folder: Path) -> int:
    file = folder / "copy.sqlite"
    if objects.download("journal/text_personas/pages.sqlite", file) is None:
        return 0
    with sqlite3.connect(file) as connection:
        (count,) = connection.execute("SELECT count(*) FROM answers").fetchone()
    connection.close()
    return int(count)
