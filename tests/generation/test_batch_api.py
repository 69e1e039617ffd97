"""The batch API against the stand-in over real HTTP: requests are submitted as files and their answers collected."""

from collections.abc import Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from engine_run import Run, outcomes, requests

from personahub_assets.core.config import BatchApi
from personahub_assets.core.errors import BudgetSpent, EndpointRefuses, LLMError, Submitted
from personahub_assets.core.prices import Prices
from personahub_assets.endpoints.batch_files import BatchServer
from personahub_assets.endpoints.no_server import NoServer
from personahub_assets.endpoints.transport import Transport
from personahub_assets.generation.batch_api.channel import FolderChannel, ProviderChannel
from personahub_assets.generation.batch_api.ledger import Ledger, open_submissions, pending_requests
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
            transport = Transport(self.url, "none", timeout_s=2, tries=5, faults_in_a_row=20)
            async with transport if self.url else NoServer() as server:
                terms = Terms(self.settings, self.task.model, self.collects, 3, PRICES.times(0.5))
                provider = BatchServer(server)
                channel = ProviderChannel(provider, "24h", self.folder, deletes=self.settings.delete_files)
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


def run_to_end(url: str, folder: Path, journal: Journal, rows: int = ROWS, **options: Any) -> BatchRun:
    """Runs until nothing is waited for."""
    for _ in range(200):
        try:
            return run(url, folder, journal, rows, **options)
        except Submitted:
            continue
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
    "hang_upload",
    "hang_download",
    "unordered+doubled+foreign+missing+expired",
]
LOST = {"missing": 1, "torn": 1, "unordered+doubled+foreign+missing+expired": 1}  # answers that the server lost


@pytest.mark.parametrize("fault", FAULTS)
def test_every_request_gets_its_own_answer_and_none_is_paid_twice(tmp_path: Path, journal: Journal, fault: str) -> None:
    with standin(fault, "hang_s=30") as server:
        run_to_end(server.url, tmp_path, journal)
        stats = server.stats()
    with standin() as plain, Journal(tmp_path / "online.sqlite") as online:
        Run(plain.url).of(requests(ROWS), online)
        expected = {key: each.response for key, each in outcomes(online).items()}
    assert {key: each.response for key, each in outcomes(journal).items()} == expected
    assert stats["sold"] == ROWS + LOST.get(fault, 0)
    assert set(fault.split("+")) <= set(stats["faults"])
