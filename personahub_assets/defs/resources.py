"""The resources of assets, and the fields that the launchpad shows and a run can set."""

from typing import Any

import dagster as dg
from pydantic import BaseModel, Field

from personahub_assets.defs.failures import one_sentence
from personahub_assets.embedding.embedder import Embedder
from personahub_assets.embedding.minilm import Precision
from personahub_assets.generation.llm import LLM
from personahub_assets.instance.pools import PoolClaims
from personahub_assets.instance.progress import RunProgress
from personahub_assets.store.tables import Store


def _as_in(model: type[BaseModel], name: str) -> Any:
    """A field with the default, the bounds and the description of a class's field."""
    return model.model_fields[name]


class StoreResource(dg.ConfigurableResource[Store]):
    """Tables of one home, by batch."""

    home: str
    personas_from: dict[str, str] = _as_in(Store, "personas_from")

    def create_resource(self, context: dg.InitResourceContext) -> Store:
        """Return the store of a run; of a home on object storage, as it is now, with locks among all workers.

        Raises:
            StepFailed: if the storage cannot be asked, or an object is damaged.
        """
        store = Store(home=self.home, personas_from=self.personas_from)
        if store.working_copy is None or context.instance is None or context.run_id is None:
            return store
        with one_sentence(context, store.root):
            store.working_copy.pull()
        return store.model_copy(update={"claims": PoolClaims(context.instance, context.run_id)})


class LLMResource(dg.ConfigurableResource[LLM]):
    """The endpoint named by PERSONAHUB_LLM_URL; the key is read from the environment when it is used.

    A run can set the fields that Dagster calls configuration. Address and model are not among them: a run from the UI
    must not send key and prompts to another server, nor name a variable whose value is sent or shown.
    """

    url: dg.ResourceDependency[str | None] = Field(default=None, repr=False)  # type: ignore[arg-type]
    model: dg.ResourceDependency[str | None] = Field(default=None)  # type: ignore[arg-type]
    roles: dg.ResourceDependency[dict[str, Any]] = Field(default={}, repr=False)  # type: ignore[arg-type]
    options: dg.ResourceDependency[dict[str, Any]] = Field(default={}, repr=False)  # type: ignore[arg-type]
    retry: list[str] = _as_in(LLM, "retry")
    max_calls: int | None = _as_in(LLM, "max_calls")
    max_tokens: int | None = _as_in(LLM, "max_tokens")
    max_cost: float | None = _as_in(LLM, "max_cost")
    max_seconds: float | None = _as_in(LLM, "max_seconds")
    batch_api: bool | None = _as_in(LLM, "batch_api")

    def create_resource(self, context: dg.InitResourceContext) -> LLM:  # noqa: ARG002
        """Return the language model of a run."""
        return LLM(**{name: getattr(self, name) for name in type(self).model_fields})


class EmbedderResource(dg.ConfigurableResource[Embedder]):
    """Turns texts into unit vectors, here or by the endpoint named by PERSONAHUB_EMBED_URL.

    Address and model are not settable by a run, as in `LLMResource`.
    """

    url: dg.ResourceDependency[str | None] = Field(default=None, repr=False)  # type: ignore[arg-type]
    model: dg.ResourceDependency[str] = Field(default="")  # type: ignore[arg-type]
    options: dg.ResourceDependency[dict[str, Any]] = Field(default={}, repr=False)  # type: ignore[arg-type]
    precision: Precision = _as_in(Embedder, "precision")
    batch_size: int = _as_in(Embedder, "batch_size")
    max_in_flight: int = _as_in(Embedder, "max_in_flight")
    timeout: float = _as_in(Embedder, "timeout")
    retry_wait: float = _as_in(Embedder, "retry_wait")
    longest_wait: float = _as_in(Embedder, "longest_wait")
    max_chars: int = _as_in(Embedder, "max_chars")

    def create_resource(self, context: dg.InitResourceContext) -> Embedder:  # noqa: ARG002
        """Return the embedder of a run."""
        return Embedder(**{name: getattr(self, name) for name in Embedder.model_fields})


def resources(store: Store, llm: LLM, embedder: Embedder) -> dict[str, Any]:
    """Return the resources of the assets, with the settings of these objects as defaults."""
    return {
        "store": StoreResource(**store.model_dump()),
        "llm": LLMResource(**llm.model_dump()),
        "embedder": EmbedderResource(**embedder.model_dump()),
        "progress": RunProgress(),
    }
