"""Results as files: a value is written exactly, or refused with the name of its column."""

from pathlib import Path

import duckdb
import polars as pl
import pytest

from personahub_assets.core.errors import QueryError
from personahub_assets.warehouse.query_worker import _encoded

CHANGED = {
    "u": "340282366920938463463374607431768211455::UHUGEINT",  # was -1
    "m": "histogram(1)",  # ended the process
    "n": "union_value(a := 1)",
    "z": "TIMETZ '12:00:00+15'",
    "b": "'101'::BIT",
    "i": "[INTERVAL 1 DAY]",
    "s": "{'a': ['x'::BLOB]}",
}
KEPT = (
    "TRUE, 1::UTINYINT, 1::HUGEINT, 1.5::FLOAT, 1.50::DECIMAL(5, 2), uuid(), 'a'::ENUM('a'), '{}'::JSON, NULL, now(), "
)
KEPT += (
    "DATE '2020-01-01', TIME '12:00', TIMESTAMP '0044-03-15 (BC) 00:00:00', TIMESTAMP_NS '2020-01-01', [[{'a': 1}]], "
)
KEPT += "[1]::INTEGER[1], TIMESTAMP_S '2020-01-01', TIMESTAMP_MS '2020-01-01', 1::UBIGINT, [NULL], 'x'"


def written(query: str, form: str, folder: Path) -> bytes:
    with duckdb.connect() as connection:
        (statement,) = connection.extract_statements(query)
        return b"".join(_encoded(connection, statement, {"form": form, "safe": False}, folder))


@pytest.mark.parametrize("form", ["csv", "json", "parquet"])
def test_columns_that_would_change_are_named(tmp_path: Path, form: str) -> None:
    query = "SELECT " + ", ".join(f"{value} AS {name}" for name, value in CHANGED.items())
    with pytest.raises(QueryError, match="cannot store the columns") as caught:
        written(query, form, tmp_path)
    assert str(list(CHANGED)) in str(caught.value)
    assert b"PAR1" in written(f"SELECT {KEPT}", "parquet", tmp_path)


@pytest.mark.parametrize("form", ["csv", "json"])
@pytest.mark.parametrize("date", ["DATE '294247-01-10'", "DATE 'infinity'", "TIMESTAMP '-infinity'", "TIME '24:00'"])
def test_dates_beyond_all_bounds_are_named(tmp_path: Path, form: str, date: str) -> None:
    with pytest.raises(QueryError, match=r"cannot store some dates or times of the columns .*a"):
        written(f"""SELECT {date} AS "a'" UNION ALL SELECT NULL""", form, tmp_path)
    assert written(f"SELECT {KEPT}", form, tmp_path)


def test_columns_without_values_have_one_type_with_every_duckdb(tmp_path: Path) -> None:
    data = written("SELECT NULL AS a, [NULL] AS b, {'c': [NULL]} AS d", "parquet", tmp_path)
    types = {"a": pl.Int32, "b": pl.List(pl.Int32), "d": pl.Struct({"c": pl.List(pl.Int32)})}
    assert dict(pl.read_parquet(data).schema) == types
