"""Context window: check that a prompt and its answer fit the model's context, before sending.

A prompt first gets a free upper bound: a token is at least one byte, and prompts of one task have about the same ratio
of tokens to bytes. The server counts only prompts that might not fit. If a server does not report its context, there is
no check.
"""

import json
import unicodedata
from collections.abc import Iterable, Iterator

from personahub_assets.core.prompts import Message
from personahub_assets.core.text import cut
from personahub_assets.endpoints.pool import Pool
from personahub_assets.endpoints.transport import Transport
from personahub_assets.generation.requests import Request, Task

_TEMPLATE_TOKENS = 64  # tokens that a chat template can add
_MARGIN = 1.25  # margin over the highest ratio seen
_ROUNDS = 6


class TooLong(Exception):
    """A prompt does not fit, and may not or cannot be cut."""


class ContextWindow:
    """The context of a model, with statistics of the prompts of one task.

    Args:
        context: maximal tokens of prompt and answer together; None if unknown.
        cuts: cut inputs that do not fit at the end of a sentence, instead of rejecting them.
    """

    def __init__(self, transport: Transport | Pool, task: Task, context: int | None, *, cuts: bool):
        self.context, self._transport, self._task, self._cuts = context, transport, task, cuts
        self._share = 0.0  # highest ratio of tokens to bytes
        self._least: dict[str, int] = {}  # fewest tokens of a prompt, by instructions

    async def fitted(self, request: Request) -> tuple[list[Message], str | None]:
        """Return the messages to send, and a note if the input was cut.

        Raises:
            TooLong: if they do not fit.
        """
        messages = request.messages
        room = (self.context or 0) - self._task.prompt.max_tokens
        if self.context is None or self._bound(messages) <= room:
            return messages, None
        count = await self._count(messages)
        if count is None or count <= room:
            return messages, None
        demand = f"{count:,} prompt tokens and {self._task.prompt.max_tokens:,} for the answer"
        if not self._cuts or room <= 0:
            raise TooLong(f"{demand} do not fit the model's context of {self.context:,}")
        share, values = 1.0, request.values
        for _ in range(_ROUNDS):
            # tokens of the part that can be cut
            inputs = count * _bytes_of(values.values()) / max(1, sum(_bytes(messages)))
            share *= max(0.1, 0.95 * (room - count + inputs) / max(inputs, 1.0))
            values = {name: cut(text, int(len(text) * share)) for name, text in request.values.items()}
            messages = self._task.prompt.messages(values, request.sample, **request.shared)
            count = await self._count(messages) or self._bound(messages)
            if count <= room:
                kept, total = (sum(map(len, texts.values())) for texts in (values, request.values))
                return messages, f"input cut to {kept:,} of {total:,} characters: {demand} did not fit {self.context:,}"
        raise TooLong(f"{demand} do not fit the model's context of {self.context:,}, even with the shortest input")

    def shortened(self, request: Request) -> Iterator[tuple[list[Message], str]]:
        """Give shorter and shorter forms of a request that the server called too long; none if nothing may be cut.

        The server does not say how much fits: each form has half the input of the one before, so few are refused.
        """
        total = sum(map(len, request.values.values()))
        for halvings in range(1, _ROUNDS + 1) if self._cuts else ():
            values = {name: cut(text, len(text) >> halvings) for name, text in request.values.items()}
            kept = sum(map(len, values.values()))
            if not kept:
                return
            messages = self._task.prompt.messages(values, request.sample, **request.shared)
            yield messages, f"input cut to {kept:,} of {total:,} characters: the server called the prompt too long"

    async def most(self, messages: list[Message], extra_bytes: int, *, exactly: bool) -> int:
        """Upper bound of the tokens of a prompt; with `exactly` counted by the server if it can.

        A token is at least one byte. After an answer to a prompt with the same instructions, instructions and template
        are known to have no more tokens than that prompt.

        Args:
            extra_bytes: bytes of the request besides the messages; some servers add the schema to the prompt.
        """
        if exactly and (counted := await self._counted(messages)) is not None:
            return counted + _TEMPLATE_TOKENS
        turns = sum(_longest(message["content"]) + _TEMPLATE_TOKENS for message in messages[1:])
        system = messages[0]["content"]
        return turns + min(self._least.get(system, 1 << 62), _longest(system) + extra_bytes + _TEMPLATE_TOKENS)

    def learn(self, messages: list[Message], prompt_tokens: int) -> None:
        """Record the number of tokens of a prompt."""
        if prompt_tokens:
            system = messages[0]["content"]
            self._least[system] = min(prompt_tokens, self._least.get(system, prompt_tokens))
        if self.context is not None and prompt_tokens:
            self._share = max(self._share, prompt_tokens / max(1, sum(_bytes(messages))))

    def _bound(self, messages: list[Message]) -> int:
        """A cautious estimate: ASCII by the ratio seen, other characters by their bytes."""
        plain, non_ascii = _bytes(messages)
        share = min(1.0, self._share * _MARGIN) if self._share else 1.0
        return int(plain * share) + non_ascii + _TEMPLATE_TOKENS

    async def _count(self, messages: list[Message]) -> int | None:
        """Tokens counted by the server, the bound if it cannot count, None if it failed this time."""
        counted = await self._counted(messages)
        return self._bound(messages) if counted is None and not self._transport.counts else counted

    async def _counted(self, messages: list[Message]) -> int | None:
        return await self._transport.tokenize(json.dumps({"model": self._task.model, "messages": messages}).encode())


def _bytes(messages: list[Message]) -> tuple[int, int]:
    """Bytes of ASCII characters and of all others."""
    plain = non_ascii = 0
    for message in messages:
        text = message["content"]
        if text.isascii():
            plain += len(text)
        else:
            ascii_part = sum(character.isascii() for character in text)
            plain += ascii_part
            non_ascii += len(text.encode()) - ascii_part
    return plain, non_ascii


def _longest(text: str) -> int:
    """Bytes of a text, or of its normalised form if that is longer."""
    return len(text) if text.isascii() else max(len(text.encode()), len(unicodedata.normalize("NFKC", text).encode()))


def _bytes_of(texts: Iterable[str]) -> int:
    return sum(len(text.encode()) for text in texts)
