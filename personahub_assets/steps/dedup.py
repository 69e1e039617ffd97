"""Decide which candidates are kept; each dropped one has the persona that it duplicates.

A stage decides about one batch under its admission lock, and reads the kept personas of other batches from the store.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from personahub_assets.steps.result import HEAD_ROWS, Result
from personahub_assets.store.home import Lock
from personahub_assets.store.tables import DROPPED, Store, content_version

if TYPE_CHECKING:
    from personahub_assets.dedup.state import Hub, LexicalSearch, SemanticSearch

_NO_PLACES = pl.DataFrame(schema={"persona_id": pl.String, "place": pl.Int64})


@dataclass(kw_only=True)
class Decided(Result):
    """The drops of a batch.

    Attributes:
        hub: the stage, with the decisions before this step.
        made: `(batch, persona_id, admission, keeper_id, similarity)`, the new decisions, of any batch.
    """

    hub: "Hub"
    made: pl.DataFrame


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
    from personahub_assets.dedup import kernels, lexical, semantic

    first = lexical._walk if stage == "lexical" else semantic._scan
    return "" if kernels.is_compiled(first) else "compiles its kernels, once after an installation or update"


def find_lexical_duplicates(store: Store, batch: str) -> Decided:
    """Decide which candidates of a batch share nearly all words with a kept persona of any batch, and publish it."""
    from personahub_assets.dedup.state import LexicalHub

    with store.lock(Lock.admission("lexical"), wait=True):
        hub = LexicalHub(store)
        rows = hub.rows(batch, lambda key: store.candidates(key, ["persona_id", "hop", "persona"]))
        return _decided(hub, hub.search(rows, batch), rows, batch)


def find_semantic_duplicates(store: Store, batch: str, model: str) -> Decided:
    """Decide which lexical survivors of a batch mean nearly the same as a kept persona of any batch, and publish it.

    Args:
        model: embedding model if the batch has no vectors.
    """
    from personahub_assets.dedup.state import SemanticHub

    with store.lock(Lock.admission("semantic"), wait=True):
        models = store.read("persona_embeddings", batch, columns=["model"])["model"]
        hub = SemanticHub(store, str(models[0]) if len(models) else model)
        rows = hub.rows(batch, hub.reach)
        decided = _decided(hub, hub.search(rows, batch), rows, batch)
    decided.facts["batches_of_other_models"] = len(hub.apart)
    decided.facts["not_read"] = hub.marks(batch).filter(~pl.col("is_read")).height
    return decided


def collect_personas(store: Store, batch: str) -> Kept:
    """Publish the candidates of a batch that survived both stages."""
    candidates = store.candidates(batch)
    stays = store.kept("semantic_duplicates", batch)
    rows = candidates.join(stays, on="persona_id", how="semi", maintain_order="left")
    store.write("personas", batch, rows)
    facts = {"candidates": candidates.height, "kept_share": _share(rows, candidates)}
    version = content_version(rows)
    return Kept(rows.head(HEAD_ROWS), rows.height, version, facts, candidates=candidates, personas=rows)


def _decided(hub: "Hub", search: "LexicalSearch | SemanticSearch", rows: pl.DataFrame, batch: str) -> "Decided":
    """Decide about the rows and write the decisions as state; the asset's rows are the dropped candidates."""
    from personahub_assets.dedup.keepers import admit

    others = pl.concat([_NO_PLACES, *(hub.kept(name) for name in hub.others(batch))])
    admission = admit(rows, others, hub.next_admission, search.decide, replay=hub.outdated, elsewhere=hub.elsewhere)
    decisions = hub.publish(batch, admission, search.how)
    how = hub.how(batch)
    dropped = decisions.filter(pl.col("keeper_id").is_not_null()).select(DROPPED)
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
        },
        hub=hub,
        made=admission,
    )


def _share(dropped: pl.DataFrame, decided: pl.DataFrame) -> float:
    return round(dropped.height / decided.height, 4) if decided.height else 0.0
