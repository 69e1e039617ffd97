"""All submissions of a home, and how far they came."""

from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from personahub_assets.core.addresses import public
from personahub_assets.core.config import FILES_URL
from personahub_assets.core.errors import ArgumentError, LLMError, StoreError, choices
from personahub_assets.core.roles import ROLES
from personahub_assets.endpoints.batch_files import BatchRefused, BatchServer, NoBatch
from personahub_assets.generation.batch_api.channel import BatchStatus, Channel, FolderChannel, ProviderChannel
from personahub_assets.generation.batch_api.ledger import UNSENT, Ledger, Submission, drop, open_submissions
from personahub_assets.generation.llm import LLM, run_coroutine
from personahub_assets.store.home import Lock
from personahub_assets.store.tables import Store


class _Elsewhere(LLMError):
    """A submission is at a server that the environment does not name."""


@dataclass(frozen=True)
class Standing:
    """One open submission of an asset and batch.

    Attributes:
        progress: what the server says; None if it was not asked.
        problem: why the server could not be asked.
        is_stuck: whether it is useless to ask again: the submission is at another server, or this one refuses.
    """

    asset: str
    batch: str
    ledger: Path
    submission: Submission
    progress: BatchStatus | None = None
    problem: str = ""
    is_stuck: bool = False

    @property
    def name(self) -> str:
        """Asset and batch."""
        return f"{self.asset}[{self.batch}]"

    @property
    def files(self) -> FolderChannel | None:
        """The files that a program outside answers; None if a server does."""
        return FolderChannel(self.ledger) if self.submission.url == FILES_URL else None

    @property
    def remedy(self) -> str:
        """What to do about a submission whose sending was interrupted; empty for others."""
        key, state = self.submission.key, self.submission.state
        if state in UNSENT:
            return (
                f"{key}: {state}, but no batch was created, and nothing was paid: the next personahub run submits its "
                f"requests again; personahub batch-api --forget {key} removes it"
            )
        if state == "submitting":
            return f"{key}: its sending was interrupted: the next personahub run looks for its batch at the provider"
        return ""

    def as_json(self) -> dict[str, object]:
        """The submission as `personahub batch-api --json` prints it."""
        submission, progress = self.submission, self.progress
        return {
            "submission": submission.key,
            "asset": self.asset,
            "batch": self.batch,
            "url": submission.url,
            "model": submission.model,
            "state": submission.state,
            "batch_id": submission.batch_id or None,
            "status": progress.status if progress else submission.status or None,
            "requests": submission.total,
            "completed": progress.completed if progress else submission.completed,
            "failed": progress.failed if progress else submission.failed,
            "input": str(self.files.input(submission)) if self.files else None,
            "output": str(self.files.output(submission)) if self.files else None,
            "problem": self.problem or self.remedy or None,
        }


def open_standings(
    store: Store, batches: Collection[str] | None = None, *, on_damage: Callable[[StoreError], None] | None = None
) -> list[Standing]:
    """The open submissions of a home, or of some of its batches.

    Args:
        on_damage: called for each ledger that cannot be read, whose submissions are left out; None: that is an error.

    Raises:
        StoreError: if a ledger cannot be read.
    """
    standings = list[Standing]()
    for path in store.paths.ledgers_of():
        if batches is not None and path.stem not in batches:
            continue
        try:
            submissions = open_submissions(path)
        except StoreError as error:
            if on_damage is None:
                raise
            on_damage(error)
        else:
            standings += [Standing(path.parent.name, path.stem, path, each) for each in submissions]
    return standings


def look(store: Store, llm: LLM, standings: Collection[Standing]) -> list[Standing]:
    """Ask the servers how far submissions came; what keeps one from being asked is its `problem`."""
    return run_coroutine(_look(store, llm, list(standings)))


async def _look(store: Store, llm: LLM, standings: list[Standing]) -> list[Standing]:
    looked = []
    for each in standings:
        progress, problem, is_stuck = None, "", False
        try:
            if each.submission.state == "submitted":
                async with _opened(store, llm, each) as channel:
                    progress = await channel.look(each.submission)
        except NoBatch as error:
            progress, problem = BatchStatus("unknown", is_ended=True), str(error)
        except LLMError as error:
            problem, is_stuck = str(error), isinstance(error, _Elsewhere | BatchRefused)
        looked.append(replace(each, progress=progress, problem=problem, is_stuck=is_stuck))
    return looked


def cancel(store: Store, llm: LLM, key: str) -> Standing:
    """Cancel a submission: what is answered is used by the next run, the rest is asked again.

    Raises:
        ArgumentError: if there is no such submission, or it is unknown whether the provider has it.
        LLMError: if the server does not answer.
        LockHeld: if a run works on it.
    """
    standing = find_standing(store, key)
    if standing.files is None and standing.submission.state == "submitted":
        run_coroutine(_cancel(store, llm, standing))
        return standing
    if standing.submission.state == "submitting":
        raise ArgumentError(
            f"submission {key} of {standing.name} was interrupted while it was sent, so there is no batch to cancel "
            "yet: personahub run looks for it at the provider. If the provider has none: personahub batch-api "
            f"--forget {key}"
        )
    with _ledger(store, standing) as ledger:
        if standing.files is not None:
            run_coroutine(standing.files.fetch(ledger, standing.submission))
        ledger.update(standing.submission, state="ended", status="cancelled")
        if standing.files is not None:
            run_coroutine(standing.files.clean(standing.submission))
    return standing


async def _cancel(store: Store, llm: LLM, standing: Standing) -> None:
    async with _server(store, llm, standing).transport(**_OPTIONS) as transport:
        await BatchServer(transport).cancel(standing.submission.batch_id)


def forget(store: Store, key: str) -> Standing:
    """Forget a submission: its requests are submitted and paid again. Its files in the home are removed.

    Raises:
        ArgumentError: if there is no such submission.
        LockHeld: if a run works on it.
    """
    standing = find_standing(store, key)
    with store.lock(_lock(standing), wait=False):
        with Ledger(standing.ledger) as ledger:
            ledger.forget(standing.submission)
            is_empty = ledger.is_empty
        if standing.files is not None:
            run_coroutine(standing.files.clean(standing.submission))
        if is_empty:
            drop(standing.ledger)
    return standing


def adopt(store: Store, key: str, batch_id: str) -> Standing:
    """Take a batch of the provider for the one of a submission whose sending was interrupted.

    Raises:
        ArgumentError: if there is no such submission, its batch is known, or the batch is that of another one.
        LockHeld: if a run works on it.
    """
    standing = find_standing(store, key)
    if standing.submission.state == "submitted":
        raise ArgumentError(f"the batch of submission {key} is known: {standing.submission.batch_id or 'files'}")
    for each in open_standings(store):
        if each.submission.batch_id == batch_id:  # its files would be deleted with answers that only it can use
            raise ArgumentError(f"batch {batch_id} is the one of submission {each.submission.key} of {each.name}")
    with _ledger(store, standing) as ledger:
        ledger.update(standing.submission, state="submitted", batch_id=batch_id)
    return standing


def _lock(standing: Standing) -> str:
    return Lock.of(standing.asset, standing.batch)


@contextmanager
def _ledger(store: Store, standing: Standing) -> Iterator[Ledger]:
    """The ledger of a submission, while no run works on it."""
    with store.lock(_lock(standing), wait=False), Ledger(standing.ledger) as ledger:
        yield ledger


def find_standing(store: Store, key: str) -> Standing:
    """An open submission by its key.

    Raises:
        ArgumentError: if there is none, with the valid keys.
        StoreError: if there is none among those that can be read, and a ledger is damaged.
    """
    damages = list[StoreError]()
    standings = {each.submission.key: each for each in open_standings(store, on_damage=damages.append)}
    if key not in standings and damages:
        raise damages[0]
    if not standings:
        raise ArgumentError(f"no open submission {key!r}: nothing waits for a batch API")
    if key not in standings:
        raise ArgumentError(f"no open submission {choices(key, sorted(standings))}")
    return standings[key]


_OPTIONS: dict[str, Any] = {"timeout_s": 60.0, "tries": 5, "faults_in_a_row": 20}


def _server(store: Store, llm: LLM, standing: Standing) -> LLM:
    url, servers = standing.submission.url, dict(_servers(store, llm))
    if url not in servers:
        raise _Elsewhere(
            f"submission {standing.submission.key} of {standing.name} is at {url}, and the servers are "
            f"{', '.join(servers) or 'not set'}: set PERSONAHUB_LLM_URL, or the address of its role, to {url}"
        )
    return servers[url]


def _servers(store: Store, llm: LLM) -> Iterator[tuple[str, LLM]]:
    """Every server of every role, by its address without secrets."""
    config = store.config
    for role in ROLES:
        for variant in ("", *(each.name for each in config.role(role).variants)):
            endpoint = llm.as_role(config, role, variant)
            if endpoint.url and not endpoint.writes_files:
                yield from ((public(each.require().strip().rstrip("/")), each) for each in endpoint.each)


@asynccontextmanager
async def _opened(store: Store, llm: LLM, standing: Standing) -> AsyncIterator[Channel]:
    """The channel of a submission, with its connections."""
    if standing.files is not None:
        yield standing.files
        return
    settings = store.config.batch_api
    async with _server(store, llm, standing).transport(**_OPTIONS) as transport:
        server, window = BatchServer(transport), settings.completion_window
        yield ProviderChannel(server, window, store.paths.aside, deletes=settings.delete_files)
