"""Read the reply of an embeddings server: the vectors, wherever and in whatever form they stand.

What stands beside them is not looked at. Vectors that cannot be ascribed to their texts for certain are refused.
"""

import base64
import json
import math
from typing import Any

import numpy as np
import numpy.typing as npt

from personahub_assets.core.text import plain
from personahub_assets.endpoints.reply_errors import ErrorReply

Vectors = npt.NDArray[np.float32]

_LISTS = ("data", "embeddings", "embedding", "result", "output", "predictions", "results", "float")
_VECTORS = ("embedding", "embeddings", "vector", "values", "dense_embedding", "float")
_INDEXES = ("index", "text_index")
_DEPTH = 4
_EXCERPT_CHARS = 200


class NoVectors(Exception):
    """A whole reply that does not hold one usable vector for each text: asking again would be paid again."""


class TooFewVectors(NoVectors):
    """A reply with vectors for some of the texts."""


class UnusableVectors(NoVectors):
    """A reply with as many vectors as texts, one of which is empty, all zeros or not finite."""


def read_vectors(content: bytes, expected: int) -> Vectors:
    """Read the vectors of a reply in the order of the texts: (expected, dimensions).

    Raises:
        ValueError: if it is no JSON: a page of a proxy, or half a reply.
        ErrorReply: if it is an error.
        TooFewVectors, UnusableVectors, NoVectors: if its vectors are of no use.
    """
    payload = _json(content)
    vectors = _items(payload)
    if vectors is None:
        raise _without_vectors(payload, content)
    if len(vectors) != expected:
        kind = TooFewVectors if len(vectors) < expected else NoVectors
        raise kind(f"{len(vectors)} vectors for {expected} texts")
    numbers = [_numbers(_vector(item)) for item in _in_order(vectors)]
    unusable = UnusableVectors("a vector is empty, all zeros, or not finite")
    if any(vector is None or len(vector) == 0 for vector in numbers if vector is None or hasattr(vector, "__len__")):
        raise unusable
    rows = _rows(numbers)
    if rows.ndim != 2 or not np.isfinite(rows).all() or not rows.any(axis=1).all():
        raise unusable
    return rows


def _json(content: bytes) -> Any:
    try:
        return json.loads(content)
    except RecursionError:
        raise NoVectors("JSON nested too deep") from None
    except ValueError:
        raise ValueError(
            f"it is no JSON: {plain(content[:2_000].decode('utf-8', 'replace'), _EXCERPT_CHARS)}"
        ) from None


def _without_vectors(payload: Any, content: bytes) -> Exception:
    error = payload.get("error", payload.get("errors")) if isinstance(payload, dict) else None
    if error is None and not (isinstance(payload, dict) and _is_telling(payload)):
        return NoVectors(f"no list of vectors in {plain(str(payload)[:2_000], _EXCERPT_CHARS)}")
    code = error.get("code") if isinstance(error, dict) else payload.get("code")
    return ErrorReply(code if isinstance(code, int) else None, "", content)


def _is_telling(payload: dict[str, Any]) -> bool:
    """Whether an object without vectors says what is wrong."""
    return any(isinstance(payload.get(name), str) for name in ("message", "msg", "detail", "error_msg"))


def _items(payload: Any, depth: int = 0) -> list[Any] | None:
    """The vectors of a reply, from whichever list has them."""
    if isinstance(payload, dict) and depth < _DEPTH:
        inside = (_items(payload[name], depth + 1) for name in _LISTS if payload.get(name))
        return next((vectors for vectors in inside if vectors is not None), None)
    if not isinstance(payload, list) or not all(isinstance(item, dict | list | str) for item in payload):
        return None
    return payload


def _in_order(items: list[Any]) -> list[Any]:
    """The vectors in the order of the texts: by their indexes, where they have any."""
    indexes = [_index(item) for item in items]
    if all(index is None for index in indexes):
        return items
    by_index = dict(zip(indexes, items, strict=True))
    for first in (0, 1):  # some servers count from one
        if by_index.keys() == set(range(first, first + len(items))):
            return [by_index[first + position] for position in range(len(items))]
    raise NoVectors(f"indexes {sorted(map(str, indexes))[:10]}… are not 0 to {len(items) - 1}")


def _index(item: Any) -> int | None:
    named = (item.get(name) for name in _INDEXES) if isinstance(item, dict) else ()
    index = next((value for value in named if value is not None), None)
    try:
        return None if index is None or isinstance(index, bool) or not math.isfinite(float(index)) else int(index)
    except (TypeError, ValueError):
        return -1


def _vector(item: Any) -> Any:
    if not isinstance(item, dict):
        return item
    vector = next((item[name] for name in _VECTORS if item.get(name)), None)
    return _vector(vector) if isinstance(vector, dict) else vector


def _numbers(vector: Any) -> Any:
    """A vector as numbers, also where it comes in base64, or as the only row of a table."""
    if isinstance(vector, str):
        try:
            return np.frombuffer(base64.b64decode(vector, validate=True), np.dtype("<f4"))
        except ValueError as error:
            raise NoVectors(f"vectors that are not lists of numbers ({error})") from error
    if isinstance(vector, list) and len(vector) == 1 and isinstance(vector[0], list):
        return vector[0]
    return vector


def _rows(vectors: list[Any]) -> Vectors:
    try:
        return np.array(vectors, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise NoVectors(f"vectors that are not lists of numbers of one length ({error})") from error
