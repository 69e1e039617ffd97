"""Names that a dataset cannot have: it is the name of a table, of an asset, of a folder and in SQL."""

import re

from personahub_assets.core import project_files

_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")

_GRAPH = """warehouse release preview drop_superseded try_prompt maintenance nightly_maintenance refresh_batch
    rebuild_warehouse make_release inbox lexical_duplicates persona_embeddings semantic_duplicates all batch"""
GRAPH_NAMES = frozenset(_GRAPH.split())
"""Assets, ops, jobs and partitions of the graph that are not tables."""

# DuckDB's reserved words (duckdb_keywords()), which an unquoted name cannot be, and its schemas.
_SQL = """all analyse analyze and anti any array as asc asof asymmetric at authorization binary both by case cast check
    collate collation column columns concurrently constraint create cross default deferrable desc describe distinct do
    else end except false fetch for foreign freeze from full generated glob group having ilike in initially inner
    intersect into is isnull join lambda lateral leading left like limit map natural not notnull null offset on only or
    order outer overlaps pivot pivot_longer pivot_wider placing positional primary qualify references returning right
    select semi show similar some struct summarize symmetric table tablesample then to trailing true try_cast union
    unique unpack unpivot using variadic verbose when where window with main temp system"""
SQL_WORDS = frozenset(_SQL.split())


_OF_A_DATASET = ("_checks", "_duplicates", "_unique")
"""Endings of names that are made from the name of a dataset or a group: views, assets and ops."""


def name_fault(name: str) -> str:
    """The error in the name of a new dataset; empty for a valid name."""
    if not _NAME.fullmatch(name):
        return f"{name!r} is not a name of a dataset: use 1 to 63 of a-z, 0-9 and _, beginning with a letter"
    if name in SQL_WORDS:
        return f"{name!r} is a word of SQL and cannot name a dataset"
    made_from_it = {name, *(name + ending for ending in _OF_A_DATASET)}
    if name.endswith(_OF_A_DATASET) or not made_from_it.isdisjoint(GRAPH_NAMES | _relations()):
        return f"{name!r} is the name of something else in tables or graph and cannot name a dataset"
    return ""


def _relations() -> set[str]:
    folders = ("schema", "views", "macros", "helpers", "marts")
    return {
        "dataset_items",
        "written_items",
        "item_scores",
        "search_personas",
        "journal_calls",
        # Of the marts.
        *("dropped", "dropped_items", "every_id", "new_ids", "new_per_hop", "new_places", "places", "sorted_ids"),
        *(name for folder in folders for name in project_files.sql_files(folder)),
    }
