"""The SQL of a dataset is derived from its class, and its rows survive a round trip through the store."""

from typing import Annotated, Any, Literal, Optional

import duckdb
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from personahub_assets.core.records import DATASETS, DatasetItem, Tool, ToolArgument
from personahub_assets.standin.writer import write
from personahub_assets.steps.datasets import chosen, items
from personahub_assets.store.schema import dataset_sql, sql_type
from personahub_assets.store.tables import Store, table_schema


class Point(BaseModel):
    x: float
    labels: list[str]


class Everything(DatasetItem):
    """It's got one of each."""

    text_field: str = Field(description="It's quoted")
    number: int
    share: float
    yes: bool
    kind: Literal["a", "b"]
    rank: Literal[1, 2]
    note: str | None
    old_note: Optional[int]  # noqa: UP045 - both ways of writing it
    many: list[str]
    deep: list[list[int]]
    point: Point
    points: list[Point]
    maybe_points: list[Point] | None
    bounded: Annotated[str, Field(max_length=3)]


def test_each_kind_of_field_has_its_type() -> None:
    point = 'STRUCT("x" DOUBLE, "labels" VARCHAR[])'
    with duckdb.connect() as connection:
        connection.execute(dataset_sql("everything", Everything))
        columns = connection.execute(
            "SELECT column_name, data_type, is_nullable FROM duckdb_columns() WHERE table_name = 'everything'"
        ).fetchall()
        comments = dict(connection.execute("SELECT column_name, comment FROM duckdb_columns()").fetchall())
        about = connection.execute("SELECT comment FROM duckdb_tables()").fetchone()
    types = {name: (kind.replace('"', ""), nullable) for name, kind, nullable in columns}
    plain = point.replace('"', "")
    assert list(types) == [
        "batch",
        "item_id",
        "persona_id",
        "sample",
        *Everything.model_fields,
        "text",
        "generation_id",
    ]
    assert {name: types[name] for name in Everything.model_fields} == {
        "text_field": ("VARCHAR", False),
        "number": ("BIGINT", False),
        "share": ("DOUBLE", False),
        "yes": ("BOOLEAN", False),
        "kind": ("VARCHAR", False),
        "rank": ("BIGINT", False),
        "note": ("VARCHAR", True),
        "old_note": ("BIGINT", True),
        "many": ("VARCHAR[]", False),
        "deep": ("BIGINT[][]", False),
        "point": (plain, False),
        "points": (f"{plain}[]", False),
        "maybe_points": (f"{plain}[]", True),
        "bounded": ("VARCHAR", False),
    }
    assert about == ("It's got one of each.",)
    assert comments["text_field"] == "It's quoted"


@pytest.mark.parametrize("annotation", [dict[str, int], bytes, complex, Any, set[str], list[bytes]])
def test_a_type_without_a_counterpart_is_refused_with_the_valid_ones(annotation: Any) -> None:
    with pytest.raises(TypeError, match="use str, int, float, bool, Literal, list or a nested model"):
        sql_type(annotation)


@pytest.mark.parametrize("name", DATASETS)
def test_rows_of_a_dataset_come_back_as_they_went_in(name: str, store: Store) -> None:
    answer = written(DATASETS[name])
    rows = pl.DataFrame(items(name, "b", [("p1", 0, "g1", answer), ("p1", 1, "g2", answer)]), table_schema(name))
    store.write(name, "b", rows)
    back = store.read(name, "b")
    assert back.equals(rows)
    assert DATASETS[name].model_validate({f: back.row(0, named=True)[f] for f in DATASETS[name].model_fields}) == answer
    assert back["text"].to_list() == [answer.as_text()] * 2
    assert back["item_id"].n_unique() == 2


def written(item: type[DatasetItem]) -> DatasetItem:
    """An item as the stand-in writes it."""
    asked = {"type": "json_schema", "json_schema": {"name": item.__name__, "schema": item.model_json_schema()}}
    messages = [{"role": "user", "content": "<data>A lighthouse keeper on the coast of Donegal</data>"}]
    return item.model_validate_json(write({"messages": messages, "response_format": asked}))


ANY_STORABLE = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=25, max_size=60
).filter(lambda text: len(text.strip()) >= 25)


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ANY_STORABLE, st.lists(ANY_STORABLE, max_size=5))
def test_texts_of_all_scripts_survive_the_store(store: Store, text: str, dependencies: list[str]) -> None:
    tool = Tool(
        name=text,
        description=text,
        function_name="f_1",
        input_arguments=[ToolArgument(name="a", type="array", description=text)],
        returns=text,
        dependencies=dependencies,
    )
    rows = pl.DataFrame(items("tools", "b", [("p", 0, "g", tool)]), table_schema("tools"))
    store.write("tools", "b", rows)
    assert store.read("tools", "b").equals(rows)


def test_a_share_of_personas_is_the_same_at_every_refresh_and_grows_with_the_share() -> None:
    personas = pl.DataFrame({"persona_id": [f"p{i}" for i in range(2000)]})
    third = chosen(personas, "tools", 0.3)
    assert third.equals(chosen(personas, "tools", 0.3))
    assert 500 < third.height < 700
    assert set(third["persona_id"]) < set(chosen(personas, "tools", 0.5)["persona_id"])
    assert set(third["persona_id"]) != set(chosen(personas, "math_problems", 0.3)["persona_id"])
    assert chosen(personas.reverse(), "tools", 0.3).reverse().equals(third)
    assert chosen(personas, "tools", 0).is_empty()
    assert chosen(personas, "tools", 1).equals(personas)
