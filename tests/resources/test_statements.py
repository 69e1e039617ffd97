"""What SQL is let through to a reader: everything that reads, nothing that could write or run what nobody looked at."""

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from personahub_assets.resources.statements import TABLE_FUNCTIONS, QueryError, checked

READS = [
    "SELECT 1",
    "FROM range(3)",
    "SELECT version(), query FROM (SELECT 1 AS query)",
    "WITH enable_logging AS (SELECT 1 AS a) FROM enable_logging",
    "SELECT 'FROM enable_logging()', \"query\" FROM (SELECT 1 AS query) -- query(\n",
    "SELECT count(*) FROM duckdb_tables()",
    "PIVOT (SELECT 1 AS a, 'x' AS b) ON b USING count(*)",
    "SUMMARIZE SELECT 1 AS a",
    "DESCRIBE SELECT 1",
    "SHOW TABLES",
    "EXPLAIN SELECT 1",
    "EXPLAIN ANALYZE SELECT 1",
    "EXPLAIN /* c */ ANALYZE/* ( */(SELECT 'é')",
    "EXPLAIN (FORMAT json) SELECT (1)",
    "EXPLAIN (ANALYZE, FORMAT json) SELECT 1",
    "EXPLAIN (SELECT 1)",
    "CREATE TEMP TABLE t AS SELECT 1 AS a; INSERT INTO t VALUES (2); UPDATE t SET a = 3; DELETE FROM t; FROM t",
    "CREATE TEMP MACRO twice(a) AS 2 * a; SELECT twice(2)",
    "SET VARIABLE a = 1; SELECT getvariable('a')",
    "BEGIN; SELECT 1; COMMIT",
]
MORE = {
    "COPY (SELECT 1) TO 'x'": "COPY",
    "SELECT 1; COPY (SELECT 1) TO 'x'": "COPY",
    "EXPORT DATABASE 'x'": "EXPORT",
    "ATTACH 'x'": "ATTACH",
    "DETACH x": "DETACH",
    "INSTALL httpfs": "LOAD",
    "LOAD httpfs": "LOAD",
    "COPY FROM DATABASE a TO b": "COPY_DATABASE",
    "PREPARE p AS COPY (SELECT 1) TO 'x'": "PREPARE",
    "EXECUTE p": "EXECUTE",
    "CALL enable_logging(storage = 'file', storage_path = 'x')": "CALL",
    "CALL enable_profiling(save_location = 'x')": "CALL",
    "CHECKPOINT": "CALL",
    "PRAGMA enable_profiling": "PRAGMA",
    "VACUUM": "VACUUM",
    "EXPLAIN COPY (SELECT 1) TO 'x'": "COPY",
    "EXPLAIN ANALYZE COPY (SELECT 1) TO 'x'": "COPY",
    "EXPLAIN ANALYSE COPY (SELECT 1) TO 'x'": "COPY",
    "EXPLAIN/* ( */ANALYZE -- )\n COPY (SELECT 1) TO 'x'": "COPY",
    "EXPLAIN (ANALYZE, FORMAT json) COPY (SELECT 1) TO 'x'": "COPY",
    "EXPLAIN (FORMAT json, ANALYZE) COPY (SELECT 1) TO 'x'": "COPY",
    "FROM enable_logging(storage = 'file', storage_path = 'x')": "enable_logging",
    "SELECT 1; FROM Enable_Logging /* c */ ('QueryLog')": "enable_logging",
    'FROM system.main."enable_logging"()': "enable_logging",
    "SELECT (SELECT count(*) FROM enable_profiling(save_location = 'x'))": "enable_profiling",
    "CREATE TEMP MACRO m() AS TABLE FROM enable_logging(); FROM m()": "enable_logging",
    "FROM query('FROM enable_' || 'logging()')": "query",
    "FROM json_execute_serialized_sql(json_serialize_sql('SELECT 1'))": "json_execute_serialized_sql",
    "PRAGMA json_execute_serialized_sql(json_serialize_sql('SELECT 1'))": "json_execute_serialized_sql",
    "SELECT 'é' AS é FROM read_duckdb('x', table_name = 'y')": "read_duckdb",
    "FROM arrow_scan(1, 2, 3)": "arrow_scan",
}


@pytest.mark.parametrize("query", READS)
def test_what_reads_is_let_through_and_runs(query: str) -> None:
    with duckdb.connect() as connection:
        for statement in checked(connection, query):
            connection.execute(statement)


@pytest.mark.parametrize(("query", "named"), MORE.items())
def test_what_could_do_more_is_refused_by_name(query: str, named: str) -> None:
    with duckdb.connect() as connection, pytest.raises(QueryError, match=rf"^{named}\b.*only read"):
        checked(connection, query)


SPACE = st.sampled_from(
    [" ", "\n", "\t", "/* ( ) */", "-- query('\n", "  ", "", "\u00a0", "\u2003", "\u200b", "\u3000", "\ufeff"]
)
NAME = st.sampled_from(
    ["enable_logging", "ENABLE_LOGGING", '"enable_logging"', 'main."Enable_logging"', 'U&"enable_logging"']
)


@settings(max_examples=50)
@given(before=st.text(alphabet="aé漢'\"-", max_size=5), space=SPACE, name=NAME)
def test_no_spelling_of_a_name_gets_through(before: str, space: str, name: str) -> None:
    query = f"SELECT {_text(before)} FROM{space or ' '}{name}{space}()"
    with duckdb.connect() as connection, pytest.raises((QueryError, duckdb.Error)):
        checked(connection, query)


def test_explain_is_looked_through_whatever_its_spaces() -> None:
    for space in (" ", "\u00a0", "\u3000"):
        with duckdb.connect() as connection, pytest.raises((QueryError, duckdb.Error)):
            checked(connection, f"EXPLAIN{space}ANALYZE{space}COPY (SELECT 1) TO 'x.csv'")


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def test_a_function_of_a_later_duckdb_is_refused_until_somebody_has_looked() -> None:
    """All table functions of this one that are refused: a new version shows here which it adds."""
    with duckdb.connect() as connection:
        every = connection.execute(TABLE_FUNCTIONS).fetchall()
        refused = {name for (name,) in every if not _passes(connection, name)}
    assert refused == set(REFUSED.split())


REFUSED = """
arrow_scan arrow_scan_dumb checkpoint disable_logging disable_profiling duckdb_approx_database_count
duckdb_connection_count duckdb_coordinate_systems duckdb_external_file_cache duckdb_log_contexts duckdb_logs
duckdb_prepared_statements duckdb_secret_types duckdb_secrets duckdb_table_sample enable_logging enable_profiling
force_checkpoint json_execute_serialized_sql pandas_scan pragma_metadata_info
python_map_function query read_duckdb read_json_objects read_json_objects_auto read_ndjson_objects seq_scan
test_vector_types truncate_duckdb_logs which_secret
"""


def _passes(connection: duckdb.DuckDBPyConnection, name: str) -> bool:
    try:
        checked(connection, f"FROM {name}()")
    except QueryError:
        return False
    return True
