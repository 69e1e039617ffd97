"""What `personahub sql` can do beyond the warehouse's file: search by meaning.

FROM search_personas('who repairs bridges', k := 10)        columns of personas, and similarity
"""

import re
from functools import cache
from typing import Any

import duckdb

from personahub_assets.resources.config import Environment

_MACRO = """
CREATE TEMP MACRO search_personas(query, k := 10) AS TABLE
SELECT hits.similarity, personas.*
FROM (SELECT unnest(nearest_to_text(query, k), recursive := true)) AS hits
JOIN personas ON personas.persona_id = hits.persona_id
ORDER BY hits.similarity DESC, hits.persona_id
"""
# What DuckDB puts around the words of a function of ours.
_RAISED = re.compile(r"executing the UDF: (?:[\w.]+: )?(.*?)(?:\n\nAt:|\Z)", re.DOTALL)
_HITS = "STRUCT(persona_id VARCHAR, similarity DOUBLE)[]"


def teach(connection: duckdb.DuckDBPyConnection, environment: Environment) -> None:
    """Give a connection the table function `search_personas(query, k := 10)`; nothing is loaded before it is used."""

    @cache
    def searcher() -> Any:
        from personahub_assets.searches import Searcher

        return Searcher(environment)

    def nearest_to_text(text: str, count: int) -> list[dict[str, Any]]:
        return list(searcher().find(text, count).to_dicts())

    connection.create_function("nearest_to_text", nearest_to_text, ["VARCHAR", "INTEGER"], _HITS)
    connection.execute(_MACRO)


def words_of(error: duckdb.Error) -> str:
    """What an error says; if a function of ours raised it, that one's words alone."""
    raised = _RAISED.search(str(error))
    return raised[1] if raised else str(error)
