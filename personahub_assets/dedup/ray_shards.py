"""Shards of kept rows in Ray actors: `[compute] engine = "ray"`.

The driver divides the kept rows that it has on disk, sends each shard to an actor, and broadcasts each batch once with
`ray.put`. A shard whose node is lost is divided again from the same files, placed on a node that is left, and asked
again. Decisions are those of the local engine (`shards.py` says why).

Ray is not in the base installation, and is imported when it is needed.
"""

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from threading import Lock
from typing import Any

from personahub_assets.core.errors import ConfigError
from personahub_assets.dedup.shards import Matches, Shard, best_of

Make = Callable[[int, int], Sequence[Shard[Any]]]
"""Makes shard number i of n from the kept rows."""

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_TRIES = 5  # of a shard, each with a new actor
_LOG = logging.getLogger("personahub")


class Holder:
    """What an actor does: it holds shards, and asks them."""

    def __init__(self, shards: Sequence[Shard[Any]]) -> None:
        self._shards = shards

    def candidates(self, batch: Any) -> Matches:
        """The best keepers among all rows that are held."""
        return best_of([shard.candidates(batch) for shard in self._shards])


class RemoteShards:
    """Shards in actors, which answer together as one.

    Attributes:
        rebuilt: how many times a shard was placed again.

    Args:
        ray: the module, connected.
        count: number of actors.
        make: makes the shards.
    """

    def __init__(self, ray: Any, count: int, make: Make) -> None:
        self._ray, self._count, self._make = ray, count, make
        self._lock, self.rebuilt = Lock(), 0
        self._holder = ray.remote(num_cpus=0, max_restarts=0, scheduling_strategy="SPREAD")(Holder)
        self._actors = [self._placed(number) for number in range(count)]

    def candidates(self, batch: Any) -> Matches:
        """The best keeper of each row among the rows of all shards."""
        reference = self._ray.put(batch)
        asked_actors = list(self._actors)
        answers = [actor.candidates.remote(reference) for actor in asked_actors]
        pairs = zip(asked_actors, answers, strict=True)
        return best_of([self._answer(number, *pair, batch) for number, pair in enumerate(pairs)])

    def close(self) -> None:
        """End the actors."""
        for actor in self._actors:
            with suppress(self._ray.exceptions.RayError):
                self._ray.kill(actor)

    def _placed(self, number: int) -> Any:
        return self._holder.remote(self._make(number, self._count))

    def _answer(self, number: int, actor: Any, answer: Any, batch: Any) -> Matches:
        for _ in range(_TRIES):
            try:
                return Matches(*self._ray.get(answer))
            except self._ray.exceptions.RayTaskError:  # an error of the shard itself
                raise
            except self._ray.exceptions.RayError as error:  # its worker, its node, or the batch sent to it is lost
                _LOG.warning("shard %d of %d is lost and made again: %s", number, self._count, type(error).__name__)
                actor = self._again(number, actor)
                answer = actor.candidates.remote(batch)
        return Matches(*self._ray.get(answer))

    def _again(self, number: int, lost: Any) -> Any:
        """Another actor for a shard; threads that lost the same one share it."""
        with self._lock:
            if self._actors[number] is lost:
                self._actors[number] = self._placed(number)
                self.rebuilt += 1
            return self._actors[number]


@contextmanager
def placed(make: Make, count: int) -> Iterator[RemoteShards]:
    """Place shards in the cluster, and end their actors at the end.

    Args:
        make: makes them.
        count: their number; 0: one for each node.

    Raises:
        ConfigError: as for `connected`.
    """
    ray = connected()
    shards = RemoteShards(ray, count or len(_nodes(ray)), make)
    try:
        yield shards
    finally:
        shards.close()


def connected() -> Any:
    """The module `ray`, connected: to RAY_ADDRESS, or to a cluster that is started in this machine.

    Raises:
        ConfigError: if Ray is not installed, or the cluster has nodes on other machines and no token.
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
        ray.init(log_to_driver=False, configure_logging=False)
    for node in _nodes(ray):
        _check(node, node, own)
    return ray


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
