"""Check the endpoint before a run starts, so that a dead one fails once and not in every batch."""

from personahub_assets.core.config import STANDIN_URL, Environment
from personahub_assets.core.errors import LLMError
from personahub_assets.generation.llm import LLM
from personahub_assets.runs.plan import plan
from personahub_assets.runs.runner import Ordered


def require_endpoint(environment: Environment, order: Ordered) -> None:
    """Refuse a run that needs an endpoint if there is none.

    A run without calls needs no endpoint, so without one the requests are looked up first.

    Raises:
        LLMError: if calls are needed and no endpoint serves the model.
    """
    if environment.llm_url == STANDIN_URL or not any(
        assets & set(order.store.catalog.tasks) for _, assets in order.named
    ):
        return
    try:
        LLM.of(environment).require_model()
    except LLMError:
        if _is_asking(environment, order):
            raise


def _is_asking(environment: Environment, order: Ordered) -> bool:
    """Whether a run would certainly make a call; it is enough to find the first batch that does."""
    selections = order.store.personas_from
    plans = (plan(environment, [work], retry=order.reasons, personas_from=selections) for work in order.named)
    return any(forecast.total.ask for forecast in plans)
