"""CPU of the checks of one new batch of 1,000 personas in hubs of several sizes: before (everything) and now.

    .venv/bin/python benchmarks/checks/run.py                                20,000 to 1,000,000 personas
    .venv/bin/python benchmarks/checks/run.py --hubs 20000x20 400000x400 --data FOLDER

A hub is `personas x batches`, made by benchmarks/warehouse/generate.py with a vector for each persona only on request
(--embeddings), since checks read no vectors of other batches. "first" is the first run of the checks of the hub, which
reads all decisions once; "batch" is what a run of the new batch costs: its own checks, then those of the hub.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from operator import add
from pathlib import Path

import polars as pl

from personahub_assets.definitions import graph_assets
from personahub_assets.defs.checks import HUB, Check, all_checks
from personahub_assets.store.tables import STAGES, Store
from personahub_assets.warehouse.hub_checks import offending
from personahub_assets.warehouse.live import open_live

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from common import DOCS, machine, table, write  # noqa: E402

_HUBS = ["20000x20", "400000x20", "400000x400", "1000000x20", "1000000x1000"]
_NEW, _TIMES = 1_000, 7
_OF_ONE = ("batches", "documents", "text_personas", "related_personas", "personas", "persona_embeddings")
_OF_CALLS = {"generations": ("text_personas", "related_personas"), "quarantine": ("text_personas", "related_personas")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hubs", nargs="+", default=_HUBS, metavar="PERSONASxBATCHES")
    parser.add_argument("--data", type=Path, help="folder of the homes; those that are missing are made")
    parser.add_argument("--embeddings", action="store_true", help="hubs with vectors")
    parser.add_argument("--no-docs", action="store_true", help="leave docs/benchmarks.md as it is")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data = chosen.data or Path(folder)
        options = ["--embeddings"] if chosen.embeddings else []
        new = _home(data / f"new-{_NEW}", _NEW, 1, ["--seed", "9", *options])
        sizes = [(int(personas), int(batches)) for personas, batches in (hub.split("x") for hub in chosen.hubs)]
        stores = [_home(data / hub, *size, options) for hub, size in zip(chosen.hubs, sizes, strict=True)]
        before = [_alone(store) for store in stores]
        lines = [
            [f"{personas:,}", f"{batches:,}", every, *times, first, state]
            for (personas, batches), (every, first, state), times in zip(
                sizes, before, _rounds(stores, new), strict=True
            )
        ]
    head = ["personas", "batches", "all rows, as before", "checks of the batch", "of the hub", "both", "first", "state"]
    system = machine()
    cores = f"{system['cores']} cores of {system['cpu']}, Python {system['python']}, {system['system']}"
    text = f"Run on {datetime.now(UTC).date()} with `python benchmarks/checks/run.py`: {cores}.\n\n{table(head, lines)}"
    if not chosen.no_docs:
        write(DOCS, "checks", text)


def _home(folder: Path, personas: int, batches: int, options: list[str]) -> Store:
    if not folder.exists():
        size = ["--personas", str(personas), "--items", "0", "--batches", str(batches)]
        subprocess.run([sys.executable, HERE.parent / "warehouse" / "generate.py", folder, *size, *options], check=True)
    return Store(home=str(folder))


def _alone(store: Store) -> tuple[str, str, str]:
    """What is measured once: all checks over all rows, the first run of those of the hub, and the size of the state."""
    every = _cpu(lambda: _everything(store))
    store.paths.hub_checks.unlink(missing_ok=True)
    first = _cpu(lambda: _of_hub(store))
    print(store.root.name, every, first, flush=True)
    return f"{every:.1f} s", f"{first:.1f} s", f"{store.paths.hub_checks.stat().st_size / 1e6:,.0f} MB"


def _rounds(stores: list[Store], new: Store) -> Iterator[list[str]]:
    """Medians for one more batch: its own checks, those of the hub, and both; in turns, as the machine may be busy."""
    own, hub = ([list[float]() for _ in stores] for _ in range(2))
    for number in range(_TIMES):
        for store, of_batch, of_hub in zip(stores, own, hub, strict=True):
            _add(store, new, f"new-{number}")
            of_batch.append(_cpu(lambda: _of_batch(store, f"new-{number}")))  # noqa: B023 - called at once
            of_hub.append(_cpu(lambda: _of_hub(store)))  # noqa: B023 - called at once
    for store, of_batch, of_hub in zip(stores, own, hub, strict=True):
        for number in range(_TIMES):
            _remove(store, f"new-{number}")
        times = [statistics.median(each) for each in (of_batch, of_hub, map(add, of_batch, of_hub))]
        yield [f"{seconds:.2f} s" for seconds in times]


def _everything(store: Store) -> None:
    checks = [check.filled(store.config) for checks in all_checks().values() for check in checks]
    with open_live(store, " ".join(check.sql for check in checks)) as connection:
        for check in checks:
            check.result(connection)


def _of_batch(store: Store, batch: str) -> None:
    """The checks of each group of assets with a connection of its own, as in a run."""
    groups = defaultdict[str, list[Check]](list)
    names = {asset.name: str(asset.spec.group_name) for asset in graph_assets(store.catalog)}
    for asset, checks in all_checks().items():
        groups[HUB if asset == HUB else names[asset]] += [check.filled(store.config) for check in checks]
    del groups[HUB]
    for ready in groups.values():
        with open_live(store, " ".join(check.sql for check in ready), batch=batch) as connection:
            for check in ready:
                check.result(connection)


def _of_hub(store: Store) -> None:
    results = offending(store, {check.name: check.filled(store.config).sql for check in all_checks()[HUB]})
    assert not any(result.count for result in results.values()), results


def _partitions() -> list[tuple[str, str | None]]:
    """Tables of a batch without items, each with the asset if several write it."""
    stages = [(name, asset) for name in ("decisions", "dedup_runs") for asset in STAGES]
    return [
        *((name, None) for name in _OF_ONE),
        *stages,
        *((name, asset) for name, assets in _OF_CALLS.items() for asset in assets),
    ]


def _add(store: Store, new: Store, batch: str) -> None:
    """Add the batch of another home under a key, with ids of its own."""
    for name, asset in _partitions():
        rows = new.read(name, "crawl-000", asset)
        if rows.height:
            ids = [each for each in rows.columns if each.endswith("_id")]
            own = rows.with_columns(
                pl.lit(batch).alias("batch"), *(pl.format("{}-{}", each, pl.lit(batch)).alias(each) for each in ids)
            )
            text = [pl.format("{} {}", "persona", pl.lit(batch)).alias("persona")] if "persona" in rows.columns else []
            store.write(name, batch, own.with_columns(text), asset)


def _remove(store: Store, batch: str) -> None:
    for name, asset in _partitions():
        store.path(name, batch, asset).unlink(missing_ok=True)


def _cpu(work: Callable[[], object]) -> float:
    """CPU seconds of the process."""
    started = time.process_time()
    work()
    return time.process_time() - started


if __name__ == "__main__":
    main()
