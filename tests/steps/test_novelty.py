"""`related_personas.min_novelty`: a hop that gives few new personas ends, and says so; a plan knows it."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hub import Hub

from personahub_assets.embedding.embedder import Embedder
from personahub_assets.embedding.vectors import vector_frame
from personahub_assets.generation.llm import LLM
from personahub_assets.runs.plan import plan
from personahub_assets.standin.server import StandinServer
from personahub_assets.steps import novelty as module
from personahub_assets.steps.asked import Asked
from personahub_assets.steps.novelty import Novelty, pieces
from personahub_assets.steps.personas import expand_personas, infer_text_personas, is_used_up
from personahub_assets.store.tables import Store, table_schema


def quiet(*_progress: object) -> None:
    """Show nothing."""


def personas(*texts: str) -> pl.DataFrame:
    return pl.DataFrame({"persona_id": [f"p{n}" for n in range(len(texts))], "persona": texts})


@pytest.mark.parametrize("count", [0, 1, 199, 200, 201, 400, 1_000, 12_345])
def test_pieces_are_all_parents_in_order_and_double(count: int) -> None:
    parents = {f"p{n}": n for n in range(count)}
    assert list(pieces(parents, 0)) == ([parents] if count else [])
    divided = list(pieces(parents, 5))
    assert [each for piece in divided for each in piece.items()] == list(parents.items())
    assert [len(piece) for piece in divided[:-1]] == [200, 200, 400, 800, 1_600, 3_200, 6_400][
        : max(0, len(divided) - 1)
    ]


def test_a_hop_ends_only_before_parents_without_children() -> None:
    parents = dict.fromkeys(["a", "b", "c"])
    assert is_used_up(10, 20, parents, 2, set())
    assert is_used_up(10, 20, parents, 2, {"a"})
    assert not is_used_up(20, 20, parents, 2, set())
    assert not is_used_up(10, 20, parents, 3, set())
    assert not is_used_up(10, 20, parents, 2, {"c"})  # its children stay


def test_novel_are_those_that_mean_something_new_in_the_batch_and_the_hub(tmp_path: Path) -> None:
    store, embedder = Store(home=str(tmp_path)), Embedder()
    hub = "A marine biologist who counts seals on northern islands"
    (vector,) = embedder.embed([hub])
    row = {"batch": "other", "persona_id": "x", "persona": hub, "origin": "imported", "hop": 0, "root_id": "x"}
    schema = table_schema("personas")
    store.write("personas", "other", pl.DataFrame([row | dict.fromkeys(set(schema) - set(row))], schema))
    vectors = vector_frame(embedder.hashes([hub]), np.asarray([vector]))
    store.write(
        "persona_embeddings",
        "other",
        vectors.with_columns(
            batch=pl.lit("other"),
            persona_id=pl.lit("x"),
            model=pl.lit(embedder.name),
            unread=pl.lit(0.0),
            unread_hash=pl.lit(""),
        ),
    )
    novelty = Novelty(store, embedder, "mine", quiet)
    novelty.add(personas("A tram driver who restores old cinema organs"))
    piece = personas(
        "A tram driver who restores old cinema organs.",  # the same words as before
        "A tram driver who restores the organs of old cinemas",  # the same meaning as before
        "A marine biologist who counts the seals on northern islands",  # the same meaning as one of another batch
        "A chess teacher in a prison library",
    )
    assert novelty.per_1000(piece, 2) == 500
    # All vectors are in the journal: nothing is embedded again by a planner or by the asset after it.
    again = Novelty(store, embedder, "mine", quiet, may_embed=False)
    again.add(personas("A tram driver who restores old cinema organs"))
    assert again.per_1000(piece, 2) == 500
    assert Novelty(store, embedder, "unknown", quiet, may_embed=False).per_1000(piece, 2) == 0


def test_a_hop_ends_and_the_plan_knows_it(
    tmp_path: Path, standin: StandinServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PIECE", 2)
    hub = Hub(tmp_path / "hub", standin)
    (hub.home / "hub.toml").write_text("[related_personas]\nhops = 2\nfan_out = 1\nmin_novelty = 5000\n")
    hub.personas("people", [f"A {job} who sings" for job in ("nurse", "pilot", "mason", "tailor", "judge", "diver")])
    llm, batch = LLM(url=standin.url, model="standin"), "people"
    infer_text_personas(hub.store, llm, batch, quiet)

    def expand() -> Asked:
        return expand_personas(hub.store, llm, batch, quiet, Embedder(), quiet)

    ended = expand()
    assert ended.facts["rows_per_hop"] == {"1": 2, "2": 2}
    first, *_ = ended.tally.notes
    assert "hop 1 ended after 2 of 6 requests" in first
    assert "related_personas.min_novelty = 5000" in first
    before = hub.calls()
    assert expand().tally.calls == 0
    planned = plan(hub.environment, [(batch, {"related_personas"})])
    assert (planned.total.ask, hub.calls()) == (0, before)
    # Without the limit the other parents are asked, and their children stay under a limit that is set later.
    (hub.home / "hub.toml").write_text("[related_personas]\nhops = 1\nfan_out = 1\n")
    assert expand().facts["rows_per_hop"] == {"1": 6}
    (hub.home / "hub.toml").write_text("[related_personas]\nhops = 1\nfan_out = 1\nmin_novelty = 5000\n")
    assert expand().facts["rows_per_hop"] == {"1": 6}
