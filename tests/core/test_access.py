"""A file that cannot be opened is not damaged: the error names the cause and does not advise deletion."""

import asyncio
import errno
import os
import resource
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from personahub_assets.core.access import disk, errno_of, obstacle_to_writing
from personahub_assets.core.errors import AccessError, LLMError, PersonaHubError, StoreError
from personahub_assets.dedup import array_cache
from personahub_assets.endpoints.transport import Fault, Meter, Transport
from personahub_assets.generation.journal import Journal, entries, find, peek
from personahub_assets.instance.faults import explain
from personahub_assets.instance.instance import open_instance
from personahub_assets.sources.register import register
from personahub_assets.store.tables import Store, table_schema
from personahub_assets.warehouse import build


@contextmanager
def limited(kind: int, size: int) -> Iterator[None]:
    """A resource of this process has a limit."""
    soft, hard = resource.getrlimit(kind)
    resource.setrlimit(kind, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(kind, (soft, hard))


@contextmanager
def no_files_left(spare: int = 0) -> Iterator[None]:
    """No further file can be opened by this process, or only so many.

    Without spare ones only standard input, output and error count: a server of another test in this process may close
    its files at any moment, and a new file would take their places.
    """
    lowest = os.open(os.devnull, os.O_RDONLY)
    os.close(lowest)
    with limited(resource.RLIMIT_NOFILE, lowest + spare if spare else 3):
        yield


@contextmanager
def no_large_files(size: int) -> Iterator[None]:
    """No file can grow beyond a size."""
    with limited(resource.RLIMIT_FSIZE, size):
        yield


def rows(count: int = 3, text: str = "A page") -> pl.DataFrame:
    values = [("a", f"d{n}", None, None, text, None) for n in range(count)]
    return pl.DataFrame(values, table_schema("documents"), orient="row")


def journal(path: Path) -> Path:
    with Journal(path):
        pass
    return path


def release_manifest(store: Store) -> object:
    from personahub_assets.releases.folder import Release

    return Release(store.root / "releases" / "one").manifest


READS: dict[str, Callable[[Store], object]] = {
    "table": lambda store: store.read("documents", "a"),
    "slices": lambda store: list(store.slices("documents", "a")),
    "height": lambda store: store.height("documents", "a"),
    "all": lambda store: store.read_all("documents"),
    "journal": lambda store: list(entries(store.root / "j.sqlite")),
    "peek": lambda store: peek(store.root / "j.sqlite", ["k"]),
    "other journals": lambda store: find([store.root / "j.sqlite"], {"k"}),
    "arrays": lambda store: array_cache.opened(store.root / "arrays", "s"),
    "manifest": release_manifest,
    "source": lambda store: register(store, str(store.root / "s.jsonl")),
    "history": lambda store: open_instance(store.root),
}


@pytest.fixture
def filled(store: Store) -> Store:
    store.write("documents", "a", rows())
    journal(store.root / "j.sqlite")
    array_cache.save(store.root / "arrays", "s", {"x": np.arange(3)})
    (store.root / "releases" / "one").mkdir(parents=True)
    (store.root / "releases" / "one" / "manifest.json").write_text('{"files": {}, "configs": {}}')
    (store.root / "s.jsonl").write_text('{"text": "A page of some words"}\n')
    return store


@pytest.mark.parametrize("name", READS)
def test_too_many_open_files_are_no_damage(filled: Store, name: str) -> None:
    with no_files_left(), pytest.raises((PersonaHubError, OSError)) as raised:
        READS[name](filled)
    said = explain(raised.value, filled.root)
    assert "Too many open files" in said
    assert "ulimit -n" in said
    assert "amaged" not in said
    assert "elete" not in said
    assert "\n" not in said
    if name != "history":
        READS[name](filled)  # as it was


@pytest.mark.parametrize("spare", [1, 2])
@pytest.mark.parametrize("name", READS)
def test_a_few_open_files_are_no_damage(filled: Store, name: str, spare: int) -> None:
    said = ""
    with no_files_left(spare):
        try:
            READS[name](filled)
        except (PersonaHubError, OSError) as error:
            said = explain(error, filled.root)
    assert not said or "Too many open files" in said


@pytest.mark.parametrize("kind", ["folder", "loop"])
def test_what_is_no_file_is_not_called_damaged(store: Store, kind: str) -> None:
    store.write("documents", "a", rows())
    path = store.path("documents", "a")
    path.unlink()
    path.mkdir() if kind == "folder" else path.symlink_to(path)
    for read in ("table", "slices", "height") if kind == "folder" else ():
        with pytest.raises(AccessError, match=r"part\.parquet.*move it away"):
            READS[read](store)
    file = store.root / "j.sqlite"
    file.mkdir() if kind == "folder" else file.symlink_to(file)
    for read in ("journal", "peek"):
        if kind == "folder":
            with pytest.raises(AccessError, match=r"j\.sqlite: Is a directory"):
                READS[read](store)


@pytest.mark.parametrize(
    ("table", "cost"),
    [("generations", "pays again"), ("tools", "without a call"), ("batches", "ingest"), ("personas", "")],
)
def test_damage_says_what_it_costs(store: Store, table: str, cost: str) -> None:
    asset = "tools" if table == "generations" else None
    path = store.path(table, "a", asset)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"PAR1 and nothing more")
    with pytest.raises(StoreError, match=f"part.parquet: damaged table file: .*{cost}") as raised:
        store.read(table, "a", asset)
    assert not isinstance(raised.value, AccessError)


def test_a_damaged_journal_is_not_to_be_deleted_lightly(store: Store) -> None:
    path = store.root / "j.sqlite"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"x" * 5_000)
    with pytest.raises(StoreError, match=r"damaged journal.*paid answers.*\.recover.*paid again"):
        list(entries(path))


def test_a_file_that_may_not_grow_names_itself_and_keeps_the_old_one(store: Store) -> None:
    store.write("documents", "a", rows())
    noise = "".join(map(chr, np.random.default_rng(1).integers(0x4E00, 0x9FFF, 50_000)))
    with no_large_files(20_000), pytest.raises(AccessError, match=r"aside/.*File too large.*ulimit -f"):
        store.write("documents", "a", rows(1, noise))
    assert store.read("documents", "a").height == 3


def test_a_full_disk_is_named() -> None:
    for error in (
        OSError(errno.ENOSPC, "No space left on device", "/dev/shm/x"),
        pl.exceptions.ComputeError("parquet: underlying IO error: No space left on device (os error 28)"),
        sqlite3.OperationalError("database or disk is full"),
    ):
        if isinstance(error, sqlite3.Error):
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
        assert errno_of(error) == errno.ENOSPC
        said = explain(error, Path("/dev/shm/home"))
        assert "disk at /dev/shm has" in said
        assert "bytes free" in said


def test_the_disk_of_a_path_is_its_nearest_mount() -> None:
    assert "The disk at / " in disk(Path("/nowhere/at/all")) or "The disk at /nowhere" in disk(Path("/nowhere/at/all"))
    assert "/dev/shm" in disk(Path("/dev/shm/a/b"))


def test_a_local_lack_of_handles_is_no_fault_of_the_server(standin: object) -> None:
    """The server does not count as down, however often it happens."""
    url = f"{standin.url}"  # type: ignore[attr-defined]

    async def asked() -> None:
        async with Transport(url, "none", timeout_s=20, tries=2, faults_in_a_row=1) as transport:
            with no_files_left():
                await transport.post("/chat/completions", b"{}", Meter())

    with pytest.raises(LLMError, match="opened from here: Too many open files") as raised:
        asyncio.run(asked())
    assert type(raised.value) is LLMError
    assert isinstance(raised.value.__cause__, Fault)


def test_the_warehouse_names_the_damaged_table_file(store: Store) -> None:
    """DuckDB does not always say which file it could not read."""
    store.write("documents", "a", rows())
    path = store.path("documents", "a")
    content = bytearray(path.read_bytes())
    half = len(content) // 2  # more than the column `batch`, which is taken from the path
    content[8:half] = os.urandom(half - 8)
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"documents/batch=a/part\.parquet: damaged table file"):
        build.build(store)


SQLITE_FAULTS = {"disk I/O error": sqlite3.SQLITE_IOERR_WRITE, "unable to open database file": sqlite3.SQLITE_CANTOPEN}


@pytest.mark.parametrize("message", SQLITE_FAULTS)
def test_a_fault_in_a_folder_of_databases_does_not_say_that_the_folder_is_in_the_way(
    tmp_path: Path, message: str
) -> None:
    (tmp_path / "dagster" / "history").mkdir(parents=True)
    error = sqlite3.OperationalError(message)
    error.sqlite_errorcode = SQLITE_FAULTS[message]
    said = explain(error, tmp_path)
    assert "history" in said
    assert "move it away" not in said
    with no_large_files(100):
        assert "File too large" in explain(error, tmp_path)


def test_a_full_disk_is_named_where_a_library_does_not(tmp_path: Path) -> None:
    error = pl.exceptions.ComputeError("parquet: File out of specification: Invalid thrift: transport error")
    assert obstacle_to_writing(error, tmp_path / "a.parquet") is None
    full = Path("/proc/a.parquet")  # on a disk without a free byte
    assert "No space left on device. The disk at /proc has 0 of" in str(obstacle_to_writing(error, full))
