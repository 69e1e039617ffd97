"""Run the engine with several servers."""

from collections.abc import Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from engine_run import Run

from personahub_assets.endpoints.backend import Backend
from personahub_assets.endpoints.pool import OF_POOL, Pool
from personahub_assets.endpoints.transport import Transport
from personahub_assets.generation.client import Asker
from personahub_assets.generation.engine import OpenAsker
from personahub_assets.generation.servers.dialect import Dialect


@dataclass
class PoolRun(Run):
    """One run of the engine with several servers, addresses with their weights."""

    url: str = ""
    urls: Iterable[str] = ()
    weights: dict[str, float] = field(default_factory=dict)
    pool: Pool | None = None

    def asker(self) -> OpenAsker:
        options: dict[str, Any] = {
            "timeout_s": 20,
            "before": self.budget.call,
            "after": self.budget.returned,
        } | self.way

        @asynccontextmanager
        async def opened() -> Any:
            backends = [
                Backend(
                    Transport(url, "none", on_overload=self.window.of_server(url).overloaded, **OF_POOL, **options),
                    self.window.of_server(url),
                    self.weights.get(url, 1.0),
                )
                for url in self.urls
            ]
            async with Pool(backends, tries=3, timeout_s=20) as self.pool:
                yield Asker(self.pool, self.task, self.limits, proven=self.proven, dialect=Dialect())

        return opened
