"""The macro `similar_personas`: personas similar to one of the hub, in any DuckDB shell."""

import duckdb
import numpy as np
import polars as pl

from personahub_assets.search.nearest import Nearest
from personahub_assets.store.tables import Store
from personahub_assets.warehouse import build


def test_it_says_what_the_search_says(built: Store) -> None:
    rows = built.read_all("persona_embeddings").join(built.read_all("personas", ["persona_id"]), on="persona_id")
    search = Nearest(built, rows["model"][0])
    with duckdb.connect(str(built.paths.warehouse), read_only=True) as shell:
        for persona_id, vector in rows.select("persona_id", "embedding").head(3).iter_rows():
            found = shell.execute("FROM similar_personas($1, k := 5)", [persona_id]).fetchall()
            (_, *others) = search.find(np.array(vector, np.float32), 6).rows()
            assert [row[1] for row in found] == [other for other, _ in others]
            assert np.allclose([row[0] for row in found], [cosine for _, cosine in others], atol=1e-6)


def test_a_dropped_persona_is_like_its_keeper(built: Store) -> None:
    dropped = built.dropped("semantic_duplicates").select("persona_id", "keeper_id", "similarity").collect()
    assert not dropped.is_empty()
    with build.reader(built) as shell:
        for persona_id, keeper_id, similarity in dropped.iter_rows():
            ((found, nearest),) = shell.execute(
                "SELECT similarity, persona_id FROM similar_personas($1, k := 1)", [persona_id]
            ).fetchall()
            assert (nearest, round(found, 4)) == (keeper_id, round(similarity, 4))


def test_of_nobody_there_is_nobody(built: Store) -> None:
    with build.reader(built) as shell:
        assert shell.execute("FROM similar_personas('p-of-nobody')").fetchall() == []
        everybody = pl.DataFrame(shell.sql("FROM personas"))
        found = shell.execute("FROM similar_personas($1, k := 1000)", [everybody["persona_id"][0]]).fetchall()
    assert len(found) == everybody.height - 1
