"""Freshness: the warehouse is rebuilt if its files have changed, independent of their times."""

import os
import shutil
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import polars as pl
import pytest

from personahub_assets.core.errors import BatchError, SourceError
from personahub_assets.search import selections
from personahub_assets.sources import reader
from personahub_assets.sources import register as inbox
from personahub_assets.sources.register import register, source_rows, unregistered_files
from personahub_assets.sources.rows import Document
from personahub_assets.store import hashes
from personahub_assets.store.hashes import content_hash
from personahub_assets.store.tables import Store, table_schema
from personahub_assets.warehouse import build, freshness

DAMAGED = [b"", b"{", b"[]", b"\xff", b'{"warehouse": 1}']
FUTURE = time.time() + 365 * 86_400


def write(store: Store, batch: str, *ids: str) -> Path:
    rows = [(batch, name, None, None, "A page", None) for name in ids]
    store.write("documents", batch, pl.DataFrame(rows, table_schema("documents"), orient="row"))
    return store.path("documents", batch)


def ids(store: Store) -> list[str]:
    with build.reader(store) as connection:
        return [name for (name,) in connection.execute("SELECT document_id FROM documents ORDER BY 1").fetchall()]


def noted_contents(store: Store) -> freshness.Contents:
    note = freshness.noted(store)
    assert note
    return note.contents


def restore(backup: Path, path: Path) -> None:
    """As `cp --preserve` and rsync do."""
    shutil.copy2(backup, path.with_suffix(".new"))
    path.with_suffix(".new").replace(path)


def test_any_other_set_of_files_makes_the_warehouse_stale(store: Store, tmp_path: Path) -> None:
    """One warehouse, marked as fresh after each change, because a build takes long."""
    path, other = write(store, "a", "1"), write(store, "b", "3")
    shutil.copy2(path, tmp_path / "earlier.parquet")
    shutil.copystat(tmp_path / "earlier.parquet", write(store, "a", "2"))  # as large and as old as the backup
    assert build.build(store).rebuilt
    contents = noted_contents(store)
    shutil.copy2(store.paths.warehouse, tmp_path / "warehouse.backup")
    settings = store.root / "hub.toml"
    changes: list[Callable[[], object]] = [
        lambda: write(store, "c", "4"),
        lambda: other.unlink(),
        lambda: store.path("documents", "c").parent.rename(store.path("documents", "d").parent),
        lambda: os.utime(write(store, "d", "5"), (0, 0)),
        lambda: os.utime(path, (FUTURE, FUTURE)),
        lambda: restore(tmp_path / "earlier.parquet", path),
        lambda: settings.write_text("[warehouse]\nsorted_ids = 1\n"),
        lambda: settings.unlink(),
        lambda: restore(tmp_path / "warehouse.backup", store.paths.warehouse),
        lambda: os.utime(store.paths.warehouse, (FUTURE, FUTURE)),
        *[partial((store.root / "cache" / "warehouse.npz").write_bytes, content) for content in DAMAGED],
    ]
    for number, change in enumerate(changes):
        assert build.is_fresh(store), number
        change()
        assert not build.is_fresh(store), number
        freshness.note_built(store, store.paths.warehouse, freshness.inputs(store), contents)
    (store.root / "cache" / "warehouse.npz").unlink()
    assert build.build(store).rebuilt
    assert ids(store) == ["1", "5"]
    assert not build.build(store).rebuilt


# --- source files ---


def settle(path: Path) -> None:
    """Wait for a tick of the file system's clock, which is shortened in the tests."""
    while time.time_ns() - path.stat().st_ctime_ns < hashes.SETTLED_NS:
        time.sleep(0.01)


@pytest.fixture
def page(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A registered source file that was read."""
    monkeypatch.setattr(hashes, "SETTLED_NS", 50_000_000)
    path = tmp_path / "page.jsonl"
    path.write_text('{"text": "One"}\n')
    settle(path)
    register(store, str(path))
    assert [row.text for row in source_rows(store, "page") if isinstance(row, Document)] == ["One"]
    return path


def edit(path: Path) -> None:
    """Edit in place to the same size, and restore the time."""
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    with path.open("r+b") as file:
        file.write(b'{"text": "Two"}\n')
    os.utime(path, ns=times)


def test_an_edit_of_the_same_size_and_time_is_noticed(store: Store, page: Path) -> None:
    edit(page)
    with pytest.raises(BatchError, match=r"other content than when batch 'page' .* personahub ingest"):
        source_rows(store, "page")
    register(store, str(page))
    assert [row.text for row in source_rows(store, "page") if isinstance(row, Document)] == ["Two"]


def test_an_edit_right_after_registration_is_noticed(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "page.jsonl"
    path.write_text('{"text": "One"}\n')
    register(store, str(path))
    edit(path)  # maybe within one tick of the file system's clock
    with pytest.raises(BatchError, match="other content"):
        source_rows(store, "page")


def test_a_copy_with_another_time_is_the_same_file(store: Store, page: Path) -> None:
    os.utime(page, (FUTURE, FUTURE))
    shutil.copy(page, page.with_suffix(".copy"))
    page.with_suffix(".copy").replace(page)
    assert len(list(source_rows(store, "page"))) == 1


def test_a_file_is_hashed_once_for_each_state(store: Store, page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = list[Path]()
    monkeypatch.setattr(hashes, "sha256", lambda path: read.append(path) or "0")
    first = content_hash(page, store.paths.hashes)
    assert (len(first), read) == (64, [])
    edit(page)
    settle(page)
    assert [content_hash(page, store.paths.hashes) for _ in range(3)] == ["0"] * 3
    assert read == [page]


def test_the_inbox_sees_an_edit_of_the_same_size(store: Store, page: Path) -> None:
    path = store.root / "inbox" / "page.jsonl"
    path.write_bytes(page.read_bytes())
    register(store, str(path), name="inside")
    assert list(unregistered_files(store)) == []
    edit(path)
    assert list(unregistered_files(store)) == [path]


@pytest.mark.parametrize("change", ["grows", "is replaced"])
def test_a_file_that_changes_while_it_is_registered_is_refused(
    store: Store, page: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    survey = reader.survey

    def during(path: Path, *arguments: int) -> reader.Survey:
        found = survey(path, *arguments)
        if change == "grows":
            with path.open("a") as file:
                file.write('{"text": "Three"}\n')
        else:
            shutil.copy2(path, path.with_suffix(".new"))
            path.with_suffix(".new").replace(path)
        return found

    monkeypatch.setattr(inbox.reader, "survey", during)
    with pytest.raises(SourceError, match="was changed while it was read"):
        register(store, str(page), name="other")
    assert store.batches() == ["page"]


def test_a_file_that_changes_while_it_is_read_is_refused(store: Store, page: Path) -> None:
    rows = source_rows(store, "page")
    next(rows)
    edit(page)
    with pytest.raises(BatchError, match="other content"):
        list(rows)


def test_a_selection_is_read_again_when_it_says_something_else(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "picks.txt"
    path.write_text("p1\n")
    assert selections.chosen(store, str(path), "a") is not None
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    path.write_text("p2\n")
    os.utime(path, ns=times)
    chosen = selections.chosen(store, str(path), "a")
    assert chosen is not None
    assert chosen.to_list() == ["p2"]
