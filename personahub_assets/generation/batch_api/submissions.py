"""Answer requests from submitted files, and collect those that are to be submitted.

A call of a request is looked up in the ledger. If it was answered, the answer is read like one that came over HTTP. If
it was submitted and not answered yet, the request is deferred: nothing is recorded, and a later run asks for it again.
If it was neither, it is collected and deferred, or asked online. A later run repeats all calls of a request from the
ledger, so a re-ask stands on the same answer and is submitted once.
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from personahub_assets.core.config import FILES_URL, BatchApi
from personahub_assets.core.errors import EndpointRefuses, LLMError
from personahub_assets.core.prices import Prices
from personahub_assets.endpoints.batch_files import NoBatch
from personahub_assets.endpoints.transport import Fault, Transport
from personahub_assets.generation.batch_api.channel import BatchStatus, Channel
from personahub_assets.generation.batch_api.ledger import UNSENT, Ledger, Line, State, Submission
from personahub_assets.generation.batch_api.lines import NOT_ANSWERED
from personahub_assets.generation.budget import Budget, Deferred
from personahub_assets.generation.requests import Request

_GOOD = 200
_MB = 1_000_000


@dataclass(frozen=True)
class Terms:
    """How requests are submitted.

    Attributes:
        collects: whether requests without an answer are submitted; else they are asked online.
        tries: how often a call is submitted whose line fails.
        prices: of answers of the batch API.
        is_passing: whether the server is a stand-in that ends with its process, and has lost what others submitted.
    """

    settings: BatchApi
    model: str
    collects: bool
    tries: int
    prices: Prices
    is_passing: bool = False


class Submissions:
    """The submitted requests of one asset and batch, at one server.

    Args:
        ledger: opened.
        channel: the way to the server.
        server: judges errors; its address is that of the submissions.
        terms: how requests are submitted.
        budget: of the run.
    """

    def __init__(self, ledger: Ledger, channel: Channel, server: Transport, terms: Terms, budget: Budget):
        self._ledger, self._channel, self.server = ledger, channel, server
        self.terms, self._budget = terms, budget
        self.notes: list[str] = []
        self.deferred = 0

    @property
    def _own(self) -> list[Submission]:
        """The open submissions at this server."""
        is_all = self.terms.is_passing
        submissions = [each for each in self._ledger.submissions() if each.is_open]
        return [each for each in submissions if is_all or each.url == self.server.url]

    async def begin(self) -> None:
        """Settle what an interrupted run left, and store the answers of submissions that have ended.

        Raises:
            LLMError: if the server does not answer, or a submission was refused.
        """
        self._ledger.drop_collected()
        for submission in self._own:
            current: Submission | None = submission
            if submission.state != "submitted":
                current = await self._recover(submission)
            if current is not None:
                await self._collect_answers(current)

    async def _recover(self, submission: Submission) -> Submission | None:
        """Adopt a submission whose sending was interrupted, or forget it if it was not submitted."""
        if submission.state not in UNSENT:
            sent = await self._channel.find(self._ledger, submission)
            if sent is not None:
                self.notes.append(f"batch {sent.batch_id} was created by an interrupted run, and is used")
                return sent
        await self._channel.withdraw(submission)
        self._ledger.forget(submission)
        return None

    async def _collect_answers(self, submission: Submission) -> None:
        try:
            progress = await self._channel.look(submission)
            if progress.is_readable:
                progress = await self._channel.fetch(self._ledger, submission)
        except NoBatch as error:
            self._lose(submission, error)
            return
        if not progress.is_ended:
            self._note_progress(submission, progress)
            self._describe_lines(submission, progress)
            return
        if progress.status == "failed" and not self._ledger.count(submission).returned:
            await self._channel.clean(submission)
            self._ledger.forget(submission)
            raise EndpointRefuses(
                f"{submission.url} did not begin batch {submission.batch_id} of {submission.total:,} requests: "
                f"{'; '.join(progress.errors) or 'no reason is given'}. Nothing was paid. Mend the cause (batch_api."
                "max_lines in hub.toml makes smaller files), then run again"
            )
        self._note_progress(submission, progress, state="ended")
        await self._channel.clean(submission)
        self._describe(submission, progress)

    def _note_progress(self, submission: Submission, progress: BatchStatus, state: State = "submitted") -> None:
        self._ledger.update(
            submission, state=state, status=progress.status, completed=progress.completed, failed=progress.failed
        )

    def _lose(self, submission: Submission, error: NoBatch) -> None:
        """Ask the requests of a batch again if it ended with its server, which costs nothing.

        Raises:
            LLMError: at any other server.
        """
        if self.terms.is_passing:
            self._ledger.forget(submission)
            return
        raise LLMError(
            f"{error}. The {submission.total:,} requests of submission {submission.key} have no answers: is the key of "
            f"the same account? To submit and pay them again: personahub batch-api --forget {submission.key}"
        )

    def _describe(self, submission: Submission, progress: BatchStatus) -> None:
        """Note what was wrong with the answers of a submission."""
        answered = self._ledger.count(submission).answered
        name = _name(submission)
        if missing := submission.total - answered:
            how = f" ({progress.status})" if progress.status != "completed" else ""
            self.notes.append(f"{name}{how}: {missing:,} of {submission.total:,} requests came back without an answer")
        self._describe_lines(submission, progress)

    def _describe_lines(self, submission: Submission, progress: BatchStatus) -> None:
        """Note the lines that give no answer."""
        name = _name(submission)
        if progress.ignored:
            self.notes.append(f"{name}: {progress.ignored:,} lines of its files came twice, or were never asked")
        if progress.unreadable:
            self.notes.append(f"{name}: {progress.unreadable:,} lines of its files cannot be read")

    def reply(self, request: Request, number: int, body: Callable[[], bytes], parse: Callable[[bytes], Any]) -> Any:
        """The answer to one call of a request.

        Args:
            number: of the call in the conversation about the request, from 0.
            body: writes the call.
            parse: reads an answer.

        Returns:
            The parsed answer; None if the call is to be asked online.

        Raises:
            Deferred: if the answer comes later.
            Fault, Refused, EndpointRefuses, ErrorReply, UnreadableReply: what the answer says, as `Transport.post`.
            BudgetSpent: if the call would be submitted, and none is left.
        """
        name = line_name(request.key, number)
        line = self._ledger.line(name)
        if line is not None and line.is_pending:
            self.deferred += 1
            raise Deferred(name)
        fault: Fault | None = None
        if line is not None and line.status is not None:
            try:
                return self._read(line, parse)
            except Fault as error:
                fault = error
        return self._collect(name, request, line, fault, body)

    def _read(self, line: Line, parse: Callable[[bytes], Any]) -> Any:
        """Read an answer.

        Raises:
            Fault: if the line can be submitted again.
            EndpointRefuses: if no line has an answer; the failed lines are forgotten, so that a later run submits them.
        """
        if line.status == NOT_ANSWERED:
            raise Fault("the batch API gave the request back without an answer")
        assert line.status is not None
        try:
            return self.server.read(line.status, line.reply, parse)
        except EndpointRefuses as error:
            if self._ledger.has_answers:  # such as a credit that ended in the middle
                raise Fault(str(error)) from error
            self._forget_failed()
            raise

    def _collect(
        self, name: str, request: Request, line: Line | None, fault: Fault | None, body: Callable[[], bytes]
    ) -> None:
        """Collect a call.

        Raises:
            Deferred: always, unless it is to be asked online.
            Fault: if its line failed too often.
        """
        if not self.terms.collects:
            return
        tries = line.tries if line is not None else 0
        if tries >= self.terms.tries:
            raise fault or Fault("no answer in the files of the batch API")
        self._budget.submit(name)
        self._ledger.collect(name, request.key, request.input_id, body(), tries + 1)
        self.deferred += 1
        raise Deferred(name)

    def probe(self) -> None:
        """Tell whether the server answers at all, from the lines that are here.

        Raises:
            LLMError: if it answered no line; they are forgotten, so that a later run submits them again.
        """
        if not self._ledger.has_answers:
            self._forget_failed()
            raise LLMError(
                f"{self.server.url} answered no line of a batch. If it does not take this form of requests, set "
                "generation.mode in hub.toml; personahub doctor asks it online"
            )

    def _forget_failed(self) -> None:
        for submission in self._ledger.submissions():
            if not submission.is_open:
                self._ledger.forget(submission, only_failed=True)

    async def submit(self) -> None:
        """Submit all collected lines.

        Raises:
            LLMError: if the server refuses, or does not answer.
        """
        settings, most_bytes = self.terms.settings, self.terms.settings.max_mb * _MB
        while submission := self._ledger.begin(
            secrets.token_hex(8), self.server.url, self.terms.model, settings.max_lines, most_bytes
        ):
            await self._channel.submit(self._ledger, submission)

    def is_from_batch(self, name: str) -> bool:
        """Whether a call was answered or still can be: it is paid, and nothing has to be reserved for it."""
        line = self._ledger.line(name)
        return line is not None and (line.is_pending or line.status == _GOOD)

    def spend(self, name: str, prompt: int, cached: int, completion: int) -> float:
        """Cost of an answer; it counts in the budget of the run that submitted the request."""
        if self._budget.settle(name):
            return self._budget.spend(self.terms.prices, prompt, cached, completion)
        return self.terms.prices.cost(prompt, cached, completion)

    def summary(self) -> str:
        """What is waited for."""
        waiting = [each for each in self._ledger.submissions() if each.is_open]
        batches = f"{len(waiting)} batch{'es' if len(waiting) != 1 else ''}"
        where = ", ".join("files of the home" if url == FILES_URL else url for url in {each.url: 0 for each in waiting})
        requests = (
            "1 request waits for its answer" if self.deferred == 1 else f"{self.deferred:,} requests wait for answers"
        )
        return f"{requests}: {batches} at {where}"


def _name(submission: Submission) -> str:
    return f"batch {submission.batch_id or submission.key}"


def line_name(key: str, number: int) -> str:
    """Name of one call of a request: the custom_id of its line."""
    return f"{key}-{number}"
