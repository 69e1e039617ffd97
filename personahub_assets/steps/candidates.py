"""Candidate personas: from answers and imported rows to the rows of a table."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import repeat
from typing import Any

import polars as pl

from personahub_assets.core.records import RelatedPersonas, TextPersonas
from personahub_assets.core.text import digest, words

Rows = list[dict[str, Any]]


def imported(
    batch: str,
    personas: Iterable[str],
    attributes: Iterable[str | None] = repeat(None),
    seen: Counter[str] | None = None,
) -> Rows:
    """Candidates from personas of a source file; equal texts get different ids by their count, so that none is lost.

    Args:
        batch: the batch key.
        personas: in the order of the file, whole or in pieces.
        attributes: the other columns of each persona; ids do not depend on them.
        seen: number of occurrences in earlier pieces by text; updated.
    """
    seen = Counter() if seen is None else seen
    rows = []
    for persona, persona_attributes in zip(personas, attributes, strict=False):
        identity = _identity(batch, "", "imported", persona, seen)
        rows.append(_row(batch, identity, persona, origin="imported", root_id=identity, attributes=persona_attributes))
    return rows


def from_text(batch: str, answers: Iterable[tuple[str, str, TextPersonas]], per_document: int) -> Rows:
    """Candidates inferred from documents.

    Args:
        batch: the batch key.
        answers: `(document id, generation id, answer)`.
        per_document: maximal personas per answer; the others are dropped.
    """
    rows = []
    for document_id, generation_id, answer in answers:
        counts: Counter[str] = Counter()
        for item in answer.personas[:per_document]:
            identity = _identity(batch, document_id, item.relation, item.persona, counts)
            rows.append(
                _row(
                    batch,
                    identity,
                    item.persona,
                    origin="text",
                    document_id=document_id,
                    relation=item.relation,
                    granularity=item.granularity,
                    root_id=identity,
                    generation_id=generation_id,
                )
            )
    return rows


def from_relations(batch: str, answers: Iterable[tuple[Mapping[str, Any], str, RelatedPersonas]], fan_out: int) -> Rows:
    """Candidates related to other candidates, one hop further than their parent.

    Args:
        batch: the batch key.
        answers: `(parent's row, generation id, answer)`.
        fan_out: maximal personas per answer; the others are dropped.
    """
    rows = []
    for parent, generation_id, answer in answers:
        counts: Counter[str] = Counter()
        for item in answer.personas[:fan_out]:
            rows.append(
                _row(
                    batch,
                    _identity(batch, parent["persona_id"], item.relation, item.persona, counts),
                    item.persona,
                    origin="relation",
                    document_id=parent["document_id"],
                    relation=item.relation,
                    hop=parent["hop"] + 1,
                    parent_id=parent["persona_id"],
                    root_id=parent["root_id"],
                    generation_id=generation_id,
                )
            )
    return rows


def identities(batch: str, parent: str, relations: Iterable[tuple[str, str]]) -> list[str]:
    """Ids of the personas `(relation, text)` of one answer about a document or persona, in order."""
    counts: Counter[str] = Counter()
    return [_identity(batch, parent, relation, text, counts) for relation, text in relations]


def frontier(candidates: pl.DataFrame, seen: set[int], expanded_before: set[str]) -> Iterator[dict[str, Any]]:
    """Choose the candidates that a hop expands: those with words that are new to the batch.

    Of several with the same words, the one that was expanded before is chosen, so that a larger batch reuses paid
    answers.

    Args:
        candidates: rows of one hop.
        seen: hashes of the word sets that were expanded at earlier hops; updated.
        expanded_before: ids that have children in the published partition.
    """
    order = pl.col("persona_id").is_in(list(expanded_before))
    for row in candidates.sort(order, "persona_id", descending=[True, False]).iter_rows(named=True):
        bag = int(digest(*sorted(set(words(row["persona"]))), size=16), 16)
        if bag not in seen:
            seen.add(bag)
            yield row


def _identity(batch: str, parent: str, relation: str, text: str, counts: Counter[str]) -> str:
    """Persona id; the second of two equal personas of one parent gets its own."""
    plain = digest(batch, parent, relation, text)
    counts[plain] += 1
    return "p" + (plain if counts[plain] == 1 else digest(plain, counts[plain]))


def _row(batch: str, persona_id: str, persona: str, **fields: Any) -> dict[str, Any]:
    blank = dict.fromkeys(("document_id", "relation", "granularity", "parent_id", "generation_id", "attributes"))
    return {"batch": batch, "persona_id": persona_id, "persona": persona, "hop": 0, **blank, **fields}
