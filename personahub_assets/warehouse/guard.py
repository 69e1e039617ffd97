"""Check SQL of users: only queries that can do nothing but read may run.

DuckDB has no read-only access to a folder: a connection that can read the table files can also write them. So only
queries run, and only with table functions that are known to read. The check uses the result of DuckDB's own parser
(`json_serialize_sql`), never the text: another parser would read some texts differently. There are allow-lists instead
of block-lists, so that additions of later versions of DuckDB are refused until they are reviewed.

DuckDB 1.5 and 2.0 accept and refuse the same. 2.0 differs in three ways: a WITH can contain statements that write, a
PIVOT without listed values is one statement of the kind MULTI with its text, and a PRAGMA is not yet the query that it
stands for.
"""

import json
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import duckdb

from personahub_assets.core.errors import QueryError
from personahub_assets.core.literals import quoted
from personahub_assets.store.connections import connect_small

_KIND = duckdb.StatementType
# Excluded: enable_logging and enable_profiling write files (and end the process if they cannot), query and
# json_execute_serialized_sql run unchecked text, others take addresses in memory. Of those that 2.0 adds: external
# resources and grammar extensions change state or call functions by name, read_single_* are internal readers of files,
# duckdb_live_query_metrics shows other queries.
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
        "duckdb_available_metrics",
        "duckdb_columns",
        "duckdb_constraints",
        "duckdb_databases",
        "duckdb_dependencies",
        "duckdb_dialects",
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
        "duckdb_triggers",
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
_QUERY_NODES = frozenset({"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"})
# Statements that DuckDB 2.0 accepts inside WITH.
_WRITING = frozenset({"copy", "delete", "insert", "merge", "truncate", "update"})
_PRAGMA = re.compile(
    r"\A\s*+PRAGMA\s++(\w++)\s*+(?:\(\s*+(?:'(\w++)'|(\w++))\s*+\)\s*+)?(?:;\s*+)?\Z", re.ASCII | re.IGNORECASE
)
_PRAGMAS = {
    "database_list": "FROM pragma_database_list",
    "show_databases": "SHOW DATABASES",
    "show_tables": "SHOW TABLES",
    "show_tables_expanded": "SHOW ALL TABLES",
}
TABLE_FUNCTIONS = "SELECT DISTINCT function_name FROM duckdb_functions() WHERE function_type = 'table'"
_REMEDY = (
    "the warehouse is read-only. Valid are SELECT, WITH, FROM, VALUES, PIVOT, DESCRIBE, SUMMARIZE, SHOW and EXPLAIN; "
    "--output FILE writes a result, WITH name AS MATERIALIZED (...) stands in for a temporary table"
)
_NO_QUERY = f"not a query: {_REMEDY}"
_ONE_CONDITION = "give exactly one condition, such as \"hop = 0 AND origin = 'text'\""
# DuckDB's serialisation of a query with columns only.
_BARE = {"type": "SELECT_NODE", "aggregate_handling": "STANDARD_HANDLING"}
_NOTHING: list[Any] = [None, [], {"map": []}]
_SERIALIZE = "SELECT system.main.json_serialize_sql($1)"
# The options are plain words, so they cannot contain calls; the rest is checked as a query.
_EXPLAIN = re.compile(
    r"\A\s*EXPLAIN\b(?:\s*ANALY[ZS]E\b|\s*\(\s*\w+(?:\s+\w+)?(?:\s*,\s*\w+(?:\s+\w+)?)*\s*\))?",
    re.ASCII | re.IGNORECASE,
)
_EXPLAIN_ALONE = re.compile(r"\A\s*EXPLAIN\b", re.ASCII | re.IGNORECASE)


def checked(connection: duckdb.DuckDBPyConnection, text: str) -> list[duckdb.Statement]:
    """Parse a text and return its statements if all of them are queries.

    Args:
        connection: a locked connection: parsing some statements reads files.

    Raises:
        QueryError: naming the statement or function that could do more than read.
        duckdb.Error: if the text is not SQL.
    """
    _check_characters(text)
    statements = connection.extract_statements(text)
    runnable = [_checked(connection, statement, text) for statement in statements]
    if statements and _is_derived(statements[-1]) and statements[-1].type == _KIND.CREATE:
        raise _refusal(statements[-1])
    return runnable


def condition(connection: duckdb.DuckDBPyConnection, text: str) -> duckdb.Expression:
    """Parse a condition: exactly one expression that only reads.

    Use it with `relation.filter`, so that no SQL text is concatenated.

    Raises:
        QueryError: if the text is anything else.
    """
    _check_characters(text)
    # `SQLExpression` parses the first of these texts, takes its expression and ignores the rest, so there must be no
    # rest. Brackets contain an expression or a query, and no query begins like the first text.
    result = _serialized(connection, f"SELECT {text}")
    if result["error"]:
        raise QueryError(_ONE_CONDITION if "Only SELECT" in result["error_message"] else result["error_message"])
    trees = result["statements"]
    if len(trees) != 1 or not _is_bare(trees[0]) or not _is_query(connection, f"SELECT (\n{text}\n)"):
        raise QueryError(_ONE_CONDITION)
    _check_tree(trees)
    return duckdb.SQLExpression(text)


def _check_characters(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise QueryError(f"character {error.start + 1} is not Unicode text: give SQL in UTF-8") from error
    if "\0" in text:
        raise QueryError(f"character {text.index(chr(0)) + 1} is a NUL: SQL ends there; remove it")


def _checked(connection: duckdb.DuckDBPyConnection, statement: duckdb.Statement, text: str) -> duckdb.Statement:
    """Parse the statement again from exactly the text that was checked."""
    if _is_derived(statement):
        _check_pivot(connection, statement, text)
        return statement
    if statement.type == _KIND.PRAGMA:
        return _pragma(connection, statement)
    if statement.type == _KIND.SELECT:
        return _query(connection, statement.query)
    if statement.type == _KIND.EXPLAIN:
        return _explain(connection, statement.query)
    raise _refusal(statement)


def _is_derived(statement: duckdb.Statement) -> bool:
    """Whether the statement comes from a PIVOT without IN, which DuckDB cannot serialise.

    DuckDB 1.5 derives a type of the values and a query, both without text; 2.0 has one statement of the kind MULTI.
    """
    return not statement.query or statement.type == _KIND.MULTI


def _check_pivot(connection: duckdb.DuckDBPyConnection, statement: duckdb.Statement, text: str) -> None:
    """Refuse any name of a function or of a writing statement in the text, also quoted: there is no tree to check."""
    if not _is_pivot_query(connection, statement):
        raise _refusal(statement)
    words = set(re.findall(r"[a-z0-9_]+", text.lower()))
    if named := sorted(words & (_refused() | _WRITING)):
        raise QueryError(
            f"{named[0]} is not allowed in a query with a PIVOT without listed values: list them with IN (...)"
        )


def _is_pivot_query(connection: duckdb.DuckDBPyConnection, statement: duckdb.Statement) -> bool:
    """Whether a derived statement is a query, not COPY, EXPLAIN or CREATE of one: only a query parses in brackets."""
    if statement.type != _KIND.MULTI:
        return statement.type in (_KIND.CREATE, _KIND.SELECT)
    query = statement.query.rstrip().removesuffix(";")
    try:
        bracketed = connection.extract_statements(f"SELECT * FROM (\n{query}\n)")
    except duckdb.Error:
        return False
    return [each.type for each in bracketed] == [_KIND.MULTI]


def _pragma(connection: duckdb.DuckDBPyConnection, statement: duckdb.Statement) -> duckdb.Statement:
    """The query that a PRAGMA stands for, which DuckDB 1.5 gives and 2.0 does not."""
    match = _PRAGMA.match(statement.query)
    name = match[1].lower() if match else ""
    if match and f"pragma_{name}" in _HARMLESS:
        argument = match[2] or match[3]
        return _query(connection, f"FROM pragma_{name}({quoted(argument) if argument else ''})")
    if match and name in _PRAGMAS and not (match[2] or match[3]):
        return _query(connection, _PRAGMAS[name])
    raise _refusal(statement)


def _query(connection: duckdb.DuckDBPyConnection, query: str) -> duckdb.Statement:
    _check_tree(_trees(connection, query))
    return _only(connection, query, _KIND.SELECT)


def _explain(connection: duckdb.DuckDBPyConnection, query: str) -> duckdb.Statement:
    """Check an EXPLAIN, which runs the query with ANALYZE: the explained text must be a query itself."""
    for pattern in (_EXPLAIN_ALONE, _EXPLAIN):
        if head := pattern.match(query):
            explained = query[head.end() :]
            if _is_query(connection, explained):
                _check_tree(_trees(connection, explained))
                return _only(connection, f"{head[0]}\n{explained}", _KIND.EXPLAIN)
    raise QueryError(f"EXPLAIN accepts only a query (EXPLAIN SELECT ..., EXPLAIN ANALYZE SELECT ...): {_REMEDY}")


def _only(connection: duckdb.DuckDBPyConnection, query: str, kind: duckdb.StatementType) -> duckdb.Statement:
    """Parse a checked text again, as one statement."""
    statements = connection.extract_statements(query)
    if len(statements) != 1 or statements[0].type != kind:
        raise QueryError(f"{query.strip()[:80]!r} is ambiguous: write it in a simpler way")
    return statements[0]


def _refusal(statement: duckdb.Statement) -> QueryError:
    return QueryError(f"{statement.type.name} is refused: {_REMEDY}")


def _trees(connection: duckdb.DuckDBPyConnection, query: str) -> list[Any]:
    """The syntax trees of queries from DuckDB's parser.

    Raises:
        QueryError: if a statement is not a query.
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
    # All rows: with a row left, DuckDB 2.0 refuses other work on the connection.
    ((text,),) = connection.execute(_SERIALIZE, [query]).fetchall()
    return dict(json.loads(text))


def _check_tree(tree: Any) -> None:
    """Check the functions and the kinds of statements in a tree.

    Raises:
        QueryError: if one could do more than read.
    """
    for node in _nodes(tree):
        if isinstance(name := node.get("function_name"), str) and name.lower() in _refused():
            raise QueryError(f"{name.lower()}() is refused: {_REMEDY}")
        kind = str(node.get("type"))
        if kind.endswith("_NODE") and kind not in _QUERY_NODES:
            raise QueryError(f"{kind.split('_')[0]} is refused: {_REMEDY}")


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    """All objects in a tree."""
    nodes = [tree]
    while nodes:
        node = nodes.pop()
        if isinstance(node, dict):
            yield node
            nodes += node.values()
        elif isinstance(node, list):
            nodes += node


def _is_bare(tree: dict[str, Any]) -> bool:
    """Whether a query is only SELECT with one expression."""
    node = dict(tree["node"])
    columns = node.pop("select_list", [])
    is_empty = node.pop("from_table", {}).get("type") == "EMPTY"
    clauses = {name: value for name, value in node.items() if value not in _NOTHING}
    return (
        is_empty and len(columns) == 1 and not columns[0]["alias"] and clauses == _BARE and not tree["named_param_map"]
    )


@cache
def _refused() -> frozenset[str]:
    """Table functions of this DuckDB that are not on the allow-list."""
    with connect_small() as connection:
        return frozenset(name for (name,) in connection.execute(TABLE_FUNCTIONS).fetchall()) - _HARMLESS


def gives_rows(statement: duckdb.Statement) -> bool:
    """Whether a checked statement has a result; the first statement derived from a PIVOT has none."""
    return statement.type != _KIND.CREATE
