"""Web archives: what becomes of every kind of record, of damage, and of slices."""

import gzip
import sys
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import brotli
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from warcs import SENTENCE, conversion, gz, gz_whole, http, page, plain, record, response, zst

from personahub_assets.domain.errors import SourceError
from personahub_assets.domain.sources import RawRow
from personahub_assets.resources import archives
from personahub_assets.resources.sources import Slice, file_format, read_rows, survey

TEXT = SENTENCE.strip() + " " + SENTENCE.strip()
PACKED: dict[str, tuple[str, Callable[[Iterable[bytes]], bytes]]] = {
    "plain": (".warc", plain),
    "gz": (".warc.gz", gz),
    "whole": (".warc.gz", gz_whole),
    "zst": (".warc.zst", zst),
}


def put(folder: Path, data: bytes, suffix: str = ".warc.gz") -> Path:
    path = folder / f"crawl{suffix}"
    path.write_bytes(data)
    return path


def rows_of(path: Path, rows_per_slice: int = 1_000) -> list[RawRow]:
    found = survey(path, rows_per_slice)
    rows = [row for part in found.slices for row in read_rows(path, found.format, part)]
    assert len(rows) == sum(part.rows for part in found.slices)
    return rows


def texts(rows: list[RawRow]) -> list[Any]:
    return [row.columns and row.columns["text"] for row in rows]


def one(folder: Path, block: bytes, kind: str = "response", *fields: str) -> RawRow:
    (row,) = rows_of(put(folder, gz([record(kind, "http://a.example/", block, *fields)])))
    return row


@pytest.mark.parametrize(
    "name", ["a.warc", "a.warc.gz", "a.wet", "a.wet.gz", "CC-MAIN-1.warc.wet.gz", "A.WARC.GZ", "a.warc.zst"]
)
def test_names_of_archives(name: str) -> None:
    assert file_format(name) == "warc"
    assert file_format("a.warc.wat.gz") is None


@pytest.mark.parametrize("how", PACKED)
def test_pages_become_documents_and_the_rest_is_said(tmp_path: Path, how: str) -> None:
    suffix, pack = PACKED[how]
    records = [
        record("warcinfo", "http://a.example/", b"software: none\r\n"),
        record("request", "http://a.example/1", b"GET / HTTP/1.1\r\n\r\n"),
        response("http://a.example/1"),
        record("metadata", "http://a.example/1", b"x: y"),
        record("response", "http://a.example/2", http(b"\x89PNG", "image/png")),
        record("response", "http://a.example/3", http(b"", status="301 Moved")),
        record("revisit", "http://a.example/4", b""),
        conversion("http://a.example/5"),
        record("conversion", "http://a.example/6", b"{}", "Content-Type: application/json"),
        record("response", "http://a.example/7", http(page(SENTENCE), kind="")),
        record("response", "http://a.example/8", http(page(SENTENCE), ""), "WARC-Identified-Payload-Type: text/html"),
    ]
    rows = rows_of(put(tmp_path, pack(records), suffix), 3)
    assert [row.skipped for row in rows] == [
        *("warcinfo", "request", "", "metadata", "image/png", "status 301", "revisit", ""),
        *("application/json", "no content type", ""),
    ]
    assert [row.place for row in rows] == [f"record {n}" for n in range(1, 12)]
    assert rows[2].columns == {
        "id": "urn:uuid:http://a.example/1",
        "url": "http://a.example/1",
        "date": "2024-05-01T10:00:00Z",
        "language": "en",
        "text": TEXT,
    }
    assert texts([rows[7], rows[10]]) == [SENTENCE * 2, SENTENCE.strip()]


CODINGS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
    "zstd": zstandard.compress,
    "identity": bytes,
}


@pytest.mark.parametrize("coding", CODINGS)
def test_bodies_are_decompressed(tmp_path: Path, coding: str) -> None:
    body = CODINGS[coding](page(SENTENCE * 2))
    assert texts([one(tmp_path, http(body, "text/html", "200 OK", f"Content-Encoding: {coding}"))]) == [TEXT]


def test_bodies_in_chunks_are_put_together(tmp_path: Path) -> None:
    body = page(SENTENCE * 2)
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(body[n : n + 99]), body[n : n + 99]) for n in range(0, len(body), 99))
    head = ("text/html", "200 OK", "Transfer-Encoding: chunked")
    assert texts([one(tmp_path, http(chunks + b"0\r\n\r\n", *head))]) == [TEXT]
    assert one(tmp_path, http(chunks[:150], *head)).reason == "damaged"


@pytest.mark.parametrize("field", ["Content-Encoding: gzip", "Transfer-Encoding: chunked", "Content-Encoding: odd"])
def test_a_page_that_was_stored_decoded_is_taken_as_it_is(tmp_path: Path, field: str) -> None:
    assert texts([one(tmp_path, http(page(SENTENCE * 2), "text/html", "200 OK", field))]) == [TEXT]
    assert one(tmp_path, http(b"\x00\x01\x02" * 99, "text/html", "200 OK", field)).reason == "damaged"


@pytest.mark.parametrize(
    ("block", "reason", "detail"),
    [
        (b"no HTTP at all", "damaged", "no HTTP response (http://a.example/)"),
        (b"", "damaged", "no HTTP response"),
        (http(b"<html><body></body></html>"), "empty", "no main text"),
        (http(b""), "empty", "no main text"),
        (http(b"<p>" + bytes(range(256)) * 4), "bad_encoding", "control characters"),
        (http(b"<div>" * 3_000 + b"x"), "damaged", "nested more than 500 deep"),
    ],
)
def test_a_page_of_no_use_says_why(tmp_path: Path, block: bytes, reason: str, detail: str) -> None:
    row = one(tmp_path, block)
    assert row.reason == reason
    assert detail in row.detail


def test_records_and_pages_beyond_the_limit_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "LARGEST", 50_000)
    large = one(tmp_path, http(b"<p>" + b"x" * 60_000))
    assert large.reason == "too_long"
    assert "60,0" in large.detail
    bomb = gzip.compress(b"<p>" + b"x" * 9_000_000)
    row = one(tmp_path, http(bomb, "text/html", "200 OK", "Content-Encoding: gzip"))
    assert (row.reason, row.detail) == ("too_long", "a page of more than 50,000 bytes")


def test_text_that_is_no_utf_8(tmp_path: Path) -> None:
    (few,) = rows_of(put(tmp_path, gz([record("conversion", "a", ("語" * 200).encode() + b"\xff")])))
    assert (few.reason, few.replaced) == (None, 1)
    assert one(tmp_path, bytes(range(256)) * 4, "conversion").reason == "bad_encoding"


# --- damage ---

RECORDS = [response(f"http://a.example/{n}", f"Page {n}. {SENTENCE}") for n in range(6)]


def numbers(rows: list[RawRow]) -> list[int | str | None]:
    """The number of each page, or the reason why it is none."""
    return [int(row.columns["text"].split(".")[0].removeprefix("Page ")) if row.columns else row.reason for row in rows]


def start_of(number: int) -> int:
    return len(gz(RECORDS[:number]))


def broken(at: int, data: bytes = b"\x00" * 12) -> bytes:
    whole = gz(RECORDS)
    return whole[:at] + data + whole[at + len(data) :]


@pytest.mark.parametrize(
    "data",
    [
        broken(start_of(2)),  # its magic
        broken(start_of(2) + 60),  # its middle
        broken(start_of(3) - 8, b"\xa5" * 4),  # its checksum
        gz(RECORDS[:2]) + gzip.compress(b"nothing like a record\r\n" * 5) + gz(RECORDS[3:]),
        gz(RECORDS[:2]) + b"\x1f\x8b\x08 and then junk" * 20 + gz(RECORDS[3:]),
    ],
)
def test_a_damaged_member_costs_its_record_only(tmp_path: Path, data: bytes) -> None:
    assert numbers(rows_of(put(tmp_path, data), 2)) == [0, 1, "damaged", 3, 4, 5]


@pytest.mark.parametrize("how", ["plain", "gz", "zst"])
@pytest.mark.parametrize("length", [40, 500, 100_000])
def test_a_wrong_length_costs_its_record_only(tmp_path: Path, how: str, length: int) -> None:
    suffix, pack = PACKED[how]
    records = [*RECORDS[:2], response("http://a.example/2", length=length), *RECORDS[3:]]
    rows = rows_of(put(tmp_path, pack(records), suffix), 2)
    assert numbers(rows) == [0, 1, "damaged", 3, 4, 5]
    assert "http://a.example/2" in rows[2].detail


@pytest.mark.parametrize("how", ["gz", "whole", "plain"])
@pytest.mark.parametrize("lost", [30, 5, 150])
def test_an_archive_that_was_cut_off_keeps_what_is_whole(tmp_path: Path, how: str, lost: int) -> None:
    suffix, pack = PACKED[how]
    rows = numbers(rows_of(put(tmp_path, pack(RECORDS)[:-lost], suffix)))
    if (how, lost) != ("whole", 150):  # that is most of such a small file
        assert rows[:4] == [0, 1, 2, 3]
    # A plain archive may lose the empty lines at its end; in a compressed one nothing is lost without a word.
    assert "damaged" in rows or (how, lost) == ("plain", 5)


def test_junk_in_a_plain_archive_is_skipped_with_a_word(tmp_path: Path) -> None:
    data = plain(RECORDS[:2]) + b"junk\r\n" * 9 + plain(RECORDS[2:])
    assert numbers(rows_of(put(tmp_path, data, ".warc"))) == [0, "damaged", 2, 3, 4, 5]
    assert numbers(rows_of(put(tmp_path, b"junk\r\n" * 9 + plain(RECORDS), ".warc")))[1:] == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    "data", [b"hello\n" * 50, gzip.compress(b"hello\n" * 50), b"\x00" * 500], ids=["text", "gzip", "nothing"]
)
@pytest.mark.parametrize("suffix", [".warc", ".warc.gz", ".warc.zst"])
def test_what_is_no_archive_is_refused_by_name(tmp_path: Path, data: bytes, suffix: str) -> None:
    with pytest.raises(SourceError, match="no record of a web archive"):
        survey(put(tmp_path, data, suffix), 10)


def test_an_archive_with_a_dictionary_is_refused_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="zstd -d"):
        survey(put(tmp_path, b"\x5d\x2a\x4d\x18\x00\x00", ".warc.zst"), 10)


@pytest.mark.parametrize("suffix", [".warc", ".warc.gz", ".wet.zst"])
def test_an_empty_archive_is_one_empty_slice(tmp_path: Path, suffix: str) -> None:
    assert survey(put(tmp_path, b"", suffix), 10).slices == [Slice(0, 0, 0)]


# --- slices ---

PIECES = st.lists(
    st.sampled_from(
        [
            RECORDS[0],
            response("http://a.example/x", length=30),
            response("http://a.example/y", length=9_000),
            record("request", "http://a.example/z", b"GET / HTTP/1.1\r\n\r\n"),
            conversion("http://a.example/c"),
            b"junk\r\n\r\n",
        ]
    ),
    max_size=8,
)


@pytest.mark.parametrize("how", PACKED)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pieces=PIECES, cut=st.integers(0, 60), rows_per_slice=st.integers(1, 5))
def test_slices_put_together_are_the_archive_whatever_is_in_it(
    tmp_path: Path, how: str, pieces: list[bytes], cut: int, rows_per_slice: int
) -> None:
    suffix, pack = PACKED[how]
    data = pack([RECORDS[1], RECORDS[2], *pieces])
    path = put(tmp_path, data[: len(data) - cut] if cut < 50 else data, suffix)
    whole, parts = survey(path, 1_000), survey(path, rows_per_slice)
    assert sum(part.rows for part in parts.slices) == sum(part.rows for part in whole.slices)
    rows = [row for part in parts.slices for row in read_rows(path, "warc", part)]
    assert rows == [row for part in whole.slices for row in read_rows(path, "warc", part)]


def test_a_slice_begins_at_its_first_record(tmp_path: Path) -> None:
    found = survey(put(tmp_path, gz(RECORDS)), 2)
    assert [part.first_byte for part in found.slices] == [0, start_of(2), start_of(4)]
    assert [part.first_byte for part in survey(put(tmp_path, gz_whole(RECORDS)), 2).slices] == [0, 0, 0]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, 2_000), junk=st.binary(min_size=1, max_size=30))
def test_overwritten_bytes_never_end_in_a_traceback(tmp_path: Path, at: int, junk: bytes) -> None:
    for suffix, pack in (PACKED["gz"], PACKED["plain"], PACKED["zst"]):
        data = pack(RECORDS)
        path = put(tmp_path, data[:at] + junk + data[at + len(junk) :], suffix)
        assert len(rows_of(path)) >= 4
