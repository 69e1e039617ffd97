"""The check of users' SQL: it accepts only queries that read, as parsed by DuckDB."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import duckdb
import polars as pl
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from personahub_assets.core.errors import QueryError
from personahub_assets.warehouse import readers
from personahub_assets.warehouse.guard import TABLE_FUNCTIONS, checked, condition

READS = [
    "SELECT 1",
    "FROM range(3)",
    "VALUES (1), (2)",
    "SELECT version(), query FROM (SELECT 1 AS query)",
    "WITH enable_logging AS (SELECT 1 AS a) FROM enable_logging",
    "SELECT 'FROM enable_logging()', \"query\" FROM (SELECT 1 AS query) -- query(\n",
    "SELECT count(*) FROM duckdb_tables()",
    "PIVOT (SELECT 1 AS a, 'x' AS b) ON b USING count(*)",
    "PIVOT (SELECT 1 AS a, 'x' AS b) ON b IN ('x') USING count(*)",
    "FROM (PIVOT (SELECT 1 AS a, 'x' AS b) ON b IN (SELECT 'x') USING count(*))",
    "UNPIVOT (SELECT 1 AS a, 2 AS b) ON a, b",
    "SUMMARIZE SELECT 1 AS a",
    "DESCRIBE SELECT 1",
    "SHOW TABLES",
    "EXPLAIN SELECT 1",
    "EXPLAIN ANALYZE SELECT 1",
    "EXPLAIN ANALYZE/* ( */(SELECT 'é')",
    "EXPLAIN (FORMAT json) SELECT (1)",
    "EXPLAIN (ANALYZE, FORMAT json) SELECT 1",
    "EXPLAIN (SELECT 1) UNION (SELECT 2)",
    "SELECT 1; SELECT\u00a02;;",
    "PRAGMA version",
    "PRAGMA show_tables; pragma Database_List;",
    "PRAGMA table_info('duckdb_tables')",
    "PRAGMA table_info(duckdb_tables)",
    "PIVOT (SELECT 1 AS a, 'x' AS b) ON b USING count(*) -- ;",
    "WITH x AS (PIVOT (SELECT 1 AS a) ON a) FROM x",
    "SELECT $tag$ FROM query('x') $tag$, 'a\u00a0b'",
    "",
]
MORE = {
    "COPY (SELECT 1) TO 'x'": "COPY",
    "SELECT 1; COPY (SELECT 1) TO 'x'": "COPY",
    "COPY (PIVOT (SELECT 1 AS a) ON a) TO 'x'": "",
    "EXPORT DATABASE 'x'": "EXPORT",
    "ATTACH 'x'": "ATTACH",
    "DETACH x": "DETACH",
    "INSTALL httpfs": "LOAD",
    "LOAD httpfs": "LOAD",
    "COPY FROM DATABASE a TO b": "",
    "PREPARE p AS COPY (SELECT 1) TO 'x'": "PREPARE",
    "EXECUTE p": "EXECUTE",
    "CALL enable_logging(storage = 'file', storage_path = 'x')": "CALL",
    "CALL enable_profiling(save_location = 'x')": "CALL",
    "CHECKPOINT": "CALL",
    "PRAGMA enable_profiling": "PRAGMA",
    "PRAGMA json_execute_serialized_sql(json_serialize_sql('FROM enable_logging()'))": "(enable_logging|PRAGMA)",
    "PRAGMA metadata_info": "(pragma_metadata_info|PRAGMA)",
    "SET threads = 1": "SET",
    "SET VARIABLE a = 1": "SET",
    "RESET threads": "SET",
    "USE memory": "SET",
    "VACUUM": "VACUUM",
    "BEGIN": "TRANSACTION",
    "CREATE TEMP TABLE t AS SELECT 1": "CREATE",
    "CREATE TABLE t AS PIVOT (SELECT 1 AS a) ON a": "",
    "CREATE TEMP MACRO m() AS TABLE FROM enable_logging()": "CREATE",
    "CREATE SECRET s (TYPE s3)": "CREATE",
    "INSERT INTO t VALUES (1)": "INSERT",
    "UPDATE t SET a = 1": "UPDATE",
    "DELETE FROM t": "DELETE",
    "DROP TABLE t": "DROP",
    "ALTER TABLE t ADD COLUMN b INTEGER": "ALTER",
    "EXPLAIN COPY (SELECT 1) TO 'x'": "EXPLAIN",
    "EXPLAIN ANALYZE COPY (SELECT 1) TO 'x'": "EXPLAIN",
    "EXPLAIN ANALYSE COPY (SELECT 1) TO 'x'": "EXPLAIN",
    "EXPLAIN/* ( */ANALYZE -- )\n COPY (SELECT 1) TO 'x'": "EXPLAIN",
    "EXPLAIN (ANALYZE, FORMAT json) COPY (SELECT 1) TO 'x'": "EXPLAIN",
    "EXPLAIN (FORMAT json, ANALYZE) COPY (SELECT 1) TO 'x'": "EXPLAIN",
    "EXPLAIN PIVOT (SELECT 1 AS a) ON a": "",
    "INSERT INTO t PIVOT (SELECT 1 AS a) ON a": "",
    "EXPLAIN SELECT * FROM query('SELECT 1')": "query",
    "FROM enable_logging(storage = 'file', storage_path = 'x')": "enable_logging",
    "SELECT 1; FROM Enable_Logging /* c */ ('QueryLog')": "enable_logging",
    'FROM system.main."enable_logging"()': "enable_logging",
    "SELECT (SELECT count(*) FROM enable_profiling(save_location = 'x'))": "enable_profiling",
    "DESCRIBE FROM query('SELECT 1')": "query",
    "PIVOT (FROM \"Query\"('SELECT 1 AS a')) ON a": "query",
    "FROM query('FROM enable_' || 'logging()')": "query",
    "FROM json_execute_serialized_sql(json_serialize_sql('SELECT 1'))": "json_execute_serialized_sql",
    "SELECT 'é' AS é FROM read_duckdb('x', table_name = 'y')": "read_duckdb",
    "FROM arrow_scan(1, 2, 3)": "arrow_scan",
}


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, duckdb.DuckDBPyConnection]]:
    """A home with a table file, and a locked connection without the sandbox of the system."""
    home = tmp_path_factory.mktemp("locked") / "hub"
    folder = home / "tables" / "personas" / "batch=a"
    folder.mkdir(parents=True)
    pl.DataFrame({"persona": ["a nurse"], "hop": [0]}).write_parquet(folder / "part.parquet")
    (home / "warehouse.duckdb").write_bytes(b"canary")
    with duckdb.connect() as connection:
        connection.execute(f"CREATE VIEW personas AS FROM read_parquet('{home}/tables/personas/*/part.parquet')")
        readers.lock_down(connection, home)
        yield home, connection


@pytest.mark.parametrize("query", READS)
def test_what_reads_is_let_through_and_runs(query: str) -> None:
    with duckdb.connect() as connection:
        for statement in checked(connection, query):
            connection.execute(statement)


@pytest.mark.parametrize(("query", "named"), MORE.items())
def test_what_could_do_more_is_refused_by_name(query: str, named: str) -> None:
    with duckdb.connect() as connection, pytest.raises(QueryError, match=rf"(?s)^{named}.*\b(read-only|IN \()"):
        checked(connection, query)


IN_WITH = ["COPY (SELECT 1) TO 'x'", "INSERT INTO t VALUES (1) RETURNING *", "DELETE FROM t RETURNING *", "TRUNCATE t"]
IN_WITH += ["UPDATE t SET a = 1 RETURNING *", "MERGE INTO t USING t AS u ON true WHEN MATCHED THEN DELETE RETURNING *"]
AROUND = ["WITH x AS ({}) FROM x", "FROM (WITH x AS ({}) FROM x)", "EXPLAIN ANALYZE WITH x AS ({}) FROM x"]
AROUND += [
    "SUMMARIZE WITH x AS ({}) FROM x",
    "WITH y AS (WITH x AS MATERIALIZED ({}) FROM x) SELECT 1 WHERE EXISTS (FROM y)",
]
AROUND += [
    "WITH x AS ({}) FROM (PIVOT x ON a)",
    "PIVOT (WITH x AS ({}) FROM x) ON a",
    "EXPLAIN (ANALYZE) WITH x AS ({}) FROM x",
]


@pytest.mark.parametrize("write", IN_WITH)
def test_what_writes_inside_a_query_is_refused(write: str) -> None:
    """DuckDB 2.0 parses these as queries; 1.5 does not parse them."""
    with duckdb.connect() as connection:
        for around in AROUND:
            with pytest.raises((QueryError, duckdb.ParserException)):
                checked(connection, around.format(write))
        with pytest.raises(QueryError):
            condition(connection, f"EXISTS (WITH x AS ({write}) FROM x)")


@pytest.mark.parametrize("text", ["SELECT '\udc80'", "SELECT 1\0; COPY (SELECT 1) TO 'x'"])
def test_what_is_no_text_is_refused(text: str) -> None:
    with duckdb.connect() as connection, pytest.raises(QueryError, match="character 9"):
        checked(connection, text)


# --- the law: whatever is asked, every file of the home stays as it was, and none appears ---

SPACES = ["", " ", "\n", "\t", "\r", "\f", "\v", "/**/", "/* ( ' */", "-- '\n", "\u00a0", "\u1680", "\u2003", "\u2028"]
SPACES += ["\u200b", "\u2060", "\u3000", "\ufeff", "\u0085"]
TARGETS = ["{home}/tables/personas/batch=a/part.parquet", "{home}/tables/new.parquet", "{home}/x", "x.parquet"]
TAGS = ["$$", "$a$", "$\u00a0$", "$\u00a0$json$\u00a0$", "$é$", "$\u3000$", "'", '"', "U&'", "E'"]
WRITES = [
    "COPY (SELECT 1 AS x) TO '{target}'",
    "COPY personas TO '{target}' (FORMAT parquet, OVERWRITE_OR_IGNORE)",
    "WITH x AS (COPY (SELECT 1 AS a) TO '{target}') FROM x",
    "WITH x AS (COPY personas TO '{target}' (FORMAT parquet)) FROM (PIVOT x ON Count)",
    "FROM enable_logging(storage = 'file', storage_path = '{target}')",
    "FROM enable_profiling(save_location = '{target}')",
    "FROM query('FROM enable_logging(storage = ''file'', storage_path = ''{target}'')')",
    "FROM query($q$COPY (SELECT 1) TO '{target}'$q$)",
    "FROM json_execute_serialized_sql(json_serialize_sql('SELECT 1'))",
    "EXPORT DATABASE '{target}'",
    "ATTACH '{target}' AS other",
    "INSTALL httpfs",
    "CREATE PERSISTENT SECRET s (TYPE http)",
    "PRAGMA enable_profiling",
    "SET temp_directory = '{target}'",
    "PREPARE p AS COPY (SELECT 1) TO '{target}'; EXECUTE p",
    "CREATE TEMP MACRO m(x) AS TABLE FROM query(x); FROM m('COPY (SELECT 1) TO ''{target}''')",
    "PIVOT (FROM enable_logging(storage = 'file', storage_path = '{target}')) ON a",
    "SELECT write_log('x', log_type := 'QueryLog')",
]
HEADS = ["", "EXPLAIN", "EXPLAIN{s}ANALYZE", "EXPLAIN{s}({s}ANALYZE,{s}FORMAT{s}{tag}json{tag}{s})", "DESCRIBE", "FROM"]
HEADS += [
    "SUMMARIZE",
    "SELECT 1;",
    "SELECT {tag};{tag};",
    "WITH a AS (SELECT 1)",
    "(",
    "VALUES (1);",
    "SHOW",
    "'",
    "/*",
]
HEADS += ["EXPLAIN (ANALYZE, FORMAT {tag}) COPY (SELECT '{tag}) SELECT 1 --' AS x) TO '{target}' --", "SELECT * FROM"]
TAILS = ["", ";", "--", "/*", "'", ")", " AS x", "; SELECT 1", " LIMIT 1", "\0", "{tag}"]
QUERIES = st.tuples(*map(st.sampled_from, (HEADS, SPACES, WRITES, SPACES, TAILS, TAGS, TARGETS)))
MERGED = (
    "EXPLAIN (ANALYZE, FORMAT $\u00a0$json$\u00a0$) COPY (SELECT '$json$) SELECT 1 --' AS x) TO '{target}'",
    "", "", "", "", "", TARGETS[0],
)  # fmt: skip


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(MERGED)
@example(("SELECT $\u00a0$ FROM {target} $\u00a0$, * FROM", " ", WRITES[2], "", "", "", TARGETS[1]))
@given(QUERIES)
def test_whatever_is_asked_no_file_changes(
    locked: tuple[Path, duckdb.DuckDBPyConnection], query: tuple[str, ...]
) -> None:
    home, connection = locked
    head, space, write, other_space, tail, tag, target = query
    text = f"{head}{space}{write}{other_space}{tail}".replace("{s}", other_space).replace("{tag}", tag)
    text = text.replace("{target}", target).replace("{home}", str(home))
    before = fingerprint(home)
    try:
        for statement in checked(connection, text):
            connection.execute(statement).fetchmany(10)
    except (QueryError, duckdb.Error):
        pass
    finally:
        assert fingerprint(home) == before, text


def fingerprint(home: Path) -> dict[str, str]:
    """Contents of the home and of the current folder."""
    files = [path for path in home.rglob("*") if path.is_file()]
    here = {str(path): "" for path in Path().glob("*")}
    return here | {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


# Others than these belong to the name for DuckDB, and no function has such a one.
SPACE = st.sampled_from(
    [" ", "\n", "\t", "/* ( ) */", "-- query('\n", "\u00a0", "\u2003", "\u200b", "\u3000", "\ufeff"]
)
NAME = st.sampled_from(
    ["enable_logging", "ENABLE_LOGGING", '"enable_logging"', 'main."Enable_logging"', 'U&"enable_logging"']
)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(before=st.text(alphabet="aé漢'\"-", max_size=5), space=SPACE, name=NAME)
def test_no_spelling_of_a_name_gets_through(
    locked: tuple[Path, duckdb.DuckDBPyConnection], before: str, space: str, name: str
) -> None:
    text = "'" + before.replace("'", "''") + "'"
    with pytest.raises((QueryError, duckdb.Error)):
        checked(locked[1], f"SELECT {text} FROM {name}{space}()")


WHEREVER = """
FROM {}| SELECT (SELECT 1 FROM {})| SELECT 1 WHERE EXISTS (FROM {})| WITH x AS (FROM {}) SELECT 1| SUMMARIZE FROM {}
WITH RECURSIVE x AS (SELECT 1 UNION ALL FROM {}) SELECT 1| VALUES ((SELECT 1 FROM {}))| SELECT 1 UNION FROM {}
SELECT 1 ORDER BY (FROM {})| SELECT count(*) GROUP BY (FROM {})| SELECT count(*) HAVING (FROM {})| SELECT 1 IN (FROM {})
SELECT DISTINCT ON ((FROM {})) 1| FROM (PIVOT (FROM {}) ON x IN (1) USING count(*))| UNPIVOT (FROM {}) ON a
SELECT 1 FROM t JOIN u ON (FROM {})| SELECT 1 FROM t, LATERAL (FROM {})| SELECT sum(1) FILTER (WHERE (FROM {}))
SELECT sum(1) OVER (PARTITION BY (FROM {}))| SELECT sum(1) OVER w WINDOW w AS (ORDER BY (FROM {}))
SELECT list_transform([1], lambda x: (FROM {}))| SELECT * REPLACE ((FROM {}) AS a) FROM t| SELECT 1 LIMIT (FROM {})
SELECT * FROM t AT (TIMESTAMP => (FROM {}))| FROM range((FROM {}))| FROM t POSITIONAL JOIN {}| SELECT ARRAY(FROM {})
SELECT COLUMNS(c -> (FROM {})) FROM t| (((SELECT 1))) UNION ALL (((FROM {})))| SELECT 1 GROUP BY ROLLUP((FROM {}))
SELECT [x FOR x IN (FROM {})]| SELECT 1 QUALIFY (FROM {})
"""


def test_a_function_is_seen_wherever_it_stands() -> None:
    """DuckDB serialises the whole tree, with all clauses."""
    with duckdb.connect() as connection:
        for shape in filter(None, map(str.strip, WHEREVER.replace("\n", "|").split("|"))):
            with pytest.raises(QueryError, match=r"^enable_logging\(\) is refused"):
                checked(connection, shape.replace("{}", "enable_logging('x')"))


# --- conditions ---

CONDITIONS = ["hop = 0", "hop = 0 -- and more", "(hop = 0) OR (hop = 1)", "persona LIKE '%)%'", "hop IN (SELECT 0)"]
OTHERS = [
    "true) ORDER BY (1",
    "true FROM personas",
    "true, false",
    "true; SELECT 1",
    "true AS x",
    "true x",
    "(",
    "",
    " ",
]
OTHERS += ["SELECT 1", "hop = 0 /*", "true ORDER BY 1", "true LIMIT 1", "true UNION SELECT 1", "DISTINCT true", "true;"]
OTHERS += ["true) --", "true WHERE true", "hop = $1", "true GROUP BY ALL", "ALL true", "true WINDOW w AS ()", "'", "\0"]
OTHERS += [
    "1 = 1 USING SAMPLE 1",
    "EXISTS (FROM query('SELECT 1'))",
    "true)\u00a0OR\u00a0(true",
    "$\u00a0$ = $\u00a0$) OR (",
]


@pytest.mark.parametrize("text", CONDITIONS)
def test_a_condition_filters(locked: tuple[Path, duckdb.DuckDBPyConnection], text: str) -> None:
    _, connection = locked
    rows = connection.sql("FROM personas").set_alias("personas").filter(condition(connection, text))
    assert len(rows.fetchall()) == (0 if "%)%" in text else 1)


@pytest.mark.parametrize("text", OTHERS)
def test_what_is_not_one_condition_is_refused(locked: tuple[Path, duckdb.DuckDBPyConnection], text: str) -> None:
    with pytest.raises(QueryError):
        condition(locked[1], text)


PIECES = ["true", "hop = 0", ")", "(", " OR ", " ORDER BY ", "1", ";", "--", "/*", "*/", "'", '"', "$$", "\u00a0", "\n"]
PIECES += [" FROM personas ", ",", " LIMIT ", " AS x", "$\u00a0$", "NOT "]


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(PIECES), max_size=6).map("".join))
def test_what_is_taken_for_a_condition_stands_alone_in_brackets(
    locked: tuple[Path, duckdb.DuckDBPyConnection], text: str
) -> None:
    """An accepted condition means the same inside `NOT (...)`, which selects exactly the other rows."""
    _, connection = locked
    try:
        test = condition(connection, text)
        rows = connection.sql("FROM personas").filter(test).fetchall()
        others = connection.sql("FROM personas").filter(condition(connection, f"NOT (\n{text}\n)")).fetchall()
    except (QueryError, duckdb.Error):
        return
    assert len(rows) + len(others) <= 1


# --- what DuckDB has ---


def test_a_function_of_a_later_duckdb_is_refused_until_somebody_has_looked() -> None:
    """All refused table functions of this version; a new version shows its additions here."""
    with duckdb.connect() as connection:
        every = connection.execute(TABLE_FUNCTIONS).fetchall()
        refused = {name for (name,) in every if not _passes(connection, name)}
    assert refused == set(REFUSED.split()) | (set() if duckdb.__version__ < "2" else set(REFUSED_OF_2.split()))


REFUSED = """
arrow_scan arrow_scan_dumb checkpoint disable_logging disable_profiling duckdb_approx_database_count
duckdb_connection_count duckdb_coordinate_systems duckdb_external_file_cache duckdb_log_contexts duckdb_logs
duckdb_prepared_statements duckdb_secret_types duckdb_secrets duckdb_table_sample enable_logging enable_profiling
force_checkpoint json_execute_serialized_sql pandas_scan pragma_metadata_info
python_map_function query read_duckdb read_json_objects read_json_objects_auto read_ndjson_objects seq_scan
test_vector_types truncate_duckdb_logs which_secret
"""
REFUSED_OF_2 = """
add_grammar_extension create_external_resource deregister_external_resource destroy_external_resource
duckdb_eviction_queues duckdb_extension_repositories duckdb_external_resource_types duckdb_external_resources
duckdb_grammar_extensions duckdb_live_query_metrics duckdb_secret_type_parameters parquet_page_index python_arrow_scan
read_single_csv_file read_single_json_file read_single_parquet_file register_external_resource
register_external_resource_type remove_grammar_extension
"""


def _passes(connection: duckdb.DuckDBPyConnection, name: str) -> bool:
    try:
        checked(connection, f"FROM {name}()")
    except QueryError:
        return False
    return True
