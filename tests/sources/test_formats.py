"""Formats of source files: dialects of CSV, all forms of JSON, memory limits, slices read in one pass."""

import bz2
import csv
import gzip
import io
import json
import lzma
import struct
import tempfile
import tracemalloc
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest
from backports import zstd
from hypothesis import given, settings
from hypothesis import strategies as st

from personahub_assets.core.errors import SourceError
from personahub_assets.sources import reader, redact
from personahub_assets.sources.formats import FORMATS, Format, streams
from personahub_assets.sources.formats.slices import LARGEST, Slice
from personahub_assets.sources.register import describe_reading, register, source_rows
from personahub_assets.sources.rows import Columns, Document, Fault, RawRow, sort_rows
from personahub_assets.sources.source_paths import expand
from personahub_assets.store.tables import Store

DATA = Path(__file__).parents[1] / "data"
Called = Callable[..., tuple[int, str, str]]
COMPRESS = {
    "": bytes,
    ".gz": gzip.compress,
    ".zst": zstd.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
}


def put(folder: Path, name: str, data: bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_bytes(data)
    return path


def rows_of(path: Path, rows_per_slice: int = 1_000, limit: int = LARGEST) -> list[RawRow]:
    found = reader.survey(path, rows_per_slice, limit)
    parts = [list(reader.read_rows(path, found.format, part, limit)) for part in found.slices]
    assert [len(part) for part in parts] == [part.rows for part in found.slices]
    return [row for part in parts for row in part]


def column(rows: list[RawRow], name: str = "text") -> list[Any]:
    return [row.columns[name] if row.columns else row.reason for row in rows]


# --- what every format has ---

NAMES = [
    pytest.param(form, suffix + compression, id=suffix + compression)
    for form in FORMATS
    for suffix in form.suffixes
    for compression in ("", *(f".{each}" for each in form.compressions))
]
PARTS = [*Format.__annotations__, *sorted(Format.__abstractmethods__)]
NEEDED = [name for name in PARTS if name in Format.__abstractmethods__ or not hasattr(Format, name)]


@pytest.mark.parametrize(("form", "suffix"), NAMES)
def test_a_sample_of_every_format_is_read_and_loses_what_is_redacted(tmp_path: Path, form: Format, suffix: str) -> None:
    texts = [f'Text {n} of "a" Zürich sample, {"x" * 40}' for n in range(5)]
    path = tmp_path / f"a.{suffix}"
    form.write_sample(path, texts)
    found = reader.survey(path, 2)
    assert found.format == form.name
    assert [part.rows for part in found.slices] == [2, 2, 1]
    assert isinstance(form.describe(found.slices[0].options), str)

    def read() -> list[RawRow]:
        return [row for part in found.slices for row in reader.read_rows(path, form.name, part)]

    before = read()
    assert column(before) == texts
    assert all(isinstance(row, Document) for row in sort_rows(before, Columns()))

    redact.blank(path, form.name, {1, 4}, found.slices[0].file_reading)
    after = read()
    assert [n for n in range(5) if after[n] == before[n]] == [0, 2, 3]
    assert [isinstance(row, Document) for row in sort_rows(after, Columns())] == [True, False, True, True, False]
    with streams.opened(path) as file:
        left = file.read()
    assert b"Text 1" not in left
    assert b"Text 4" not in left


def planted(without: set[str]) -> None:
    """Define a format without some attributes or methods."""
    whole = {name: getattr(FORMATS[0], name, None) for name in PARTS}
    type("Planted", (Format,), {name: value for name, value in whole.items() if name not in without})


@pytest.mark.parametrize("name", NEEDED)
def test_a_format_without_one_part_is_refused_by_the_name_of_the_part(name: str) -> None:
    planted(set())
    with pytest.raises(TypeError, match=rf"the source format Planted lacks {name}; see .*formats\.format"):
        planted({name})


def test_a_format_without_several_parts_is_told_of_all_and_what_they_do() -> None:
    with pytest.raises(TypeError, match="lacks suffixes, survey, redact; see ") as caught:
        planted({"suffixes", "survey", "redact"})
    assert [line.split()[:3] for line in str(caught.value).splitlines()[1:]] == [
        ["survey:", "Read", "a"],
        ["redact:", "Rewrite", "a"],
    ]


def test_names_and_suffixes_are_of_one_format_each() -> None:
    suffixes = [suffix for form in FORMATS for suffix in (*form.suffixes, *form.unread)]
    assert len({form.name for form in FORMATS}) == len(FORMATS)
    assert len(set(suffixes)) == len(suffixes)
    assert [suffix for suffix in suffixes if suffix.strip(".").lower() != suffix] == []


def test_the_help_of_ingest_names_every_suffix(called: Called, home: Path) -> None:
    code, out, _ = called("ingest", "--help", home=home)
    assert code == 0
    said = " ".join(out.split())
    assert [form.name for form in FORMATS if ", ".join(f".{suffix}" for suffix in form.suffixes) not in said] == []


# --- CSV ---

FIELD = st.text(st.sampled_from("ab ü语'.-"), min_size=1, max_size=6)
QUOTED = st.text(st.sampled_from('ab ü,;|\t"\n'), max_size=6).map(lambda text: f"x{text}x")
DIALECTS = [(delimiter, quoting, end) for delimiter in ",;|\t" for quoting in (0, 1) for end in ("\n", "\r\n")]


@settings(max_examples=10, deadline=None)
@given(st.lists(st.tuples(FIELD, QUOTED, FIELD), min_size=3, max_size=8), st.sampled_from(DIALECTS), st.integers(1, 4))
def test_rows_agree_with_duckdb_on_sane_files(
    rows: list[tuple[str, str, str]], dialect: tuple[str, int, str], rows_per_slice: int
) -> None:
    delimiter, quoting, end = dialect
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, delimiter=delimiter, quoting=quoting, lineterminator=end)  # type: ignore[arg-type]
    writer.writerows([("id", "text", "rest"), *rows])
    with tempfile.TemporaryDirectory() as folder:
        path = put(Path(folder), "a.csv", buffer.getvalue().encode())
        found = [tuple(row.columns.values()) if row.columns else row for row in rows_of(path, rows_per_slice)]
        options = {"delim": delimiter, "quote": '"', "escape": '"', "header": True, "all_varchar": True}
        asked = ", ".join(f"{name} = ?" for name in options)
        theirs = duckdb.execute(f"FROM read_csv(?, {asked})", [str(path), *options.values()]).fetchall()
    assert found == rows
    assert len(found) == len(theirs)


DETECTED = {
    "semicolon": (b"id;text\n1;a, b\n2;c, d\n", "semicolon", ["a, b", "c, d"]),
    "tab": (b"id\ttext\n1\ta, b\n2\tc; d\n", "tab", ["a, b", "c; d"]),
    "pipe": (b"id|text\n1|a, b\n2|c; d\n", "delimiter |", ["a, b", "c; d"]),
    "blank lines first": (b"\n\r\nid,text\n1,a\n2,b\n", "2 lines above it", ["a", "b"]),
    "sep=": (b"sep=;\r\nid;text\r\n1;a, b\r\n2;c\r\n", "semicolon", ["a, b", "c"]),
    "backslash": (
        b'id,text\n1,"he said \\"hi\\", twice"\n2,"C:\\new \\\\ x"\n',
        "escape backslash",
        ['he said "hi", twice', "C:\\new \\ x"],
    ),
    "single quotes": (b"id,text\n1,'a, b'\n2,'it''s'\n", "quote '", ["a, b", "it's"]),
    "old Mac": (b"id,text\r1,a\r2,b\r", "comma", ["a", "b"]),
    "old Mac, a LF in a text": (b'id,text\r1,a\r2,"b\nc"\r3,d\r', "comma", ["a", "b\nc", "d"]),
    "mixed line ends": (b"id,text\r\n1,a\n2,b\r\n", "comma", ["a", "b"]),
    "spaces": (b'id, text\n1, "a, b"\n2, "c"\n', "comma", ["a, b", "c"]),
    "one column": (b"text\nHello, world\nno comma; none\nthis, that, those\n", "one column", None),
    "no header": (b"1,hello there\n2,world\n3,more\n", "no header", None),
    "cp1252": ("id;text\n1;Café – crème\n2;naïve\n".encode("cp1252"), "cp1252", ["Café – crème", "naïve"]),
    "cp1252, once": ("id,text\n1,Café\n".encode("cp1252"), "cp1252", ["Café"]),
    "shift_jis": (
        ("id,text\n" + "".join(f"{n},これは日本語の文章です。漢字とかな\n" for n in range(9))).encode("shift_jis"),
        "encoding cp932",
        ["これは日本語の文章です。漢字とかな"] * 9,
    ),
    "cp949": (
        ("id,text\n" + "".join(f"{n},서울의 간호사는 노래를 부릅니다\n" for n in range(9))).encode("cp949"),
        "encoding cp949",
        ["서울의 간호사는 노래를 부릅니다"] * 9,
    ),
    "cp1250": (
        ("id,text\n" + "".join(f"{n},Žluťoučký kůň sestřičky\n" for n in range(9))).encode("cp1250"),
        "encoding cp1250",
        ["Žluťoučký kůň sestřičky"] * 9,
    ),
    "padded with NUL": (b"id,text\n1,a\n2,b\n" + bytes(4_000), "encoding utf-8", ["a", "b", "malformed"]),
    "UTF-16": ("\ufeffid,text\n1,ü\n2,b\n".encode("utf-16-le"), "utf-16-le", ["ü", "b"]),
    "UTF-16 BE": ("\ufeffid\ttext\n1\tü\n2\tb\n".encode("utf-16-be"), "utf-16-be", ["ü", "b"]),
    "UTF-8 mark": ("\ufeffid,text\n1,ü\n2,b\n".encode(), "encoding utf-8", ["ü", "b"]),
    "delimiters at the end": (b"id,text\n1,a,,\n2,b\n", "comma", ["a", "b"]),
    "ragged": (b"id,text,z\n1,a,x\n2,few\n3,b,c,d\n4,e,f\n", "comma", ["a", "malformed", "malformed", "e"]),
}


@pytest.mark.parametrize("name", DETECTED)
def test_the_dialect_is_detected_and_said(store: Store, name: str) -> None:
    data, said, texts = DETECTED[name]
    path = put(store.root, "a.csv", data)
    (batch,) = register(store, str(path))
    assert said in describe_reading(store, batch)
    rows = rows_of(path, 1)
    if texts is None:
        assert all(row.columns for row in rows)
        assert len(rows) == 3
    else:
        assert column(rows) == texts


@pytest.mark.parametrize("stray", ['3,"stray', '3,"closed" badly', '3,"', '3,a,"b'])
def test_a_stray_quote_costs_its_line_and_no_other(tmp_path: Path, stray: str) -> None:
    lines = ["id,text", '1,"a, ""quoted"""', "2,b", stray, "4,d", '5,"e, f"', "6,g", '7,5" long']
    rows = rows_of(put(tmp_path, "a.csv", "\n".join(lines).encode()), 2)
    assert column(rows) == ['a, "quoted"', "b", "malformed", "d", "e, f", "g", '5" long']
    assert "line 4" in rows[2].detail
    assert stray in rows[2].raw


def test_the_line_of_a_reject_counts_lines_within_quotes(tmp_path: Path) -> None:
    rows = rows_of(put(tmp_path, "a.csv", b'id,text\n1,"two\nlines"\n2,b\n3\n4,"three\n\nlines"\n5,x,y\n'), 2)
    assert [row.detail.partition(":")[0] for row in rows if row.reason] == ["line 5", "line 9"]


@pytest.mark.parametrize("header", ["id,text,text", "id,Text,text", "id, text ,text", ",text,text"])
def test_columns_of_one_name_are_all_kept(store: Store, header: str) -> None:
    path = put(store.root, "a.csv", f"{header}\n1,first,second\n2,only,\n".encode())
    (batch,) = register(store, str(path))
    rows = [row for row in source_rows(store, batch) if isinstance(row, Document)]
    assert [row.text for row in rows] == ["second", "only"]
    assert "first" in str(rows[0].attributes)
    assert "the last that is not empty is used" in describe_reading(store, batch)
    if header.startswith(","):
        assert '"column0": "1"' in str(rows[0].attributes)


@pytest.mark.parametrize(
    ("line", "text", "kept"),
    [
        ('{"text": "a", "text": "b"}', "b", '{"text_1": "a"}'),
        ('{"text": "a", "text": null}', "a", "{}"),
        ('{"text": "a", "Text": null}', "a", "{}"),
        ('{"Text": "a", "TEXT": "b"}', "b", '{"Text": "a"}'),
        ('{"text": "a", "x": {"k": 1, "k": 2}}', "a", '{"x": {"k_1": 1, "k": 2}}'),
        ('{"text": "a", "text_1": "b", "text": "c"}', "c", '{"text_2": "a", "text_1": "b"}'),
    ],
)
def test_keys_of_one_name_are_all_kept(tmp_path: Path, line: str, text: str, kept: str) -> None:
    (row,) = sort_rows(rows_of(put(tmp_path, "a.jsonl", line.encode())), Columns())
    assert isinstance(row, Document)
    assert row.text == text
    assert json.loads(row.attributes or "{}") == json.loads(kept)


# --- JSON ---

OBJECTS = st.lists(
    st.dictionaries(
        st.text(st.sampled_from('ab"{}[]'), max_size=3),
        st.recursive(st.text(max_size=4) | st.integers() | st.none(), lambda inner: st.lists(inner, max_size=2)),
        max_size=3,
    ).map(lambda columns: {"text": 'x } , { "\n\\', **columns}),
    min_size=2,
    max_size=6,
)
FORMS = {
    "array": json.dumps,
    "array over lines": lambda rows: json.dumps(rows, indent=2, ensure_ascii=False),
    "a line each": lambda rows: "[\n" + ",\n".join(map(json.dumps, rows)) + "\n]\n",
    "pretty": lambda rows: "\n".join(json.dumps(row, indent=4) for row in rows),
    "pretty, with commas": lambda rows: ",\n".join(json.dumps(row, indent=1) for row in rows),
    "list in an object": lambda rows: json.dumps({"version": [1], "rows": rows, "more": {"a": 1}}),
    "lines": lambda rows: "\n".join(map(json.dumps, rows)),
}


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=8, deadline=None)
@given(rows=OBJECTS, rows_per_slice=st.integers(1, 4), suffix=st.sampled_from(list(COMPRESS)))
def test_json_in_every_form_gives_its_objects(form: str, rows: list[Any], rows_per_slice: int, suffix: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = put(Path(folder), f"a.json{suffix}", COMPRESS[suffix](FORMS[form](rows).encode("utf-8", "replace")))
        assert [row.columns for row in rows_of(path, rows_per_slice)] == rows


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("bad", ['{"text": "b, "x": 1}', '{"text": b}', "[1}", '{"text": "b"', '"b"', "7"])
def test_a_bad_element_costs_itself_and_no_other(tmp_path: Path, indent: int | None, bad: str) -> None:
    good = [json.dumps({"text": text}, indent=indent) for text in "acd"]
    lines = ",\n".join([good[0], bad, *good[1:]])
    data = "[\n" + "\n".join(f"  {line}" for line in lines.split("\n")) + "\n]"
    for rows_per_slice in (1, 2, 9):
        assert column(rows_of(put(tmp_path, "a.json", data.encode()), rows_per_slice)) == ["a", "malformed", "c", "d"]


def test_an_array_that_is_cut_off_and_text_behind_one_are_said(tmp_path: Path) -> None:
    cut = rows_of(put(tmp_path, "a.json", b'[{"text": "a"}, {"text": "b"}'))
    assert column(cut) == ["a", "b", "malformed"]
    assert "cut off" in cut[-1].detail
    assert column(rows_of(put(tmp_path, "b.json", b'[{"text": "a"}] and more'))) == ["a", "malformed"]


def test_one_object_is_one_row_and_several_lists_are_asked_about(tmp_path: Path) -> None:
    assert column(rows_of(put(tmp_path, "a.json", b'{"text": "a", "comments": [{"x": 1}, {"x": 2}]}'))) == ["a"]
    with pytest.raises(SourceError, match="one object with the lists left, right"):
        rows_of(put(tmp_path, "b.json", b'{"right": [{"text": "a"}], "left": [{"text": "b"}]}'))


CHATS = {
    "openai": [
        {"role": "system", "content": ""},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Yo"},
    ],
    "sharegpt": [{"from": "user", "value": "Hi"}, {"from": "assistant", "value": "Yo"}],
    "parts": [
        {"role": "user", "content": [{"type": "text", "text": "Hi"}, {"type": "image_url", "image_url": {}}]},
        {"role": "assistant", "content": None, "tool_calls": []},
        {"role": "assistant", "content": "Yo"},
    ],
}


@pytest.mark.parametrize("name", ["messages", "conversations"])
@pytest.mark.parametrize("form", CHATS)
def test_a_conversation_is_a_text(tmp_path: Path, name: str, form: str) -> None:
    lines = [{name: CHATS[form]}, {name: json.dumps(CHATS[form])}]
    rows = list(sort_rows(rows_of(put(tmp_path, "a.json", json.dumps(lines).encode())), Columns()))
    assert [row.text if isinstance(row, Document) else row for row in rows][:1] == ["user: Hi\n\nassistant: Yo"]
    path = tmp_path / "a.parquet"
    pl.DataFrame({name: [CHATS["sharegpt"]]}).write_parquet(path)
    (row,) = sort_rows(rows_of(path), Columns())
    assert isinstance(row, Document)
    assert row.text == "user: Hi\n\nassistant: Yo"


# --- Parquet ---


def test_bytes_that_are_no_text_cost_their_row(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    texts = [f"text {n:05d}" for n in range(9_000)]
    pl.DataFrame({"text": texts}).write_parquet(path, compression="uncompressed", row_group_size=3_000)
    path.write_bytes(path.read_bytes().replace(b"text 04321", b"text \xff\xfe321"))
    rows = rows_of(path, 5_000)
    assert [row.place for row in rows if row.reason == "bad_encoding"] == ["row 4322"]
    assert [row.columns["text"] for row in rows if row.columns] == [text for text in texts if text != "text 04321"]


@pytest.mark.parametrize("column", ["text", "note", "list"])
def test_bytes_that_are_no_text_cost_no_other_row_of_their_dictionary(tmp_path: Path, column: str) -> None:
    path = tmp_path / "[a] ü.parquet"
    values = [f"value {n % 5}" for n in range(50)]
    others = {name: ["é"] * 50 for name in ("text", "note") if name != column} | {"number": list(range(50))}
    written = [[value] for value in values] if column == "list" else values
    frame = pl.DataFrame({column: written, **others, "bytes": [b"\xff"] * 50})
    frame.write_parquet(path, compression="uncompressed")
    path.write_bytes(path.read_bytes().replace(b"value 3", b"value \xff"))
    rows = rows_of(path, 20)
    assert [row.place for row in rows if row.reason == "bad_encoding"] == [f"row {n}" for n in range(4, 51, 5)]
    read = [row.columns for row in rows if row.columns]
    assert read == [row for row in frame.iter_rows(named=True) if row[column] not in ("value 3", ["value 3"])]


def test_decimals_of_any_size_cost_no_row(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes((DATA / "decimal256.parquet").read_bytes())  # Decimal(76, 3), as pyarrow writes it
    assert [row.columns for row in rows_of(path, 1)] == [
        {"text": "A nurse", "price": 12.5},
        {"text": "A smith", "price": None},
    ]


def test_times_that_python_refuses_or_rounds_are_text(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    values = (
        "DATE '-4000-01-02' AS old, TIMESTAMP '290000-01-01 01:02:03' AS late, DATE '2024-02-29' AS day, "
        "make_timestamp_ns(1700000000123456789) AS fine, make_timestamp_ns(1700000000123456000) AS plain, 'a' AS text"
    )
    duckdb.execute(f"COPY (SELECT {values}) TO '{path}'")
    (row,) = rows_of(path)
    assert row.columns == {
        "old": "-4000-01-02",
        "late": "290000-01-01T01:02:03.000000",
        "day": date(2024, 2, 29),
        "fine": "2023-11-14T22:13:20.123456789",
        "plain": datetime(2023, 11, 14, 22, 13, 20, 123456),
        "text": "a",
    }


def test_types_that_polars_does_not_know_and_nested_times_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    duckdb.execute(f"COPY (SELECT 'a' AS text, [DATE '-4000-01-02'] AS old FROM range(3)) TO '{path}'")
    path = path.rename(tmp_path / "[a].parquet")
    rows = rows_of(path, 2)
    assert column(rows) == ["a"] * 3
    assert "BC" in str(rows[0].columns)


def test_binary_columns_are_text(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pl.DataFrame({"text": ["ü".encode(), b"\xff"]}).write_parquet(path)
    good, bad = sort_rows(rows_of(path), Columns())
    assert isinstance(good, Document)
    assert good.text == "ü"
    assert isinstance(bad, Fault)
    assert bad.reason == "bad_encoding"


def test_xz_may_be_padded_and_go_on(tmp_path: Path) -> None:
    lines = [json.dumps({"text": text}).encode() + b"\n" for text in "ab"]
    data = lzma.compress(lines[0]) + bytes(200_000) + lzma.compress(lines[1]) + bytes(8)
    assert column(rows_of(put(tmp_path, "a.jsonl.xz", data), 1)) == ["a", "b"]
    with pytest.raises(SourceError, match="damaged"):
        rows_of(put(tmp_path, "b.jsonl.xz", data[:-40]))


# --- bounds ---


def _zeros(suffix: str, before: bytes, after: bytes, mebibytes: int) -> bytes:
    """A compressed file with many spaces in the middle."""
    makers: dict[str, Any] = {
        ".gz": gzip.GzipFile,
        ".zst": zstd.ZstdFile,
        ".bz2": bz2.BZ2File,
        ".xz": lzma.LZMAFile,
    }
    buffer = io.BytesIO()
    options: dict[str, Any] = {".gz": {"fileobj": buffer, "mode": "wb"}, ".xz": {"preset": 0}}.get(suffix, {})
    file = makers[suffix](**options) if suffix == ".gz" else makers[suffix](buffer, "wb", **options)
    with file:
        file.write(before)
        for _ in range(mebibytes):
            file.write(b" " * (1 << 20))
        file.write(after)
    return buffer.getvalue()


LONG_LINE = (b'{"text": "a"}\n{"text": "', b'"}\n{"text": "c"}\n')
LONG = {
    **{f"a.jsonl{suffix}": LONG_LINE for suffix in COMPRESS if suffix},
    "b.json.gz": (b'[\n{"text": "a"},\n{"text": "', b'"},\n{"text": "c"}\n]'),
    "c.csv.gz": (b"id,text\n1,a\n2,", b"\n3,c\n"),
    "d.csv.gz": (b'id,text\n1,a\n2,"', b'"\n3,c\n'),
}


@pytest.mark.parametrize("name", LONG)
def test_memory_is_bounded_whatever_a_small_file_holds(tmp_path: Path, name: str) -> None:
    path = put(tmp_path, name, _zeros(Path(name).suffix, *LONG[name], 16))
    assert path.stat().st_size < 1 << 16
    tracemalloc.start()
    rows = column(rows_of(path, 2, limit=1 << 18))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert rows == ["a", "too_long", "c"]
    assert peak < 12 << 20


def test_an_unclosed_quote_is_given_up_at_the_limit(tmp_path: Path) -> None:
    body = b"".join(b"%d,row %d\n" % (n, n) for n in range(3, 400))
    rows = rows_of(put(tmp_path, "a.csv", b'id,text\n1,a\n2,"open\n' + body), 100, limit=1_000)
    assert column(rows) == ["a", "malformed", *(f"row {n}" for n in range(3, 400))]
    assert "not closed within 1,000 bytes" in rows[1].detail


def test_a_long_text_of_many_lines_is_one_reject(tmp_path: Path) -> None:
    text = "\n".join(f"Line {n} of a long text." for n in range(300))
    data = f'id,text,rest\n1,a,x\n2,"{text}",y\n3,c,z\n'.encode()
    rows = rows_of(put(tmp_path, "a.csv", data), 2, limit=1_000)
    assert column(rows) == ["a", "too_long", "c"]


def test_a_window_larger_than_the_bound_is_refused(tmp_path: Path) -> None:
    frame = b"\x28\xb5\x2f\xfd" + bytes([0x00, (31 - 10) << 3]) + struct.pack("<I", 1 << 3 | 1)[:3] + b"x"
    with pytest.raises(SourceError, match="damaged, or of another format than its name"):
        reader.survey(put(tmp_path, "a.jsonl.zst", frame), 1)


# --- slices ---


@pytest.mark.parametrize("suffix", [".jsonl.gz", ".csv.gz", ".json.zst", ".csv.bz2", ".csv"])
def test_slices_together_cost_one_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    texts = [f"Row {n} " + "x" * 2_000 for n in range(1_000)]
    if "csv" in suffix:
        data = ("id,text\n" + "".join(f"{n},{text}\n" for n, text in enumerate(texts))).encode()
    else:
        lines = [json.dumps({"text": text}) for text in texts]
        data = ("[" + ",".join(lines) + "]" if suffix.startswith(".json.") else "\n".join(lines)).encode()
    path = put(tmp_path, f"a{suffix}", COMPRESS[Path(suffix).suffix if suffix.count(".") > 1 else ""](data))
    found = reader.survey(path, 50)
    assert len(found.slices) == 20
    total, read = 0, streams.Stream.read

    def counted(stream: streams.Stream, size: int) -> bytes:
        nonlocal total
        piece = read(stream, size)
        total += len(piece)
        return piece

    readline = streams.Stream.readline

    def counted_line(stream: streams.Stream, limit: int) -> bytes:
        nonlocal total
        line = readline(stream, limit)
        total += len(line)
        return line

    monkeypatch.setattr(streams.Stream, "read", counted)
    monkeypatch.setattr(streams.Stream, "readline", counted_line)
    # Each slice twice, as the documents and then the personas of a batch are read.
    for part in found.slices:
        for _ in range(2):
            assert len(list(reader.read_rows(path, found.format, part))) == 50
    extra = 20 * 2 * (1 << 20) if "json." in suffix else 0  # of JSON a chunk is read ahead
    assert total <= 2 * len(data) + extra + (1 << 16)


# --- batches of earlier versions ---


def test_a_csv_file_that_was_registered_without_a_dialect_is_read_as_it_was(tmp_path: Path) -> None:
    data = b'id,text\r\n1,"a ""b"""\r\n\r\n2,"x" y\r\n3\r\n4,z'
    path = put(tmp_path, "a.csv", data)
    rows = [row for part in (Slice(0, 0, 2), Slice(2, 0, 3)) for row in reader.read_rows(path, "csv", part)]
    assert column(rows) == ['a "b"', "empty", "x y", "malformed", "z"]
    assert [row.place for row in rows] == [f"record {n}" for n in range(1, 6)]


# --- takedown ---

TSV = 'id\ttext\n1\tkeep ü\n2\tgo\n3\t"go\n\ntoo"\n4\tkeep\n'
LINES = '{"text": "keep ü"}\n{"text": "go"}\n{"text": "go"}\n{"text": "keep"}\n'
BLANKED = {
    "a.tsv": (TSV.encode(), "empty"),
    "b.csv": (TSV.replace("\t", ";").encode("utf-16"), "empty"),
    "c.csv": (TSV.replace("\t", ";").encode("cp1252"), "empty"),
    "d.csv": ("id,text\r1,keep ü\r2,go\r3,go\r4,keep\r".encode(), "empty"),
    "e.json": (
        '[\n {"text": "keep ü"},\n {"text": "go"}, {"text":\n "go"}\n,{"text": "keep"}]'.encode(),
        "no_text",
    ),
    "f.json": (
        '{"n": 1, "rows": [{"text": "keep ü"}, {"text": "go"}, {"text": "go"}, {"text": "keep"}]}'.encode(),
        "no_text",
    ),
    "g.jsonl": (LINES.encode("utf-16"), "empty"),
}


@pytest.mark.parametrize("name", BLANKED)
@pytest.mark.parametrize("suffix", ["", ".bz2"])
def test_rows_are_overwritten_in_every_form(tmp_path: Path, name: str, suffix: str) -> None:
    data, reason = BLANKED[name]
    path = put(tmp_path, name + suffix, COMPRESS[suffix](data))
    found = reader.survey(path, 2)
    redact.blank(path, found.format, {1, 2}, found.slices[0].file_reading)
    rows = sort_rows((row for part in found.slices for row in reader.read_rows(path, found.format, part)), Columns())
    assert [row.text if isinstance(row, Document) else row.reason for row in rows] == [  # type: ignore[union-attr]
        "keep ü",
        reason,
        reason,
        "keep",
    ]
    with streams.opened(path) as file:
        left = file.read()
    assert b"go" not in left.replace(b"\0", b"")
    assert b"keep" in left.replace(b"\0", b"")


def test_a_file_that_would_not_come_out_as_it_went_in_is_refused(tmp_path: Path) -> None:
    path = put(tmp_path, "a.csv", "id,text\n1,keep\n2,go\n3,x\n".encode("utf-16-le") + b"\x00\xdc\n\0")
    found = reader.survey(path, 9)
    before = path.read_bytes()
    with pytest.raises(SourceError, match="cannot be overwritten"):
        redact.blank(path, found.format, {1}, found.slices[0].file_reading)
    assert path.read_bytes() == before


# --- folders and patterns ---


def test_a_folder_gives_its_files_in_order_each_with_a_key(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    for name in ("b.jsonl", "a.csv", "a.jsonl", "x/a.csv", ".hidden/a.csv", ".h.csv", "read.me", "x/notes.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        put(folder, name, b"text\na\n" if name.endswith("csv") else b'{"text": "a"}\n')
    found = expand(store, [str(folder)])
    assert [(Path(file.address).relative_to(folder).as_posix(), file.key) for file in found.files] == [
        ("a.csv", "a"),
        ("a.jsonl", "a-jsonl"),
        ("b.jsonl", "b"),
        ("x/a.csv", "x-a"),
    ]
    assert [path.name for path in found.unknown] == ["read.me", "notes.txt"]
    for file in found.files:
        register(store, file.address, name=file.key)
    assert expand(store, [str(folder), str(folder / "*.csv")]).files == found.files
    assert [file.key for file in expand(store, [str(folder / "**" / "*.csv")]).files] == ["a", "x-a"]


def test_an_empty_argument_is_not_the_current_folder(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, "a.jsonl", b'{"text": "a"}\n')
    monkeypatch.chdir(tmp_path)
    assert [file.address for file in expand(store, [""]).files] == [""]


def test_a_home_in_a_folder_is_not_taken_for_source_files(store: Store) -> None:
    put(store.root.parent, "a.jsonl", b'{"text": "a"}\n')
    put(store.root, "copy.jsonl", b'{"text": "a"}\n')
    register(store, str(store.root.parent / "a.jsonl"))
    assert [Path(file.address).name for file in expand(store, [str(store.root.parent)]).files] == ["a.jsonl"]
    every = expand(store, [str(store.root.parent / "**" / "*.jsonl")]).files
    assert [Path(file.address).name for file in every] == ["a.jsonl"]


@pytest.mark.parametrize("argument", ["empty", "empty/*.jsonl"])
def test_a_folder_without_source_files_names_what_it_has(store: Store, tmp_path: Path, argument: str) -> None:
    (tmp_path / "empty").mkdir()
    put(tmp_path / "empty", "a.xlsx", b"x")
    with pytest.raises(SourceError, match=r"no source files found; supported: \.jsonl"):
        expand(store, [str(tmp_path / argument)])
