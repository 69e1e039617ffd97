"""How files of requests reach those who answer them: the batch API of a server, or a folder of the home.

A channel has no state of its own: what was sent, and how far it came, is in the ledger.
"""

import asyncio
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from personahub_assets.core.errors import LLMError
from personahub_assets.endpoints.batch_files import Batch, BatchServer, NoBatch
from personahub_assets.endpoints.transport import Fault
from personahub_assets.generation.batch_api.ledger import Ledger, Submission
from personahub_assets.generation.batch_api.lines import ENDPOINT, AnsweredLine, read_line, written_line
from personahub_assets.store.atomic import aside_folder, replacing

MARK = "personahub_submission"
"""Key of a batch's metadata whose value is the key of its submission."""

ENDED = frozenset({"completed", "failed", "expired", "cancelled", "canceled"})
_CREATE_TRIES = 3
_LOOKS_S = (0.0, 2.0, 5.0)
_LONGEST_PAUSE_S = 60.0
_DOWNLOADS = 3
_CLOCKS_S = 86_400.0  # by which the clocks of the server and of this machine may differ


@dataclass
class BatchStatus:
    """How far a submission came.

    Attributes:
        is_readable: whether there are answers to fetch.
        errors: why the provider did not begin it.
        unreadable: lines of its files that no answer can be read from.
        ignored: lines of its files that came twice, or belong to no request.
    """

    status: str
    completed: int = 0
    failed: int = 0
    is_ended: bool = False
    is_readable: bool = False
    errors: list[str] = field(default_factory=list)
    unreadable: int = 0
    ignored: int = 0


class Channel(Protocol):
    """The way to those who answer."""

    async def submit(self, ledger: Ledger, submission: Submission) -> Submission:
        """Send the lines of a submission; its state in the ledger is `submitted` afterwards."""

    async def find(self, ledger: Ledger, submission: Submission) -> Submission | None:
        """A submission whose sending was interrupted, in the state `submitted`; None if it was not sent."""

    async def withdraw(self, submission: Submission) -> None:
        """Remove what was sent of a submission that was not submitted."""

    async def look(self, submission: Submission) -> BatchStatus:
        """How far a submission came."""

    async def fetch(self, ledger: Ledger, submission: Submission) -> BatchStatus:
        """Store the answers that are there, without a commit."""

    async def clean(self, submission: Submission) -> None:
        """Delete the files of a submission whose answers are stored."""


class ProviderChannel:
    """The batch API of a server.

    Args:
        window: time that the provider is given.
        aside: folder for temporary files.
        deletes: whether files are deleted at the provider.
        save: called before the request that costs money, when the intent is in the ledger.
        looks_s: seconds before each look for a batch that may have been created: lists can lag.
    """

    def __init__(
        self,
        server: BatchServer,
        window: str,
        aside: Path,
        *,
        deletes: bool,
        save: Callable[[], None] = lambda: None,
        looks_s: tuple[float, ...] = _LOOKS_S,
    ):
        self._server, self._window, self._aside = server, window, aside
        self._deletes, self._save, self._looks_s = deletes, save, looks_s

    async def submit(self, ledger: Ledger, submission: Submission) -> Submission:
        """Upload the file, then create the batch. The intent is in the ledger before the request that costs money.

        Raises:
            LLMError: if the server refuses the batch, or nothing tells whether it was created.
        """
        with aside_folder(self._aside) as folder:
            file = folder / _file_name(submission)
            _write_lines(ledger, submission, file)
            file_id = await self._server.upload(file, _file_name(submission))
        submission = ledger.update(submission, state="uploaded", file_id=file_id)
        submission = ledger.update(submission, state="submitting")
        self._save()
        for _ in range(_CREATE_TRIES):
            try:
                batch = await self._server.create(file_id, ENDPOINT, self._window, {MARK: submission.key})
            except Fault as fault:
                # It may have been created, unless no connection was made.
                if not fault.unconnected and (adopted := await self.find(ledger, submission)) is not None:
                    return adopted
                await asyncio.sleep(min(fault.pause or 0, _LONGEST_PAUSE_S))
            except LLMError:
                await self.withdraw(submission)
                ledger.forget(submission)
                raise
            else:
                return _submitted(ledger, submission, batch)
        await self.withdraw(submission)
        ledger.forget(submission)
        raise LLMError(f"{self._server.url} does not answer when a batch is created. No batch was created; run again")

    async def find(self, ledger: Ledger, submission: Submission) -> Submission | None:
        """Find the batch by its metadata, or by its input file.

        Raises:
            LLMError: if the server cannot list batches, with the remedies.
        """
        for seconds in self._looks_s:
            await asyncio.sleep(seconds)
            try:
                async for batch in self._server.batches():
                    if _is_of(batch, submission):
                        return _submitted(ledger, submission, batch)
                    if float(batch.get("created_at") or submission.began) < submission.began - _CLOCKS_S:
                        break
            except NoBatch as error:
                raise LLMError(
                    f"{error}. It is unknown whether the batch of submission {submission.key}, with "
                    f"{submission.total:,} requests, was created before a run was interrupted. If the provider's pages "
                    f"show it: personahub batch-api --adopt {submission.key}=ID. If not: personahub batch-api --forget "
                    f"{submission.key}, and the requests are submitted again"
                ) from error
        return None

    async def withdraw(self, submission: Submission) -> None:
        """Delete the uploaded file, also if the run was killed before its id was known."""
        if submission.file_id:
            with suppress(LLMError):
                await self._server.delete_file(submission.file_id)
        else:
            await self._server.delete_named(_file_name(submission))

    async def look(self, submission: Submission) -> BatchStatus:
        """Ask for the status and the counts."""
        return _progress(await self._server.retrieve(submission.batch_id))

    async def fetch(self, ledger: Ledger, submission: Submission) -> BatchStatus:
        """Download the files of a batch that has ended."""
        batch = await self._server.retrieve(submission.batch_id)
        progress = _progress(batch)
        for name, expected in (("output_file_id", progress.completed), ("error_file_id", 0)):
            if file_id := batch.get(name):
                unreadable, ignored = await self._fetch_file(ledger, submission, str(file_id), expected)
                progress.unreadable += unreadable
                progress.ignored += ignored
        return progress

    async def _fetch_file(self, ledger: Ledger, submission: Submission, file_id: str, expected: int) -> tuple[int, int]:
        """Store the answers of one file, downloaded again if it is torn; return its unreadable and ignored lines.

        Raises:
            LLMError: if none of its answers can be read, such as a page of a proxy: they are paid, and not given up.
        """
        self._aside.mkdir(parents=True, exist_ok=True)
        lines, unreadable = LineCounts(), 0
        with tempfile.TemporaryFile(dir=self._aside) as file:
            for _ in range(_DOWNLOADS):
                await self._server.download(file_id, file)
                lines = list_counts(file)
                unreadable = lines.unreadable
                if not unreadable and lines.readable >= expected:
                    break
            if expected and not lines.readable:
                raise LLMError(
                    f"{self._server.url}: file {file_id} is to have {expected:,} answers of batch "
                    f"{submission.batch_id}, and no line of it can be read. Nothing was deleted: run again later. To "
                    f"submit and pay its requests again: personahub batch-api --forget {submission.key}"
                )
            _, ignored = ledger.answer(submission, read_answers(file))
        return unreadable, ignored

    async def clean(self, submission: Submission) -> None:
        """Delete input, output and error file at the provider."""
        if not self._deletes:
            return
        with suppress(LLMError):
            batch = await self._server.retrieve(submission.batch_id)
            for name in ("input_file_id", "output_file_id", "error_file_id"):
                if file_id := batch.get(name):
                    with suppress(LLMError):
                        await self._server.delete_file(str(file_id))


class FolderChannel:
    """Files in the home, for a program such as `vllm run-batch`.

    Args:
        ledger: path of the ledger; the files lie beside it.
    """

    def __init__(self, ledger: Path):
        self._ledger = ledger

    def input(self, submission: Submission) -> Path:
        """The file with the requests."""
        return self._ledger.with_suffix(f".{submission.key}.input.jsonl")

    def output(self, submission: Submission) -> Path:
        """The file that the program writes."""
        return self._ledger.with_suffix(f".{submission.key}.output.jsonl")

    async def submit(self, ledger: Ledger, submission: Submission) -> Submission:
        """Write the file of requests."""
        with replacing(self.input(submission)) as file:
            _write_lines(ledger, submission, file)
        return ledger.update(submission, state="submitted", status="waiting")

    async def find(self, ledger: Ledger, submission: Submission) -> Submission | None:  # noqa: ARG002
        """Nothing is sent twice by writing a file."""
        return None

    async def withdraw(self, submission: Submission) -> None:
        """Remove the file of requests."""
        self.input(submission).unlink(missing_ok=True)

    async def look(self, submission: Submission) -> BatchStatus:
        """Count the requests whose answers are there, or were read before."""
        with Ledger(self._ledger) as ledger:
            progress = self._compare(ledger, submission)
        progress.is_readable |= not self.input(submission).exists()  # `fetch` writes it again
        return progress

    async def fetch(self, ledger: Ledger, submission: Submission) -> BatchStatus:
        """Read the answers that are there. It has ended when each request has one: the program may still be writing."""
        progress, path = self._compare(ledger, submission), self.output(submission)
        if path.exists():
            with path.open("rb") as file:
                ledger.answer(submission, read_answers(file))
        if not progress.is_ended and not self.input(submission).exists():
            with replacing(self.input(submission)) as file_of_requests:
                _write_lines(ledger, submission, file_of_requests)
        return progress

    def _compare(self, ledger: Ledger, submission: Submission) -> BatchStatus:
        """Compare the file of answers with the requests: which have one, and which lines belong to none."""
        returned, path = ledger.returned(submission), self.output(submission)
        progress = BatchStatus("waiting")
        if path.exists():
            with path.open("rb") as file:
                counts = list_counts(file)
                progress.unreadable = counts.unreadable - counts.is_torn  # its program may be writing the last line
                names = Counter(line.name for line in read_answers(file))
            progress.ignored = sum(count - (name in returned) for name, count in names.items())
            returned |= dict.fromkeys(returned.keys() & names.keys(), True)
        progress.completed = sum(returned.values())
        progress.is_readable, progress.is_ended = progress.completed > 0, all(returned.values())
        progress.status = "completed" if progress.is_ended else "waiting"
        return progress

    def redact(self, ledger: Ledger, submission: Submission) -> None:
        """Rewrite both files without the lines that the ledger no longer has."""
        with replacing(self.input(submission)) as file:
            _write_lines(ledger, submission, file)
        if not self.output(submission).exists():
            return
        names = {name for name, _ in ledger.lines_of(submission)}
        with (
            self.output(submission).open("rb") as old,
            replacing(self.output(submission)) as file,
            file.open("wb") as new,
        ):
            for text in old:
                if (line := read_line(text)) is not None and line.name in names:
                    new.write(text)

    async def clean(self, submission: Submission) -> None:
        """Remove both files."""
        self.input(submission).unlink(missing_ok=True)
        self.output(submission).unlink(missing_ok=True)


@dataclass
class LineCounts:
    """Lines of an output file.

    Attributes:
        is_torn: whether the last line is one of the unreadable, and has no end.
    """

    readable: int = 0
    unreadable: int = 0
    is_torn: bool = False


def list_counts(file: BinaryIO) -> LineCounts:
    """Count the lines of an output file that can be read and that cannot; empty lines do not count."""
    counts = LineCounts()
    file.seek(0)
    for text in file:
        if text.strip():
            is_readable = read_line(text) is not None
            counts.readable += is_readable
            counts.unreadable += not is_readable
            counts.is_torn = not is_readable and not text.endswith(b"\n")
    return counts


def read_answers(file: BinaryIO) -> Iterator[AnsweredLine]:
    """The readable lines of an output file."""
    file.seek(0)
    for text in file:
        if (line := read_line(text)) is not None:
            yield line


def _write_lines(ledger: Ledger, submission: Submission, file: Path) -> None:
    with file.open("wb") as out:
        for line in ledger.lines_of(submission):
            out.write(written_line(*line))


def _file_name(submission: Submission) -> str:
    return f"personahub-{submission.key}.jsonl"


def _is_of(batch: Batch, submission: Submission) -> bool:
    metadata = batch.get("metadata")
    is_marked = isinstance(metadata, dict) and metadata.get(MARK) == submission.key
    return bool(batch.get("id")) and (
        is_marked or bool(submission.file_id and batch.get("input_file_id") == submission.file_id)
    )


def _submitted(ledger: Ledger, submission: Submission, batch: Batch) -> Submission:
    batch_id, status = str(batch["id"]), str(batch.get("status", ""))
    return ledger.update(submission, state="submitted", batch_id=batch_id, status=status)


def _progress(batch: Batch) -> BatchStatus:
    counts, errors = _mapping(batch.get("request_counts")), batch.get("errors")
    listed = errors if isinstance(errors, list) else _mapping(errors).get("data")
    status, completed = str(batch.get("status") or "unknown"), _number(counts.get("completed"))
    is_ended = status in ENDED
    if is_ended and completed and not batch.get("output_file_id"):  # its answers are paid: they are waited for
        status, is_ended = f"{status}, the file of answers is not there yet", False
    return BatchStatus(
        status,
        completed,
        _number(counts.get("failed")),
        is_ended,
        is_ended,
        [_error_text(error) for error in listed if isinstance(error, dict)] if isinstance(listed, list) else [],
    )


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _number(value: Any) -> int:
    return value if isinstance(value, int) else 0


def _error_text(error: dict[str, Any]) -> str:
    line = f"line {error['line']}: " if error.get("line") else ""
    return f"{line}{str(error.get('message', '')).rstrip('.')} ({error.get('code')})"
