"""Infer candidates from documents, and related candidates from candidates."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any

import polars as pl

from personahub_assets.core.catalog import Catalog
from personahub_assets.core.config import HubConfig, TextPersonasTask
from personahub_assets.core.records import RelatedPersonas, TextPersonas
from personahub_assets.core.text import cut
from personahub_assets.embedding.embedder import Embedder
from personahub_assets.generation.answers import Answers
from personahub_assets.generation.engine import Watch
from personahub_assets.generation.llm import LLM
from personahub_assets.generation.requests import Request, Task
from personahub_assets.generation.servers.dialect import Dialect
from personahub_assets.sources.register import imported_personas
from personahub_assets.steps import candidates as rules
from personahub_assets.steps.asked import Asked
from personahub_assets.steps.embeddings import Watch as Tell
from personahub_assets.steps.novelty import Novelty, pieces
from personahub_assets.store.tables import SLICE_ROWS, Store, in_pieces, table_schema

_GRANULARITY = {
    "coarse": "Make all of them coarse.",
    "fine": "Make all of them fine.",
    "both": "Mix both kinds.",
}


def text_personas_task(catalog: Catalog, config: HubConfig, model: str) -> Task:
    """Text-to-persona with the current prompt file and hub.toml."""
    settings = config.text_personas
    prompt = catalog.prompt("text_personas").with_settings(settings.parameters, settings.sampling())
    shaping = settings.model_dump(include={"per_document", "granularity", "max_chars"})
    return Task(
        "text_personas", prompt, TextPersonas, model, Dialect.of(config.generation), settings.per_document, shaping
    )


def related_personas_task(catalog: Catalog, config: HubConfig, model: str) -> Task:
    """Persona-to-persona with the current prompt file and hub.toml."""
    settings = config.related_personas
    prompt = catalog.prompt("related_personas").with_settings(settings.parameters, settings.sampling())
    shaping = settings.model_dump(include={"fan_out"})
    return Task(
        "related_personas", prompt, RelatedPersonas, model, Dialect.of(config.generation), settings.fan_out, shaping
    )


def text_requests(store: Store, task: Task, batch: str) -> Iterator[Request]:
    """The requests of text-to-persona for a batch: one per document."""
    settings = store.config.text_personas
    for documents in store.slices("documents", batch, ["document_id", "text"]):
        yield from document_requests(task, documents.iter_rows(), settings)


def document_requests(
    task: Task, documents: Iterable[tuple[str, str]], settings: TextPersonasTask
) -> Iterator[Request]:
    """The requests of text-to-persona about documents `(id, text)`."""
    shared: dict[str, str | int] = {"count": settings.per_document, "granularity": _GRANULARITY[settings.granularity]}
    for document_id, text in documents:
        yield task.request(document_id, {"text": cut(text, settings.max_chars)}, 0, **shared)


def related_requests(task: Task, parents: Mapping[str, Any], fan_out: int) -> Iterator[Request]:
    """The requests of persona-to-persona at a hop: one per expanded persona, by its id."""
    for persona_id, row in parents.items():
        yield task.request(persona_id, {"persona": row["persona"]}, count=fan_out)


def infer_text_personas(store: Store, llm: LLM, batch: str, watch: Watch) -> Asked:
    """Infer the personas of each document of a batch, add the imported ones, and publish the candidates.

    Raises:
        LLMError: if there is no model, or it fails for all requests.
        BudgetSpent: if the budget is spent; the received answers are kept for the next run.
    """
    settings = store.config.text_personas
    counts = Counter[str]()
    total = store.height("documents", batch)
    task = text_personas_task(store.catalog, store.config, llm.model_for(store) if total else "none")
    with llm.answers(store, task, batch, watch) as answers:
        for ready in in_pieces(imported_personas(store, batch), SLICE_ROWS):
            passed = answers.screened(ready)
            texts, attributes = [row.persona for row in passed], [row.attributes for row in passed]
            answers.write("text_personas", rules.imported(batch, texts, attributes, counts))
        for accepted in answers.request_all(partial(text_requests, store, task, batch), total):
            parsed = [(request.input_id, generation, answer) for request, generation, answer in accepted]
            answers.write("text_personas", rules.from_text(batch, parsed, settings.per_document))
        answers.publish("text_personas")
    return Asked.of(answers, imported=counts.total())


def expanded_before(store: Store, batch: str) -> set[str]:
    """Ids of the candidates that have children in the published partition."""
    return set(store.read("related_personas", batch, columns=["parent_id"])["parent_id"].to_list())


def expand_personas(store: Store, llm: LLM, batch: str, watch: Watch, embedder: Embedder, tell: Tell) -> Asked:
    """Infer the related personas of each candidate of a batch, hop by hop, and publish the candidates.

    Args:
        store: tables of the hub.
        llm: the model.
        batch: the batch key.
        watch: called with the progress of asking.
        embedder: compares candidates, if `related_personas.min_novelty` is set.
        tell: called with the progress of embedding.

    Raises:
        LLMError, BudgetSpent: as for `infer_text_personas`.
        EmbedError, ConfigError: as for `embed_personas`, if `related_personas.min_novelty` is set.
    """
    settings = store.config.related_personas
    last = store.read("text_personas", batch)
    task = related_personas_task(
        store.catalog, store.config, llm.model_for(store) if last.height and settings.hops else "none"
    )
    expanded = expanded_before(store, batch)
    novelty = Novelty(store, embedder, batch, tell) if settings.min_novelty else None
    rows_per_hop, novel_per_hop, expanded_words = dict[str, int](), dict[str, int](), set[int]()
    with llm.answers(store, task, batch, watch) as answers:
        if novelty and last.height:
            novelty.add(last)
        for hop in range(1, settings.hops + 1):
            parents = {row["persona_id"]: row for row in rules.frontier(last, expanded_words, expanded)}
            hops, sent = list[pl.DataFrame](), 0
            for piece in pieces(parents, settings.min_novelty):
                rows = _expand(answers, task, piece, batch, settings.fan_out)
                hops.append(rows)
                sent += len(piece)
                if novelty is None:
                    continue
                novel_per_hop[str(hop)] = novelty.per_1000(rows, len(piece))
                if is_used_up(novel_per_hop[str(hop)], settings.min_novelty, parents, sent, expanded):
                    answers.tally.notes.append(
                        f"batch {batch}: hop {hop} ended after {sent:,} of {len(parents):,} requests: the last "
                        f"{len(piece):,} gave {novel_per_hop[str(hop)]} new personas per 1,000, below "
                        f"related_personas.min_novelty = {settings.min_novelty}"
                    )
                    break
            last = pl.concat([pl.DataFrame(schema=last.schema), *hops])
            rows_per_hop[str(hop)] = last.height
        answers.publish("related_personas")
    facts = {"new_personas_per_1000_requests": novel_per_hop} if novel_per_hop else {}
    return Asked.of(answers, rows_per_hop=rows_per_hop, **facts)


def is_used_up(novel: int, limit: int, parents: Mapping[str, Any], sent: int, expanded: set[str]) -> bool:
    """Whether a hop ends: too few new personas, more parents to ask, and none of these was expanded before.

    Args:
        novel: new personas per 1,000 requests of the last piece.
        limit: the least number.
        parents: of the hop, in order.
        sent: number of requests so far.
        expanded: personas that have children in the published partition; these children stay.
    """
    return novel < limit and sent < len(parents) and expanded.isdisjoint(list(parents)[sent:])


def _expand(answers: Answers, task: Task, parents: Mapping[str, Any], batch: str, fan_out: int) -> pl.DataFrame:
    """Ask for the personas related to some parents, and write the candidates."""
    requests = partial(related_requests, task, parents, fan_out)
    rows = [pl.DataFrame(schema=table_schema("related_personas"))]
    for accepted in answers.request_all(requests, len(parents)):
        parsed = [(parents[request.input_id], generation, answer) for request, generation, answer in accepted]
        rows.append(answers.write("related_personas", rules.from_relations(batch, parsed, fan_out)))
    return pl.concat(rows)
