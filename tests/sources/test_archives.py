"""Web archives: every kind of record, damage, and slices."""

import gzip
import subprocess
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
from warcs import SENTENCE, conversion, gz, gz_whole, http, page, plain, record, response, zst

from personahub_assets.core.errors import SourceError
from personahub_assets.sources import archives
from personahub_assets.sources.extraction import Extractor
from personahub_assets.sources.pages import TooMuchMarkup
from personahub_assets.sources.reader import Slice, file_format, read_rows, survey
from personahub_assets.sources.rows import RawRow
from personahub_assets.sources.tombstones import normal_url

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
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
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


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, 2_000), junk=st.binary(min_size=1, max_size=30))
def test_overwritten_bytes_never_end_in_a_traceback(tmp_path: Path, at: int, junk: bytes) -> None:
    for suffix, pack in (PACKED["gz"], PACKED["plain"], PACKED["zst"]):
        data = pack(RECORDS)
        path = put(tmp_path, data[:at] + junk + data[at + len(junk) :], suffix)
        assert len(rows_of(path)) >= 4


# --- what crawlers write in other ways ---

PAGE = page(SENTENCE * 2)
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n"
HEADERS = {
    "bare line feeds": HEAD.replace(b"\r\n", b"\n") + b"\n",
    "mixed line ends": b"HTTP/1.1 200 OK\r\nContent-Type: text/html\nX: y\r\n\n",
    "folded": b"HTTP/1.1 200 OK\r\nContent-Type:\r\n  text/html;\r\n\tcharset=utf-8\r\n\r\n",
    "no status line": b"Content-Type: text/html\r\nX: y\r\n\r\n",
    "no header": b"",
    "HTTP/2": b"HTTP/2 200\r\ncontent-type: text/html\r\n\r\n",
    "HTTP/2.0": b"HTTP/2.0 200 \r\nCONTENT-TYPE: TEXT/HTML\r\n\r\n",
    "two spaces": b"http/1.0  200  OK\r\nContent-Type : text/html\r\n\r\n",
    "continue": b"HTTP/1.1 100 Continue\r\n\r\n" + HEAD + b"\r\n",
    "hints": b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + HEAD + b"\r\n",
    "tunnel": b"HTTP/1.0 200 Connection established\r\n\r\n" + HEAD + b"\r\n",
    "blank lines": b"\r\n\r\n" + HEAD + b"\r\n",
    "junk line": b"HTTP/1.1 200 OK\r\nnothing of use\r\nContent-Type: text/html\r\n\r\n",
    "two types": b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Type: text/html\r\n\r\n",
}


@pytest.mark.parametrize("how", HEADERS)
def test_http_headers_are_read_as_servers_send_them(tmp_path: Path, how: str) -> None:
    assert texts([one(tmp_path, HEADERS[how] + PAGE)]) == [TEXT]


def deflated(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


def chunked(data: bytes) -> bytes:
    return b"%x;x=y\r\n%s\r\n0\r\n\r\n" % (len(data), data)


BODIES = {
    "x-gzip": (gzip.compress(PAGE), "Content-Encoding: x-gzip"),
    "raw deflate": (deflated(PAGE), "Content-Encoding: deflate"),
    "gzip members": (gzip.compress(PAGE[:99]) + gzip.compress(PAGE[99:]), "Content-Encoding: gzip"),
    "gzip without a word": (gzip.compress(PAGE), "X: y"),
    "zstd without a word": (zstandard.compress(PAGE), "Content-Encoding: identity"),
    "chunks without a word": (chunked(PAGE), "X: y"),
    "gzip called br": (gzip.compress(PAGE), "Content-Encoding: br"),
    "br in gzip": (gzip.compress(brotli.compress(PAGE)), "Content-Encoding: br, gzip"),
    "gzip in br": (brotli.compress(gzip.compress(PAGE)), "Content-Encoding: gzip\r\nContent-Encoding: br"),
    "gzip in chunks": (chunked(gzip.compress(PAGE)), "Content-Encoding: GZIP\r\nTransfer-Encoding: Chunked"),
    "gzip as transfer": (chunked(gzip.compress(PAGE)), "Transfer-Encoding: gzip, chunked"),
    "gzip that is zlib": (zlib.compress(PAGE), "Content-Encoding: gzip"),
    "stale gzip": (PAGE, "Content-Encoding: gzip\r\nContent-Length: 9"),
    "stale deflate": (PAGE, "Content-Encoding: deflate\r\nContent-Length: 999999"),
    "stale br": (PAGE, "Content-Encoding: br"),
    "stale zstd in chunks": (chunked(PAGE), "Content-Encoding: zstd\r\nTransfer-Encoding: chunked"),
    "stale UTF-16": (PAGE.decode().encode("utf-16"), "Content-Encoding: gzip"),
    "length too small": (PAGE, "Content-Length: 7"),
    "no encoding": (PAGE, "Content-Encoding: utf-8"),
}


@pytest.mark.parametrize("how", BODIES)
def test_a_body_is_what_it_is_whatever_its_header_says(tmp_path: Path, how: str) -> None:
    body, fields = BODIES[how]
    row = one(tmp_path, http(body, "text/html", "200 OK", fields))
    assert row.columns is not None, row
    assert (row.columns["text"], "truncated" in row.columns) == (TEXT, False)


LONG = page(SENTENCE * 40)


@pytest.mark.parametrize(
    ("body", "fields", "said"),
    [
        (gzip.compress(LONG)[:-20], "Content-Encoding: gzip", "incomplete"),
        (zlib.compress(LONG)[:-20], "Content-Encoding: deflate", "incomplete"),
        (chunked(LONG)[:-200], "Transfer-Encoding: chunked", "incomplete"),
        (LONG[:-200], f"Content-Length: {len(LONG)}", "incomplete"),
        (LONG[:-200], "Content-Length: 9\r\nX: y", None),
    ],
)
def test_a_body_that_is_cut_off_is_read_and_said(tmp_path: Path, body: bytes, fields: str, said: str | None) -> None:
    row = one(tmp_path, http(body, "text/html", "200 OK", fields))
    assert row.columns is not None, row
    assert row.columns["text"].startswith("The harbour crane")
    assert row.columns.get("truncated") == said
    row = one(tmp_path, http(body, "text/html", "200 OK", fields), "response", "WARC-Truncated: Length")
    assert row.columns is not None
    assert row.columns["truncated"] == "length"


def test_angle_brackets_around_an_address_are_none_of_it(tmp_path: Path) -> None:
    (row,) = rows_of(
        put(
            tmp_path, gz([response("http://a.example/x").replace(b"I: http://a.example/x", b"I: <http://a.example/x>")])
        )
    )
    assert row.columns is not None
    assert row.columns["url"] == "http://a.example/x"
    # Documents that were stored with them are taken down by the same prefix.
    assert normal_url("<http://A.example/x>") == normal_url("http://a.example/x")


def test_records_of_other_kinds_are_skipped_and_none_of_them_is_damaged(tmp_path: Path) -> None:
    records = [
        record("response", "dns:a.example", b"20240501\na.example. 300 IN A 192.0.2.1\n", "Content-Type: text/dns"),
        record("response", "ftp://a.example/x", b"\x00\x01", "Content-Type: application/octet-stream"),
        record("response", "ftp://a.example/x", b"\x00\x01"),
        record("continuation", "http://a.example/", b"more", "WARC-Segment-Number: 2"),
        record("screenshot", "http://a.example/", b"\x89PNG"),
        record("resource", "urn:text:http://a.example/", b"text", "Content-Type: text/plain"),
        record("resource", "file:///a.png", b"\x89PNG", "Content-Type: image/png"),
        record("conversion", "http://a.example/", b"%PDF", "Content-Type: application/pdf"),
        record("resource", "http://a.example/", PAGE, "Content-Type: text/html; charset=utf-8"),
        record(
            "response", "http://a.example/", HEAD + b"\r\n" + PAGE, "Content-Type: Application/HTTP;msgtype=response"
        ),
        record("response", "http://a.example/", PAGE, "Content-Type: text/html"),
    ]
    rows = rows_of(put(tmp_path, gz(records)))
    assert [row.skipped for row in rows] == [
        *("text/dns", "application/octet-stream", "no content type", "continuation", "unknown"),
        *("text/plain", "image/png", "application/pdf", "", "", ""),
    ]
    assert texts(rows[8:]) == [TEXT] * 3


def lines_as(record: bytes, end: bytes) -> bytes:
    head, body = record.split(b"\r\n\r\n", 1)
    return head.replace(b"\r\n", end) + end * 2 + body


STYLES: dict[str, Callable[[bytes], bytes]] = {
    "WARC/0.17": lambda record: record.replace(b"WARC/1.0", b"WARC/0.17", 1),
    "WARC/0.18": lambda record: lines_as(record.replace(b"WARC/1.0", b"WARC/0.18", 1), b"\n"),
    "WARC/1.1": lambda record: record.replace(b"WARC/1.0", b"WARC/1.1", 1),
    "bare line feeds": lambda record: lines_as(record, b"\n")[:-4] + b"\n\n",
    "lower case": lambda record: record.replace(b"WARC-Type", b"warc-type").replace(b"Content-L", b"content-l"),
    "upper case": lambda record: record.replace(b"WARC-Type: response", b"WARC-TYPE: RESPONSE"),
    "folded": lambda record: record.replace(b"WARC-Date: ", b"WARC-Date:\r\n   "),
    "one empty line": lambda record: record[:-2],
    "no empty line": lambda record: record[:-4],
    "more empty lines": lambda record: record + b"\r\n\r\n",
}


@pytest.mark.parametrize("how", ["plain", "gz", "whole", "zst"])
@pytest.mark.parametrize("style", STYLES)
def test_records_are_read_as_crawlers_write_them(tmp_path: Path, how: str, style: str) -> None:
    suffix, pack = PACKED[how]
    rows = rows_of(put(tmp_path, pack(map(STYLES[style], RECORDS)), suffix))
    assert numbers(rows) == [0, 1, 2, 3, 4, 5]
    assert {row.columns["date"] for row in rows if row.columns} == {"2024-05-01T10:00:00Z"}


@pytest.mark.parametrize("length", [b"x", b"-5", b"9" * 40, b"", b"1e3"])
def test_a_length_that_is_none_costs_its_record_only(tmp_path: Path, length: bytes) -> None:
    bad = RECORDS[2].replace(b"Content-Length: ", b"Content-Length: " + length + b"\r\nX: ")
    for how in ("plain", "gz"):
        suffix, pack = PACKED[how]
        rows = rows_of(put(tmp_path, pack([*RECORDS[:2], bad, *RECORDS[3:]]), suffix))
        assert numbers(rows) == [0, 1, "damaged", 3, 4, 5]


def test_what_may_stand_between_members_is_passed_over(tmp_path: Path) -> None:
    frame = b"\x50\x2a\x4d\x18\x04\0\0\0abcd"
    data = frame + zst(RECORDS[:2]) + frame + frame + zst(RECORDS[2:]) + frame
    assert numbers(rows_of(put(tmp_path, data, ".warc.zst"))) == [0, 1, 2, 3, 4, 5]
    empty = gzip.compress(b"")
    assert numbers(rows_of(put(tmp_path, empty + gz(RECORDS[:2]) + empty + gz(RECORDS[2:]) + b"\0" * 40_000))) == [
        *range(6)
    ]
    assert "damaged" in numbers(rows_of(put(tmp_path, gz(RECORDS[:2]) + b"\0" * 40_000 + gz(RECORDS[2:]))))


@pytest.mark.parametrize(("name", "match"), [("a.arc.gz", "warcio recompress"), ("a.warc.wat.gz", "ingest the .warc")])
def test_archives_of_other_formats_are_refused_with_the_remedy(tmp_path: Path, name: str, match: str) -> None:
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(SourceError, match=match):
        survey(tmp_path / name, 10)


def test_an_image_beyond_the_limit_is_an_image_still(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "LARGEST", 50_000)
    assert one(tmp_path, http(b"\x89PNG" * 20_000, "video/mp4")).skipped == "video/mp4"


def test_utf_8_under_another_label_is_said(tmp_path: Path) -> None:
    row = one(tmp_path, http(page("Zwölf Kräne – für den Hafen. " * 9), "text/html; charset=iso-8859-1"))
    assert row.columns is not None
    assert row.columns["text"].startswith("Zwölf Kräne – für")
    assert (row.columns["encoding"], row.columns["declared_encoding"]) == ("utf-8", "windows-1252")


# --- bounds ---

BOMBS = r"""
import gzip, re, sys, zlib, brotli, zstandard
from pathlib import Path
from personahub_assets.sources import archives
sys.path.insert(0, sys.argv[1])
from warcs import gz, http, record, zst

SIZE, BLANK = 128 << 20, b" " * (1 << 20)

def packed(packer, pack, end, start=b""):
    return b"".join([pack(start), *(pack(BLANK) for _ in range(SIZE >> 20)), end()])

def gzipped(start=b"", wbits=31):
    packer = zlib.compressobj(1, wbits=wbits)
    return packed(packer, packer.compress, packer.flush, start)

def framed(start=b""):
    packer = zstandard.ZstdCompressor().compressobj()
    return packed(packer, packer.compress, packer.flush, start)

def squeezed():
    packer = brotli.Compressor(quality=0)
    return packed(packer, packer.process, packer.finish)

def answer(body, coding):
    block = http(body, "text/html", "200 OK", f"Content-Encoding: {coding}")
    return gz([record("response", "http://a.example/", block)])

PAGE = http(b"<p>")
LONG = record("response", "http://a.example/", PAGE, length=len(PAGE) + SIZE)[:-4]
FILES = [
    (".gz", answer(gzipped(), "gzip")),
    (".gz", answer(gzip.compress(gzipped()), "gzip, gzip")),
    (".gz", answer(gzipped(wbits=15), "deflate")),
    (".gz", answer(framed(), "zstd")),
    (".gz", answer(squeezed(), "br")),
    (".gz", gzipped(LONG)),
    (".zst", framed(LONG)),
    (".gz", gzipped(b"WARC/1.0\r\nX: ")),
    (".zst", framed(b"no record")),
    (".zst", zst([b"WARC/1.0\r\n" + b"X: y\r\n" * 6_000_000])),
]
for suffix, data in FILES:
    path = Path(sys.argv[2]) / ("bomb.warc" + suffix)
    path.write_bytes(data)
    rows = [archives.record_row(1, one) for one in archives.records(path)]
    print(*(row.reason for row in rows))
print(int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) >> 10)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for the memory of a process")
def test_no_record_takes_more_memory_than_the_limit_allows(tmp_path: Path) -> None:
    command = [sys.executable, "-c", BOMBS, str(Path(__file__).parents[1] / "helpers"), str(tmp_path)]
    *reasons, peak = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert reasons == ["too_long"] * 7 + ["damaged"] * 3
    assert int(peak) < 200, "MiB; whole, each of these takes 128 MiB and more beside what the interpreter has"


def test_a_page_that_explodes_in_the_parser_costs_itself_only() -> None:
    extractor = Extractor(cpu_seconds=1, memory=256 << 20)
    with pytest.raises(TooMuchMarkup, match="more than 1 s of CPU time or 256 MiB"):
        extractor.extract("<p " + " ".join(f"a{n}=b" for n in range(50_000)) + ">x")
    assert extractor.extract(f"<main><p>{SENTENCE}</p></main>") == SENTENCE.strip()
    with pytest.raises(TooMuchMarkup, match="250,000 tags"):
        extractor.extract("<b>x</b>" * 200_000)
    extractor.close()
