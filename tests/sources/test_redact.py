"""Source files inside the home, of every format: removed rows are blanked, and no others change."""

import csv
import gzip
import io
import json
import random
import tempfile
from pathlib import Path

import polars as pl
import pytest
import warcs
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from remnants import remnants

from personahub_assets.core.errors import SourceError
from personahub_assets.sources import redact
from personahub_assets.sources.register import register, source_rows, unregistered_files
from personahub_assets.sources.rows import Document, Imported, Skipped
from personahub_assets.steps.corpus import document_rows
from personahub_assets.store.tables import Store
from personahub_assets.takedown import takedown
from personahub_assets.takedown.receipts import Target

ROWS = [
    (f"{n}", f"https://{'gone' if n % 3 == 1 else 'stays'}.example/{n}", f'Text {n}, with a "quote",\nof two lines.')
    for n in range(7)
]
SITE = Target("url_prefix", ("https://gone.example/",))


def jsonl() -> bytes:
    return "".join(json.dumps(dict(zip(("id", "url", "text"), row, strict=True))) + "\r\n" for row in ROWS).encode()


def csv_rows() -> bytes:
    quoted = ["id,url,text\n", *(f'{i},{url},"{text.replace(chr(34), chr(34) * 2)}"\n' for i, url, text in ROWS)]
    return "".join(quoted).encode()


def parquet(path: Path) -> bytes:
    pl.DataFrame(ROWS, ["id", "url", "text"], orient="row").write_parquet(path)
    return path.read_bytes()


def filled(store: Store, name: str, content: bytes) -> list[str]:
    """Register a file of the inbox, in two batches, and put its documents into their table."""
    path = store.root / "inbox" / name
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    (store.root / "hub.toml").write_text("[sources]\nrows_per_batch = 4\n")
    batches = register(store, str(path))
    for batch in batches:
        store.write("documents", batch, document_rows(batch, source_rows(store, batch)))
    return batches


@pytest.mark.parametrize("name", ["p.jsonl", "p.jsonl.gz", "p.csv", "p.csv.zst", "p.parquet"])
def test_a_site_goes_from_a_file_of_the_home(store: Store, tmp_path: Path, name: str) -> None:
    packed = {"gz": gzip.compress, "zst": zstandard.compress}.get(name.rpartition(".")[2], bytes)
    content = parquet(tmp_path / "p") if name.endswith("parquet") else packed(csv_rows() if "csv" in name else jsonl())
    batches = filled(store, name, content)
    path = store.root / "inbox" / name

    with pytest.MonkeyPatch.context() as patch:  # it is killed before the file is registered again
        patch.setattr(takedown, "register_again", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            takedown.takedown(store, SITE)
    takedown.takedown(store, SITE)

    rows = [row for batch in batches for row in source_rows(store, batch)]
    reason = "no_text" if name.endswith("parquet") else "empty"
    kept = [
        row.document_id if isinstance(row, Document) else row.reason for row in rows if not isinstance(row, Imported)
    ]
    assert kept == [reason if "gone" in url else identity for identity, url, _ in ROWS]
    assert remnants(store.root, ["gone.example", "Text 1", "Text 4"]) == set()
    assert list(unregistered_files(store)) == []
    register(store, str(path))
    assert [row for batch in batches for row in source_rows(store, batch)] == rows


@pytest.mark.parametrize(("suffix", "chars"), [("", 60), (".gz", 60), (".zst", 60), (".zst", 100_000)])
def test_a_page_goes_from_an_archive_of_the_home(store: Store, suffix: str, chars: int) -> None:
    filling = "".join(map(chr, random.Random(1).choices(range(0x4E00, 0x6E00), k=chars)))
    sites = ["stays", "gone", "stays", "stays", "gone"]
    pages = [
        warcs.conversion(f"https://{site}.example/{n}", f"Page {n} of the site. {filling}")
        for n, site in enumerate(sites)
    ]
    content = b"".join({"": bytes, ".gz": gzip.compress, ".zst": zstandard.compress}[suffix](page) for page in pages)
    batches = filled(store, f"p.wet{suffix}", content)
    path = store.root / "inbox" / f"p.wet{suffix}"
    before = store.read_all("batches").drop("sha256")

    takedown.takedown(store, SITE)

    rows = [row for batch in batches for row in source_rows(store, batch)]
    assert [row.url[-1] if isinstance(row, Document) and row.url else row for row in rows] == [
        "0",
        Skipped("metadata"),
        "2",
        "3",
        Skipped("metadata"),
    ]
    assert store.read_all("batches").drop("sha256").equals(before)
    assert remnants(store.root, ["gone.example", "Page 1 of", "Page 4 of"]) == set()
    assert path.stat().st_size == len(content)


def test_a_file_that_waits_in_the_inbox_is_blanked_too(store: Store) -> None:
    filled(store, "p.jsonl", jsonl())
    other = store.root / "inbox" / "later.jsonl"
    other.write_bytes(jsonl())
    (store.root / "inbox" / ".x.jsonl.part").write_bytes(jsonl())  # of a download that was killed
    takedown.takedown(store, SITE)
    assert remnants(store.root, ["gone.example"]) == set()
    assert other.stat().st_size == len(jsonl())


def test_a_format_that_cannot_be_written_is_refused_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="rows of odd files cannot be blanked: ingest one of jsonl or json or csv"):
        redact.blank(tmp_path / "x.odd", "odd", {0})


FIELD = st.text(st.characters(codec="utf-8", exclude_characters="\r\0"), max_size=8)


@given(
    st.lists(st.tuples(FIELD, FIELD), min_size=1, max_size=6),
    st.sets(st.integers(0, 5)),
    st.sampled_from(["\n", "\r\n"]),
)
def test_records_that_stay_are_as_they_were(records: list[tuple[str, str]], gone: set[int], end: str) -> None:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator=end).writerows([("id", "text"), *records])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "p.csv"
        path.write_bytes(buffer.getvalue().encode())
        redact.blank(path, "csv", gone)
        with path.open(encoding="utf-8", newline="") as file:
            found = [tuple(record) for record in csv.reader(file)]
        assert path.stat().st_size == len(buffer.getvalue().encode())
    said = [tuple(map(str.strip, record)) if n - 1 in gone else record for n, record in enumerate(found)]
    assert said == [("id", "text"), *(("", "") if n in gone else record for n, record in enumerate(records))]


def test_bytes_that_are_no_text_come_out_as_they_went_in(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_bytes(b"\xef\xbb\xbfid,text\n1,\xff\xfe\n\n2,gone\n3")
    redact.blank(path, "csv", {2})
    assert path.read_bytes() == b"\xef\xbb\xbfid,text\n1,\xff\xfe\n\n,     \n3"
    lines = tmp_path / "p.jsonl"
    lines.write_bytes(b'\xff\n{"id": 1}\r\n{"id": 2}')
    redact.blank(lines, "jsonl", {1, 2})
    assert lines.read_bytes() == b"\xff\n         \r\n         "
