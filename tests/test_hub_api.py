"""The Python API: `from personahub_assets import Hub`."""

import asyncio
import logging
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hub import SETTINGS, TOPICS
from hub import Hub as Home

import personahub_assets
from personahub_assets import Environment, Hub, PersonaHubError
from personahub_assets.core.errors import BatchError, BatchesFailed, ConfigError, LLMError, QueryError, StoreError
from personahub_assets.core.records import DATASETS
from personahub_assets.runs.runner import Result
from personahub_assets.standin.server import StandinServer
from personahub_assets.store.tables import table_schema

Once = Callable[[str, Callable[[Path], None]], Path]


@pytest.fixture(scope="session")
def finished(once: Once, standin: StandinServer) -> Path:
    """The folder of a hub of one batch with personas, tools and a warehouse."""

    def make(folder: Path) -> None:
        home = Home(folder / "hub", standin)
        home.pages("one", TOPICS[:2])
        assert home.run(select=["+personas", "tools", "warehouse"]) == {}

    return once("api", make) / "hub"


@pytest.fixture
def hub(finished: Path, home: Path, standin: StandinServer) -> Hub:
    """A copy of it."""
    return Hub(shutil.copytree(finished, home), llm_url=standin.url)


@pytest.fixture
def empty(home: Path) -> Hub:
    return Hub(home)


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


# --- what the package offers ---


def test_the_package_is_imported_without_what_it_offers() -> None:
    heavy = "[name for name in ('polars', 'dagster', 'numpy', 'duckdb', 'pydantic') if name in sys.modules]"
    assert python(f"import sys, personahub_assets; print({heavy})") == "[]"


def test_reading_needs_no_dagster(finished: Path) -> None:
    code = f"import sys, personahub_assets; hub = personahub_assets.Hub({str(finished)!r}); "
    code += "hub.personas().collect(); hub.sql('SELECT 1'); hub.why('one-0'); print('dagster' in sys.modules)"
    assert python(code) == "False"


def test_the_package_names_what_it_offers() -> None:
    assert {"Environment", "Hub", "PersonaHubError"} <= set(dir(personahub_assets))
    with pytest.raises(AttributeError, match="no attribute 'Hubb'"):
        _ = personahub_assets.Hubb
    with pytest.raises(ImportError, match="cannot import name 'Hubb'"):
        from personahub_assets import Hubb  # noqa: F401


# --- an empty hub ---


def test_an_empty_hub_has_tables_without_rows(empty: Hub) -> None:
    assert dict(empty.personas().collect_schema()) == table_schema("personas")
    for name in DATASETS:
        assert empty.dataset(name).collect().is_empty()
        assert dict(empty.dataset(name).collect_schema()) == table_schema(name)
    assert empty.batches() == []
    assert empty.counts() == {}
    assert not empty.home.exists()


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (lambda hub: hub.sql("SELECT 1"), StoreError, "does not exist yet"),
        (lambda hub: hub.search("a nurse"), StoreError, "has no personas yet"),
        (lambda hub: hub.choose(2), StoreError, "has no personas yet"),
        (lambda hub: hub.why("p1"), PersonaHubError, "has the id 'p1'"),
        (lambda hub: hub.plan(), BatchError, "has no batches yet"),
        (lambda hub: hub.run(), BatchError, "has no batches yet"),
    ],
)
def test_what_an_empty_hub_cannot_do_says_why(
    empty: Hub, call: Callable[[Hub], Any], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        call(empty)


# --- wrong arguments ---


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda _: Hub(""), "home is empty"),
        (lambda _: Hub("hub", llm_url=""), "llm_url is empty"),
        (lambda _: Hub("hub", environment=Environment()), "home: give them in `environment`"),
        (lambda hub: hub.dataset("tool"), "did you mean 'tools'"),
        (lambda hub: hub.search(" "), "nothing to search for"),
        (lambda hub: hub.search("x", 0), "k is a number from 1 to 100,000, got 0"),
        (lambda hub: hub.search("x", where="hop = "), "hop = "),
        (lambda hub: hub.run(select="tools"), r"write \['tools'\]"),
        (lambda hub: hub.plan("one"), r"write \['one'\]"),
        (lambda hub: hub.run(retry="refused"), r"write \['refused'\]"),
        (lambda hub: hub.run(retry=["refuse"]), "did you mean 'refused'"),
        (lambda hub: hub.run(select=["tool"]), "no asset 'tool'"),
        (lambda hub: hub.run(max_calls=-1), "max_calls -1"),
        (lambda hub: hub.run(max_cost=float("nan")), "max_cost nan"),
        (lambda hub: hub.run(max_cost=1), "needs prices"),
        (lambda hub: hub.ingest(), "nothing to ingest"),
        (lambda hub: hub.sql(Path("no.sql")), "no.sql"),
    ],
)
def test_wrong_arguments_are_refused_with_what_is_valid(hub: Hub, call: Callable[[Hub], Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        call(hub)


def test_the_representation_names_the_home_and_no_address(home: Path) -> None:
    assert repr(Hub(home, llm_url="http://user:secret@127.0.0.1:9/v1")) == f"Hub({str(home)!r})"


# --- reading ---


def test_frames_have_the_rows_of_the_tables(finished: Path) -> None:
    hub = Hub(finished)
    personas = hub.personas().collect()
    assert personas.height == hub.counts()["personas"] > 0
    assert personas.equals(hub.store.read_all("personas"))
    tools = hub.dataset("tools").filter(pl.col("sample") == 0).select("name").collect()
    assert tools.height == personas.height
    assert hub.table("documents").collect()["document_id"].to_list() == ["one-0", "one-1"]


def test_a_frame_has_a_column_that_its_file_lacks(hub: Hub) -> None:
    path = hub.store.path("tools", "one")
    rows = pl.read_parquet(path)
    rows.drop("returns").write_parquet(path)
    assert hub.dataset("tools").collect()["returns"].null_count() == rows.height > 0


def test_a_home_that_was_moved_says_that_its_warehouse_was_not(hub: Hub) -> None:
    with pytest.raises(StoreError, match=r"warehouse\.duckdb: Permission Error.*run --select warehouse"):
        hub.counts()
    with pytest.raises(StoreError, match=r"built when the home was .*run --select warehouse"):
        hub.sql("FROM generations")


def test_a_damaged_file_is_named(hub: Hub) -> None:
    hub.store.path("tools", "one").write_bytes(b"no parquet")
    with pytest.raises(StoreError, match=r"tools/batch=one/part\.parquet: damaged table file"):
        hub.dataset("tools")


def test_sql_gives_a_frame(finished: Path, tmp_path: Path) -> None:
    hub = Hub(finished)
    query = "SELECT hop, count(*) AS n FROM personas GROUP BY ALL ORDER BY hop"
    assert hub.sql(query).columns == ["hop", "n"]
    (tmp_path / "query.sql").write_text(query)
    assert hub.sql(tmp_path / "query.sql").equals(hub.sql(query))
    assert hub.sql("SELECT persona_id FROM personas WHERE false").shape == (0, 1)


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("SELECT 1; SELECT 2", "the query has 2"),
        ("", "has no result"),
        ("DROP TABLE personas", "refused"),
        ("SELECT * FROM read_text('/etc/hostname')", "Permission Error"),
    ],
)
def test_sql_that_is_no_question_is_refused(hub: Hub, query: str, said: str) -> None:
    with pytest.raises(QueryError, match=said):
        hub.sql(query)


def test_sql_is_stopped_in_time(hub: Hub) -> None:
    with pytest.raises(QueryError, match=r"stopped after 0\.5 s"):
        hub.sql("SELECT count(*) FROM range(1000000) AS a, range(1000000) AS b", seconds=0.5)


def test_search_choose_and_why(finished: Path) -> None:
    hub = Hub(finished)
    found = hub.search("somebody who cooks", 3)
    assert found.columns == ["similarity", "persona", "persona_id", "batch", "hop"]
    assert found["similarity"].is_sorted(descending=True)
    assert hub.search("somebody who cooks", 99, where="hop = 0")["hop"].unique().to_list() == [0]
    in_sql = hub.sql("SELECT persona_id FROM search_personas('somebody who cooks', k := 3) ORDER BY similarity DESC")
    assert in_sql["persona_id"].to_list() == found["persona_id"].to_list()
    choice = hub.choose(2)
    assert choice.personas["stands_for"].sum() == choice.total == hub.counts()["personas"]
    (thing,) = hub.why(found["persona_id"][0])
    assert (thing["kind"], thing["batch"]) == ("persona", "one")
    assert thing["lines"][0]["text"] == found["persona"][0]


def test_messages_that_are_no_errors_are_logged(hub: Hub, caplog: pytest.LogCaptureFixture) -> None:
    (hub.home / "warehouse.duckdb").unlink()
    with caplog.at_level(logging.WARNING, "personahub"):
        hub.why("one-0")
    assert "The warehouse is out of date" in caplog.text
    told: list[str] = []
    hub.why("one-0", tell=told.append)
    assert len(told) == 1


# --- runs ---


def test_a_plan_is_what_a_run_then_asks(hub: Hub, standin: StandinServer) -> None:
    planned = hub.plan(select=["game_npcs"])
    assert planned.total.ask == hub.personas().collect().height
    before = standin.stats()["calls"]
    result = hub.run(select=["game_npcs"]).raise_for_failure()
    assert standin.stats()["calls"] - before == planned.total.ask
    assert (result.exit_code, result.rows["game_npcs"]) == (0, planned.total.ask)
    assert hub.dataset("game_npcs").collect().height == planned.total.ask


def test_a_run_stops_at_its_bound_and_says_so(hub: Hub) -> None:
    result = hub.run(select=["instructions"], max_calls=3)
    assert "the budget of 3 calls is spent" in str(result.stopped)
    assert result.exit_code == 3


def test_a_batch_that_fails_raises_when_asked(hub: Hub) -> None:
    hub.store.path("documents", "one").write_bytes(b"no parquet")
    result = hub.run(select=["text_personas"])
    assert result.exit_code == 1
    with pytest.raises(BatchesFailed, match=r"one: text_personas: .*damaged|one.*damaged table file"):
        result.raise_for_failure()


def test_a_run_that_would_ask_needs_an_endpoint(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PERSONAHUB_LLM_URL", raising=False)
    page = tmp_path / "a.jsonl"
    page.write_text('{"id": "1", "text": "The harbour crane stopped at noon."}\n')
    hub = Hub(home)
    assert hub.ingest(page) == hub.batches() == ["a"]
    with pytest.raises(LLMError, match="PERSONAHUB_LLM_URL is not set"):
        hub.run(select=["+text_personas"])


def test_a_run_leaves_the_process_as_it_was(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_HOME", "/elsewhere")
    hub.run(select=["warehouse"])
    assert os.environ["DAGSTER_HOME"] == "/elsewhere"
    monkeypatch.delenv("DAGSTER_HOME")
    hub.run(select=["warehouse"])
    assert "DAGSTER_HOME" not in os.environ


def test_a_notebook_has_an_event_loop_of_its_own(hub: Hub) -> None:
    async def cell() -> Result:
        return hub.run(select=["math_problems"])

    assert asyncio.run(cell()).rows["math_problems"] == hub.counts()["personas"]


def test_an_interrupt_in_a_notebook_stops_the_run(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Signals arrive in the waiting main thread; the run is in another one, and its budget is set to zero."""
    from concurrent.futures import Future

    asked = threading.Event()
    wait = Future.result

    def interrupted(future: "Future[Any]", timeout: float | None = None) -> Any:
        if threading.current_thread() is threading.main_thread():
            asked.wait(60)
            raise KeyboardInterrupt
        return wait(future, timeout)

    async def cell() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(Future, "result", interrupted)
            hub.run(select=["knowledge_texts"], listener=lambda _: asked.set())

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(cell())
    assert hub.dataset("knowledge_texts").collect().is_empty()


def test_two_hubs_of_one_process_keep_apart(hub: Hub, tmp_path: Path, standin: StandinServer) -> None:
    other = Hub(tmp_path / "other", llm_url=standin.url)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "hub.toml").write_text(SETTINGS)
    page = tmp_path / "two.jsonl"
    page.write_text('{"persona": "A baker in Lyon who grows her own rye and sells bread by weight."}\n')
    other.ingest(page)
    results: dict[str, Result] = {}

    def run(name: str, which: Hub, **bounds: Any) -> None:
        results[name] = which.run(select=["tools" if which is hub else "+tools"], **bounds)

    threads = [threading.Thread(target=run, args=("a", hub)), threading.Thread(target=run, args=("b", other))]
    for thread in threads:
        thread.start()
    # One that reads is not waited for.
    assert hub.personas().collect().height > 0
    for thread in threads:
        thread.join()
    assert (results["a"].exit_code, results["b"].exit_code) == (0, 0)
    assert results["b"].rows["batches"] == 1
    assert other.batches() == ["two"]
