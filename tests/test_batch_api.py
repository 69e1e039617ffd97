"""Batch APIs through the graph, the command line, plans and takedown, with the stand-in over real HTTP."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl
import pytest
import typer.testing
from hub import TOPICS, Hub
from processes import Process

from personahub_assets.cli.app import app, call
from personahub_assets.cli.plan import summary
from personahub_assets.core.errors import ArgumentError, LLMError, LockHeld, StoreError
from personahub_assets.generation.batch_api.ledger import Ledger
from personahub_assets.generation.batch_api.overview import Standing, adopt, cancel, forget, look, open_standings
from personahub_assets.generation.llm import LLM
from personahub_assets.hub import Hub as PersonaHub
from personahub_assets.runs.forecast import Plan, Work
from personahub_assets.runs.plan import plan
from personahub_assets.runs.runner import Result, run_batches
from personahub_assets.standin.server import StandinServer
from personahub_assets.store.home import Lock
from personahub_assets.store.tables import Store
from personahub_assets.takedown.receipts import Line, Target
from personahub_assets.takedown.takedown import takedown

SETTINGS = """
[text_personas]
per_document = 2
[related_personas]
hops = 0
[batch_api]
poll_s = 0.2
[prices]
prompt = 1
completion = 2
"""
PERSONAS = [
    "A harbour pilot who paints the tide tables",
    "A beekeeper who audits wind farms",
    "A court usher who bakes",
]
UPSTREAM = ["documents", "text_personas"]


@contextmanager
def home(folder: Path, faults: str = "") -> Iterator[Hub]:
    with StandinServer(faults=faults) as server:
        folder.mkdir()
        (folder / "hub.toml").write_text(SETTINGS)
        yield Hub(folder, server)


def submit(hub: Hub, select: list[str], *, waits: bool = False, batch_api: bool | None = True) -> Result:
    looks: list[list[Standing]] = []
    result = run_batches(hub.environment, [], select, batch_api=batch_api, on_wait=looks.append if waits else None)
    assert not result.failed
    return result


def test_datasets_are_submitted_together_and_cost_half(tmp_path: Path) -> None:
    with home(tmp_path / "hub", "batch_s=0.5") as hub:
        hub.personas("ready", PERSONAS)
        select = ["+math_problems", "+tools"]
        first = submit(hub, select)
        assert set(first.waiting) == {"math_problems[ready]", "tools[ready]"}
        assert first.exit_code == 3
        forecast = plan(hub.environment, [("ready", {"math_problems", "tools"})])
        assert forecast.total.ask == 0
        assert forecast.total.reused == {"a batch API that has the requests": 6}
        last = submit(hub, select, waits=True)
        assert (last.waiting, last.exit_code) == ({}, 0)
        stats = hub.standin.stats()
        rows = hub.rows("generations")
        tokens = rows["prompt_tokens"].sum() + 2 * rows["completion_tokens"].sum()
        assert (stats["sold"], stats["batches"], rows.height) == (6, 2, 6)
        assert rows["cost"].sum() == pytest.approx(tokens * 0.5 / 1e6)
        assert sum(usage.calls for usage in last.usage.values()) == 6
        assert not open_standings(hub.store)
        assert not hub.store.paths.ledgers_of()


def test_a_canceled_batch_gives_its_answers_and_a_forgotten_one_none(tmp_path: Path) -> None:
    with home(tmp_path / "hub", "batch=stuck") as hub:
        hub.pages("notes", TOPICS[:4])
        submit(hub, UPSTREAM)
        (standing,) = open_standings(hub.store)
        while hub.standin.stats()["sold"] < 2:
            time.sleep(0.02)
        cancel(hub.store, LLM.of(hub.environment), standing.submission.key)
        submit(hub, UPSTREAM, waits=True)
        assert hub.standin.stats()["sold"] == 4
        assert hub.rows("generations").filter(status="accepted").height == 4

        hub.pages("later", TOPICS[4:])
        submit(hub, UPSTREAM)
        (standing,) = open_standings(hub.store)
        with pytest.raises(Exception, match="is known"):
            adopt(hub.store, standing.submission.key, "batch_1")
        with pytest.raises(Exception, match="no open submission 'x'"):
            forget(hub.store, "x")
        forget(hub.store, standing.submission.key)
        assert not hub.store.paths.ledgers_of("later")


def test_a_takedown_removes_submitted_requests_and_does_not_use_their_answers(tmp_path: Path) -> None:
    with home(tmp_path / "hub") as hub:
        hub.pages("notes", TOPICS[:3])
        submit(hub, UPSTREAM)
        (standing,) = open_standings(hub.store)
        target = Target("document", ("notes-1",))
        rehearsed = takedown(hub.store, target, dry_run=True)
        receipt = takedown(hub.store, target)
        name = f"{standing.submission.url} {standing.submission.key}"
        for each in (rehearsed, receipt):
            assert each.rows[Line("removed", "batch_api/text_personas", "notes")] == 1
            assert each.rows[Line("submitted", name, "notes")] == 1
        content = b"".join(path.read_bytes() for path in hub.store.paths.submissions.rglob("*") if path.is_file())
        assert b"fence stood forty" in content
        assert b"chickpeas" not in content
        submit(hub, UPSTREAM, waits=True)
        assert set(hub.rows("text_personas")["document_id"]) == {"notes-0", "notes-2"}
        assert hub.standin.stats()["sold"] == 3


def test_files_for_vllm_run_batch_are_written_and_swept(tmp_path: Path) -> None:
    with home(tmp_path / "hub") as hub:
        hub.pages("notes", TOPICS[:3])
        files = hub.environment.model_copy(update={"llm_url": "files:", "llm_model": "some-model"})
        result = run_batches(files, [], UPSTREAM, on_wait=lambda _standings: None)
        assert set(result.waiting) == {"text_personas[notes]"}
        (standing,) = open_standings(hub.store)
        assert standing.files is not None
        file = standing.files.input(standing.submission)
        lines = pl.read_ndjson(file)
        assert set(lines["url"]) == {"/v1/chat/completions"}
        assert lines["custom_id"].is_unique().all()
        assert {body["model"] for body in lines["body"]} == {"some-model"}
        takedown(hub.store, Target("document", ("notes-1",)))
        assert pl.read_ndjson(file).height == 2
        assert "chickpeas" not in file.read_text()


def test_files_are_told_from_those_of_others_written_again_and_removed(tmp_path: Path) -> None:
    with home(tmp_path / "hub") as hub:
        hub.pages("notes", TOPICS[:3])
        files = hub.environment.model_copy(update={"llm_url": "files:", "llm_model": "some-model"})
        run_batches(files, [], UPSTREAM)
        (standing,) = open_standings(hub.store)
        assert standing.files is not None
        file, answers = standing.files.input(standing.submission), standing.files.output(standing.submission)
        names, requests = pl.read_ndjson(file)["custom_id"].to_list(), file.read_bytes()
        file.unlink()
        refused = '{"custom_id": "%s", "response": {"status_code": 400, "body": {"error": {"message": "no"}}}}\n'
        answers.write_text("".join([refused % names[0]] * 3 + [refused % "other-0", "garbage\n", '{"torn']))
        (looked,) = look(hub.store, LLM.of(files), [standing])
        assert looked.progress is not None
        assert (looked.progress.completed, looked.progress.is_ended) == (1, False)
        assert (looked.progress.ignored, looked.progress.unreadable) == (3, 1)
        run_batches(files, [], UPSTREAM)
        assert file.read_bytes() == requests
        with hub.store.lock(Lock.of("text_personas", "notes"), wait=False), pytest.raises(LockHeld):
            forget(hub.store, standing.submission.key)
        forget(hub.store, standing.submission.key)
        assert not list(hub.store.paths.submissions.rglob("*.*"))
        run_batches(files, [], UPSTREAM)
        assert len(open_standings(hub.store)) == 1


def test_a_run_does_not_wait_for_a_submission_at_another_server(tmp_path: Path) -> None:
    with home(tmp_path / "hub", "batch=stuck") as hub, StandinServer() as other:
        hub.pages("notes", TOPICS[:2])
        submit(hub, UPSTREAM)
        looks: list[list[Standing]] = []
        elsewhere = hub.environment.model_copy(update={"llm_url": other.url})
        result = run_batches(elsewhere, [], UPSTREAM, on_wait=looks.append)
        assert (result.exit_code, len(looks)) == (3, 1)
        assert f"set PERSONAHUB_LLM_URL, or the address of its role, to {hub.standin.url}" in looks[0][0].problem
        assert other.stats()["sold"] == 0


def test_a_plan_names_the_price_of_the_run_first() -> None:
    work = [Work("notes", "tools", ask=2, calls=2.0, cost=0.4, batch_cost=0.2)]
    forecast = Plan("hub", "m", "", "USD", work)
    assert summary(forecast).endswith("0.40 USD, or ≈ 0.20 USD with --batch-api")
    forecast.is_batch = True
    assert summary(forecast).endswith("0.20 USD by the batch API, or ≈ 0.40 USD with --online")
    forecast.is_batch = forecast.has_choice = False
    assert summary(forecast).endswith("≈ 0.40 USD")


def test_a_submission_in_doubt_is_not_canceled_and_takes_no_batch_of_another(tmp_path: Path) -> None:
    store = Store(home=str(tmp_path))
    for asset, state in (("tools", "submitting"), ("instructions", "submitted")):
        with Ledger(store.paths.ledger(asset, "notes")) as ledger:
            ledger.collect("k-0", "k", "p1", b"{}", 1)
            submission = ledger.begin(f"of-{asset}", "http://a/v1", "m", 10, 1_000)
            assert submission is not None
            ledger.update(submission, state=state, batch_id="batch_1" if state == "submitted" else "")
    with pytest.raises(ArgumentError, match="--forget of-tools"):
        cancel(store, LLM(), "of-tools")
    with pytest.raises(ArgumentError, match=r"batch_1 is the one of submission of-instructions"):
        adopt(store, "of-tools", "batch_1")
    adopt(store, "of-tools", "batch_2")
    assert {each.submission.batch_id for each in open_standings(store)} == {"batch_1", "batch_2"}


def test_a_killed_command_goes_on_and_an_interrupted_one_leaves(tmp_path: Path) -> None:
    with home(tmp_path / "hub", "batch=stuck") as hub:
        hub.pages("notes", TOPICS[:4])
        variables = {
            **os.environ,
            "PERSONAHUB_HOME": str(hub.home),
            "PERSONAHUB_LLM_URL": hub.standin.url,
            "OPENBLAS_NUM_THREADS": "1",
        }
        select = [part for name in UPSTREAM for part in ("--select", name)]
        for number, code in ((signal.SIGKILL, -9), (signal.SIGINT, 130)):
            process = Process(["run", "--batch-api", *select], variables, tmp_path)
            while "2 of 4 requests at the batch API are done" not in process.errors:
                time.sleep(0.05)
            process.send_signal(number)
            assert process.end()[0] == code
            (standing,) = open_standings(hub.store)
        cancel(hub.store, LLM.of(hub.environment), standing.submission.key)
        code, _, err = Process(["run", *select], variables, tmp_path).end()
        assert (code, hub.standin.stats()["sold"]) == (0, 4), err
        assert hub.rows("generations").height == 4


def test_the_command_lists_submissions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with home(tmp_path / "hub", "batch=stuck") as hub:
        monkeypatch.setenv("PERSONAHUB_HOME", str(hub.home))
        monkeypatch.setenv("PERSONAHUB_LLM_URL", hub.standin.url)
        runner = typer.testing.CliRunner()
        assert "nothing waits" in runner.invoke(app, ["batch-api"]).output
        with Ledger(hub.store.paths.ledger("tools", "notes")) as ledger:
            ledger.collect("k-0", "k", "p1", b"{}", 1)
            ledger.begin("abc", hub.standin.url, "standin", 10, 1_000)
        output = runner.invoke(app, ["batch-api", "--json"]).output
        assert '"submission": "abc"' in output
        assert '"state": "written"' in output
        assert "nothing was paid: the next personahub run submits its requests again" in output
        damaged = hub.store.paths.ledger("instructions", "notes")
        damaged.parent.mkdir()
        damaged.write_bytes(b"no database" * 500)
        listed = runner.invoke(app, ["batch-api"])
        assert listed.exit_code == 1
        assert "abc" in listed.stdout
        lines = " ".join(listed.stderr.split())
        assert "abc: written, but no batch was created" in lines
        assert "instructions/notes.sqlite .recover, or restore a backup" in lines
        assert "instructions/notes.sqlite .recover" in str(runner.invoke(app, ["batch-api", "--forget", "x"]).exception)
        with pytest.raises(StoreError, match="recover"):  # a run that waits does not take them for answered
            open_standings(hub.store)
        assert "abc is forgotten" in runner.invoke(app, ["batch-api", "--forget", "abc"]).output
        assert "exclude" in str(runner.invoke(app, ["batch-api", "--forget", "a", "--cancel", "b"]).exception)


def test_both_ways_to_ask_exclude_each_other(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for options in (["--batch-api", "--online"], ["--online", "--batch-api"]):
        monkeypatch.setattr("sys.argv", ["personahub", "run", *options])
        assert call() == 2
        assert "--batch-api and --online exclude each other" in capsys.readouterr().err


def test_files_are_not_asked_online_and_no_run_begins(tmp_path: Path) -> None:
    with home(tmp_path / "hub") as hub:
        hub.pages("notes", TOPICS[:1])
        files = hub.environment.model_copy(update={"llm_url": "files:", "llm_model": "some-model"})
        with pytest.raises(LLMError, match=r"'files:'.* no server to ask online, as .*--online"):
            PersonaHub(environment=files).run(select=UPSTREAM, batch_api=False)
        assert not hub.store.path("documents", "notes").exists()
