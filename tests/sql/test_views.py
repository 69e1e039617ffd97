"""The views of sql/views: their comments, and `cost_per_kept_row` compared with a second computation."""

from datetime import datetime
from typing import Any

import polars as pl
import pytest

from personahub_assets.core.project_files import sql_files
from personahub_assets.core.records import DATASETS
from personahub_assets.store.tables import Store
from personahub_assets.warehouse import build, live

Key = tuple[str, int | None, str, str]
COUNTED = ("prompt_tokens", "cached_tokens", "completion_tokens", "wasted_tokens", "cost")


def accounts(store: Store) -> dict[Key, dict[str, Any]]:
    """The rows of `cost_per_kept_row` for the current tables."""
    query = "SELECT * FROM cost_per_kept_row"
    with live.open_live(store, query) as connection:
        result = connection.execute(query)
        names = [column[0] for column in result.description or ()]
        rows = [dict(zip(names, row, strict=True)) for row in result.fetchall()]
    found = {(row.pop("asset"), row.pop("hop"), row.pop("prompt_fingerprint"), row.pop("model")): row for row in rows}
    assert len(found) == len(rows)
    return found


def reckoned(store: Store) -> dict[Key, dict[str, Any]]:
    """The same, computed row by row."""
    candidates = pl.concat([store.read_all("text_personas"), store.read_all("related_personas")])
    hops = dict(candidates.select("persona_id", "hop").iter_rows())
    kept = store.read_all("personas")["generation_id"].to_list()
    for name in DATASETS:
        kept += store.read_all(name)["generation_id"].to_list()
    groups: dict[Key, dict[str, Any]] = {}
    for row in store.read_all("generations").iter_rows(named=True):
        hop = hops.get(row["input_id"])
        if row["asset"] == "text_personas":
            hop = 0
        elif row["asset"] == "related_personas" and hop is not None:
            hop += 1
        group = groups.setdefault((row["asset"], hop, row["prompt_fingerprint"], row["model"]), {})
        statuses = {name: int(row["status"] == name) for name in ("accepted", "rejected", "superseded")}
        paid = {name: 0 if row["reused"] else row[name] for name in COUNTED}
        mine = kept.count(row["generation_id"]) if statuses["accepted"] else 0
        calls = 0 if row["reused"] else row["attempts"]
        unpriced = calls if paid["prompt_tokens"] and not paid["cost"] else 0
        counts = {"requests": 1, **statuses, "unpublished": 0, "calls": calls, "kept_rows": mine}
        for name, value in {**counts, **paid, "calls_without_price": unpriced}.items():
            group[name] = group.get(name, 0) + value
    for group in groups.values():
        rows, prompt = group["kept_rows"], group["prompt_tokens"]
        tokens = prompt + group["completion_tokens"]
        group["tokens_per_kept_row"] = pytest.approx(tokens / rows, abs=0.051) if rows else None
        group["cost_per_kept_row"] = pytest.approx(group["cost"] / rows) if rows else None
        group["cached_percent"] = pytest.approx(100 * group["cached_tokens"] / prompt, abs=0.051) if prompt else None
        group["cost"] = pytest.approx(group["cost"])
    return groups


def rewrite(store: Store, asset: str, **values: pl.Expr | object) -> pl.DataFrame:
    """Change the generations of an asset in the first batch; return the earlier ones."""
    old = store.read("generations", "first", asset)
    new = old.with_columns(**{k: v if isinstance(v, pl.Expr) else pl.lit(v) for k, v in values.items()})
    store.write("generations", "first", new.cast(old.schema), asset)
    return old


@pytest.mark.parametrize("name", sql_files("views"))
def test_a_view_says_what_it_shows(built: Store, name: str) -> None:
    with build.reader(built) as connection:
        said = connection.execute("SELECT comment FROM duckdb_views() WHERE view_name = ?", [name]).fetchone()
        connection.execute(f"SELECT * FROM {name} LIMIT 1")
    assert said
    assert len(said[0]) > 20
    assert sql_files("views")[name].startswith(f"-- {said[0]}\n")


def test_accounts_agree_with_a_second_reckoning(built: Store) -> None:
    found = accounts(built)
    assert found == reckoned(built)
    assert {key[:2] for key in found} >= {("text_personas", 0), ("related_personas", 1), ("tools", 0), ("tools", 1)}
    # Every persona that is not imported and every item is some group's.
    items = sum(built.read_all(name).height for name in DATASETS)
    assert sum(row["kept_rows"] for row in found.values()) == items + (
        built.read_all("personas").filter(pl.col("origin") != "imported").height
    )
    assert sum(row["wasted_tokens"] for row in found.values()) > 0
    assert sum(row["rejected"] for row in found.values()) > 0


def test_reused_rows_cost_nothing_but_their_rows_count(copied: Store) -> None:
    before = accounts(copied)
    rewrite(copied, "math_problems", reused=True)
    after = accounts(copied)
    assert after == reckoned(copied)
    for key, row in after.items():
        assert row["kept_rows"] == before[key]["kept_rows"]
        if key[0] == "math_problems":
            assert row["calls"] < before[key]["calls"]
            assert row["cost"] < before[key]["cost"]
            assert row["tokens_per_kept_row"] < before[key]["tokens_per_kept_row"]
        else:
            assert row == before[key]


def test_superseded_answers_stay_paid_and_keep_no_row(copied: Store) -> None:
    old = rewrite(
        copied,
        "text_personas",
        prompt_fingerprint="new",
        model="other",
        generation_id=pl.format("{}n", "generation_id"),
    )
    left = {"status": pl.lit("superseded"), "superseded_at": pl.lit(datetime(2026, 1, 2)), "reason": pl.lit(None)}
    new = copied.read("generations", "first", "text_personas")
    both = pl.concat([new, old.with_columns(**left).cast(new.schema)])
    copied.write("generations", "first", both, "text_personas")
    personas = copied.read("personas", "first")
    moved = pl.col("generation_id").is_in(old["generation_id"].implode())
    renamed = pl.when(moved).then(pl.format("{}n", "generation_id")).otherwise("generation_id")
    copied.write("personas", "first", personas.with_columns(generation_id=renamed))
    found = accounts(copied)
    assert found == reckoned(copied)
    current = found["text_personas", 0, "new", "other"]
    (earlier,) = [row for key, row in found.items() if row["superseded"]]
    assert current["kept_rows"] > 0
    assert current["superseded"] == 0
    assert earlier["superseded"] == old.height
    assert earlier["prompt_tokens"] >= current["prompt_tokens"] > 0


def test_a_group_without_kept_rows_has_no_price_per_row(copied: Store) -> None:
    rewrite(copied, "tools", status="rejected", prompt_fingerprint="bad", cached_tokens=0)
    rows = [row for key, row in accounts(copied).items() if key[2] == "bad"]
    assert rows
    for row in rows:
        assert row["kept_rows"] == row["accepted"] == 0
        assert row["tokens_per_kept_row"] is None
        assert row["cost_per_kept_row"] is None
        assert row["cached_percent"] == 0
        assert row["cost"] > 0


def test_an_input_that_is_gone_has_no_hop(copied: Store) -> None:
    rewrite(copied, "related_personas", input_id="pgone")
    assert ("related_personas", None) in {key[:2] for key in accounts(copied)}
    assert accounts(copied) == reckoned(copied)


def test_every_view_is_empty_where_the_home_is(store: Store) -> None:
    build.build(store)
    with build.reader(store) as connection:
        counts = {name: connection.execute(f"SELECT count(*) FROM {name}").fetchone() for name in sql_files("views")}
    assert set(counts.values()) == {(0,)}
