"""Shards of kept rows in Ray actors: `[compute] engine = "ray"`.

The driver divides the kept rows that it has on disk, sends each row to its actors once, and broadcasts each batch with
`ray.put`. Actors stay for the next batches, of other processes too: they have names, and so have the rows, so only new
rows travel; an actor joins those of a merged segment itself. An actor that nothing asks ends after some minutes. One
whose node is lost is placed on a node that is left; its parts are made again from the same files, and it is asked
again. Decisions are those of the local engine (`shards.py` says why).

Ray is not in the base installation, and is imported when it is needed.
"""

import logging
import os
import pickle
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from importlib.metadata import version
from threading import Lock
from typing import Any

from personahub_assets.core.config import Compute
from personahub_assets.core.errors import ConfigError
from personahub_assets.core.text import digest
from personahub_assets.dedup.shard_holder import Answer, Holder
from personahub_assets.dedup.shards import Divisible, Matches, best_of

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_NAMESPACE = "personahub"  # of the names of actors
_THREADS = 256  # questions that an actor takes at the same time
_WAITS = (0.0, 0.2, 1.0, 5.0, 25.0)  # seconds before a lost shard is placed again: the cluster notices a loss late
_CONNECTS = 10.0  # seconds to connect to a cluster
_LOG = logging.getLogger("personahub")


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
        self._wanted = [(key, each.masked) for key, each in self._kept.items()]
        self._lock, self.rebuilt, self.sent = Lock(), 0, 0
        self.seconds = {"sending": 0.0, "waiting": 0.0, "searching": 0.0}
        self._class = ray.remote(num_cpus=0, max_restarts=0, scheduling_strategy="SPREAD")(Holder)
        self._actors = [self._actor(number) for number in range(count)]
        runs = [run for each in kept for run in each.runs]
        for actor in self._actors:
            actor.keep_runs.remote(runs)
        with suppress(ray.exceptions.RayError):  # one that is lost is replaced when it is asked
            self._fill(range(count))

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
                    self._fill([number])
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

    def _fill(self, numbers: Sequence[int]) -> None:
        """Send some actors what they lack, all at once; threads that need the same send it once."""
        with self._lock:
            started = time.perf_counter()
            actors = [self._actors[number] for number in numbers]
            runs = self._ray.put({key: each.runs for key, each in self._kept.items()})
            counts = self._ray.get([actor.count_runs.remote(runs) for actor in actors])
            for key in self._kept:  # one after another, so that few shards are in the object store
                sent = [
                    self._send(number, actor, key, of_actor[key])
                    for number, actor, of_actor in zip(numbers, actors, counts, strict=True)
                    if key in of_actor
                ]
                self._ray.get(sent)
            self._ray.get([actor.keep.remote(list(self._kept)) for actor in actors])
            self.seconds["sending"] += time.perf_counter() - started

    def _send(self, number: int, actor: Any, key: str, runs: int) -> Any:
        """Send an actor its shard of the rows that follow those that it holds: the first `runs` runs."""
        kept = self._kept[key]
        rows = range(kept.ends[runs - 1] if runs else 0, kept.ends[-1])
        shard = kept.divide(number, self._count, rows)
        self.sent += _size(shard)
        return actor.take.remote(key, kept.runs, rows, self._ray.put(shard))

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
