"""Render the messages of a call again, and verify them by the key of its request."""

import json
from collections.abc import Mapping
from typing import Any

import polars as pl

from personahub_assets.core.catalog import PERSONA_TASKS
from personahub_assets.core.config import HubConfig
from personahub_assets.core.dialogues import DIALOGUES
from personahub_assets.core.errors import ConfigError, PromptError
from personahub_assets.core.prompts import Message
from personahub_assets.core.records import DatasetItem
from personahub_assets.core.verified import COMPARISONS
from personahub_assets.generation.prompt_record import TABLE, VERSION, recorded_prompt
from personahub_assets.generation.requests import Server, Task, request_key
from personahub_assets.steps.agreement import pairs_of_answers
from personahub_assets.steps.datasets import with_source_texts
from personahub_assets.steps.dialogues import stored_messages
from personahub_assets.steps.inputs import Input, item_input
from personahub_assets.steps.preview import requests_about
from personahub_assets.steps.tasks import current_tasks
from personahub_assets.store.tables import Store

_CALL = ["request_key", "input_id", "sample", "model", "prompt_fingerprint", "schema_fingerprint"]


def sent_messages(store: Store, batch: str, asset: str, generation_id: str) -> list[Message] | None:
    """Render the messages of a call again from its input, and the current or the recorded prompt and settings.

    Args:
        batch: batch of the call.
        asset: asset that made it.
        generation_id: id of the call.

    Returns:
        The messages if their request has the key of the call. None if the input has changed or is not stored any more,
        or if the prompt was used before prompts were recorded. An input that was cut to the model's context is
        complete here.

    Raises:
        StoreError: if a table is damaged.
    """
    columns = ["generation_id", *_CALL]
    calls = store.read("generations", batch, asset, columns=columns).filter(generation_id=generation_id)
    if calls.is_empty():
        return None
    call = calls.row(0, named=True)
    return messages_of(store, asset, call, stored_inputs(store, batch, asset, call["input_id"]))


def messages_of(store: Store, asset: str, call: Mapping[str, Any], inputs: list[Input]) -> list[Message] | None:
    """The messages of a call with the current or the recorded prompt and settings; None if neither gives its key.

    Args:
        store: the home.
        asset: asset of the call.
        call: its row of `generations`: request_key, sample, model, prompt_fingerprint and schema_fingerprint.
        inputs: documents, personas or items that the call can be about.
    """
    return _of_current(store, asset, call, inputs) or _of_recorded(store, asset, call, inputs)


def _of_current(store: Store, asset: str, call: Mapping[str, Any], inputs: list[Input]) -> list[Message] | None:
    if asset not in (*store.catalog.tasks, *COMPARISONS):
        return None
    try:
        for task in current_tasks(store.catalog, store.config, asset, lambda _role, _variant: Server(call["model"])):
            for request in requests_about(store.config, task, inputs, call["sample"] + 1):
                if request.key == call["request_key"]:
                    return request.messages
        return None
    except (PromptError, ConfigError):  # the current prompt cannot be rendered; try the recorded one
        return None


def _of_recorded(store: Store, asset: str, call: Mapping[str, Any], inputs: list[Input]) -> list[Message] | None:
    """The messages with the recorded version of the prompt and the settings of that time."""
    uses = store.read_all(TABLE, asset=asset).filter(prompt_fingerprint=call["prompt_fingerprint"])
    for use in uses.unique(VERSION, maintain_order=True).to_dicts():
        try:
            prompt = recorded_prompt(use)
            config = _with_settings(store.config, asset, json.loads(use["settings"]))
            answer, settings = PERSONA_TASKS.get(asset, DatasetItem), json.loads(use["settings"])
            task = Task(asset, prompt, answer, call["model"], settings=settings)
            for request in requests_about(config, task, inputs, call["sample"] + 1):
                identity = (call["schema_fingerprint"], json.loads(use["dialect"]), request.sample)
                if request_key(call["model"], prompt, request.messages, *identity) == call["request_key"]:
                    return request.messages
        except (PromptError, ValueError):
            continue
    return None


def _with_settings(config: HubConfig, asset: str, settings: dict[str, Any]) -> HubConfig:
    if asset not in PERSONA_TASKS:
        return config
    return config.model_copy(update={asset: getattr(config, asset).model_copy(update=settings)})


def stored_inputs(store: Store, batch: str, asset: str, input_id: str) -> list[Input]:
    """The document, persona or item of a batch that a call was about; empty if it is not stored.

    A judge who compares answers can have been asked about any pair of answers to a problem.
    """
    if asset in COMPARISONS:
        return _pairs(store, batch, asset, input_id)
    if asset == "text_personas":
        pieces = store.slices("documents", batch, ["document_id", "text"])
        texts = [text for rows in pieces for text in rows.filter(document_id=input_id)["text"]][:1]
        return [Input(batch, input_id, text) for text in texts]
    personas = store.candidates(batch, ["persona_id", "persona"])
    if derivation := store.catalog.derivation(asset):
        rows = store.read(derivation.source, batch).filter(item_id=input_id).head(1)
        rows = with_source_texts(store, derivation.source, batch, rows)
        texts_by_id = dict(personas.filter(pl.col("persona_id").is_in(rows["persona_id"].implode())).iter_rows())
        return [item_input(batch, row, texts_by_id) for row in rows.iter_rows(named=True)]
    messages = stored_messages(store, batch, input_id) if asset == DIALOGUES else {}
    inputs = personas.filter(persona_id=input_id).head(1)
    return [Input(batch, persona_id, persona, messages) for persona_id, persona in inputs.iter_rows()]


def _pairs(store: Store, batch: str, comparison: str, problem_id: str) -> list[Input]:
    """The pairs of different answers to a problem, each as the values of a request to the judge."""
    pairs = pairs_of_answers(store, comparison, batch, problem_id)
    return [Input(batch, problem_id, row["problem"], row) for row in pairs]
