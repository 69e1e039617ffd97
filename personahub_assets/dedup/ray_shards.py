"""Shards of kept rows in Ray actors: `[compute] engine = "ray"`.

The driver divides the kept rows that it has on disk, sends each part to an actor once, and broadcasts each batch with
`ray.put`. Actors stay for the next batches, of other processes too: they have names, and the parts have keys, so only
segments that are new travel. An actor that nothing asks ends after some minutes. One whose node is lost is placed on a
node that is left; its parts are made again from the same files, and it is asked again. Decisions are those of the local
engine (`shards.py` says why).

Ray is not in the base installation, and is imported when it is needed.
"""

import logging
import math
import os
import pickle
import socket
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from importlib.metadata import version
from threading import Lock, Thread
from typing import Any, NamedTuple

from personahub_assets.core.config import Compute
from personahub_assets.core.errors import ConfigError
from personahub_assets.core.text import digest
from personahub_assets.dedup.shards import Divisible, Maskable, Matches, Spans, best_of

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_NAMESPACE = "personahub"  # of the names of actors
_THREADS = 256  # questions that an actor takes at the same time
_WAITS = (0.0, 0.2, 1.0, 5.0, 25.0)  # seconds before a lost shard is placed again: the cluster notices a loss late
_CONNECTS = 10.0  # seconds to connect to a cluster
_BEAT = 30.0  # most seconds until an actor sees that nothing asks it
_LOG = logging.getLogger("personahub")


class Answer(NamedTuple):
    """What an actor found."""

    matches: Matches | None  # None: some shards are missing
    seconds: float  # of the search


class Holder:
    """What an actor does: it holds shards of segments, and asks them, in several threads.

    Args:
        idle_minutes: after which it ends if nothing asks it; 0: it does not.
    """

    def __init__(self, idle_minutes: float) -> None:
        self._shards: dict[str, Maskable[Any]] = {}
        self._masked: dict[tuple[str, Spans], Maskable[Any]] = {}
        self._lock, self._working, self._used = Lock(), 0, time.monotonic()
        Thread(target=self._end_when_idle, args=(60 * idle_minutes or math.inf,), daemon=True).start()

    def keep(self, keys: Collection[str]) -> None:
        """Forget all other shards."""
        with self._work(), self._lock:
            self._shards = {key: shard for key, shard in self._shards.items() if key in keys}
            self._masked.clear()

    def missing(self, keys: Collection[str]) -> list[str]:
        """Those of some shards that are not held."""
        with self._work():
            return [key for key in keys if key not in self._shards]

    def take(self, key: str, shard: Maskable[Any]) -> None:
        """Hold a shard."""
        with self._work(), self._lock:
            self._shards[key] = shard

    def candidates(self, wanted: Sequence[tuple[str, Spans]], batch: Any) -> Answer:
        """The best keepers among the rows of some shards that are not masked."""
        with self._work():
            started = time.perf_counter()
            with self._lock:
                if any(key not in self._shards for key, _ in wanted):
                    return Answer(None, 0.0)
                searched = [self._without(key, spans) for key, spans in wanted]
            matches = best_of([shard.candidates(batch) for shard in searched])
            return Answer(matches, time.perf_counter() - started)

    def _without(self, key: str, spans: Spans) -> Maskable[Any]:
        if not spans:
            return self._shards[key]
        if (key, spans) not in self._masked:
            self._masked[key, spans] = self._shards[key].without(spans)
        return self._masked[key, spans]

    @contextmanager
    def _work(self) -> Iterator[None]:
        with self._lock:
            self._working += 1
        try:
            yield
        finally:
            with self._lock:
                self._working -= 1
                self._used = time.monotonic()

    def _end_when_idle(self, seconds: float) -> None:
        while self._working or (left := self._used + seconds - time.monotonic()) > 0:
            time.sleep(_BEAT if self._working else min(left, _BEAT))
        os._exit(0)  # a thread cannot end its actor in another way; the next batch places it again


class RemoteShards:
    """Shards in actors, which answer together as one.

    Attributes:
        rebuilt: how many times a shard was placed again.
        sent: bytes of parts that travelled.
        seconds: of sending parts, of waiting for answers, and of searching, by name. Threads wait at the same time.

    Args:
        ray: the module, connected.
        name: names the actors.
        count: number of actors.
        kept: the kept rows.
        idle_minutes: after which an actor ends if nothing asks it.
    """

    def __init__(self, ray: Any, name: str, count: int, kept: Sequence[Divisible], idle_minutes: float) -> None:
        self._ray, self._name, self._count, self._idle_minutes = ray, name, count, idle_minutes
        self._kept = {each.key: each for each in kept}
        self._wanted = [(each.key, each.masked) for each in kept]
        self._lock, self.rebuilt, self.sent = Lock(), 0, 0
        self.seconds = {"sending": 0.0, "waiting": 0.0, "searching": 0.0}
        self._class = ray.remote(num_cpus=0, max_restarts=0, scheduling_strategy="SPREAD")(Holder)
        self._actors = [self._actor(number) for number in range(count)]
        kept_keys = list(self._kept)
        for actor in self._actors:
            actor.keep.remote(kept_keys)

    def candidates(self, batch: Any) -> Matches:
        """The best keeper of each row among the rows of all shards."""
        reference = self._ray.put(batch)
        questions = [(actor, actor.candidates.remote(self._wanted, reference)) for actor in self._actors]
        return best_of([self._answer(number, *pair, batch) for number, pair in enumerate(questions)])

    @property
    def facts(self) -> Mapping[str, float]:
        """Where the time went."""
        seconds = {f"ray_seconds_{name}": round(value, 3) for name, value in self.seconds.items()}
        return {"ray_mb_sent": round(self.sent / 1e6, 3), **seconds}

    def end(self) -> None:
        """End the actors."""
        for actor in self._actors:
            with suppress(self._ray.exceptions.RayError):
                self._ray.kill(actor)

    def _actor(self, number: int) -> Any:
        """The actor of a shard, which may be there already."""
        options = {"name": f"{self._name}-{number}-of-{self._count}", "namespace": _NAMESPACE}
        named = self._class.options(**options, lifetime="detached", get_if_exists=True, max_concurrency=_THREADS)
        return named.remote(self._idle_minutes)

    def _answer(self, number: int, actor: Any, question: Any, batch: Any) -> Matches:
        """Wait for the answer of an actor; send what it lacks, or place it again, and ask again."""
        for wait in (*_WAITS, None):
            try:
                if question is None:
                    actor = self._actors[number]
                    self._fill(number, actor)
                    question = actor.candidates.remote(self._wanted, batch)
                started = time.perf_counter()
                answer = Answer(*self._ray.get(question))
                with self._lock:
                    self.seconds["waiting"] += time.perf_counter() - started
                    self.seconds["searching"] += answer.seconds
                if answer.matches is not None:
                    return Matches(*answer.matches)
            except self._ray.exceptions.RayTaskError:  # an error of the shard itself
                raise
            except self._ray.exceptions.RayError as error:  # its worker, its node, or the batch sent to it is lost
                if wait is None:
                    raise
                _LOG.warning("shard %d of %d is lost and made again: %s", number, self._count, type(error).__name__)
                self._replace(number, actor, wait)
            question = None
        raise RuntimeError(f"shard {number} of {self._count} in the Ray cluster was lost {len(_WAITS)} times")

    def _fill(self, number: int, actor: Any) -> None:
        """Send an actor what it lacks; threads that need the same send it once."""
        with self._lock:
            started = time.perf_counter()
            for key in self._ray.get(actor.missing.remote(list(self._kept))):
                shard = self._kept[key].divide(number, self._count)
                self.sent += _size(shard)
                self._ray.get(actor.take.remote(key, self._ray.put(shard)))
            self.seconds["sending"] += time.perf_counter() - started

    def _replace(self, number: int, lost: Any, wait: float) -> None:
        with self._lock:
            if self._actors[number] is lost:
                with suppress(self._ray.exceptions.RayError):
                    self._ray.kill(lost)  # so that its name is free
                time.sleep(wait)
                self._actors[number] = self._actor(number)
                self.rebuilt += 1


def _size(shard: Any) -> int:
    """Bytes of the arrays of a part."""
    buffers: list[pickle.PickleBuffer] = []
    pickle.dumps(shard, protocol=5, buffer_callback=buffers.append)
    return sum(buffer.raw().nbytes for buffer in buffers)


@contextmanager
def placed(name: str, kept: Sequence[Divisible], compute: Compute) -> Iterator[RemoteShards]:
    """Place kept rows in the cluster, or find them there.

    Args:
        name: of the hub and the stage.
        kept: the kept rows.
        compute: how many actors, and how long they stay.

    Raises:
        ConfigError: as for `connected`.
    """
    ray = connected()
    actors = digest(name, version("personahub-assets"))  # those of another version may not understand
    shards = RemoteShards(ray, actors, compute.shards or len(_nodes(ray)), kept, compute.idle_minutes)
    try:
        yield shards
    finally:
        if not compute.idle_minutes:
            shards.end()


def connected() -> Any:
    """The module `ray`, connected: to RAY_ADDRESS, or to a cluster that is started in this machine.

    Raises:
        ConfigError: if Ray is not installed, no cluster answers, or it has nodes on other machines and no token.
    """
    try:
        ray = import_module("ray")
    except ModuleNotFoundError as error:
        raise ConfigError(
            'compute.engine = "ray" needs Ray: install personahub-assets[cluster], or set engine = "local"'
        ) from error
    address = os.environ.get("RAY_ADDRESS", "")
    own = ("", "local", "auto", *_LOOPBACK, ray.util.get_node_ip_address())
    _check(address.removeprefix("ray://").rpartition(":")[0].strip("[]") or address, address, own)
    if not ray.is_initialized():
        try:
            _reach(address)
            # Without an address Ray would join whatever cluster was last started on this machine, running or not.
            ray.init(address or "local", log_to_driver=False, configure_logging=False)
        except (OSError, RuntimeError, ValueError) as error:  # it documents none of them
            raise ConfigError(
                f"no Ray cluster answers at RAY_ADDRESS={address or 'local'} ({type(error).__name__}: {error}): start "
                'it, or correct the address; without RAY_ADDRESS, or with engine = "local", none is needed'
            ) from error
    for node in _nodes(ray):
        _check(node, node, own)
    return ray


def _reach(address: str) -> None:
    """Connect to an address once: Ray itself tries it for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), _CONNECTS).close()


def _nodes(ray: Any) -> list[str]:
    return [node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]]


def _check(host: str, address: str, own: Sequence[str]) -> None:
    """Refuse other machines without a token: who reaches a Ray cluster can run any code in it."""
    if host in own or os.environ.get("RAY_AUTH_MODE", "").lower() == "token":
        return
    raise ConfigError(
        f"the Ray cluster at {address} is on another machine and has no authentication: start it with "
        "RAY_AUTH_MODE=token, and set RAY_AUTH_MODE and RAY_AUTH_TOKEN here too"
    )
