"""Files that name personas: every format is read as it was written, and errors name the fault."""

from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from personahub_assets.core.errors import ConfigError
from personahub_assets.search import selections
from personahub_assets.steps.datasets import chosen as drawn

IDS = ["p1", "p2", "p3"]
SUFFIXES = [".txt", ".csv", ".jsonl", ".json", ".ndjson", ".parquet"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_is_written_is_read(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"my picks{suffix}"
    rows = pl.DataFrame({"pick": [1, 2, 3], "persona_id": IDS, "persona": ["ä, b", '"', "\n"]})
    with path.open("wb") as file:
        selections.write(file, suffix, rows)
    assert selections.read(path).to_list() == IDS


def test_lines_are_stripped_and_count_once(tmp_path: Path) -> None:
    path = tmp_path / "picks.TXT"
    path.write_bytes(b"p2\r\n\n  p1 \np2\n")
    assert selections.read(path).to_list() == ["p2", "p1"]


def test_numbers_are_ids_too(tmp_path: Path) -> None:
    path = tmp_path / "picks.jsonl"
    path.write_text('{"persona_id": 7}\n{"persona_id": null}\n')
    assert selections.read(path).to_list() == ["7"]


FAULTS = {
    "nowhere.txt": (None, "there is no such file"),
    "picks.xlsx": (b"x", "unknown format '.xlsx'"),
    "picks": (b"x", "unknown format 'picks'"),
    "folder.csv": (None, "cannot be read"),
    "empty.txt": (b"\n \n", "names no persona"),
    "empty.csv": (b"", "cannot be read as .csv"),
    "other.csv": (b"id,persona\np1,x\n", r"has no column persona_id, only \['id', 'persona'\]"),
    "broken.parquet": (b"PAR1 and no more", "cannot be read as .parquet"),
    "broken.jsonl": (b"not JSON\n", "cannot be read as .jsonl"),
    "latin.txt": ("p\u00e9".encode("latin-1"), "cannot be read as .txt"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_is_wrong_is_said(tmp_path: Path, name: str) -> None:
    content, message = FAULTS[name]
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    elif name.startswith("folder"):
        path.mkdir()
    with pytest.raises(ConfigError, match=message) as error:
        selections.read(path)
    assert str(path) in str(error.value)


def test_the_fingerprint_is_that_of_the_content(tmp_path: Path) -> None:
    one, other = tmp_path / "one.txt", tmp_path / "other.txt"
    one.write_text("p1\n")
    other.write_text("p1\n")
    before = selections.fingerprint(str(one))
    assert before == selections.fingerprint(str(other))
    one.write_text("p2\n")
    assert selections.fingerprint(str(one)) != before
    one.unlink()
    assert selections.fingerprint(str(one)) == "no file one.txt"


@given(st.integers(0, 40), st.floats(0, 1), st.sets(st.integers(0, 60)))
def test_a_share_is_drawn_from_a_selection(count: int, share: float, named: set[int]) -> None:
    people = pl.DataFrame({"persona_id": [f"p{n}" for n in range(count)]}, {"persona_id": pl.String})
    among = pl.Series([f"p{n}" for n in sorted(named)], dtype=pl.String)
    found = drawn(people, "tools", share, among)["persona_id"].to_list()
    assert found == [each for each in drawn(people, "tools", share)["persona_id"] if each in set(among)]
