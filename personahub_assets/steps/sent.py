"""The messages of a call, made again and proved by the key of its request."""

import polars as pl

from personahub_assets.core.config import HubConfig
from personahub_assets.core.errors import PromptError
from personahub_assets.core.prompts import Message
from personahub_assets.steps.inputs import Input
from personahub_assets.steps.preview import requests_about
from personahub_assets.steps.tasks import TASKS, current_task
from personahub_assets.store.tables import Store


def sent_messages(store: Store, batch: str, asset: str, generation_id: str) -> list[Message] | None:
    """Make the messages of a call again from its input, the prompt and the settings.

    Args:
        batch: batch of the call.
        asset: asset that made it.
        generation_id: id of the call.

    Returns:
        The messages, if their request has the key of the call; None if it has not, because the prompt, a setting or
        the input has changed since, or is not stored any more. An input that was cut to the model's context is whole.

    Raises:
        StoreError: if a table is damaged.
    """
    columns = ["generation_id", "request_key", "input_id", "sample", "model"]
    calls = store.read("generations", batch, asset, columns=columns).filter(generation_id=generation_id)
    if calls.is_empty():
        return None
    _, key, input_id, sample, model = calls.row(0)
    inputs = [Input(batch, input_id, text) for text in _texts(store, batch, asset, input_id)]
    return messages_of(store.config, asset, model, key, sample, inputs)


def messages_of(
    config: HubConfig, asset: str, model: str, key: str, sample: int, inputs: list[Input]
) -> list[Message] | None:
    """The messages of the request with a key, among those that a run makes now about these inputs; else None.

    Args:
        config: settings of the home.
        asset: asset that asks.
        model: name of the model that was asked.
        key: key of the request.
        sample: number of the sample, from 0.
        inputs: documents or personas that the request can be about.
    """
    if asset not in TASKS:
        return None
    try:
        requests = requests_about(config, current_task(config, asset, model), inputs, sample + 1)
        return next((request.messages for request in requests if request.key == key), None)
    except PromptError:  # a prompt that cannot be rendered now does not show what was sent
        return None


def _texts(store: Store, batch: str, asset: str, input_id: str) -> list[str]:
    """The text of a document or persona of a batch; empty if it is not stored."""
    if asset == "text_personas":
        pieces = store.slices("documents", batch, ["document_id", "text"])
        return [text for rows in pieces for text in rows.filter(document_id=input_id)["text"]][:1]
    rows = store.candidates(batch, ["persona_id", "persona"])
    return rows.filter(pl.col("persona_id") == input_id)["persona"].to_list()[:1]
