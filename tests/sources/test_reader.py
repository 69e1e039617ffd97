"""Source files of every format: read whole, read in slices, damaged, and from another machine."""

import csv
import gzip
import http.server
import io
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from personahub_assets.core.errors import SourceError
from personahub_assets.sources import reader
from personahub_assets.sources.reader import Slice, fetch, file_format, read_rows, survey
from personahub_assets.sources.rows import RawRow

Encode = Callable[[list[str]], bytes]


def jsonl(texts: list[str]) -> bytes:
    return "".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts).encode()


def as_csv(texts: list[str]) -> bytes:
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer)
    writer.writerows([["id", "text"], *([str(n), text] for n, text in enumerate(texts))])
    return buffer.getvalue().encode()


def parquet(texts: list[str]) -> bytes:
    buffer = io.BytesIO()
    pl.DataFrame({"text": texts}, schema={"text": pl.String}).write_parquet(buffer, row_group_size=3)
    return buffer.getvalue()


def zst(data: bytes) -> bytes:
    """Two frames, as parallel compressors write them."""
    half = len(data) // 2
    return zstandard.compress(data[:half]) + zstandard.compress(data[half:])


ENCODINGS: dict[str, Encode] = {
    ".jsonl": jsonl,
    ".ndjson": jsonl,
    ".jsonl.gz": lambda texts: gzip.compress(jsonl(texts)),
    ".jsonl.zst": lambda texts: zst(jsonl(texts)),
    ".csv": as_csv,
    ".CSV.GZ": lambda texts: gzip.compress(as_csv(texts)),
    ".csv.zst": lambda texts: zst(as_csv(texts)),
    ".parquet": parquet,
}
of_each_format = pytest.mark.parametrize("suffix", ENCODINGS)
# One Unicode line separator, which is no end of a line here, and what CSV has to quote.
TEXTS = st.lists(
    st.text(st.sampled_from('ab ü语,"\n\r\u2028🙂'), min_size=1, max_size=9).map(lambda t: f"x{t}x"), max_size=12
)


def put(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def rows_of(path: Path, rows_per_slice: int = 1_000) -> list[RawRow]:
    found = survey(path, rows_per_slice)
    return [row for part in found.slices for row in read_rows(path, found.format, part)]


def texts_of(rows: list[RawRow]) -> list[Any]:
    return [row.columns and row.columns["text"] for row in rows]


@of_each_format
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=TEXTS, rows_per_slice=st.integers(1, 14))
def test_slices_put_together_are_the_file(tmp_path: Path, suffix: str, texts: list[str], rows_per_slice: int) -> None:
    path = put(tmp_path, f"a{suffix}", ENCODINGS[suffix](texts))
    found = survey(path, rows_per_slice)
    parts = [list(read_rows(path, found.format, part)) for part in found.slices]
    assert texts_of([row for part in parts for row in part]) == texts
    assert [len(part) for part in parts] == [part.rows for part in found.slices]
    assert [part.rows for part in found.slices[:-1]] == [rows_per_slice] * (len(parts) - 1)
    places = [row.place for part in parts for row in part]
    assert [int(place.split()[1]) for place in places] == list(range(1, len(texts) + 1))


@of_each_format
def test_an_empty_file_is_one_empty_slice(tmp_path: Path, suffix: str) -> None:
    path = put(tmp_path, f"a{suffix}", ENCODINGS[suffix]([]))
    assert survey(path, 10).slices == [Slice(0, 0, 0)]
    assert rows_of(path) == []


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv"])
def test_a_file_of_no_bytes_is_empty(tmp_path: Path, name: str) -> None:
    assert rows_of(put(tmp_path, name, b"")) == []


def test_the_survey_tells_format_size_and_hash(tmp_path: Path) -> None:
    path = put(tmp_path, "a.jsonl", b"{}\n")
    found = survey(path, 10)
    assert (found.format, found.bytes) == ("jsonl", 3)
    assert found.sha256 == "ca3d163bab055381827226140568f3bef7eaac187cebd76878e0b63e9e442356"


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("last", ["", "\n"])
@pytest.mark.parametrize("bom", ["", "\ufeff"])
def test_line_ends_and_marks_of_jsonl(tmp_path: Path, end: str, last: str, bom: str) -> None:
    path = put(tmp_path, "a.jsonl", (bom + end.join(['{"text": "a"}', '{"text": "b"}']) + last).encode())
    assert texts_of(rows_of(path, 1)) == ["a", "b"]


def test_faulty_lines_of_jsonl_keep_their_place_and_their_text(tmp_path: Path) -> None:
    lines = [
        b'{"text": "good"}',
        b"",
        b"   ",
        b'{"text": "cut',
        b'["a", "list"]',
        b"null",
        b'{"text": "\xff\xfe"}',
        b'{"text": ' + b"[" * 100_000,
        b'{"text": "long number", "n": ' + b"1" * 5_000 + b"}",
        b'{"text": "good too"}',
    ]
    rows = rows_of(put(tmp_path, "a.jsonl", b"\n".join(lines)), 3)
    assert [(row.place, row.reason) for row in rows] == [
        ("line 1", None),
        ("line 2", "empty"),
        ("line 3", "empty"),
        ("line 4", "malformed"),
        ("line 5", "malformed"),
        ("line 6", "malformed"),
        ("line 7", "bad_encoding"),
        ("line 8", "malformed"),
        ("line 9", "malformed"),
        ("line 10", None),
    ]
    assert rows[3].raw == '{"text": "cut'
    assert "got list" in rows[4].detail
    assert "\\xff" in rows[6].raw


def test_csv_with_quotes_newlines_marks_and_faults(tmp_path: Path) -> None:
    data = (
        '\ufeffid,text\r\n1,"two\nlines, and ""quotes"""\r\n\r\n2\r\n3,a,b\r\n4,'.encode()
        + b"\xff\xfe"
        + ',\r\n5,"\xff ü"\r\n,\r\n6,end'.encode().replace(b",\r\n5", b"\r\n5", 1)
    )
    rows = rows_of(put(tmp_path, "a.csv", data), 2)
    assert rows[0].columns == {"id": "1", "text": 'two\nlines, and "quotes"'}
    assert [row.reason for row in rows] == [
        None,
        "empty",
        "malformed",
        "malformed",
        "bad_encoding",
        None,
        "empty",
        None,
    ]
    assert rows[2].detail == "line 5: 1 fields where the header has 2"
    assert rows[5].columns == {"id": "5", "text": "\xff ü"}
    assert rows[7].columns == {"id": "6", "text": "end"}


def test_a_field_of_csv_may_be_large(tmp_path: Path) -> None:
    text = "word " * 100_000
    assert texts_of(rows_of(put(tmp_path, "a.csv", as_csv([text])))) == [text]


def test_parquet_gives_its_columns_with_their_types(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pl.DataFrame({"text": ["a", None], "id": [1, 2], "tags": [["x"], []]}).write_parquet(path)
    assert [row.columns for row in rows_of(path)] == [
        {"text": "a", "id": 1, "tags": ["x"]},
        {"text": None, "id": 2, "tags": []},
    ]


@pytest.mark.parametrize("suffix", [".jsonl.gz", ".jsonl.zst", ".CSV.GZ", ".csv.zst", ".parquet"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.99])
def test_a_file_that_was_cut_off_is_refused_by_name(tmp_path: Path, suffix: str, share: float) -> None:
    data = ENCODINGS[suffix]([f"row {n} {n * 7919 % 1013}" for n in range(3_000)])
    path = put(tmp_path, f"cut{suffix}", data[: int(len(data) * share)])
    with pytest.raises(SourceError, match="damaged, or of another format than its name") as caught:
        survey(path, 100)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("suffix", [".jsonl.gz", ".jsonl.zst", ".CSV.GZ", ".csv.zst", ".parquet"])
def test_bytes_that_were_overwritten_never_end_in_a_traceback(tmp_path: Path, suffix: str) -> None:
    data = ENCODINGS[suffix]([f"row {n} {n * 7919 % 1013}" for n in range(2_000)])
    refused = passed = tried = 0
    for at in range(0, len(data) - 8, max(1, len(data) // 40)):
        path = put(tmp_path, f"bad{suffix}", data[:at] + b"\xa5\x00\xff\x13" * 2 + data[at + 8 :])
        tried += 1
        try:
            rows_of(path)
        except SourceError as error:
            refused += str(path) in str(error)
            continue
        passed += 1
    assert refused > 5
    assert refused + passed == tried


@pytest.mark.parametrize("suffix", [".jsonl.gz", ".jsonl.zst", ".parquet"])
def test_a_file_that_is_not_what_its_name_says(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(SourceError, match="of another format than its name"):
        survey(put(tmp_path, f"a{suffix}", jsonl(["plain text"])), 10)


@pytest.mark.parametrize(
    "name", ["a.txt", "a", "jsonl", "a.xlsx", "a.parquet.gz", "a.gz", "a.warc.xz", "a.jsonl.part", ".gz"]
)
def test_an_unknown_format_is_refused_with_the_valid_ones(tmp_path: Path, name: str) -> None:
    assert file_format(name) is None
    with pytest.raises(SourceError, match=r"unknown format.*\.parquet"):
        survey(put(tmp_path, name, b"x"), 10)


@pytest.mark.parametrize("name", ["nowhere.jsonl", ""])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(SourceError, match="there is no such file"):
        survey(tmp_path / name, 10)
    with pytest.raises(SourceError, match="the source file is missing"):
        list(read_rows(tmp_path / name, "jsonl", Slice(0, 0, 1)))


def test_a_file_name_is_no_pattern(tmp_path: Path) -> None:
    put(tmp_path, "a1.parquet", parquet(["other"]))
    path = put(tmp_path, "a[1].parquet", parquet(["mine"]))
    assert texts_of(rows_of(path)) == ["mine"]


# --- from another machine ---


class _Files(http.server.BaseHTTPRequestHandler):
    """Serves a file for each path; a path with a number below /status/ gives that status."""

    def do_GET(self) -> None:
        status = int(self.path.split("/")[2]) if self.path.startswith("/status/") else 200
        body = jsonl([self.path])
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_HEAD = do_GET  # noqa: N815 - the name that http.server looks for

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Files)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_remote_file_is_downloaded_whole(tmp_path: Path, site: str) -> None:
    assert reader.is_remote(site)
    assert not reader.is_remote("/a/b.jsonl")
    path = fetch(f"{site}/data/pages.jsonl", tmp_path)
    assert path.name == "pages.jsonl"
    assert path.is_relative_to(tmp_path)
    assert texts_of(rows_of(path)) == ["/data/pages.jsonl"]
    assert not list(tmp_path.rglob("*.part"))


def test_files_of_one_name_do_not_overwrite_each_other(tmp_path: Path, site: str) -> None:
    paths = [fetch(f"{site}/{folder}/train.jsonl", tmp_path) for folder in "ab"]
    assert [texts_of(rows_of(path)) for path in paths] == [["/a/train.jsonl"], ["/b/train.jsonl"]]


def test_a_query_is_no_part_of_the_name(tmp_path: Path, site: str) -> None:
    assert fetch(f"{site}/data/pages.jsonl?token=a/b.csv", tmp_path).name == "pages.jsonl"


@pytest.mark.parametrize("status", [403, 404, 500])
def test_a_failed_download_names_the_address_and_leaves_nothing(tmp_path: Path, site: str, status: int) -> None:
    with pytest.raises(SourceError, match=f"{site}/status/{status}/a.jsonl: cannot be fetched"):
        fetch(f"{site}/status/{status}/a.jsonl", tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_nobody_listening_and_unknown_protocols_are_said(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="Is there a network"):
        fetch("http://127.0.0.1:9/a.jsonl", tmp_path)
    with pytest.raises(SourceError, match="Protocol not known"):
        fetch("gopher://127.0.0.1/a.jsonl", tmp_path)
