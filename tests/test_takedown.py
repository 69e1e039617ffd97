"""Takedown of a document with six hops below it, in a home made by the real graph."""

import gzip
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import polars as pl
import pytest
import typer.testing
from dagster._core.definitions.data_version import CachingStaleStatusResolver
from dagster._core.loader import LoadingContextForTest
from dagster._core.test_utils import create_run_for_test
from remnants import remnants
from written import put

from personahub_assets.cli.app import app
from personahub_assets.core.config import Environment
from personahub_assets.core.errors import LockHeld
from personahub_assets.core.records import DATASETS
from personahub_assets.core.text import digest
from personahub_assets.definitions import build as definitions
from personahub_assets.defs.checks import all_checks
from personahub_assets.defs.preview import PREVIEW, TRY
from personahub_assets.embedding.vectors import VectorJournal
from personahub_assets.generation.journal import Entry, Journal
from personahub_assets.generation.recorded import import_answers
from personahub_assets.generation.requests import Outcome
from personahub_assets.hub import Hub
from personahub_assets.instance.instance import PARTITIONS, forget_partition, open_instance, run_tags
from personahub_assets.runs.runner import run_batches
from personahub_assets.sources.register import register
from personahub_assets.standin.server import StandinServer
from personahub_assets.steps.candidates import identities
from personahub_assets.store.tables import PartitionWriter, Store
from personahub_assets.takedown import event_log, sweep
from personahub_assets.takedown.receipts import Line, Receipt, Target, find_receipt, unfinished_takedowns
from personahub_assets.takedown.shingles import Shingles
from personahub_assets.takedown.takedown import takedown
from personahub_assets.warehouse import build, live

UNUSED = DATASETS.keys() - {"math_problems"}
SETTINGS = "[text_personas]\nper_document = 2\n[related_personas]\nhops = 6\nfan_out = 1\n" + "".join(
    f"[datasets.{name}]\nshare = 0\n" for name in sorted(UNUSED)
)
GONE = "The lighthouse keeper of the northern isle wrote down every ship, and the name of each captain who waved."
OTHER = "Another text under the id that is taken down, which nobody may keep, whatever it was rejected for."
STAYS = "Bread proves slowly in a cold kitchen; the crumb is better for it, and the crust darker."
PAGES = [
    {"id": "a", "url": "https://gone.example/isle", "text": GONE},
    {"id": "b", "url": "https://stays.example/bread", "text": STAYS},
    {"id": "a", "text": OTHER},
]
OLD = "A persona of an earlier run, of which nothing but a sample is left."
BAKER = "A baker in a cold kitchen who lets her bread prove for two days."
DRUMMER = "A jazz drummer who builds his own cymbals from scrap metal."


class Home:
    """A home, its stand-in, and queries."""

    def __init__(self, root: Path, standin: StandinServer):
        self.root, self.standin, self.store = root, standin, Store(home=str(root))
        self.environment = Environment(home=root, llm_url=standin.url, llm_model="standin", embed_url=None)

    def run(self, *batches: str, select: Iterable[str] = ("+personas", "math_problems")) -> int:
        """Run, and return the number of calls."""
        before = self.standin.stats()["calls"]
        assert run_batches(self.environment, list(batches), list(select)).failed == {}
        return int(self.standin.stats()["calls"] - before)

    def sql(self, query: str) -> list[tuple[Any, ...]]:
        with live.open_live(self.store, query) as connection:
            return connection.execute(query).fetchall()

    def failing(self) -> set[str]:
        """Names of failing checks."""
        checks = [check.filled(self.store.config) for some in all_checks().values() for check in some]
        with live.open_live(self.store, " ".join(check.sql for check in checks)) as connection:
            return {f"{check.asset}/{check.name}" for check in checks if not check.result(connection).passed}

    def texts(self, where: str) -> list[str]:
        """Texts of a document, its personas of all hops, and their items; each whole and by its beginning."""
        query = f"""
            WITH chosen AS (SELECT * FROM candidate_personas WHERE {where})
            SELECT persona FROM chosen UNION ALL SELECT text FROM math_problems SEMI JOIN chosen USING (persona_id)
        """
        texts = [text for (text,) in self.sql(query)]
        return [*texts, *(text[:60] for text in texts if not text.startswith("Topic"))]


HUB = "hub [a] 'b'"
Once = Callable[[str, Callable[[Path], None]], Path]


@pytest.fixture(scope="module")
def built(once: Once, standin: StandinServer) -> Home:
    """Pages outside of the home; personas inside of it, one of them dropped for a persona of page a."""

    def make(folder: Path) -> None:
        home = Home(folder / HUB, standin)
        (home.root / "inbox").mkdir(parents=True)
        (home.root / "hub.toml").write_text(SETTINGS)
        lines = [json.dumps(row) for row in PAGES] + [json.dumps(PAGES[0])[:-9]]
        (folder / "pages.jsonl").write_text("\n".join(lines) + "\n")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("DAGSTER_HOME", "")
            register(home.store, str(folder / "pages.jsonl"))
            home.run("pages")
            (first,) = home.sql("SELECT persona FROM text_personas WHERE document_id = 'a' ORDER BY persona_id LIMIT 1")
            people = home.root / "inbox" / "people.jsonl.gz"
            rows = [{"persona": first[0].upper()}, {"persona": DRUMMER}]
            people.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))
            register(home.store, str(people))
            home.run("people", select=("documents", "text_personas", "lexical_duplicates"))
        build.build(home.store)

    return Home(once("takedown", make) / HUB, standin)


@pytest.fixture
def home(built: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A copy that the test can change, with the source file of pages beside it."""
    monkeypatch.setenv("DAGSTER_HOME", "")
    copy = Home(shutil.copytree(built.root, tmp_path / built.root.name), built.standin)
    shutil.copy(built.root.parent / "pages.jsonl", tmp_path)
    for batch, path in (("pages", tmp_path / "pages.jsonl"), ("people", copy.root / "inbox" / "people.jsonl.gz")):
        rows = copy.store.read("batches", batch).with_columns(path=pl.lit(str(path)), source=pl.lit(str(path)))
        copy.store.write("batches", batch, rows)
    return copy


def test_nothing_is_left_of_what_was_tried(home: Home) -> None:
    """In the journal, and in Dagster's history: the metadata of the job."""
    persona_id, persona = home.sql("SELECT persona_id, persona FROM personas WHERE document_id = 'a' LIMIT 1")[0]
    api = Hub(environment=home.environment)
    rows = [api.preview("tools", ids=[persona_id]), api.preview("tools", persona=f"{persona} And sings.")]
    tried = [json.loads(each["response"][0])["description"] for each in rows]
    config = {"ops": {PREVIEW: {"config": {"task": "tools", "ids": [persona_id]}}}}
    with open_instance(home.root) as instance:
        job = definitions(home.environment).resolve_job_def(TRY)
        assert job.execute_in_process(run_config=config, instance=instance).success
    assert home.failing() == set()
    texts = [*home.texts("document_id = 'a'"), *tried]
    assert any(name.startswith("journal/tools/") for name in remnants(home.root, tried))
    assert any(name.startswith("dagster/") for name in remnants(home.root, texts))
    takedown(home.store, Target("document", ("a",)))
    assert remnants(home.root, texts) == set()


A = Target("document", ("a",))


def test_answers_to_instructions_go_with_their_persona(home: Home) -> None:
    ((gone,),) = home.sql("SELECT persona_id FROM personas WHERE document_id = 'a' LIMIT 1")
    ((stays,),) = home.sql("SELECT persona_id FROM personas WHERE document_id <> 'a' LIMIT 1")
    secret, other = "The kiln behind the third barn fires at night only.", "The ferry to the mill leaves at noon."
    rows = [
        {
            "item_id": f"n{number}",
            "persona_id": persona,
            "generation_id": f"g{number}",
            "sample": 0,
            "instruction": text,
            "text": text,
        }
        for number, (persona, text) in enumerate([(gone, secret), (stays, other)])
    ]
    put(home.store, "instructions", "pages", rows)
    answers = [
        {**row, "item_id": f"a{row['item_id']}", "source_id": row["item_id"], "source_hash": "0", "answer": row["text"]}
        for row in rows
    ]
    put(home.store, "instruction_answers", "pages", answers)
    takedown(home.store, Target("persona", (gone,)))
    assert home.store.read("instructions", "pages")["item_id"].to_list() == ["n1"]
    assert home.store.read("instruction_answers", "pages")["item_id"].to_list() == ["an1"]
    assert remnants(home.root, [secret]) == set()
    assert remnants(home.root, [other])


def test_a_document_with_six_hops_goes_and_stays_away(home: Home) -> None:
    per_hop = "SELECT hop, count(*) FROM candidate_personas WHERE document_id = 'a' GROUP BY hop ORDER BY hop"
    assert home.sql(per_hop) == [(hop, 2) for hop in range(7)]
    texts = [GONE, OTHER, GONE[:40], OTHER[:40], *home.texts("document_id = 'a'")]
    copy = home.root / "tables" / "lexical_duplicates" / "batch=people" / "part.parquet"  # of an earlier version
    copy.parent.mkdir(parents=True)
    home.store.dropped("lexical_duplicates").collect().write_parquet(copy)
    known = remnants(home.root, texts)
    assert {"warehouse.duckdb", "dagster/history/runs/index.db", "tables/documents/batch=pages/part.parquet"} <= known
    planned = takedown(home.store, A, dry_run=True)
    assert remnants(home.root, texts) == known

    receipt = takedown(home.store, A, reason="asked for")

    assert remnants(home.root, texts) == set()
    assert home.sql(per_hop) == []
    assert home.sql("SELECT DISTINCT document_id FROM candidate_personas WHERE batch = 'pages'") == [("b",)]
    removed = {line.place: count for line, count in receipt.lines_of("removed")}
    assert listed(planned) == listed(receipt)
    assert removed.items() >= {"documents": 1, "text_personas": 2, "related_personas": 12}.items()
    assert removed.items() >= {"personas": 14, "math_problems": 14, "persona_embeddings": 14, "generations": 27}.items()
    assert removed["item_decisions"] > removed["item_embeddings"] > 0
    for table in ("item_decisions", "item_embeddings"):
        assert home.sql(f"SELECT count(*) FROM {table} ANTI JOIN math_problems USING (item_id)") == [(0,)]
    assert list(receipt.lines_of("outside")) == [(Line("outside", str(home.root.parent / "pages.jsonl"), "pages"), 3)]
    assert list(receipt.lines_of("displaced")) == [(Line("displaced", "lexical_duplicates", "people"), 1)]
    stored = home.sql("SELECT effect, place, rows FROM takedowns WHERE rows > 0 AND reason = 'asked for'")
    assert set(stored) == {(line.effect, line.place, count) for line, count in receipt.rows.items() if count}
    assert home.failing() == {"warehouse/keeper_is_kept"}

    assert not copy.parents[1].exists()
    shown_rows_are_true(home)

    # Once more: there is nothing left to list, and the receipt keeps what was done.
    for dry_run in (True, False):
        again = takedown(home.store, A, dry_run=dry_run)
        assert {line.effect for line in listed(again)} == {"outside"}
    kept = home.sql("SELECT effect, place, rows FROM takedowns WHERE rows > 0")
    assert {row for row in stored if row[0] == "removed"} <= set(kept)

    # The same source again, and a run: nothing comes back, and nothing is asked.
    register(home.store, str(home.root.parent / "pages.jsonl"))
    assert home.run("pages") == 0
    build.build(home.store)
    assert remnants(home.root, texts) == set()
    assert home.sql("SELECT DISTINCT reason, raw FROM quarantine WHERE asset = 'documents'") == [("taken_down", "")]
    # Who was dropped for one of its personas is not dropped any more.
    dropped = "SELECT count(*) FROM lexical_duplicates WHERE batch = 'people'"
    assert home.sql(dropped) == [(1,)]
    home.run("people", select=["lexical_duplicates"])
    assert home.sql(dropped) == [(0,)]
    assert home.failing() == set()


def listed(receipt: Receipt) -> dict[Line, int]:
    return {line: count for line, count in receipt.rows.items() if count}


def shown_rows_are_true(home: Home) -> None:
    """The UI shows the counts of the latest materialisation; they are those of the tables, and nothing is stale."""
    graph = definitions(home.environment).resolve_asset_graph()
    with open_instance(home.root) as instance:
        resolver = CachingStaleStatusResolver(instance, graph, LoadingContextForTest(instance))
        for name in (
            "documents",
            "text_personas",
            "related_personas",
            "personas",
            "math_problems",
            "lexical_duplicates",
        ):
            latest = instance.get_latest_materialization_event(dg.AssetKey(name))
            assert latest
            assert latest.asset_materialization
            shown = {key: value.value for key, value in latest.asset_materialization.metadata.items()}
            assert shown["dagster/row_count"] == home.store.total(name), name
            if latest.asset_materialization.partition == "pages":
                assert "takedown" in (latest.asset_materialization.description or "")
                assert shown["dagster/partition_row_count"] == home.store.partition_total(name, "pages")
        statuses = {
            key.to_user_string(): resolver.get_status(key, "pages").value
            for key in graph.materializable_asset_keys
            if graph.get(key).partitions_def is not None
        }
    assert {name for name, status in statuses.items() if status == "STALE"} == set()


def test_the_tombstones_hold_no_text_and_no_id(home: Home) -> None:
    takedown(home.store, Target("document", ("b",)))
    stones = home.store.read_all("tombstones")
    assert sorted(set(stones["kind"])) == ["document", "request", "text", "url"]
    assert stones.filter(pl.col("kind") != "request").height == 3
    assert all(len(mark) == 20 for mark in stones["mark"])
    said = str(stones.rows()) + str(home.store.read_all("takedowns").rows())
    assert not any(word in said for word in ("Bread", "stays.example"))


def test_a_persona_goes_and_its_siblings_stay(home: Home) -> None:
    by_document = "SELECT persona_id FROM text_personas WHERE document_id = '{}' ORDER BY persona_id"
    (one,), (sibling,) = home.sql(by_document.format("b"))
    (other,), (its_sibling,) = home.sql(by_document.format("a"))
    query = f"SELECT persona_id, parent_id FROM related_personas WHERE hop = 3 AND root_id = '{sibling}'"
    ((far, parent),) = home.sql(query)
    below = "SELECT count(*) FROM related_personas WHERE document_id = 'b'"
    assert home.sql(below) == [(12,)]
    texts = home.texts(f"root_id IN ('{one}', '{other}') OR (root_id = '{sibling}' AND hop >= 3)")

    takedown(home.store, Target("persona", (one, far, other)))

    assert remnants(home.root, texts) == set()
    assert home.sql(below) == [(2,)]  # of the sibling's six
    ((answer,),) = home.sql("SELECT response FROM generations WHERE asset = 'text_personas' AND input_id = 'b'")
    assert len(json.loads(answer)["personas"]) == 1
    emptied = f"FROM generations WHERE input_id = '{parent}' AND asset = 'related_personas'"
    assert home.sql(f"SELECT status, reason, response {emptied}") == [("rejected", "taken_down", "")]
    assert home.sql(f"SELECT reason, raw FROM quarantine WHERE input_id = '{parent}'") == [("taken_down", "")]
    failing = home.failing()

    # What was cut out of an answer costs nothing; what is asked anew, as its answer is lost, is cut again.
    answers = home.store.read("generations", "pages", "text_personas")
    home.store.write("generations", "pages", answers.filter(pl.col("input_id") != "a"), "text_personas")
    assert home.run("pages", select=["text_personas", "related_personas"]) == 1
    assert [home.sql(by_document.format(name)) for name in "ba"] == [[(sibling,)], [(its_sibling,)]]
    assert (home.sql(below), remnants(home.root, texts), home.failing()) == ([(2,)], set(), failing)


def told(*texts: str) -> dict[str, dg.MetadataValue]:
    table = dg.MetadataValue.table([dg.TableRecord({"id": f"p{n}", "text": text}) for n, text in enumerate(texts)])
    return {"sample": table, "rows": dg.MetadataValue.int(2), "note": dg.MetadataValue.text("exact")}


def said(instance: dg.DagsterInstance, asset: str, batch: str) -> dict[str, list[str]]:
    wanted = dg.AssetRecordsFilter(asset_key=dg.AssetKey(asset), asset_partitions=[batch])
    records = instance.fetch_materializations(wanted, limit=1).records
    metadata = records[0].asset_materialization.metadata  # type: ignore[union-attr]
    assert (metadata["rows"].value, metadata["note"].value) == (2, "exact")
    return {"sample": [str(record.data["text"]) for record in metadata["sample"].records]}  # type: ignore[attr-defined]


def test_tables_of_the_batch_go_and_cells_elsewhere(
    home: Home,
) -> None:
    traces = Shingles()
    traces.add(GONE)
    shown = [
        ("personas", "a", [GONE, OLD]),
        ("personas", "b", [GONE, BAKER]),
        ("lexical_duplicates", "b", [OLD, BAKER]),
    ]
    with open_instance(home.root) as instance:
        for asset, batch, texts in shown:
            event = dg.AssetMaterialization(asset, partition=batch, metadata=told(*texts))
            instance.report_runless_asset_event(event)
    log = home.root / "dagster" / "storage" / "run" / "step.err"
    log.parent.mkdir(parents=True)
    log.write_text(f"began\ncannot store {GONE}\nended\n")
    assert remnants(home.root / "dagster", [GONE, OLD])

    scope = event_log.Scope({"a"}, {"lexical_duplicates"})
    assert event_log.redact_event_log(home.root / "dagster", scope, traces) > 0

    assert remnants(home.root / "dagster", [GONE, OLD]) == set()
    assert log.read_text() == "began\nended\n"
    with open_instance(home.root) as instance:
        assert said(instance, "personas", "a") == {"sample": []}
        assert said(instance, "personas", "b") == {"sample": [event_log.GONE, BAKER]}
        assert said(instance, "lexical_duplicates", "b") == {"sample": []}
        instance.add_dynamic_partitions(PARTITIONS, ["a", "unused"])
    assert event_log.redact_event_log(home.root / "dagster", scope, traces) == 0
    # A key that the UI has told of is none of its partitions any more only if nothing was ever made for it.
    assert [forget_partition(home.root, key) for key in ("a", "unused", "unknown")] == [False, True, True]
    with open_instance(home.root) as instance:
        assert {"a", "unused"} & set(instance.get_dynamic_partitions(PARTITIONS)) == {"a"}


def test_a_takedown_that_is_killed_is_finished_by_the_same_request(home: Home) -> None:
    shutil.rmtree(home.root / "dagster")  # what is told there is in the other tests
    texts = [GONE, OTHER, *home.texts("document_id = 'a'")]
    script = (
        "import os, signal, sys, itertools\n"
        "from personahub_assets.store.tables import PartitionWriter, Store\n"
        "from personahub_assets.takedown.receipts import Target\n"
        "from personahub_assets.takedown.takedown import takedown\n"
        "publish, count = PartitionWriter.publish, itertools.count()\n"
        "def killed(self):\n"
        "    if next(count) == 7: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    publish(self)\n"
        "PartitionWriter.publish = killed\n"
        "takedown(Store(home=sys.argv[1]), Target('document', ('a',)))\n"
    )
    ended = subprocess.run([sys.executable, "-c", script, str(home.root)], check=False)
    assert ended.returncode == -signal.SIGKILL
    before = find_receipt(home.store, A)
    assert before is not None
    assert before.finished_at is None
    assert remnants(home.root, texts) != set()

    receipt = takedown(home.store, A)

    assert remnants(home.root, texts) == set()
    assert list(receipt.lines_of("removed")) == list(before.lines_of("removed"))
    assert receipt.finished_at is not None
    assert not list(takedown(home.store, A).lines_of("removed"))
    stored = find_receipt(home.store, A)
    assert stored
    assert listed(stored) == listed(receipt)
    assert list((home.root / "aside").glob("*")) == []


def test_whichever_table_it_stops_at_the_end_is_the_same(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(home.root / "dagster")
    publish = PartitionWriter.publish
    for at in (3, 11):
        count = itertools.count()

        def stopped(writer: PartitionWriter, at: int = at, count: Iterator[int] = count) -> None:
            if next(count) == at:
                raise RuntimeError("stop")
            publish(writer)

        with monkeypatch.context() as patch:
            patch.setattr(PartitionWriter, "publish", stopped)
            with pytest.raises(RuntimeError, match="stop"):
                takedown(home.store, A)
    takedown(home.store, A)
    assert remnants(home.root, [GONE, BAKER]) == set()
    assert home.sql("SELECT count(*) FROM candidate_personas WHERE batch = 'pages'") == [(14,)]
    assert home.failing() == {"warehouse/keeper_is_kept"}


def test_it_does_not_work_beside_a_run(home: Home) -> None:
    files = sorted((home.root / "tables").rglob("*.parquet"))
    with open_instance(home.root) as instance:
        run = create_run_for_test(
            instance, status=dg.DagsterRunStatus.STARTED, tags={**run_tags(), "dagster/partition": "pages"}
        )
        with pytest.raises(LockHeld, match=rf"run {run.run_id[:8]} of batch pages .*process {os.getpid()}"):
            takedown(home.store, A)
        instance.report_run_canceled(run)
    with home.store.lock("admission-lexical", wait=False), pytest.raises(LockHeld, match="admission-lexical"):
        takedown(home.store, A)
    assert sorted((home.root / "tables").rglob("*.parquet")) == files
    with home.store.lock("math_problems-pages", wait=False), pytest.raises(LockHeld, match="math_problems-pages"):
        takedown(home.store, A)
    assert unfinished_takedowns(home.store) == [A.takedown_id]
    assert takedown(home.store, A).finished_at
    assert unfinished_takedowns(home.store) == []


def test_journals_forget(home: Home) -> None:
    shutil.rmtree(home.root / "dagster")
    answers = {
        "a": "A persona of page a that was never published, and that nobody wants to read.",
        "b": "A persona of page b that was never published, and that stays for the next run.",
    }
    for asset, inputs in (("text_personas", answers), ("math_problems", {"pnowhere": answers["a"]})):
        with Journal(home.root / "journal" / asset / "pages.sqlite") as journal:
            told = [{"persona": text, "relation": "read", "granularity": "fine"} for text in inputs.values()]
            outcomes = [
                Outcome(f"{n:032}", "accepted", json.dumps({"personas": [item]})) for n, item in enumerate(told)
            ]
            journal.note([Entry(i, 0, asset, "", "", o) for i, o in zip(inputs, outcomes, strict=True)])
    vectors = VectorJournal(home.root / "journal" / "persona_embeddings" / "pages", "model")
    kept, gone = (
        home.sql(f"SELECT persona FROM text_personas WHERE document_id = '{name}' LIMIT 1")[0][0] for name in "ba"
    )
    vectors.add([digest(kept), digest(gone)], np.eye(2, dtype=np.float32))
    of_items = VectorJournal(home.root / "journal" / "item_embeddings" / "math_problems" / "pages", "model")
    query = "SELECT text FROM math_problems JOIN text_personas USING (persona_id) WHERE document_id = '{}' LIMIT 1"
    problems = pl.Series([digest(home.sql(query.format(name))[0][0]) for name in "ba"])
    of_items.add(problems.to_list(), np.eye(2, dtype=np.float32))

    receipt = takedown(home.store, A)

    assert of_items.known(problems)["text_hash"].to_list() == [problems[0]]

    assert remnants(home.root, [answers["a"]]) == set()
    assert remnants(home.root, [answers["b"]]) == {"journal/text_personas/pages.sqlite"}
    assert vectors.known(pl.Series([digest(kept), digest(gone)]))["text_hash"].to_list() == [digest(kept)]
    journals = {line.place: count for line, count in receipt.lines_of("removed") if line.place.startswith("journal")}
    assert journals == dict.fromkeys(
        ("journal/item_embeddings", "journal/math_problems", "journal/persona_embeddings", "journal/text_personas"), 1
    )


def test_what_an_earlier_prompt_gave_goes_too(home: Home) -> None:
    """Superseded answers about personas that are no longer in any table."""
    shutil.rmtree(home.root / "dagster")
    old = "A persona that an earlier prompt gave for this page, and that no table has."
    rows = home.store.read("generations", "pages", "text_personas").filter(pl.col("input_id") != "x")
    told = json.dumps({"personas": [{"persona": old, "relation": "read", "granularity": "fine"}]})
    items = []
    for document, keeps in (("a", False), ("b", True)):
        answer = rows.filter(pl.col("input_id") == document).with_columns(
            status=pl.lit("superseded"), request_key=pl.lit("f" * 32), response=pl.lit(told)
        )
        items.append((answer, identities("pages", document, [("read", old)])[0], keeps))
    home.store.write("generations", "pages", pl.concat([rows, *(answer for answer, _, _ in items)]), "text_personas")
    problems = home.store.read("generations", "pages", "math_problems")
    more = [problems.head(1).with_columns(input_id=pl.lit(persona), response=pl.lit(old)) for _, persona, _ in items]
    home.store.write("generations", "pages", pl.concat([problems, *more]), "math_problems")

    takedown(home.store, A)

    left = home.sql("SELECT asset, input_id FROM generations WHERE response LIKE '%earlier prompt%' ORDER BY 1")
    assert left == [("math_problems", items[1][1]), ("text_personas", "b")]


def test_recorded_answers_of_another_home_go_too(home: Home) -> None:
    shutil.rmtree(home.root / "dagster")
    recorded = home.root.parent / "recorded.parquet"
    home.store.read_all("generations").filter(pl.col("status") == "accepted").write_parquet(recorded)
    import_answers(home.store, str(recorded))
    texts = home.texts("document_id = 'a'")
    folder = home.root / "seeds"
    assert remnants(folder, texts)
    before = pl.concat([pl.read_parquet(path, glob=False) for path in folder.rglob("*.parquet")])
    receipt = takedown(home.store, A)
    after = pl.concat([pl.read_parquet(path, glob=False) for path in folder.rglob("*.parquet")])
    assert remnants(home.root, texts) == set()
    assert after.height == before.height - receipt.rows[Line("removed", "seeds", None)] > 0
    # The same answers again: those about page a are not taken in.
    assert "taken down" in str(import_answers(home.store, str(recorded)))
    again = pl.concat([pl.read_parquet(path, glob=False) for path in folder.rglob("*.parquet")])
    assert after.height <= again.height < before.height
    assert remnants(home.root, texts) == set()


@pytest.mark.parametrize("most", [20_000_000, 50])
def test_what_only_looks_like_it_stays(home: Home, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    """A waiting file of the inbox, quarantined lines and recorded answers that share words with removed texts."""
    monkeypatch.setattr("personahub_assets.takedown.shingles._MOST", most)
    rows = [
        {
            "id": "n1",
            "url": "https://gone.example/another",
            "text": "Ships: " + " ".join(GONE.split()[:9]) + " by hand.",
        },
        {"id": "n2", "url": "https://gone.example/", "text": "All rights to these pages are reserved by the isle."},
        {"persona": "The lighthouse keeper of the northern isle who paints"},
    ]
    waiting = home.root / "inbox" / "waiting.jsonl"
    waiting.write_text("".join(json.dumps(row) + "\n" for row in rows))
    before = waiting.read_bytes()
    recorded = home.root / "inbox" / "recorded.jsonl"
    texts = home.texts("document_id = 'a'")
    with open_instance(home.root) as instance:
        runs = instance.get_runs_count()
    answers = [{"request_key": "0" * 32, "response": text} for text in (max(texts, key=len), OLD)]
    recorded.write_text("".join(json.dumps(row) + "\n" for row in answers))

    takedown(home.store, A)

    assert waiting.read_bytes() == before
    assert [line.strip() != "" for line in recorded.read_text().splitlines()] == [False, True]
    assert remnants(home.root, texts) == set()
    with open_instance(home.root) as instance:
        assert instance.get_runs_count() == runs
    assert home.sql("SELECT count(*) FROM candidate_personas WHERE document_id = 'b'") == [(14,)]


def test_a_run_that_began_and_ended_meanwhile_is_named(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    rewrite = sweep.sweep

    def beside(*arguments: Any) -> None:
        with open_instance(home.root) as instance:
            instance.report_run_canceled(create_run_for_test(instance, tags={"dagster/partition": "pages"}))
        rewrite(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(sweep, "sweep", beside)
        with pytest.raises(LockHeld, match=r"of batch pages .* went on meanwhile.* same takedown again"):
            takedown(home.store, A)
    assert unfinished_takedowns(home.store) == [A.takedown_id]
    assert takedown(home.store, A).finished_at
    with home.store.lock("releases", wait=False), pytest.raises(LockHeld, match="releases"):
        takedown(home.store, A)


def test_a_page_that_left_its_source_is_found_by_its_address(home: Home) -> None:
    """Its answers are superseded, its id was its address."""
    shutil.rmtree(home.root / "dagster")
    url, old = "https://left.example/page", "A persona of a page that has left its source file since."
    rows = home.store.read("generations", "pages", "text_personas")
    told = json.dumps({"personas": [{"persona": old, "relation": "read", "granularity": "fine"}]})
    answer = rows.head(1).with_columns(
        input_id=pl.lit(url), status=pl.lit("superseded"), request_key=pl.lit("f" * 32), response=pl.lit(told)
    )
    home.store.write("generations", "pages", pl.concat([rows, answer]), "text_personas")
    build.build(home.store)
    assert remnants(home.root, [old])
    receipt = takedown(home.store, Target("url_prefix", ("https://left.example/",)))
    assert receipt.rows[Line("removed", "generations", "pages")] == 1
    assert remnants(home.root, [old]) == set()


def test_a_persona_of_an_earlier_prompt_can_be_named(home: Home) -> None:
    shutil.rmtree(home.root / "dagster")
    old = "A persona that an earlier prompt gave for this page, and that only its answer has."
    rows = home.store.read("generations", "pages", "text_personas")
    told = json.dumps({"personas": [{"persona": old, "relation": "read", "granularity": "fine"}]})
    answer = rows.filter(pl.col("input_id") == "b").with_columns(
        status=pl.lit("superseded"), request_key=pl.lit("f" * 32), response=pl.lit(told)
    )
    home.store.write("generations", "pages", pl.concat([rows, answer]), "text_personas")
    takedown(home.store, Target("persona", tuple(identities("pages", "b", [("read", old)]))))
    assert remnants(home.root, [old]) == set()
    assert home.sql("SELECT count(*) FROM candidate_personas WHERE document_id = 'b'") == [(14,)]


def test_what_cannot_be_read_and_releases_are_listed_and_not_changed(home: Home) -> None:
    """Rows of a release count even if they have left the hub."""
    shutil.rmtree(home.root / "dagster")
    half = home.root / "inbox" / "half.jsonl.gz"
    half.write_bytes(gzip.compress(b"x" * 100_000)[:50])
    files = [home.root / "releases" / name / "data" / "personas" for name in ("broken", "first", "second")]
    for folder in files:
        folder.mkdir(parents=True)
    broken, first, second = (folder / "train.parquet" for folder in files)
    broken.write_bytes(b"nothing")
    table = home.store.path("personas", "pages")
    os.link(table, first)
    rows = home.store.read("personas", "pages")
    old = rows.filter(document_id="a").head(2).with_columns(persona_id=pl.Series(["p-old-1", "p-old-2"]))
    strange = old.head(1).with_columns(persona_id=pl.lit("p-strange"), batch=pl.lit("another"))
    pl.concat([rows, old, strange]).write_parquet(second)
    before = {path: path.read_bytes() for path in (half, broken, first, second)}

    receipt = takedown(home.store, A)

    assert receipt.finished_at is not None
    assert [line.place for line, _ in receipt.lines_of("unread")] == [str(half), "releases/broken"]
    released = [(Line("released", "releases/first", None), 14), (Line("released", "releases/second", None), 16)]
    assert list(receipt.lines_of("released")) == released
    assert {path: path.read_bytes() for path in before} == before
    assert not table.samefile(first)


def test_on_the_command_line(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(home.root / "dagster")
    monkeypatch.setenv("PERSONAHUB_HOME", str(home.root))

    def said(*arguments: str) -> str:
        result = typer.testing.CliRunner().invoke(app, ["takedown", *arguments])
        return str(result.exception or result.output)

    assert "give one of --document or --url-prefix or --persona, got none" in said()
    assert "got --document and --persona" in said("--document", "a", "--persona", "p1")
    persona = home.store.read("text_personas", "pages")["persona_id"][0]
    assert f"did you mean '{persona}'" in said("--persona", persona[:-1])
    assert "unknown batch 'page' (did you mean 'pages'?" in said("--document", "a", "--batch", "page")
    assert "not a prefix of addresses" in said("--url-prefix", "https://", "--yes")
    assert "no document 'a' in batch people" in said("--document", "a", "--batch", "people", "--yes")
    assert "--yes" in said("--document", "a")
    assert {row["place"] for row in json.loads(said("--document", "a", "--dry-run", "--json"))["removed"]} > {
        "documents"
    }
    assert home.store.read_all("tombstones").is_empty()
    assert "Next: personahub run --batch people" in said("--document", "a", "--yes", "--reason", "asked for")
    assert said("--document", "a", "--yes").count("nothing was left of it to remove. Receipt") == 1
