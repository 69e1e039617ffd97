"""The tables that checks of the whole hub read, as views in DuckDB over all rows.

`hub_state` keeps the same tables between runs, where those named `changed_…` hold only the rows that can have another
result than before. Here these are all rows: a check gives the same rows from both.
"""

from collections.abc import Collection

import duckdb

SELECTS = {
    "changed_decisions": "SELECT * FROM decisions",
    "changed_item_decisions": "SELECT * FROM item_decisions",
    "changed_vectors": "SELECT batch, persona_id FROM persona_embeddings",
    "persona_texts": "SELECT batch, persona_id, md5(persona) AS text_hash FROM personas",
    "changed_persona_texts": "SELECT * FROM persona_texts",
    "absorbed": "SELECT stage, keeper_id, count(*) AS dropped FROM decisions WHERE keeper_id IS NOT NULL GROUP BY ALL",
    "decided": "SELECT batch, stage, count(*) AS candidates FROM decisions GROUP BY ALL",
    "used_batches": "SELECT batch FROM documents UNION SELECT batch FROM candidate_personas",
}
"""The SELECT of every view by name, each after those that it names."""


def add_views(connection: duckdb.DuckDBPyConnection, names: Collection[str]) -> None:
    """Create those that are named."""
    for name, select in SELECTS.items():
        if name in names:
            connection.execute(f"CREATE VIEW {name} AS {select}")
