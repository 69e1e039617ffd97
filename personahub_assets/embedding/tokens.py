"""Convert texts to the token ids of a model, and measure how much it reads."""

from collections.abc import Iterator
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from personahub_assets.embedding.models import LocalModel
from personahub_assets.embedding.reading import Reading, Word, mark_long, reading_of

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

Ids = npt.NDArray[np.int64]

_TOGETHER = 1_024  # texts tokenised together: the tokenizer's result needs hundreds of times the memory of the ids
_UNKNOWN = ("[UNK]", "<unk>")


class Tokens:
    """The tokenizer of a model. Texts are `reading.prepared`.

    Args:
        tokenizer: its own limit is removed.
        model: gives the maximum length of a text and its prefix.
    """

    def __init__(self, tokenizer: "Tokenizer", model: LocalModel) -> None:
        tokenizer.no_padding()
        tokenizer.no_truncation()
        self._tokenizer, self._model = tokenizer, model
        empty = tokenizer.encode("").ids
        self._head = [empty[0], *tokenizer.encode(model.prefix, add_special_tokens=False).ids]
        self._tail = empty[1:]
        self._unknown = {tokenizer.token_to_id(token) for token in _UNKNOWN} - {None}

    @property
    def limit(self) -> int:
        """Tokens of a window, including special ones and the prefix."""
        return self._model.max_tokens

    @property
    def text_limit(self) -> int:
        """Tokens of a window that are available for the text."""
        return self.limit - len(self._head) - len(self._tail)

    def ids(self, texts: list[str]) -> list[list[int]]:
        """Token ids of each text, including special ones and the prefix; they can exceed the limit of the model."""
        return [[*self._head, *encoding.ids, *self._tail] for encoding in self._encodings(texts)]

    def windows(self, ids: list[int]) -> Ids:
        """Cut the ids of a text into windows of equal length with equal overlaps."""
        content = ids[len(self._head) : len(ids) - len(self._tail)]
        count = max(1, -(-len(content) // self.text_limit))
        size = min(len(content), self.text_limit)
        starts = np.linspace(0, len(content) - size, count).round().astype(int)
        return np.array([[*self._head, *content[at : at + size], *self._tail] for at in starts], dtype=np.int64)

    def readings(self, texts: list[str]) -> Iterator[Reading]:
        """Measure how much of each text the model reads."""
        for text, encoding in zip(texts, self._encodings(texts), strict=True):
            reading = reading_of(self._words(text, encoding), is_english=self._model.is_english)
            yield mark_long(reading, text) if len(encoding.ids) > self.text_limit else reading

    def _encodings(self, texts: list[str]) -> Iterator["Encoding"]:
        for start in range(0, len(texts), _TOGETHER):
            yield from self._tokenizer.encode_batch(texts[start : start + _TOGETHER], add_special_tokens=False)

    def _words(self, text: str, encoding: "Encoding") -> Iterator[Word]:
        tokens = zip(encoding.word_ids, encoding.offsets, encoding.ids, strict=True)
        for _, group in groupby(tokens, key=lambda token: token[0]):
            pieces = list(group)
            surface = text[pieces[0][1][0] : pieces[-1][1][1]]
            yield Word(surface, len(pieces), all(token not in self._unknown for _, _, token in pieces))
