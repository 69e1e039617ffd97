"""One request to one outcome: Instructor over an OpenAI-compatible endpoint, with a single owner of all retries.

The SDK retries nothing. Transport faults (connection, timeout, 429, 5xx) are tried again with backoff and jitter; an
answer cut at the token limit gets one try with twice the limit; an invalid answer goes back through Instructor a
bounded number of times. Refusals and 400s are never repeated.
"""

import asyncio
import json
import random
import time
from dataclasses import dataclass
from typing import Any

import httpx2
import openai
import regex
from instructor import Mode
from instructor.v2.core.providers import Provider
from instructor.v2.core.registry import mode_registry
from openai.types.chat import ChatCompletion
from pydantic import ValidationError

from personahub_assets.domain.errors import EndpointDown, LLMError
from personahub_assets.domain.records import Answer
from personahub_assets.domain.text import sanitise, shorten
from personahub_assets.generation.requests import Outcome, Reason, Request, Task

RAW_LIMIT = 4_000
_HINT_LIMIT = 1_500
# Instructor's own handlers for structured answers: how the schema is asked for, how an answer is parsed, and how a
# wrong one is sent back. Its `create` wrapper does the same but builds a new model class and schema for every call.
_INSTRUCTOR = mode_registry.get_handlers(Provider.OPENAI, Mode.JSON_SCHEMA)
_BACKOFF_S = 30.0
_REFUSAL = regex.compile(
    # Possessive: an answer that begins with thousands of brackets would take seconds otherwise.
    r"^\W*+(i['’]?m (really |very )?sorry|i am sorry|sorry|i apologi[sz]e|unfortunately)?\W*+(but )?"
    r"(as an ai\b[a-z ]{0,30}\W*+)?"
    r"(i|we) ?(can(not|['’]?t| not)|am (not able|unable)|['’]?m (not able|unable)|won['’]?t|"
    r"((must|have to) )?decline)\b",
    regex.IGNORECASE,
)

_NO_JSON = object()


@dataclass(frozen=True)
class Limits:
    """How far one request may go."""

    reasks: int = 2
    transport_tries: int = 5
    consecutive_faults: int = 20
    window: int = 64


class Breaker:
    """Counts transport faults in a row over all requests, and stops the step when the endpoint is down."""

    def __init__(self, limit: int):
        self.limit, self.count = limit, 0

    def success(self) -> None:
        """Note an answer of any kind."""
        self.count = 0

    def fault(self, error: Exception) -> None:
        """Note a transport fault.

        Raises:
            EndpointDown: at the limit.
        """
        self.count += 1
        if self.count >= self.limit:
            raise EndpointDown(
                f"{self.count} transport faults in a row, the last: {type(error).__name__}: {error}. "
                "The answers so far are in the journal; bring the endpoint back and run again"
            ) from error


class _Rejected(Exception):
    """An answer that must not go back to Instructor."""

    def __init__(self, reason: Reason, detail: str):
        super().__init__(detail)
        self.reason, self.detail = reason, detail


class Asker:
    """Asks an endpoint on behalf of one task."""

    def __init__(self, client: openai.AsyncOpenAI, task: Task, limits: Limits):
        self.client, self.task, self.limits = client, task, limits
        sampling = task.prompt.sampling.model_dump()
        # What Instructor adds for the schema is the same for all requests of a task.
        _, self.arguments = _INSTRUCTOR.request_handler(task.answer, {"model": task.model, **sampling, "messages": []})
        self.breaker = Breaker(limits.consecutive_faults)

    async def ask(self, request: Request) -> Outcome:
        """Ask until there is an accepted answer or a reason.

        Raises:
            EndpointDown: if the endpoint failed too often in a row.
            LLMError: if it refuses the key, the path or the model.
        """
        return await _Conversation(self, request).outcome()


class _Conversation:
    """All attempts at one request, and what they cost."""

    def __init__(self, asker: Asker, request: Request):
        self.asker, self.request = asker, request
        self.result = Outcome(request.key, "rejected", "")
        self.last_cost = 0

    async def outcome(self) -> Outcome:
        started = time.perf_counter()
        try:
            answer = await self._accepted()
        except _Rejected as verdict:
            self.result.reason, self.result.detail = verdict.reason, verdict.detail
        else:
            self.result.status, self.result.response = "accepted", answer.model_dump_json()
            self.result.wasted_tokens -= self.last_cost
        self.result.latency_s = round(time.perf_counter() - started, 4)
        return self.result

    async def _accepted(self) -> Answer:
        """Ask, and re-ask with what was wrong, until Instructor's parser takes the answer."""
        task = self.asker.task
        arguments = {**self.asker.arguments, "messages": list(self.request.messages)}
        for left in range(self.asker.limits.reasks, -1, -1):
            completion = await self._whole(arguments)
            try:
                answer: Answer = _INSTRUCTOR.response_parser(completion, task.answer)
                return answer
            except ValidationError as error:
                if not left:
                    raise _Rejected(*_what_is_wrong(error)) from error
                # The list of errors quotes the answer: uncut, it would grow the prompt with every re-ask.
                hint = ValueError(shorten(str(error), _HINT_LIMIT))
                arguments = _INSTRUCTOR.reask_handler(arguments, completion, hint)
        raise AssertionError("unreachable: the loop returns or raises")

    async def _whole(self, arguments: dict[str, Any]) -> ChatCompletion:
        """One answer that is complete and not refused, raw control characters repaired."""
        completion = await self._paid(arguments)
        if completion.choices[0].finish_reason == "length":
            arguments["max_tokens"] *= 2
            completion = await self._larger(arguments)
        choice = completion.choices[0]
        if choice.finish_reason == "length":
            raise _Rejected("truncated", f"cut at {arguments['max_tokens']} tokens, at the second try too")
        if choice.message.refusal:
            raise _Rejected("refused", shorten(choice.message.refusal))
        if choice.finish_reason == "content_filter":
            raise _Rejected("content_filtered", "the server withheld the answer")
        text = choice.message.content or ""
        if not text.strip():
            raise _Rejected("empty", "the answer has no text")
        choice.message.content = self._repaired(text)
        return completion

    async def _larger(self, arguments: dict[str, Any]) -> ChatCompletion:
        """The one larger try after a truncated answer."""
        try:
            return await self._paid(arguments)
        except _Rejected as verdict:
            if verdict.reason not in ("too_long", "bad_request"):
                raise
            detail = f"cut, and {arguments['max_tokens']} tokens are more than the server allows: {verdict.detail}"
            raise _Rejected("truncated", detail) from verdict

    def _repaired(self, text: str) -> str:
        """Escape raw control characters inside JSON strings, and replace what cannot be stored."""
        try:
            value, changed = json.loads(text), False
        except (json.JSONDecodeError, RecursionError):
            value, changed = self._lenient(text), True
        clean = _storable(value)
        if clean == value and not changed:
            return text
        self.result.repaired = clean is not _NO_JSON
        return sanitise(text)[0] if clean is _NO_JSON else json.dumps(clean)

    def _lenient(self, text: str) -> Any:
        """Parse what a strict parser refuses, or find that it is no JSON at all."""
        try:
            return json.loads(text, strict=False)
        except (json.JSONDecodeError, RecursionError):
            if _REFUSAL.match(text):
                raise _Rejected("refused", shorten(sanitise(text)[0])) from None
            return _NO_JSON

    async def _paid(self, arguments: dict[str, Any]) -> ChatCompletion:
        """One answer off the wire, counted."""
        completion = await self._delivered(arguments)
        if not completion.choices:
            raise _Rejected("empty", "the answer has no choices")
        result, usage = self.result, completion.usage
        result.attempts += 1
        result.model = completion.model
        result.finish_reason = completion.choices[0].finish_reason
        result.response = sanitise(shorten(completion.choices[0].message.content or "", RAW_LIMIT))[0]
        if usage is not None:
            details = usage.prompt_tokens_details
            result.prompt_tokens += usage.prompt_tokens
            result.completion_tokens += usage.completion_tokens
            result.cached_tokens += (details and details.cached_tokens) or 0
            self.last_cost = usage.prompt_tokens + usage.completion_tokens
            result.wasted_tokens += self.last_cost
        return completion

    async def _delivered(self, arguments: dict[str, Any]) -> ChatCompletion:
        """The only place where a transport fault is tried again."""
        breaker, tries = self.asker.breaker, self.asker.limits.transport_tries
        for attempt in range(1, tries + 1):
            try:
                # The client's own `post` keeps its errors and timeouts and leaves out what costs most: walking the
                # types of every argument and of every field of the answer.
                reply = await self.asker.client.post("/chat/completions", cast_to=httpx2.Response, body=arguments)
                breaker.success()
                return ChatCompletion.model_validate_json(reply.content)
            except (openai.APIConnectionError, openai.RateLimitError, openai.InternalServerError) as error:
                breaker.fault(error)
                if attempt == tries:
                    reason: Reason = "timeout" if isinstance(error, openai.APITimeoutError) else "unreachable"
                    raise _Rejected(reason, f"{tries} tries, the last: {shorten(str(error))}") from error
                await asyncio.sleep(_pause(error, attempt))
            except openai.APIStatusError as error:
                breaker.success()
                raise _verdict(error) from error
            except ValidationError as error:
                raise _Rejected(
                    "invalid_json", f"the server's reply is no chat completion: {shorten(str(error))}"
                ) from error
        raise AssertionError("unreachable: the loop returns or raises")


def _what_is_wrong(error: ValidationError) -> tuple[Reason, str]:
    """Reason and detail for an answer that Instructor's parser refused."""
    faults = error.errors(include_url=False, include_input=False)
    reason: Reason = "invalid_json" if faults[0]["type"] == "json_invalid" else "schema_violation"
    return reason, "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in faults[:5])


def _verdict(error: openai.APIStatusError) -> Exception:
    """What a 4xx says: about this request, or about the whole set-up."""
    text = shorten(str(error), 400)
    if error.status_code in (401, 403, 404):
        return LLMError(
            f"{error.request.url}: {error.status_code}: {text}. Check PERSONAHUB_LLM_URL (it ends in /v1), "
            "PERSONAHUB_LLM_MODEL and PERSONAHUB_LLM_API_KEY, then: personahub doctor"
        )
    too_long = error.status_code == 413 or "context length" in text or "max_model_len" in text
    return _Rejected("too_long" if too_long else "bad_request", text)


def _pause(error: Exception, attempt: int) -> float:
    """Seconds to wait: what the server asks for, else exponential backoff, with jitter."""
    asked = error.response.headers.get("retry-after", "") if isinstance(error, openai.APIStatusError) else ""
    base = float(asked) if asked.replace(".", "", 1).isdecimal() else min(0.25 * 2.0**attempt, _BACKOFF_S)
    return min(base, _BACKOFF_S) + random.uniform(0, 0.25)  # noqa: S311 - jitter


def _storable(value: Any) -> Any:
    """Replace what cannot be stored in every string of a JSON value."""
    if isinstance(value, str):
        return sanitise(value)[0]
    if isinstance(value, list):
        return [_storable(item) for item in value]
    if isinstance(value, dict):
        return {sanitise(key)[0]: _storable(item) for key, item in value.items()}
    return value
