"""Room: whether a prompt and its answer fit the model's context, found out before anything is sent.

A prompt is first guessed from above, for nothing: a token is at least one byte, and of prompts of one task about the
same share of bytes become tokens. Only a prompt that might not fit is counted by the server. Where a server does not
tell its context, nothing can be known before it is asked.
"""

import json
import unicodedata
from collections.abc import Iterable

from personahub_assets.core.prompts import Message
from personahub_assets.core.text import cut
from personahub_assets.generation.requests import Request, Task
from personahub_assets.generation.transport import Transport

_TEMPLATE_TOKENS = 64  # what a chat template may add
_MARGIN = 1.25  # over the highest share of tokens seen
_ROUNDS = 6


class TooLong(Exception):
    """A prompt does not fit, and must not or cannot be cut."""


class ContextWindow:
    """The context of a model, and how prompts of one task fill it.

    Args:
        context: tokens of prompt and answer together; None if the server does not say.
        cuts: shorten inputs that do not fit at the end of a sentence, instead of giving them up.
    """

    def __init__(self, transport: Transport, task: Task, context: int | None, *, cuts: bool):
        self.context, self._transport, self._task, self._cuts = context, transport, task, cuts
        self._share = 0.0  # highest share of bytes that became tokens
        self._least: dict[str, int] = {}  # by instructions, the fewest tokens of a prompt

    async def fitted(self, request: Request) -> tuple[list[Message], str | None]:
        """The messages to send, and what was cut, if anything.

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
            inputs = count * _bytes_of(values.values()) / max(1, sum(_bytes(messages)))  # tokens of what can be cut
            share *= max(0.1, 0.95 * (room - count + inputs) / max(inputs, 1.0))
            values = {name: cut(text, int(len(text) * share)) for name, text in request.values.items()}
            messages = self._task.prompt.messages(values, request.sample, **request.shared)
            count = await self._count(messages) or self._bound(messages)
            if count <= room:
                kept, total = (sum(map(len, texts.values())) for texts in (values, request.values))
                return messages, f"input cut to {kept:,} of {total:,} characters: {demand} did not fit {self.context:,}"
        raise TooLong(f"{demand} do not fit the model's context of {self.context:,}, however short the input")

    async def most(self, messages: list[Message], extra_bytes: int, *, exactly: bool) -> int:
        """Tokens that a prompt cannot have more of; exactly: counted by the server, where it counts.

        A token is at least one byte. Once a prompt with the same instructions was answered, they and the template are
        known to take no more tokens than that prompt did.

        Args:
            extra_bytes: bytes of the request besides the messages; some servers put the schema into the prompt.
        """
        if exactly and (counted := await self._counted(messages)) is not None:
            return counted + _TEMPLATE_TOKENS
        turns = sum(_longest(message["content"]) + _TEMPLATE_TOKENS for message in messages[1:])
        system = messages[0]["content"]
        return turns + min(self._least.get(system, 1 << 62), _longest(system) + extra_bytes + _TEMPLATE_TOKENS)

    def learn(self, messages: list[Message], prompt_tokens: int) -> None:
        """Note how many tokens a prompt became."""
        if prompt_tokens:
            system = messages[0]["content"]
            self._least[system] = min(prompt_tokens, self._least.get(system, prompt_tokens))
        if self.context is not None and prompt_tokens:
            self._share = max(self._share, prompt_tokens / max(1, sum(_bytes(messages))))

    def _bound(self, messages: list[Message]) -> int:
        """A cautious guess: what is not ASCII counts in full, the rest by the share that was seen."""
        plain, non_ascii = _bytes(messages)
        share = min(1.0, self._share * _MARGIN) if self._share else 1.0
        return int(plain * share) + non_ascii + _TEMPLATE_TOKENS

    async def _count(self, messages: list[Message]) -> int | None:
        """Tokens as the server counts them, the bound if it never does, None if it only failed to do so now."""
        counted = await self._counted(messages)
        return self._bound(messages) if counted is None and not self._transport.counts else counted

    async def _counted(self, messages: list[Message]) -> int | None:
        return await self._transport.tokenize(json.dumps({"model": self._task.model, "messages": messages}).encode())


def _bytes(messages: list[Message]) -> tuple[int, int]:
    """Bytes of ASCII, and of all other characters."""
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
    """Bytes of a text, or of what a tokenizer may make of it first, if those are more."""
    return len(text) if text.isascii() else max(len(text.encode()), len(unicodedata.normalize("NFKC", text).encode()))


def _bytes_of(texts: Iterable[str]) -> int:
    return sum(len(text.encode()) for text in texts)
