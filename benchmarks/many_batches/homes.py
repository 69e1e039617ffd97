"""Write a home of many small batches: the rows of one small batch again and again, with ids of their own.

    .venv/bin/python benchmarks/many_batches/homes.py HOME --batches 1000 [--rows 20]

The files are written directly, without the checks of the store: 10,000 batches take minutes instead of hours.
"""

import argparse
import importlib.util
import sys
import tempfile
from pathlib import Path

import polars as pl

from personahub_assets.store.tables import BY_ASSET, Store, asset_of

# By its path: it imports another file of the same name.
_SPEC = importlib.util.spec_from_file_location(
    "warehouse_home", Path(__file__).resolve().parents[1] / "warehouse/generate.py"
)
assert _SPEC
assert _SPEC.loader
_home = importlib.util.module_from_spec(_SPEC)
sys.modules["warehouse_home"] = _home
_SPEC.loader.exec_module(_home)

Template = list[tuple[str, str | None, pl.DataFrame]]
_IDS = ("document_id", "persona_id", "parent_id", "root_id", "keeper_id", "item_id", "generation_id", "input_id",
        "request_key")  # fmt: skip


def template(rows: int) -> Template:
    """Table, asset and at most `rows` rows of every partition of a small batch."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store(home=folder)
        _home.fill(store, _home.Size(personas=max(100, rows), items=max(100, rows), batches=1, embeddings=True))
        return [
            (table, asset_of(table, path.parent.parent), pl.read_parquet(path).head(rows))
            for table in store.table_set.sql
            for path in store.files(table)
        ]


def write_batch(store: Store, of: Template, number: int, *, edition: str = "") -> str:
    """Write a batch; another edition has other ids.

    Returns:
        Its key.
    """
    batch = f"crawl-{number:05d}"
    suffix = f"-{number}{edition}"
    for table, asset, rows in of:
        ids = [name for name in _IDS if name in rows.columns]
        path = store.paths.partition(*_folder(table, asset, batch))
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(".new")
        rows.with_columns(pl.col(ids) + suffix, batch=pl.lit(batch)).write_parquet(aside, compression="zstd")
        aside.replace(path)
    return batch


def _folder(table: str, asset: str | None, batch: str) -> tuple[str, str, str | None]:
    if table == "decisions":
        return f"{str(asset).removesuffix('_duplicates')}_decisions", batch, None
    return table, batch, asset if table in BY_ASSET else None


def extend(store: Store, of: Template, batches: int) -> None:
    """Write the batches that a home lacks up to a number."""
    store.root.mkdir(parents=True, exist_ok=True)
    store.paths.config.touch()
    for number in range(len(store.partitions("batches")), batches):
        write_batch(store, of, number)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("home", type=Path)
    parser.add_argument("--batches", type=int, default=1_000)
    parser.add_argument("--rows", type=int, default=20, help="most rows of a table in a batch")
    chosen = parser.parse_args()
    extend(Store(home=str(chosen.home)), template(chosen.rows), chosen.batches)


if __name__ == "__main__":
    main()
