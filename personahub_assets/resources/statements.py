"""SQL that people give: which of it a reader of the warehouse lets through.

DuckDB has no read-only access to a folder: who may read the table files may also write them. So what could write is
refused before it runs. Allow-lists, not block-lists: what a later DuckDB adds is refused until somebody has looked.
"""

import re
from collections.abc import Iterator
from functools import cache
from itertools import pairwise

import duckdb

from personahub_assets.domain.errors import PersonaHubError

_KIND = duckdb.StatementType
# They change nothing but what the connection itself holds: the warehouse is attached read-only, settings are locked.
_ALLOWED = frozenset(
    {
        _KIND.SELECT,
        _KIND.EXPLAIN,
        _KIND.CREATE,
        _KIND.INSERT,
        _KIND.UPDATE,
        _KIND.DELETE,
        _KIND.MERGE_INTO,
        _KIND.ALTER,
        _KIND.DROP,
        _KIND.SET,
        _KIND.VARIABLE_SET,
        _KIND.TRANSACTION,
    }
)
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
_ANALYZE = frozenset({b"ANALYZE", b"ANALYSE"})
# DuckDB's parser takes these for spaces outside of quotes, and its tokenizer for letters.
_SPACES = re.compile("[\u00a0\u2000-\u200d\u202f\u205f\u2060\u3000\ufeff]")
_WORD = re.compile(rb"\w+|\W")
_NAME = re.compile(rb'"((?:[^"]|"")*)"|([\w$\x80-\xff]+)')


class QueryError(PersonaHubError):
    """DuckDB refused the query, or it could do more than read."""


def checked(connection: duckdb.DuckDBPyConnection, text: str) -> list[duckdb.Statement]:
    """Give the statements of a text if all of them only read.

    Raises:
        QueryError: naming the statement or function that could do more.
        duckdb.Error: if the text is not SQL.
    """
    # By the reader itself: IMPORT DATABASE and some pragmas read files while they are parsed.
    statements = connection.extract_statements(text)
    for statement in statements:
        _check_kind(connection, statement)
    for name in _called(text):
        if name in _refused():
            raise QueryError(f"{name}() is not for the warehouse, which is only read")
    return statements


@cache
def _refused() -> frozenset[str]:
    """Table functions of this DuckDB that nobody has found harmless."""
    with duckdb.connect() as connection:
        rows = connection.execute(
            "SELECT function_name FROM duckdb_functions() WHERE function_type = 'table'"
        ).fetchall()
    return frozenset(name for (name,) in rows) - _HARMLESS


def _check_kind(connection: duckdb.DuckDBPyConnection, statement: duckdb.Statement) -> None:
    if statement.type not in _ALLOWED:
        raise QueryError(
            f"{statement.type.name} is not for the warehouse, which is only read; write with --output FILE"
        )
    if statement.type == _KIND.EXPLAIN:
        for inner in connection.extract_statements(_explained(statement.query)):
            _check_kind(connection, inner)


def _explained(query: str) -> str:
    """What stands behind EXPLAIN, ANALYZE and their options: with ANALYZE it is run."""
    text, starts = _tokens(query)
    words = [word[0].upper() for start in starts if (word := _WORD.match(text, start))]
    at = 1
    if words[at] in _ANALYZE:
        at += 1
    elif words[at] == b"(" and words[at + 1] in {*_ANALYZE, b"FORMAT"}:
        at = words.index(b")") + 1
    return text[starts[at] :].decode()


def _tokens(text: str) -> tuple[bytes, list[int]]:
    """A text with plain spaces, and where its tokens begin."""
    text = _SPACES.sub(" ", text)
    return text.encode(), [start for start, _ in duckdb.tokenize(text)]


def _called(text: str) -> Iterator[str]:
    """Names before an opening bracket, in lower case; DuckDB's own tokens leave comments and strings out."""
    data, starts = _tokens(text)
    for start, following in pairwise(starts):
        name = _NAME.match(data, start)
        if name and data[following : following + 1] == b"(":
            yield (name[1].replace(b'""', b'"') if name[1] is not None else name[2]).decode().lower()
