"""Answers `POST /v1/embeddings`: the more words two texts share, the more similar their vectors are."""

import re
from collections import Counter
from collections.abc import Callable
from hashlib import blake2b
from typing import Any

from personahub_assets.standin.calls import RequestError
from personahub_assets.standin.forms import Form
from personahub_assets.standin.model_lists import MODEL
from personahub_assets.standin.row_troubles import ROW
from personahub_assets.standin.wire import Reply, failure, reply

DIMENSIONS = 64

VectorTrouble = Callable[[], Reply | None]
"""Makes the reply to a request with such a text; None if only the vector of the text is affected."""

VECTORS: dict[str, Form[VectorTrouble]] = {
    "vector_filtered": Form("400 of a content filter on some texts", lambda: ROW["row_filtered"].make(0), False),
    "vector_500": Form("500 on some texts", lambda: failure(500, "failed to encode: unsupported value: NaN"), False),
    "vector_null": Form("null in the place of some vectors", lambda: None, False),
}


def embedded(body: dict[str, Any], drawn: Callable[[str], str | None], most_texts: int) -> Reply:
    """Returns the reply to a request.

    Args:
        body: the request.
        drawn: draws the fault of a text.
        most_texts: texts that a request may have; 0: any number.

    Raises:
        RequestError: if `input` is not a text or a list of texts.
    """
    texts = body.get("input")
    texts = [texts] if isinstance(texts, str) else texts
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise RequestError("`input` is not a text or a list of texts.", param="input")
    if most_texts and len(texts) > most_texts:
        return failure(413, f"batch size {len(texts)} > maximum allowed batch size {most_texts}")
    faults = [drawn(text) for text in texts]
    refusals = (VECTORS[fault].make() for fault in faults if fault)
    if refusal := next(filter(None, refusals), None):
        return refusal
    vectors = [None if fault else vector(text) for fault, text in zip(faults, texts, strict=True)]
    data = [{"object": "embedding", "index": index, "embedding": values} for index, values in enumerate(vectors)]
    tokens = sum(map(len, texts)) // 4
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return reply({"object": "list", "data": data, "model": str(body.get("model") or MODEL), "usage": usage})


def vector(text: str) -> list[float]:
    """Returns the sum of the signed unit vectors of a text's words."""
    counts = [0.0] * DIMENSIONS
    for word, count in Counter(re.findall(r"\w+", text.lower())).items():
        number = int.from_bytes(blake2b(word.encode("utf-8", "replace"), digest_size=8).digest(), "little")
        counts[number % DIMENSIONS] += count if number >> 32 & 1 else -count
    if not any(counts):
        counts[0] = 1.0
    return counts
