"""SQL that people give: what of it may run.

DuckDB has no read-only access to a folder: who may read the table files may also write them. So only queries run, and
only those that call table functions which are known to read. What is checked is what DuckDB's own parser makes of the
text (`json_serialize_sql`), never the text itself: a second parser would read some text differently. Allow-lists, not
block-lists: what a later DuckDB adds is refused until somebody has looked.
"""

import json
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import duckdb

from personahub_assets.core.errors import QueryError
from personahub_assets.store.connections import connect_small

_KIND = duckdb.StatementType
# Not among them: enable_logging and enable_profiling write files (and end the process where they may not), query and
# json_execute_serialized_sql run text that nobody has looked at, others take addresses in memory.
# fmt: off - one name a line would be a page
_HARMLESS = frozenset(
    {
        "generate_series",
        "range",
        "repeat",
        "repeat_row",
        "unnest",
        "json_each",
        "json_tree",
        "summary",
        "query_table",
        "test_all_types",
        "glob",
        "read_parquet",
        "parquet_scan",
        "parquet_schema",
        "parquet_metadata",
        "parquet_file_metadata",
        "parquet_kv_metadata",
        "parquet_full_metadata",
        "parquet_bloom_probe",
        "duckdb_columns",
        "duckdb_constraints",
        "duckdb_databases",
        "duckdb_dependencies",
        "duckdb_extensions",
        "duckdb_functions",
        "duckdb_indexes",
        "duckdb_keywords",
        "duckdb_memory",
        "duckdb_optimizers",
        "duckdb_schemas",
        "duckdb_sequences",
        "duckdb_settings",
        "duckdb_tables",
        "duckdb_temporary_files",
        "duckdb_types",
        "duckdb_variables",
        "duckdb_views",
        "pragma_collations",
        "pragma_database_size",
        "pragma_platform",
        "pragma_show",
        "pragma_storage_info",
        "pragma_table_info",
        "pragma_user_agent",
        "pragma_version",
        "pg_timezone_names",
        "icu_calendar_names",
        "read_text",
        "read_blob",
        "read_csv",
        "read_csv_auto",
        "read_json",
        "read_json_auto",
        "read_ndjson",
        "read_ndjson_auto",
        "sniff_csv",
    }
)
# fmt: on
TABLE_FUNCTIONS = "SELECT DISTINCT function_name FROM duckdb_functions() WHERE function_type = 'table'"
_REMEDY = (
    "the warehouse is read-only. Valid are SELECT, WITH, FROM, VALUES, PIVOT, DESCRIBE, SUMMARIZE, SHOW and EXPLAIN; "
    "--output FILE writes a result, WITH name AS MATERIALIZED (...) stands in for a temporary table"
)
_NO_QUERY = f"not a query: {_REMEDY}"
_ONE_CONDITION = "give one condition and nothing else, such as \"hop = 0 AND origin = 'text'\""
# What DuckDB says of a query that has columns and nothing else.
_BARE = {"type": "SELECT_NODE", "aggregate_handling": "STANDARD_HANDLING"}
_NOTHING: list[Any] = [None, [], {"map": []}]
_SERIALIZE = "SELECT system.main.json_serialize_sql($1)"
# The options are words alone, so nothing in them can be called; what stands behind them is checked as a query.
_EXPLAIN = re.compile(
    r"\A\s*EXPLAIN\b(?:\s*ANALY[ZS]E\b|\s*\(\s*\w+(?:\s+\w+)?(?:\s*,\s*\w+(?:\s+\w+)?)*\s*\))?",
    re.ASCII | re.IGNORECASE,
)
_EXPLAIN_ALONE = re.compile(r"\A\s*EXPLAIN\b", re.ASCII | re.IGNORECASE)


def checked(connection: duckdb.DuckDBPyConnection, text: str) -> list[duckdb.Statement]:
    """Give the statements of a text if all of them are queries.

    Args:
        connection: a locked one: some statements read files while they are parsed.

    Raises:
        QueryError: naming the statement or function that could do more than read.
        duckdb.Error: if the text is not SQL.
    """
    _check_characters(text)
    statements = connection.extract_statements(text)
    runnable = [_checked(connection, statement, text) for statement in statements]
    if statements and _is_derived(statements[-1]) and statements[-1].type != _KIND.SELECT:
        raise _refusal(statements[-1])
    return runnable


def condition(connection: duckdb.DuckDBPyConnection, text: str) -> duckdb.Expression:
    """Parse a condition alone: one expression, with nothing in front of it or behind it, that only reads.

    Use it with `relation.filter`, so that no text is put into another.

    Raises:
        QueryError: saying what it is instead.
    """
    _check_characters(text)
    # `SQLExpression` parses the first of these texts, takes its expression and drops what else it holds: so nothing
    # else may be there. In brackets stands an expression or a query, and no query begins as the first one does.
    result = _serialized(connection, f"SELECT {text}")
    if result["error"]:
        raise QueryError(_ONE_CONDITION if "Only SELECT" in result["error_message"] else result["error_message"])
    trees = result["statements"]
    if len(trees) != 1 or not _is_bare(trees[0]) or not _is_query(connection, f"SELECT (\n{text}\n)"):
        raise QueryError(_ONE_CONDITION)
    _check_calls(trees)
    return duckdb.SQLExpression(text)


def _check_characters(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise QueryError(f"character {error.start + 1} is no Unicode text: give SQL in UTF-8") from error
    if "\0" in text:
        raise QueryError(f"character {text.index(chr(0)) + 1} is a NUL: SQL ends there; remove it")


def _checked(connection: duckdb.DuckDBPyConnection, statement: duckdb.Statement, text: str) -> duckdb.Statement:
    """The statement that is run, parsed from the very text that was checked."""
    if _is_derived(statement):
        _check_pivot(statement, text)
        return statement
    if statement.type == _KIND.SELECT:
        return _query(connection, statement.query)
    if statement.type == _KIND.EXPLAIN:
        return _explain(connection, statement.query)
    raise _refusal(statement)


def _is_derived(statement: duckdb.Statement) -> bool:
    """Whether DuckDB made it out of a PIVOT without IN: first a type of the values, then a query. It has no text."""
    return not statement.query


def _check_pivot(statement: duckdb.Statement, text: str) -> None:
    """DuckDB cannot serialise what it derives of a PIVOT, so no name may stand anywhere in the text, however quoted."""
    if statement.type not in (_KIND.CREATE, _KIND.SELECT):
        raise _refusal(statement)
    words = set(re.findall(r"[a-z0-9_]+", text.lower()))
    if named := sorted(words & _refused()):
        raise QueryError(
            f"{named[0]} may not stand in a query with a PIVOT whose values are not listed: list them with IN (...)"
        )


def _query(connection: duckdb.DuckDBPyConnection, query: str) -> duckdb.Statement:
    _check_calls(_trees(connection, query))
    return _only(connection, query, _KIND.SELECT)


def _explain(connection: duckdb.DuckDBPyConnection, query: str) -> duckdb.Statement:
    """EXPLAIN of a query, which with ANALYZE runs: what is explained must be a query by itself."""
    for pattern in (_EXPLAIN_ALONE, _EXPLAIN):
        if head := pattern.match(query):
            explained = query[head.end() :]
            if _is_query(connection, explained):
                _check_calls(_trees(connection, explained))
                return _only(connection, f"{head[0]}\n{explained}", _KIND.EXPLAIN)
    raise QueryError(
        f"EXPLAIN takes a query and nothing else (EXPLAIN SELECT ..., EXPLAIN ANALYZE SELECT ...): {_REMEDY}"
    )


def _only(connection: duckdb.DuckDBPyConnection, query: str, kind: duckdb.StatementType) -> duckdb.Statement:
    """Parse a text again that was checked as it stands."""
    statements = connection.extract_statements(query)
    if len(statements) != 1 or statements[0].type != kind:
        raise QueryError(f"{query.strip()[:80]!r} can be read in two ways: write it more plainly")
    return statements[0]


def _refusal(statement: duckdb.Statement) -> QueryError:
    return QueryError(f"{statement.type.name} is refused: {_REMEDY}")


def _trees(connection: duckdb.DuckDBPyConnection, query: str) -> list[Any]:
    """The syntax trees of queries, as DuckDB's parser has them.

    Raises:
        QueryError: if some of it is no query.
    """
    result = _serialized(connection, query)
    if result["error"]:
        message = str(result["error_message"])
        raise QueryError(_NO_QUERY if "Only SELECT" in message else message)
    return list(result["statements"])


def _is_query(connection: duckdb.DuckDBPyConnection, text: str) -> bool:
    result = _serialized(connection, text)
    return not result["error"] and len(result["statements"]) == 1


def _serialized(connection: duckdb.DuckDBPyConnection, query: str) -> dict[str, Any]:
    (text,) = connection.execute(_SERIALIZE, [query]).fetchone() or ("",)
    return dict(json.loads(text))


def _check_calls(tree: Any) -> None:
    for name in _called(tree):
        if name in _refused():
            raise QueryError(f"{name}() is refused: {_REMEDY}")


def _called(tree: Any) -> Iterator[str]:
    """Names of all functions in a tree, in lower case."""
    nodes = [tree]
    while nodes:
        node = nodes.pop()
        if isinstance(node, dict):
            if isinstance(name := node.get("function_name"), str):
                yield name.lower()
            nodes += node.values()
        elif isinstance(node, list):
            nodes += node


def _is_bare(tree: dict[str, Any]) -> bool:
    """Whether a query is SELECT with one expression, and nothing else."""
    node = dict(tree["node"])
    columns = node.pop("select_list", [])
    is_empty = node.pop("from_table", {}).get("type") == "EMPTY"
    clauses = {name: value for name, value in node.items() if value not in _NOTHING}
    return (
        is_empty and len(columns) == 1 and not columns[0]["alias"] and clauses == _BARE and not tree["named_param_map"]
    )


@cache
def _refused() -> frozenset[str]:
    """Table functions of this DuckDB that nobody has found harmless."""
    with connect_small() as connection:
        return frozenset(name for (name,) in connection.execute(TABLE_FUNCTIONS).fetchall()) - _HARMLESS


def gives_rows(statement: duckdb.Statement) -> bool:
    """Whether a checked statement has a result; what DuckDB derives of a PIVOT first has none."""
    return statement.type != _KIND.CREATE
