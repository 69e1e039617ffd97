"""Charts in the metadata: right numbers, small, without text of rows, and absent without data."""

import base64
import json
import re
from pathlib import Path
from xml.etree import ElementTree

import dagster as dg
import numpy as np
import polars as pl
import pytest
from hub import Hub

from personahub_assets.defs.metadata import charts
from personahub_assets.sources.register import register
from personahub_assets.standin.server import StandinServer
from personahub_assets.store.tables import Store, table_schema

SVG = "{http://www.w3.org/2000/svg}"
MOST = 64_000  # characters of a picture in the event log
HOSTILE = (
    "![x](http://127.0.0.1:9/a.png) <img src=http://127.0.0.1:9/b onerror=alert(1)> <script>alert(1)</script> "
    "[go](javascript:alert(1)) | a | `b` |\n# head\x1b[31m\u202etxt\x00 \u2028" + "x" * 3_000
)


def write(store: Store, table: str, asset: str | None = None, **columns: list[object]) -> None:
    """A partition with some columns given and the others null."""
    given = pl.DataFrame(columns, {name: table_schema(table)[name] for name in columns})
    absent = [pl.lit(None, kind).alias(name) for name, kind in table_schema(table).items() if name not in columns]
    store.write(table, "a", given.with_columns(absent).with_columns(batch=pl.lit("a")), asset)


def svg(value: object) -> ElementTree.Element:
    """The SVG of a metadata value that is only one picture."""
    assert isinstance(value, dg.MarkdownMetadataValue)
    assert len(value.value or "") < MOST
    found = re.fullmatch(r"!\[[\w ().,]+\]\(data:image/svg\+xml;base64,([A-Za-z0-9+/=]+)\)", value.value or "")
    assert found, value.value
    return ElementTree.fromstring(base64.b64decode(found[1]))


def words(value: object) -> list[str]:
    return [node.text or "" for node in svg(value).iter(f"{SVG}text")]


def heights(value: object) -> list[float]:
    """Heights of the bars, in order."""
    boxes = [box for box in svg(value).iter(f"{SVG}rect") if "x" in box.attrib and box.attrib["width"] != "10"]
    return [float(box.attrib["height"]) for box in boxes]


def test_nothing_is_drawn_of_nothing(store: Store) -> None:
    for _ in range(2):
        assert charts.lengths(store, "personas", "a", "persona") == {}
        assert charts.tokens(store, "tools", "a") == {}
        assert charts.reasons(store, "tools", "a") == {}
        write(store, "personas", persona=[])
        write(store, "generations", "tools", status=[])
        write(store, "quarantine", "tools", reason=[])
    nobody = store.read("personas", "a")
    assert charts.kept(nobody, nobody) == {}
    assert charts.hops({}) == charts.hops({"1": 0}) == {}
    assert charts.neighbours(pl.Series([], dtype=pl.List(pl.Float32))) == {}
    assert charts.neighbours(pl.Series([[1.0, 0.0]], dtype=pl.List(pl.Float32))) == {}


def test_tokens_are_those_of_accepted_answers(store: Store) -> None:
    write(
        store,
        "generations",
        "tools",
        status=["accepted", "accepted", "rejected", "superseded"],
        prompt_tokens=[10, 10, 900, 900],
        completion_tokens=[20, None, 900, 900],
    )
    said = charts.tokens(store, "tools", "a")["tokens_per_answer"]
    assert {"prompt", "completion", "tokens, from … on"} <= set(words(said))
    assert sum(height > 0 for height in heights(said)) == 3
    assert not any("900" in word for word in words(said))


def test_reasons_are_counted_and_the_commonest_is_first(store: Store) -> None:
    write(store, "quarantine", "tools", reason=["refused", "timeout", "timeout", "refused", "timeout", "a & <b>"])
    found = words(charts.reasons(store, "tools", "a")["quarantine_by_reason"])
    assert found[1:-1] == ["timeout", "3", "refused", "2", "a & <b>", "1"]


def test_yield_is_told_by_origin_and_hop(store: Store) -> None:
    candidates = pl.DataFrame({"hop": [0, 0, 0, 1, 1, 2], "origin": ["text", "imported", "text", *["relation"] * 3]})
    said = charts.kept(candidates, candidates[[0, 1, 3, 4]])["yield_per_hop"]
    assert [word for word in words(said) if word in {"imported", "text", "hop 1", "hop 2"}] == [
        *("imported", "text", "hop 1", "hop 2")
    ]
    unit = max(heights(said)) / 2
    assert [round(height / unit) for height in heights(said)] == [1, 2, 2, 1, 1, 1, 2, 0]


def test_neighbours_are_others_even_where_texts_are_equal() -> None:
    vectors = np.eye(4, dtype=np.float32)[[0, 0, 1, 2]]
    said = charts.neighbours(pl.Series(vectors.tolist(), dtype=pl.List(pl.Float32)))["nearest_neighbours"]
    assert words(said)[0] == "Nearest neighbour of 4 personas among 4 of this batch"
    unit = max(heights(said)) / 2
    # The two equal ones at 1, the others at 0 from everybody.
    assert [round(height / unit) for height in heights(said) if height] == [2, 2]
    with_null = pl.Series([[1.0, 0.0], None, [0.6, 0.8]], dtype=pl.List(pl.Float32))
    assert "among 2 of" in words(charts.neighbours(with_null)["nearest_neighbours"])[0]


def test_of_a_long_partition_pieces_from_all_over_it_are_read(store: Store) -> None:
    count = 20_000
    write(store, "personas", persona=["x" * (100 * (n // 5_000) + 100) for n in range(count)])
    said = charts.lengths(store, "personas", "a", "persona")["lengths"]
    assert words(said)[0] == "Length of persona in personas (4,000 of 20,000)"
    assert len({round(height) for height in heights(said) if height}) == 1
    assert sum(height > 0 for height in heights(said)) == 4
    many = pl.Series(np.random.default_rng(0).normal(size=(20_000, 8)).astype(np.float32).tolist())
    assert "256 personas among 8,192" in words(charts.neighbours(many)["nearest_neighbours"])[0]


@pytest.fixture
def hostile(home: Path, standin: StandinServer) -> Hub:
    """A home with hostile texts, ids, bad lines and file name."""
    hub = Hub(home, standin)
    rows = [{"persona": HOSTILE}, {"persona": f"{HOSTILE} again"}, {"persona": ""}, {"id": HOSTILE, "text": HOSTILE}]
    path = hub.home / "<img src=x onerror=alert(1)> ![a](b) [c](javascript:alert(2)).jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + f"{{not JSON {HOSTILE[:60]}\n")
    register(hub.store, str(path))
    return hub


def test_hostile_texts_are_cells_of_plain_text_and_nothing_else(hostile: Hub) -> None:
    assert hostile.run(select=["+tools", "warehouse"]) == {}
    with hostile.instance() as instance:
        for key in instance.all_asset_keys():
            for record in instance.fetch_materializations(key, limit=9).records:
                assert record.asset_materialization is not None
                for name, value in record.asset_materialization.metadata.items():
                    check_value(f"{key.to_user_string()}.{name}", value)


def check_value(name: str, value: dg.MetadataValue[object]) -> None:
    """Check that Markdown is a picture, fixed text or cards with escaped texts, and that cells are short plain text."""
    if isinstance(value, dg.MarkdownMetadataValue):
        if name.endswith(".sample"):
            assert not re.search(r"(?<!\\)[\[\]<>`]|://", value.value or ""), name
        elif name.endswith(".engine"):
            assert str(value.value).startswith("| figure | value | meaning |\n")
        elif name != "warehouse.open_with":
            svg(value)
    elif isinstance(value, dg.TableMetadataValue):
        for record in value.records:
            for cell in record.data.values():
                assert len(str(cell)) <= 240, name
                assert str(cell).isprintable(), name
    else:
        assert len(str(value.value)) <= (1_000 if name == "warehouse.copied_in" else 240), name
        assert str(value.value).isprintable(), name
