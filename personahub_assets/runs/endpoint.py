"""The endpoint, looked at before a run exists: a dead one is refused once, not by every batch."""

from personahub_assets.core.config import STANDIN_URL, Environment
from personahub_assets.core.errors import LLMError
from personahub_assets.generation.llm import LLM
from personahub_assets.runs.plan import plan
from personahub_assets.runs.runner import ASKING, Ordered


def require_endpoint(environment: Environment, order: Ordered) -> None:
    """Refuse a run whose questions nobody would answer.

    A run that needs no call needs no endpoint, so the requests are looked up where there is none.

    Raises:
        LLMError: if there is no endpoint that offers the model, and something to ask it.
    """
    if environment.llm_url == STANDIN_URL or not any(assets & set(ASKING) for _, assets in order.named):
        return
    try:
        LLM(url=environment.llm_url, model=environment.llm_model).require_model()
    except LLMError:
        if _is_asking(environment, order):
            raise


def _is_asking(environment: Environment, order: Ordered) -> bool:
    """Whether a run would certainly make a call; it is enough to find the first batch that does."""
    selections = order.store.personas_from
    plans = (plan(environment, [work], retry=order.reasons, personas_from=selections) for work in order.named)
    return any(forecast.total.ask for forecast in plans)
