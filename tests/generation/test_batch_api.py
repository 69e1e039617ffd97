"""The batch API against the stand-in over real HTTP: requests are submitted as files and their answers collected."""

import json
import os
import signal
import sqlite3
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from engine_run import Run, outcomes, requests
from processes import CONTEXT

from personahub_assets.core.config import BatchApi
from personahub_assets.core.errors import BudgetSpent, EndpointRefuses, LLMError, Submitted
from personahub_assets.core.prices import Prices
from personahub_assets.endpoints.batch_files import BatchServer
from personahub_assets.endpoints.no_server import NoServer
from personahub_assets.endpoints.transport import Transport
from personahub_assets.generation.batch_api.channel import FolderChannel, ProviderChannel
from personahub_assets.generation.batch_api.ledger import Ledger, Submission, open_submissions, pending_requests
from personahub_assets.generation.batch_api.submissions import Submissions, Terms
from personahub_assets.generation.budget import Budget
from personahub_assets.generation.client import Asker
from personahub_assets.generation.engine import OpenAsker
from personahub_assets.generation.journal import Journal
from personahub_assets.standin.server import StandinServer

PRICES = Prices(1.0, 1.0, 2.0)
ROWS = 12


class BatchRun(Run):
    """A run of the engine whose requests go to the batch API."""

    folder: Path
    settings: BatchApi
    collects: bool = True

    def asker(self) -> OpenAsker:
        @asynccontextmanager
        async def opened() -> Any:
            path = self.folder / "a" / "b.sqlite"
            options: dict[str, Any] = {"timeout_s": 2, "tries": 5, "faults_in_a_row": 20}
            async with Transport(self.url, "none", **options) if self.url else NoServer() as server:
                terms = Terms(self.settings, self.task.model, self.collects, 3, PRICES.times(0.5))
                provider = BatchServer(server)
                deletes = self.settings.delete_files
                channel = ProviderChannel(provider, "24h", self.folder, deletes=deletes, looks_s=(0, 0.2))
                with Ledger(path) as ledger:
                    way = channel if self.url else FolderChannel(path)
                    submissions = Submissions(ledger, way, server, terms, self.budget)
                    await submissions.begin()
                    reserve = partial(self.budget.reserve, terms.prices) if self.budget.is_reserving else None
                    spend = partial(self.budget.spend, PRICES)
                    yield Asker(server, self.task, self.limits, spend, (), reserve, submissions=submissions)

        return opened


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with Journal(tmp_path / "journal.sqlite") as opened:
        yield opened


@contextmanager
def standin(batch: str = "", more: str = "") -> Iterator[StandinServer]:
    faults = ",".join(filter(None, [f"batch={batch}" if batch else "", more]))
    with StandinServer(faults=faults) as server:
        yield server


def run(url: str, folder: Path, journal: Journal, rows: int = ROWS, **options: Any) -> BatchRun:
    """One run, as `personahub run` makes it: requests that have an outcome are not sent."""
    settings, collects = options.pop("settings", BatchApi(poll_s=0.1)), options.pop("collects", True)
    one = BatchRun(url, **options)
    one.folder, one.settings, one.collects = folder, settings, collects
    done = outcomes(journal)
    one.of([request for request in requests(rows) if request.key not in done], journal)
    return one


def run_to_end(
    url: str, folder: Path, journal: Journal, rows: int = ROWS, pause_s: float = 0.0, **options: Any
) -> BatchRun:
    """Runs until nothing is waited for."""
    for _ in range(1_000):
        try:
            return run(url, folder, journal, rows, **options)
        except Submitted:
            time.sleep(pause_s)
    raise AssertionError("the batch does not end")


def ledger(folder: Path) -> Path:
    return folder / "a" / "b.sqlite"


def test_requests_are_submitted_once_and_their_answers_collected(tmp_path: Path, journal: Journal) -> None:
    with standin() as server:
        with pytest.raises(Submitted, match="12 requests wait"):
            run(server.url, tmp_path, journal)
        assert len(open_submissions(ledger(tmp_path))) == 1
        keys = {request.key for request in requests(ROWS)}
        assert pending_requests(ledger(tmp_path), keys) == keys
        done = run_to_end(server.url, tmp_path, journal)
        stats = server.stats()
    assert {each.status for each in outcomes(journal).values()} == {"accepted"}
    assert (done.tally.accepted, stats["sold"], stats["batches"], stats["files"]) == (ROWS, ROWS, 1, 0)
    tokens = done.tally.prompt_tokens + 2 * done.tally.completion_tokens
    assert done.tally.cost == pytest.approx(tokens * 0.5 / 1e6)


FAULTS = [
    "unordered",
    "doubled",
    "foreign",
    "missing",
    "torn",
    "torn_download",
    "failed_lines",
    "expired",
    "late_list+hang_submit",
    "hang_submit+no_metadata",
    "lose_submit",
    "hang_upload",
    "hang_download",
    "late_output",
    "page_upload+page_status",
    "unordered+doubled+foreign+missing+expired",
]
LOST = {"missing": 1, "torn": 1, "unordered+doubled+foreign+missing+expired": 1}  # answers that the server lost


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The answers to the requests, asked online."""
    with standin() as server, Journal(tmp_path_factory.mktemp("online") / "journal.sqlite") as online:
        Run(server.url).of(requests(ROWS), online)
        return {key: each.response for key, each in outcomes(online).items()}


def responses(journal: Journal) -> dict[str, str]:
    return {key: each.response for key, each in outcomes(journal).items()}


@pytest.mark.parametrize("fault", FAULTS)
def test_every_request_gets_its_own_answer_and_none_is_paid_twice(
    tmp_path: Path, journal: Journal, expected: dict[str, str], fault: str
) -> None:
    with standin(fault, "hang_s=30") as server:
        run_to_end(server.url, tmp_path, journal)
        stats = server.stats()
    assert responses(journal) == expected
    assert stats["sold"] == ROWS + LOST.get(fault, 0)
    assert set(fault.split("+")) <= set(stats["faults"])
    assert stats["files"] == 0
    assert not list(tmp_path.glob("[0-9]*-*"))  # temporary files


def test_files_stay_at_the_provider_if_the_settings_say_so(tmp_path: Path, journal: Journal) -> None:
    with standin() as server:
        run_to_end(server.url, tmp_path, journal, settings=BatchApi(delete_files=False))
        assert server.stats()["files"] == 2


def test_more_requests_than_a_file_may_have_are_several_files(
    tmp_path: Path, journal: Journal, expected: dict[str, str]
) -> None:
    with standin() as server:
        run_to_end(server.url, tmp_path, journal, settings=BatchApi(max_lines=5))
        assert server.stats()["batches"] == 3
    assert responses(journal) == expected


def test_an_invalid_answer_is_asked_again_in_the_next_file_as_it_is_online(tmp_path: Path, journal: Journal) -> None:
    faults = "bad_json=0.3,truncate=0.2,refusal=0.1,seed=3"
    with StandinServer(faults=faults) as server:
        run_to_end(server.url, tmp_path, journal)
        stats = server.stats()
    with StandinServer(faults=faults) as server, Journal(tmp_path / "online.sqlite") as online:
        Run(server.url).of(requests(ROWS), online)
        expected = {key: (each.response, each.reason, each.attempts) for key, each in outcomes(online).items()}
        assert stats["sold"] == server.stats()["sold"] > ROWS
    got = {key: (each.response, each.reason, each.attempts) for key, each in outcomes(journal).items()}
    assert got == expected
    assert stats["batches"] > 1


def test_a_server_that_refuses_every_line_stops_the_step_with_the_setting(tmp_path: Path, journal: Journal) -> None:
    with standin("refused_lines") as server, pytest.raises(LLMError, match=r"generation\.mode"):
        run_to_end(server.url, tmp_path, journal)
    assert not outcomes(journal)


def test_a_batch_that_fails_its_validation_costs_nothing_and_is_submitted_again(
    tmp_path: Path, journal: Journal
) -> None:
    with standin("invalid") as server:
        with pytest.raises(EndpointRefuses, match="Enqueued token limit reached"):
            run_to_end(server.url, tmp_path, journal)
        run_to_end(server.url, tmp_path, journal)
        assert server.stats()["sold"] == ROWS


def test_paid_answers_that_cannot_be_read_stay_at_the_provider(tmp_path: Path, journal: Journal) -> None:
    with standin("page_download") as server:
        for _ in range(2):
            with pytest.raises(LLMError, match=r"12 answers .* Nothing was deleted"):
                run_to_end(server.url, tmp_path, journal)
        stats = server.stats()
        assert (stats["sold"], stats["batches"], stats["files"]) == (ROWS, 1, 2)


def test_a_server_without_a_batch_api_is_named(tmp_path: Path, journal: Journal) -> None:
    with standin() as server, pytest.raises(LLMError, match=r"404.* personahub run --online"):
        run_to_end(server.url.replace("/v1", "/v2"), tmp_path, journal)


def test_online_requests_leave_what_is_submitted_to_its_batch(tmp_path: Path, journal: Journal) -> None:
    with standin(more="batch_s=1") as server:
        with pytest.raises(Submitted):
            run(server.url, tmp_path, journal, rows=ROWS // 2)
        with pytest.raises(Submitted, match="6 requests wait"):
            run(server.url, tmp_path, journal, collects=False)
        assert len(outcomes(journal)) == ROWS // 2
        run_to_end(server.url, tmp_path, journal, collects=False)
        assert server.stats()["sold"] == ROWS


# --- a sending that was interrupted, where the provider has no list ---


def interrupted(server: StandinServer, folder: Path, journal: Journal) -> Submission:
    with pytest.raises(LLMError, match="--adopt") as raised:
        run(server.url, folder, journal)
    (submission,) = open_submissions(ledger(folder))
    assert submission.key in str(raised.value)
    return submission


def test_without_a_list_of_batches_the_user_names_the_batch(tmp_path: Path, journal: Journal) -> None:
    with standin("hang_submit+no_list", "hang_s=30") as server:
        submission = interrupted(server, tmp_path, journal)
        with urllib.request.urlopen(f"{server.url}/batches") as reply:
            (batch,) = json.load(reply)["data"]
        with Ledger(ledger(tmp_path)) as opened:
            opened.update(submission, state="submitted", batch_id=batch["id"])
        run_to_end(server.url, tmp_path, journal)
        assert server.stats()["sold"] == ROWS


# --- budgets ---


def test_submitted_requests_count_as_calls(tmp_path: Path, journal: Journal) -> None:
    with standin() as server:
        with pytest.raises(BudgetSpent, match="7 calls is spent; 7 requests wait"):
            run(server.url, tmp_path, journal, budget=Budget(max_calls=7))
        run_to_end(server.url, tmp_path, journal)
        assert server.stats()["sold"] == ROWS


def test_submitted_requests_stay_reserved_until_their_answers_are_here(tmp_path: Path, journal: Journal) -> None:
    with standin(more="batch_s=1") as server:
        budget = Budget(max_tokens=20_000)
        with pytest.raises(BudgetSpent, match="reserved for submitted calls"):
            run(server.url, tmp_path, journal, budget=budget)
        (submission,) = open_submissions(ledger(tmp_path))
        assert 0 < submission.total < ROWS
        assert budget.submitted_tokens > 0
        with pytest.raises((Submitted, BudgetSpent)):
            run(server.url, tmp_path, journal, budget=budget)
        assert len(open_submissions(ledger(tmp_path))) == 1
        run_to_end(server.url, tmp_path, journal, rows=submission.total, budget=budget)
        assert (budget.submitted_tokens, budget.submitted_cost) == (0, 0.0)
        assert 0 < budget.tokens < 20_000


# --- kill -9 ---


def work(url: str, folder: Path) -> None:
    with Journal(folder / "journal.sqlite") as journal:
        run_to_end(url, folder, journal, pause_s=0.05)


def killed(url: str, folder: Path, when: Callable[[], bool]) -> None:
    """Work in another process, and kill it when something has happened."""
    process = CONTEXT.Process(target=work, args=(url, folder))
    process.start()
    while not when():
        assert process.is_alive()
        time.sleep(0.02)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()


def states(folder: Path) -> set[str]:
    path = ledger(folder)
    if not path.exists():
        return set()
    try:
        with closing(sqlite3.connect(path)) as connection:
            return {state for (state,) in connection.execute("SELECT state FROM submissions")}
    except sqlite3.OperationalError:  # not made yet
        return set()


MET = {
    "before submit": "hang_upload",
    "after the upload": "lose_submit",
    "submitted without a reply": "hang_submit",
    "half done": "",
    "done": "hang_download",
}


def goes_on_without_paying_twice(server: StandinServer, folder: Path, expected: dict[str, str]) -> None:
    with Journal(folder / "journal.sqlite") as journal:
        assert not outcomes(journal)
        run_to_end(server.url, folder, journal)
        assert responses(journal) == expected
    assert server.stats()["sold"] / ROWS == 1.0


@pytest.mark.parametrize("state", MET)
def test_a_killed_run_pays_nothing_twice(tmp_path: Path, expected: dict[str, str], state: str) -> None:
    with standin(MET[state], "hang_s=60,batch_s=2" if state == "half done" else "hang_s=60") as server:

        def has_happened() -> bool:
            if MET[state]:
                return MET[state] in server.stats()["faults"]
            return states(tmp_path) == {"submitted"} and server.stats()["sold"] == ROWS // 2

        killed(server.url, tmp_path, has_happened)
        goes_on_without_paying_twice(server, tmp_path, expected)
        assert server.stats()["files"] == 0


def test_a_run_killed_between_download_and_journal_pays_nothing_twice(tmp_path: Path, expected: dict[str, str]) -> None:
    with Journal(tmp_path / "journal.sqlite"):
        pass
    with standin() as server, closing(sqlite3.connect(tmp_path / "journal.sqlite")) as blocking:
        blocking.execute("BEGIN IMMEDIATE")
        killed(server.url, tmp_path, lambda: states(tmp_path) == {"ended"})
        blocking.rollback()
        goes_on_without_paying_twice(server, tmp_path, expected)
        assert server.stats()["batches"] == 1


# --- files for a program outside ---


def answer_file(url: str, folder: Path, lines: slice = slice(None)) -> None:
    """Answer a file of requests, as vllm run-batch does."""
    (file,) = (folder / "a").glob("*.input.jsonl")
    with Path(str(file).replace(".input.", ".output.")).open("a") as out:
        for text in file.read_text().splitlines()[lines]:
            line = json.loads(text)
            body = json.dumps(line["body"]).encode()
            order = urllib.request.Request(url.removesuffix("/v1") + line["url"], body)
            with urllib.request.urlopen(order) as reply:
                response = {"status_code": 200, "request_id": "r", "body": json.load(reply)}
            out.write(json.dumps({"id": "i", "custom_id": line["custom_id"], "response": response, "error": None}))
            out.write("\n")


def test_files_are_answered_by_a_program_outside(tmp_path: Path, journal: Journal, expected: dict[str, str]) -> None:
    with standin() as server:
        with pytest.raises(Submitted, match="12 requests wait"):
            run("", tmp_path, journal)
        answer_file(server.url, tmp_path, slice(0, 5))
        with pytest.raises(Submitted, match="7 requests wait"):
            run("", tmp_path, journal)
        assert len(outcomes(journal)) == 5
        with next((tmp_path / "a").glob("*.output.jsonl")).open("a") as out:
            out.write('{"custom_id": "torn')
            out.write("\n")
        answer_file(server.url, tmp_path, slice(5, None))
        run("", tmp_path, journal)
        assert server.stats()["sold"] == ROWS
    assert responses(journal) == expected
    assert not list((tmp_path / "a").glob("*.jsonl"))
