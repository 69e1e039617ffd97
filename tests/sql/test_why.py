"""`personahub why` for rows that are kept, dropped at a stage, quarantined, superseded, reused or unknown."""

import io
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from rich.console import Console

from personahub_assets.cli.console import OUT
from personahub_assets.cli.why import explain
from personahub_assets.hub import Hub
from personahub_assets.store.tables import STAGES, Store, table_schema
from personahub_assets.warehouse import build

Thing = dict[str, Any]


class Said:
    """Result of `personahub why`."""

    def __init__(self, code: int, out: str, err: str):
        self.code, self.out, self.err = code, out, err

    @property
    def things(self) -> list[Thing]:
        assert self.code == 0, self.err
        return list(json.loads(self.out))


@pytest.fixture
def why(called: Callable[..., tuple[int, str, str]]) -> Any:
    def run(store: Store, *arguments: str) -> Said:
        return Said(*called("why", *arguments, home=store.root))

    return run


def lines(thing: Thing, *what: str) -> list[dict[str, Any]]:
    return [line for line in thing["lines"] if line["what"] in what]


def persona(store: Store, **wanted: object) -> dict[str, Any]:
    """The first candidate with some values."""
    rows = pl.concat([store.read_all("text_personas"), store.read_all("related_personas")])
    return rows.filter(**wanted).row(0, named=True)


# --- where it came from ---


def test_a_call_leads_back_to_its_document_and_so_does_a_persona_asked_for_by_its_batch(built: Store, why: Any) -> None:
    child = persona(built, hop=1, origin="relation")
    wanted = [("from persona", child["parent_id"]), ("from document", child["document_id"])]
    for asked in (child["generation_id"], f"{child['batch']}/{child['persona_id']}", child["persona_id"]):
        (thing,) = why(built, asked, "--json").things
        found = [(line["what"], line["id"]) for line in lines(thing, "from persona", "from document")]
        assert found == [each for each in wanted if each[1]]


def test_a_kept_persona_with_all_around_it(built: Store, why: Any) -> None:
    child = persona(built, hop=1, origin="relation")
    (thing,) = why(built, child["persona_id"], "--json").things
    assert (thing["id"], thing["kind"], thing["batch"]) == (child["persona_id"], "persona", child["batch"])
    assert [line["step"] for line in thing["lines"]] == list(range(1, len(thing["lines"]) + 1))
    (itself,), (made,) = lines(thing, "persona"), lines(thing, "made by")
    assert itself["text"] == child["persona"]
    assert itself["facts"]["relation"] == child["relation"]
    call = built.read_all("generations").filter(generation_id=child["generation_id"]).row(0, named=True)
    assert made["id"] == call["generation_id"]
    for name in (
        "prompt",
        "prompt_fingerprint",
        "model",
        "status",
        "attempts",
        "prompt_tokens",
        "wasted_tokens",
        "cost",
    ):
        assert made["facts"][name] == call[name]
    for part in (
        f"prompt related_personas {call['prompt_fingerprint']}",
        "model standin",
        "accepted",
        "tokens",
        "cost",
    ):
        assert part in made["detail"]
    (parent,) = lines(thing, "from persona")
    assert parent["id"] == child["parent_id"]
    (source,) = lines(thing, "from file")
    assert source["facts"]["sha256"] == built.read("batches", child["batch"])["sha256"][0]
    assert [line["id"] for line in lines(thing, "in the hub")] == [child["persona_id"]]


def test_a_root_and_what_it_led_to(built: Store, why: Any) -> None:
    root = persona(built, hop=0, origin="text", batch="second")
    (thing,) = why(built, root["persona_id"], "--json").things
    (page,) = lines(thing, "from document")
    assert page["id"] == root["document_id"]
    assert page["text"] == built.read("documents", "second").filter(document_id=root["document_id"])["text"][0]
    led = [line["facts"] for line in lines(thing, "led to")]
    items = {fact["dataset"]: fact["items"] for fact in led if "dataset" in fact}
    assert items["math_problems"] == 2
    assert {"hop": 1, "personas": 1, "in_hub": 1} in led


def test_an_item(built: Store, why: Any) -> None:
    item = built.read("instructions", "first").row(0, named=True)
    (thing,) = why(built, item["item_id"], "--json").things
    assert (thing["kind"], thing["batch"]) == ("item", "first")
    assert lines(thing, "item")[0]["text"] == item["text"]
    assert lines(thing, "made by")[0]["id"] == item["generation_id"]
    assert lines(thing, "from persona")[0]["id"] == item["persona_id"]
    assert lines(thing, "in the hub")[0]["id"] == item["persona_id"]


def test_a_call_says_what_it_was_about_and_what_it_gave(built: Store, why: Any) -> None:
    call = built.read("generations", "first", "text_personas").filter(status="accepted").row(0, named=True)
    (thing,) = why(built, call["generation_id"], "--json").things
    assert thing["kind"] == "generation"
    (itself,), (about,) = lines(thing, "generation"), lines(thing, "asked about")
    assert itself["text"] == call["response"]
    assert about["id"] == call["input_id"]
    given = lines(thing, "gave persona")
    assert len(given) == 2
    assert {line["detail"] for line in given} == {"kept"}
    item = built.read("tools", "first").row(0, named=True)
    (thing,) = why(built, item["generation_id"], "--json").things
    assert [line["id"] for line in lines(thing, "gave item")] == [item["item_id"]]
    assert [line["id"] for line in lines(thing, "asked about")] == [item["persona_id"]]


def test_a_document_of_two_batches_is_told_of_twice(built: Store, why: Any) -> None:
    first, second = why(built, "d1", "--json").things
    assert [first["batch"], second["batch"]] == ["first", "second"]
    for thing in (first, second):
        text = built.read("documents", thing["batch"]).filter(document_id="d1")["text"][0]
        assert lines(thing, "document")[0]["text"] == text
        made = built.read("text_personas", thing["batch"]).filter(document_id="d1").height
        hops = {
            line["facts"]["hop"]: line["facts"]["personas"] for line in lines(thing, "led to") if "hop" in line["facts"]
        }
        assert hops.get(0, 0) == made
        assert len(lines(thing, "call")) == 1
    assert why(built, "second/d1", "--json").things == [second]


# --- where it went ---


@pytest.mark.parametrize("stage", ["lexical", "semantic"])
def test_a_dropped_persona_names_its_keeper(built: Store, why: Any, stage: str) -> None:
    row = built.dropped(f"{stage}_duplicates").collect().row(0, named=True)
    (thing,) = why(built, row["persona_id"], "--json").things
    (drop,), (end,) = lines(thing, "dropped for"), lines(thing, "in the hub")
    assert (drop["id"], end["id"]) == (row["keeper_id"], row["keeper_id"])
    assert drop["facts"]["similarity"] == row["similarity"]
    assert drop["detail"] == f"{stage} duplicate, similarity {round(row['similarity'], 4):g}".replace(
        "similarity 1", "similarity 1.0"
    )
    assert drop["text"] == persona(built, persona_id=row["keeper_id"])["persona"]
    (keeper,) = why(built, row["keeper_id"], "--json").things
    kept_out = {line["facts"]["stage"]: line["facts"]["count"] for line in lines(keeper, "kept out")}
    assert kept_out[stage] >= 1
    assert row["persona_id"] in [line["id"] for line in lines(keeper, "such as")]


def test_a_chain_of_keepers_is_followed_into_the_hub(copied: Store, why: Any) -> None:
    lexical = copied.dropped("lexical_duplicates").filter(batch="first").collect().row(0, named=True)
    middle, last = lexical["keeper_id"], persona(copied, hop=1)["persona_id"]
    rows = copied.read("decisions", "first", "semantic_duplicates").filter(pl.col("persona_id") != middle)
    dropped = pl.DataFrame([("first", "semantic", middle, 9, last, 0.95)], rows.schema, orient="row")
    copied.write("decisions", "first", pl.concat([rows, dropped]), "semantic_duplicates")
    hub = copied.read("personas", "first")
    copied.write("personas", "first", hub.filter(pl.col("persona_id") != middle))
    (thing,) = why(copied, lexical["persona_id"], "--json").things
    assert [line["id"] for line in lines(thing, "dropped for", "in the hub")] == [middle, last, last]


def test_an_undecided_persona(copied: Store, why: Any) -> None:
    row = persona(copied, hop=1, batch="second")
    copied.write("personas", "second", copied.read("personas", "second").clear())
    for asset in STAGES:
        copied.write("decisions", "second", copied.read("decisions", "second", asset).clear(), asset)
    (thing,) = why(copied, row["persona_id"], "--json").things
    (line,) = lines(thing, "undecided")
    assert "dedup of batch second has not run since it came" in line["detail"]


def test_a_persona_that_its_batch_has_lost_is_out_of_date(copied: Store, why: Any) -> None:
    row = copied.read("personas", "first").filter(hop=1).row(0, named=True)
    copied.write("related_personas", "first", copied.read("related_personas", "first").clear())
    (thing,) = why(copied, row["persona_id"], "--json").things
    assert "no candidate of its batch any more" in lines(thing, "persona")[0]["detail"]
    assert "its batch has lost it" in lines(thing, "in the hub")[0]["detail"]


def test_a_keeper_that_is_gone(copied: Store, why: Any) -> None:
    row = copied.dropped("lexical_duplicates").filter(batch="second").collect().row(0, named=True)
    rows = copied.read("decisions", "second", "lexical_duplicates").with_columns(
        keeper_id=pl.when(pl.col("keeper_id").is_not_null()).then(pl.lit("p-gone"))
    )
    copied.write("decisions", "second", rows, "lexical_duplicates")
    (thing,) = why(copied, row["persona_id"], "--json").things
    assert [line["id"] for line in lines(thing, "dropped for", "gone")] == ["p-gone", "p-gone"]
    assert "comes back when its batch is run" in lines(thing, "gone")[0]["detail"]


def test_a_quarantined_row_of_a_source_file(built: Store, why: Any) -> None:
    place = built.read("quarantine", "first", "documents")["input_id"][0]
    for asked in (place, f"first/{place}"):
        (thing,) = why(built, asked, "--json").things
        assert thing["kind"] == "source row"
        (line,) = lines(thing, "quarantined")
        assert line["facts"]["reason"] == "malformed"
        assert line["text"] == "not JSON"


def test_an_input_whose_call_was_refused(built: Store, why: Any) -> None:
    row = built.read_all("quarantine").filter(pl.col("asset") != "documents").row(0, named=True)
    things = [thing for thing in why(built, row["input_id"], "--json").things if thing["batch"] == row["batch"]]
    (thing,) = things
    refused = [line for line in lines(thing, "quarantined") if line["facts"]["asset"] == row["asset"]]
    assert [line["text"] for line in refused] == [row["raw"]]
    assert refused[0]["detail"] == f"{row['reason']}: {row['detail']}"
    call = built.read("generations", row["batch"], row["asset"]).filter(input_id=row["input_id"], status="rejected")
    (said,) = why(built, call["generation_id"][0], "--json").things
    assert f"rejected as {row['reason']}" in lines(said, "generation")[0]["detail"]


def test_an_input_that_is_gone(copied: Store, why: Any) -> None:
    row = copied.read("quarantine", "first", "documents").with_columns(asset=pl.lit("tools"), input_id=pl.lit("p-gone"))
    copied.write("quarantine", "first", row, "tools")
    (thing,) = why(copied, "p-gone", "--json").things
    assert thing["kind"] == "input"
    assert len(lines(thing, "quarantined")) == 1


def test_superseded_and_reused_calls(copied: Store, why: Any) -> None:
    calls = copied.read("generations", "first", "instructions")
    old = calls.head(1).with_columns(
        generation_id=pl.lit("g-old"), status=pl.lit("superseded"), superseded_at=pl.datetime(2026, 1, 2, 3, 4)
    )
    reused = calls.with_columns(reused=pl.lit(value=True))
    copied.write("generations", "first", pl.concat([reused, old.cast(calls.schema)]), "instructions")
    (thing,) = why(copied, "g-old", "--json").things
    (itself,) = lines(thing, "generation")
    assert "superseded, superseded at 2026-01-02 03:04 UTC" in itself["detail"]
    assert itself["facts"]["superseded_at"].startswith("2026-01-02")
    assert lines(thing, "asked about")[0]["id"] == calls["input_id"][0]
    item = copied.read("instructions", "first").row(0, named=True)
    (thing,) = why(copied, item["item_id"], "--json").things
    assert "reused: paid for elsewhere" in lines(thing, "made by")[0]["detail"]


# --- unknown and hostile ids ---


def test_an_unknown_id_is_told_what_is_like_it(built: Store, why: Any) -> None:
    persona_id = persona(built, hop=1)["persona_id"]
    begun, typo, wrong = persona_id[:9], persona_id[:-1] + "x", "p" + "z" + persona_id[2:]
    for asked in (begun, typo, wrong, f"first/{typo}"):
        said = why(built, asked, "--json")
        assert (said.code, said.out) == (1, "")
        assert asked in said.err
        assert f"{persona_id} (persona of " in said.err
    said = why(built, "firs")
    assert "first" in said.err
    said = why(built, "nothing of the kind")
    assert said.code == 1
    assert "No id is like it" in said.err
    assert "ILIKE '%words%'" in said.err


HOSTILE = [
    "it's a/b/c",
    "https://example.org/?q=%_[x]",
    '\'; DROP TABLE personas; --"quoted" $1 ? {x}',
    "[bold]red[/bold] :bee: ünïcødé 蜂 🐝",
    "tab\tand\nnewline\x1b[31m",
    "p" * 5000,
]


@pytest.mark.parametrize("identity", HOSTILE)
def test_ids_may_be_anything(store: Store, why: Any, identity: str) -> None:
    rows = [("odd", identity, None, None, "Its text with [red]markup[/red]", None)]
    store.write("documents", "odd", pl.DataFrame(rows, table_schema("documents"), orient="row"))
    (thing,) = why(store, identity, "--json").things
    assert (thing["id"], thing["kind"]) == (identity, "document")
    assert why(store, f"odd/{identity}", "--json").things == [thing]
    shown = why(store, identity)
    assert "[red]markup[/red]" in shown.out
    assert "\x1b" not in shown.out
    assert why(store, identity + "x").code == 1


@pytest.mark.parametrize("asked", ["", " ", "%", "/", "first/", "\udcff"])
def test_what_cannot_be_an_id_is_refused(built: Store, why: Any, asked: str) -> None:
    said = why(built, asked)
    assert said.code == (1 if asked else 2)  # an empty id is wrong whatever the home holds
    assert said.err.count("error:") == 1


# --- how it is shown, and where from ---


def test_it_reads_well(built: Store, why: Any) -> None:
    child = persona(built, hop=1)
    said = why(built, child["persona_id"])
    first, second, *rest = said.out.splitlines()
    assert first == f"{child['persona_id']}: persona of batch {child['batch']}"
    assert second.startswith("  persona  related_personas, ")
    assert any(line.startswith(f"  from persona  {child['parent_id']}  ") for line in rest)
    assert said.err == ""


def test_long_texts_are_cut_unless_asked_for(store: Store, why: Any) -> None:
    rows = [("odd", "long", None, None, "word " * 400 + "\nend", None)]
    store.write("documents", "odd", pl.DataFrame(rows, table_schema("documents"), orient="row"))
    short, full = why(store, "long").out, why(store, "long", "--full").out
    assert len(short) < 500
    assert "end" not in short
    assert "\n    end\n" in full


def test_the_tables_are_read_where_the_warehouse_is_older(copied: Store, why: Any) -> None:
    persona_id = persona(copied, hop=1)["persona_id"]
    without = why(copied, persona_id, "--json")
    assert "personahub run --select warehouse" in without.err
    build.build(copied)
    fresh = why(copied, persona_id, "--json")
    assert fresh.err == ""
    assert fresh.things == without.things
    for table in ("personas", "related_personas"):
        rows = copied.read(table, "first")
        copied.write(table, "first", rows.filter(pl.col("persona_id") != persona_id))
    if persona_id not in copied.candidates("second")["persona_id"]:
        stale = why(copied, persona_id)
        assert stale.code == 1
        assert "out of date" in stale.err


def test_sql_says_the_same(built: Store, why: Any) -> None:
    row = built.dropped("semantic_duplicates").collect().row(0, named=True)
    (thing,) = why(built, row["persona_id"], "--json").things
    with build.reader(built) as connection:
        found = connection.execute("SELECT what, id, detail FROM why($1)", [row["persona_id"]]).fetchall()
    assert found == [(line["what"], line["id"], line["detail"]) for line in thing["lines"]]


def test_every_id_of_a_home_has_an_answer(built: Store) -> None:
    """Ids of every kind and status."""
    with build.reader(built) as connection:
        some = connection.execute("SELECT kind, any_value(id) FROM ids GROUP BY kind, status").fetchall()
        for kind, identity in some:
            found = connection.execute("SELECT DISTINCT kind FROM why($1)", [identity]).fetchall()
            assert found == [(kind,)], identity


def test_a_home_that_is_not_there(tmp_path: Path, why: Any) -> None:
    said = why(Store(home=str(tmp_path / "it's [no] home")), "p1")
    assert said.code == 1
    assert "no row in" in said.err


def test_a_terminal_folds_its_lines(built: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(screen, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setattr(OUT, "_width", 60)
    explain(
        Hub(built.root),
        persona(built, hop=1)["persona_id"],
        Console(quiet=True),
        as_json=False,
        full=False,
    )
    plain = re.sub(r"\x1b\[[0-9;]*m", "", screen.getvalue())
    assert 50 < max(len(line) for line in plain.splitlines()) <= 60


def test_an_item_names_the_item_that_it_nearly_repeats_and_the_other_way_round(copied: Store, why: Any) -> None:
    rows = copied.read("item_decisions", "first", "tools-lexical").with_columns(
        keeper_id=pl.lit(None, pl.String), similarity=pl.lit(None, pl.Float64)
    )
    keeper, item = rows["item_id"][:2]
    is_dropped = pl.col("item_id") == item
    dropped = rows.with_columns(
        keeper_id=pl.when(is_dropped).then(pl.lit(keeper)), similarity=pl.when(is_dropped).then(pl.lit(0.95))
    )
    copied.write("item_decisions", "first", dropped, "tools-lexical")
    text = dict(copied.read("tools", "first", columns=["item_id", "text"]).iter_rows())
    (explained,) = why(copied, item, "--json").things
    (line,) = [each for each in lines(explained, "dropped for") if each["id"] == keeper]
    assert (line["detail"], line["text"]) == ("item, lexical duplicate, similarity 0.95", text[keeper])
    (explained,) = why(copied, keeper, "--json").things
    assert lines(explained, "kept out")[0]["detail"] == "1 item at the lexical stage, similarity 0.95 to 0.95"
    assert [(each["id"], each["text"]) for each in lines(explained, "such as")] == [(item, text[item])]
