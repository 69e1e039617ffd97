"""Registration of unusual files: names in any script, non-files, impossible dates; and unregistering a batch."""

import os
import socket
import unicodedata
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sites import serving_folder

from personahub_assets.core.errors import BatchError, SourceError
from personahub_assets.core.text import BATCH_KEY, batch_key, former_batch_key
from personahub_assets.sources.register import register, registered, source_rows
from personahub_assets.sources.rows import Document
from personahub_assets.store.tables import Store, table_schema
from personahub_assets.takedown.unregister import unregister

LINE = '{"id": "1", "text": "A page"}\n'


@pytest.fixture
def store(home: Path) -> Store:
    home.mkdir()
    (home / "hub.toml").write_text("[sources]\nrows_per_batch = 2\n")
    return Store(home=str(home))


def pages(path: Path, count: int = 1) -> Path:
    path.write_text(LINE * count)
    return path


# --- names ---

NAMES = {
    "данные": "dannye",
    "数据": "shuju",
    "データ": "deta",
    "Οδηγός πόλης": "odigos-polis",
    "بيانات": "bynt",
    "café": "cafe",
    "🎉": "tada",
    "Ärzte & Öl": "arzte-ol",
}


@pytest.mark.parametrize("name", NAMES)
def test_names_in_any_script_give_keys_that_can_be_read(name: str) -> None:
    assert batch_key(f"{name}.jsonl.gz") == NAMES[name]
    forms = {batch_key(unicodedata.normalize(form, name)) for form in ("NFC", "NFD")}
    assert forms == {NAMES[name]}


@given(st.text(st.characters(exclude_categories=[]), min_size=1))
def test_any_name_gives_a_key(name: str) -> None:
    assert BATCH_KEY.fullmatch(batch_key(name))
    assert BATCH_KEY.fullmatch(former_batch_key(name))


def test_names_that_give_no_word_or_are_long_stay_apart() -> None:
    names = ["!!!.csv", "???.csv", "x" * 60 + "a.csv", "x" * 60 + "b.csv", "\ue000.csv"]
    assert len({batch_key(name) for name in names}) == len(names)


def test_a_batch_of_an_older_version_keeps_its_key(store: Store, tmp_path: Path) -> None:
    old, new = pages(tmp_path / "данные.jsonl"), pages(tmp_path / "数据.jsonl")
    assert former_batch_key(old.name) == "batch"
    register(store, str(old), name="batch")
    assert [register(store, str(old)), register(store, str(new))] == [["batch"], ["shuju"]]


def test_a_key_that_is_taken_names_a_free_one(store: Store, tmp_path: Path) -> None:
    register(store, str(pages(tmp_path / "a b.jsonl")))
    register(store, str(pages(tmp_path / "other.jsonl")), name="a-b-2")
    with pytest.raises(BatchError, match=r"'a-b' belongs to .* with another --name, such as a-b-3"):
        register(store, str(pages(tmp_path / "a-b.jsonl")))


@pytest.mark.parametrize("name", ["line\nbreak", "esc\x1b[31m", "tab\t", "[bold]x", "-rf", "a" * 240, " ", "*?["])
def test_odd_names_are_registered(store: Store, tmp_path: Path, name: str) -> None:
    (key,) = register(store, str(pages(tmp_path / f"{name}.jsonl")))
    assert registered(store, key)["path"] == str(tmp_path / f"{name}.jsonl")
    assert len(list(source_rows(store, key))) == 1


def not_utf8(folder: Path) -> Path:
    path = Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.jsonl"))
    return pages(path)


def loop(folder: Path) -> Path:
    (folder / "loop.jsonl").symlink_to(folder / "loop.jsonl")
    return folder / "loop.jsonl"


def pipe(folder: Path) -> Path:
    os.mkfifo(folder / "pipe.jsonl")
    return folder / "pipe.jsonl"


def open_pipe(_: Path) -> Path:
    """A pipe such as /dev/stdin; the other end closes with the process."""
    reading, _writing = os.pipe()
    return Path(f"/dev/fd/{reading}")


def bound(folder: Path) -> Path:
    here = Path.cwd()
    os.chdir(folder)  # the address of a socket is at most 107 bytes long
    with socket.socket(socket.AF_UNIX) as one:
        one.bind("socket.jsonl")
    os.chdir(here)
    return folder / "socket.jsonl"


NO_FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "not UTF-8": (not_utf8, r"caf\\udce9\.jsonl: its path is not UTF-8, and tables cannot store it: rename it"),
    "loop": (loop, r"loop.jsonl(: is not a path| is not a path|: cannot be opened)"),
    "pipe": (pipe, "is a pipe, socket or device, which can be read only once: write it to a file first"),
    "socket": (bound, "is a pipe, socket or device"),
    "device": (lambda _: "/dev/null", "is a pipe, socket or device"),
    "open pipe": (open_pipe, "is a pipe, socket or device"),
    "empty": (lambda _: "", "'' is not a path: is a variable not set"),
    "folder": (lambda folder: (folder / "x.jsonl").mkdir() or folder / "x.jsonl", r"is a folder: name the files"),
    "nothing": (lambda folder: folder / "x.jsonl", "there is no such file"),
    "within a file": (lambda folder: pages(folder / "x.jsonl") / "y.jsonl", "cannot be opened: Not a directory"),
    "long": (lambda folder: folder / ("x" * 300 + ".jsonl"), "cannot be opened: File name too long"),
    "NUL": (lambda _: "x\0.jsonl", "is not a path"),
    "user": (lambda _: "~nobody-of-that-name/x.jsonl", "is not a path"),
}


@pytest.mark.parametrize("kind", NO_FILES)
def test_what_is_no_file_is_one_clear_error(store: Store, tmp_path: Path, kind: str) -> None:
    make, message = NO_FILES[kind]
    with pytest.raises(SourceError, match=message) as caught:
        register(store, str(make(tmp_path)))
    str(caught.value).encode()  # it can be printed
    assert store.batches() == []


@pytest.mark.parametrize("name", ["loop", "~nobody-of-that-name", os.fsdecode(b"caf\xe9")])
def test_a_home_that_cannot_be_one_is_one_clear_error(
    tmp_path: Path, called: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "loop").symlink_to("loop")
    code, _, said = called("ingest", str(pages(tmp_path / "a.jsonl")), home=Path(name))
    assert (code, "error:" in said) == (1, True)


# --- dates ---


def test_a_file_with_dates_out_of_range_is_registered_and_read(store: Store, tmp_path: Path) -> None:
    day = pl.Series([3_000_000, -1_000_000], dtype=pl.Int32).cast(pl.Date)
    pl.DataFrame({"text": ["A", "B"], "day": day}).write_parquet(tmp_path / "far.parquet")
    register(store, str(tmp_path / "far.parquet"), text_column="text")
    rows = list(source_rows(store, "far"))
    assert [type(row) for row in rows] == [Document, Document]
    assert rows[0].attributes == '{"day": "10183-09-21"}'  # type: ignore[union-attr]


# --- how a batch goes again ---


def test_a_batch_without_results_is_unregistered_with_its_slices(store: Store, tmp_path: Path) -> None:
    path = pages(tmp_path / "crawl.jsonl", 5)
    for name in ("crawl", "crawl-2"):
        register(store, str(path), name=name)
    with pytest.raises(BatchError, match=r"'crawl-0002' is a slice of .*: name the whole, 'crawl'"):
        unregister(store, "crawl-0002")
    assert unregister(store, "crawl") == ["crawl", "crawl-0002", "crawl-0003"]
    assert sorted(store.batches()) == ["crawl-2", "crawl-2-0002", "crawl-2-0003"]
    assert path.exists()
    assert register(store, str(pages(path, 1))) == ["crawl"]


@pytest.mark.parametrize(
    "result", ["tables/documents/batch=a-0002", "tables/quarantine/asset=tools/batch=a", "journal"]
)
def test_a_batch_with_results_is_not_unregistered(store: Store, tmp_path: Path, result: str) -> None:
    register(store, str(pages(tmp_path / "a.jsonl", 3)))
    if result == "journal":
        (store.root / "journal" / "tools").mkdir(parents=True)
        (store.root / "journal" / "tools" / "a.sqlite").touch()
    else:
        table, *_, batch = result.removeprefix("tables/").split("/")
        asset = "tools" if table == "quarantine" else None
        rows = pl.DataFrame(schema=table_schema(table))
        store.write(table, batch.removeprefix("batch="), rows, asset)
    name = "journal/tools" if result == "journal" else result.split("/")[1]
    with pytest.raises(BatchError, match=rf"has results \({name}\).* personahub takedown --batch a"):
        unregister(store, "a")
    assert store.batches() == ["a", "a-0002"]


def test_a_download_goes_with_its_batch(store: Store, tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    pages(tmp_path / "site" / "crawl.jsonl")
    with serving_folder(tmp_path / "site") as site_address:
        register(store, f"{site_address}/crawl.jsonl")
    assert list((store.root / "inbox").rglob("*.jsonl")) != []
    unregister(store, "crawl")
    assert list((store.root / "inbox").iterdir()) == []


def test_on_the_command_line(store: Store, tmp_path: Path, called: Callable[..., tuple[int, str, str]]) -> None:
    register(store, str(pages(tmp_path / "crawl.jsonl")))
    code, _, said = called("ingest", "--remove", "crawls", home=store.root)
    assert (code, "batch 'crawls' is not registered (registered: crawl)" in said) == (1, True)
    assert "cannot be combined" in called("ingest", "x.jsonl", "--remove", "crawl", home=store.root)[2]
    assert "nothing to ingest" in called("ingest", home=store.root)[2]
    code, _, said = called("ingest", "--remove", "crawl", home=store.root)
    assert (code, "crawl: unregistered" in said) == (0, True)
    assert store.batches() == []
