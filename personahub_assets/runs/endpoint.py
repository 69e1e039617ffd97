"""Check the endpoint before a run starts, so that a dead one fails once and not in every batch."""

from collections.abc import Collection

from personahub_assets.core.config import STANDIN_URL, Environment
from personahub_assets.core.errors import LLMError
from personahub_assets.generation.llm import LLM
from personahub_assets.runs.plan import plan
from personahub_assets.runs.runner import Ordered
from personahub_assets.steps.tasks import endpoints, role_name
from personahub_assets.store.tables import Store


def require_endpoint(environment: Environment, order: Ordered) -> None:
    """Refuse a run that needs an endpoint if there is none, or that asks files online.

    The endpoint of each role is checked whose tasks are in the run. A run without calls needs no endpoint, so without
    one the requests are looked up first.

    Raises:
        LLMError: if calls are needed and no endpoint serves the model, or requests to files are to be asked online.
    """
    tasks = set().union(*(assets for _, assets in order.named))
    for roles, llm in endpoints(order.store, LLM.of(environment, batch_api=order.llm.batch_api), tasks).items():
        llm.require_way()
        if llm.url == STANDIN_URL:
            continue
        try:
            llm.require_model(llm.headers(order.store.config))
        except LLMError:
            if _is_asking(environment, order, roles, is_model_known=_knows_model(llm, order.store)):
                raise


def _knows_model(llm: LLM, store: Store) -> bool:
    """Whether answers can be looked up without the endpoint: the model is a part of the identity of a request."""
    try:
        llm.model_for(store)
    except LLMError:
        return False
    return True


def _is_asking(environment: Environment, order: Ordered, roles: Collection[str], *, is_model_known: bool) -> bool:
    """Whether a run would certainly make a call in one of these roles, or look one up for an unknown model.

    The first batch that does is enough.
    """
    selections = order.store.personas_from
    plans = (plan(environment, [work], retry=order.reasons, personas_from=selections) for work in order.named)
    return any(
        (work.ask or (work.requests and not is_model_known)) and role_name(work.role, work.variant) in roles
        for forecast in plans
        for work in forecast.work
    )
