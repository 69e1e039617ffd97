"""Decide which candidates are kept; each dropped one has the persona that it duplicates.

A stage decides about one batch under its admission lock, and reads the kept personas of other batches from the store.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from personahub_assets.core.text import digest
from personahub_assets.embedding.embedder import Embedder
from personahub_assets.steps.diversity import meaning_facts, measure_meaning
from personahub_assets.steps.embeddings import Watch, embed_items
from personahub_assets.steps.novelty import new_per_1000_calls
from personahub_assets.steps.result import HEAD_ROWS, Result
from personahub_assets.store.tables import DROPPED, ITEM_DROPS, Store, content_version, table_schema

if TYPE_CHECKING:
    from personahub_assets.dedup.lexical_state import LexicalSearch
    from personahub_assets.dedup.records import Items, Records
    from personahub_assets.dedup.semantic_state import SemanticSearch
    from personahub_assets.dedup.state import Hub, KeptOfOthers

NOT_COMPARED = "not compared"
"""Rule of a dataset whose items a stage does not compare."""
_SHOWN = (
    "rule",
    "method",
    "recall_on_sample",
    "decided_again",
    "batches_of_other_models",
    "compared_in_seconds",
    "exact_seconds_estimated",
)


@dataclass(kw_only=True)
class Decided(Result):
    """The drops of a batch.

    Attributes:
        hub: the stage, with the decisions before this step.
        others: the kept rows of other batches.
        made: `(batch, id, admission, keeper_id, similarity)`, the new decisions, of any batch.
    """

    hub: "Hub"
    others: "KeptOfOthers"
    made: pl.DataFrame


@dataclass(kw_only=True)
class ItemsDecided(Result):
    """The dropped items of a dataset and batch.

    Attributes:
        stages: the results of the stages that compared the items.
    """

    stages: list[Decided]


@dataclass(kw_only=True)
class Kept(Result):
    """The personas of a batch.

    Attributes:
        candidates: before dedup.
        personas: the kept candidates.
    """

    candidates: pl.DataFrame
    personas: pl.DataFrame


def compile_note(stage: str) -> str:
    """Progress text if a stage must first compile its kernels, which takes up to a minute; else empty."""
    from personahub_assets.dedup import kernels, lexical, scan

    first = lexical._walk if stage == "lexical" else scan.scan
    return "" if kernels.is_compiled(first) else "compiles its kernels, once after an installation or update"


def find_lexical_duplicates(store: Store, batch: str) -> Decided:
    """Decide which candidates of a batch share nearly all words with a kept persona of any batch, and publish it."""
    from personahub_assets.dedup.records import Personas

    return _lexical(Personas(store), batch)


def find_semantic_duplicates(store: Store, batch: str, model: str) -> Decided:
    """Decide which lexical survivors of a batch mean nearly the same as a kept persona of any batch, and publish it.

    Args:
        model: embedding model if the batch has no vectors.
    """
    from personahub_assets.dedup.records import Personas

    return _semantic(Personas(store), batch, model)


def find_item_duplicates(store: Store, dataset: str, embedder: Embedder, batch: str, watch: Watch) -> ItemsDecided:
    """Decide which items of a batch nearly repeat a kept item of the dataset, of any batch, and publish it.

    Both stages are those of the personas; the survivors of the first are embedded between them.

    Raises:
        EmbedError: if the endpoint fails; vectors made before are kept for the next run.
        ConfigError: if the local model is neither installed nor can be downloaded.
    """
    from personahub_assets.dedup.records import Items

    records = Items(store, dataset)
    if records.threshold is None:
        return _items_decided(records, batch, [], ["lexical", "semantic"])
    records.contents(batch)  # so that the decisions about it are compared by text, not by call
    lexical = _lexical(records, batch)
    if not records.is_embedded:
        return _items_decided(records, batch, [lexical], ["semantic"])
    embedded = embed_items(records, embedder, batch, watch)
    result = _items_decided(records, batch, [lexical, _semantic(records, batch, embedder.name)])
    result.facts |= embedded | meaning_facts(measure_meaning(store, dataset, batch))
    return result


def _items_decided(records: "Items", batch: str, stages: list[Decided], skipped: Iterable[str] = ()) -> ItemsDecided:
    """Sum up the stages that decided, and withdraw the decisions of those that are skipped."""
    for stage in skipped:
        _withdraw(records, stage, batch)
    items, dropped = records.store.height(records.dataset, batch), sum(stage.rows for stage in stages)
    facts: dict[str, Any] = {"unique_items": items - dropped}
    for decided in stages:
        stage = decided.hub.stage
        facts |= {f"{stage}_duplicates": decided.rows}
        facts |= {f"{stage}_{name}": decided.facts[name] for name in _SHOWN if name in decided.facts}
    empty = pl.DataFrame(schema={name: table_schema(records.decisions)[name] for name in ITEM_DROPS})
    heads = [decided.head.with_columns(stage=pl.lit(decided.hub.stage)).select(ITEM_DROPS) for decided in stages]
    version = digest(*(decided.version for decided in stages), size=32)
    return ItemsDecided(pl.concat([empty, *heads]).head(HEAD_ROWS), dropped, version, facts, stages=stages)


def _withdraw(records: "Items", stage: str, batch: str) -> None:
    """Replace the decisions of a stage about a batch by none, so that it drops no item."""
    if records.is_decided(stage, batch):
        run = {"batch": batch, "stage": stage, "rule": NOT_COMPARED, "method": "exact", "recall": 1.0}
        schema = {name: kind for name, kind in table_schema(records.runs).items() if name != "dataset"}
        records.write_run(stage, batch, pl.DataFrame([{**run, "candidates": 0, "kept": 0}], schema))
        records.write_decisions(stage, batch, records.stored(stage, batch).clear())


def collect_personas(store: Store, batch: str) -> Kept:
    """Publish the candidates of a batch that survived both stages."""
    candidates = store.candidates(batch)
    stays = store.kept("semantic_duplicates", batch)
    rows = candidates.join(stays, on="persona_id", how="semi", maintain_order="left")
    store.write("personas", batch, rows)
    facts: dict[str, Any] = {"candidates": candidates.height, "kept_share": _share(rows, candidates)}
    if novel := new_per_1000_calls(store, batch, candidates, rows):
        facts["new_per_1000_calls"] = novel
    version = content_version(rows)
    return Kept(rows.head(HEAD_ROWS), rows.height, version, facts, candidates=candidates, personas=rows)


def _lexical(records: "Records", batch: str) -> Decided:
    from personahub_assets.dedup.lexical_state import LexicalHub

    with records.store.lock(records.admission_lock("lexical"), wait=True):
        hub = LexicalHub(records)
        rows = hub.rows(batch, lambda key: records.rows(key, "id", "hop", "text"))
        return _decided(hub, hub.search(rows, batch), rows, batch)


def _semantic(records: "Records", batch: str, model: str) -> Decided:
    from personahub_assets.dedup.semantic_state import SemanticHub

    with records.store.lock(records.admission_lock("semantic"), wait=True):
        models = records.embedded(batch, ["model"])["model"]
        hub = SemanticHub(records, str(models[0]) if len(models) else model)
        rows = hub.rows(batch, hub.reach)
        decided = _decided(hub, hub.search(rows, batch), rows, batch)
    decided.facts["batches_of_other_models"] = len(hub.apart)
    decided.facts["not_read"] = hub.marks(batch).filter(~pl.col("is_read")).height
    return decided


def _decided(hub: "Hub", search: "LexicalSearch | SemanticSearch", rows: pl.DataFrame, batch: str) -> "Decided":
    """Decide about the rows and write the decisions as state; the asset's rows are the dropped candidates."""
    from personahub_assets.dedup.keepers import admit

    others, elsewhere = hub.kept_of_others(batch), hub.elsewhere(rows["keeper_id"])
    admission = admit(rows, others, hub.next_admission, search.decide, replay=hub.outdated, elsewhere=elsewhere)
    decisions = hub.publish(batch, admission, search.how)
    how = hub.how(batch)
    decisions = decisions.rename({"id": hub.records.key})
    dropped = decisions.filter(pl.col("keeper_id").is_not_null()).select("batch", hub.records.key, *DROPPED[2:])
    return Decided(
        dropped.head(HEAD_ROWS),
        dropped.height,
        content_version(decisions),  # downstream assets depend on the kept rows, not only on the dropped ones
        {
            "candidates": decisions.height,
            "kept": decisions.height - dropped.height,
            "dropped_share": _share(dropped, decisions),
            "method": how.method,
            "rule": hub.rule,
            "decided_again": admission.height - decisions.height,
            "recall_on_sample": how.recall,
            **search.facts,
        },
        hub=hub,
        others=others,
        made=admission,
    )


def _share(dropped: pl.DataFrame, decided: pl.DataFrame) -> float:
    return round(dropped.height / decided.height, 4) if decided.height else 0.0
