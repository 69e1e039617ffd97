"""The journal of vectors: added vectors survive a killed process and damaged files."""

import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from personahub_assets.core.errors import StoreError
from personahub_assets.embedding.vectors import SCHEMA, VectorJournal, vector_frame


def numbers(rows: int, dimensions: int = 384, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, dimensions)).astype(np.float32)


def hashes(rows: int, start: int = 0) -> list[str]:
    return [f"{number:020x}" for number in range(start, start + rows)]


def found(journal: VectorJournal, wanted: list[str]) -> dict[str, list[float]]:
    frame = journal.known(pl.Series(wanted, dtype=pl.String))
    assert frame.schema == SCHEMA
    rows = dict(frame.iter_rows())
    assert len(rows) == frame.height
    return rows


def test_vectors_come_back_bit_for_bit_and_only_those_asked_for(tmp_path: Path) -> None:
    vectors = numbers(5)
    journal = VectorJournal(tmp_path / "batch", "a/model")
    journal.add(hashes(3), vectors[:3])
    journal.add(hashes(2, start=3), vectors[3:])

    rows = found(VectorJournal(tmp_path / "batch", "a/model"), [*hashes(5)[1:], "unknown"])

    assert sorted(rows) == hashes(5)[1:]
    for number, name in enumerate(hashes(5)[1:], start=1):
        np.testing.assert_array_equal(np.array(rows[name], dtype=np.float32), vectors[number])


def test_a_text_written_twice_is_there_once(tmp_path: Path) -> None:
    journal = VectorJournal(tmp_path, "m")
    journal.add(hashes(3), numbers(3))
    journal.add(hashes(3)[::-1], numbers(3)[::-1])
    journal.add(hashes(3), numbers(3))
    assert len(found(journal, hashes(3) * 2)) == 3


def test_nothing_is_known_before_anything_is_added(tmp_path: Path) -> None:
    journal = VectorJournal(tmp_path / "none", "m")
    assert found(journal, hashes(2)) == {}
    assert found(journal, []) == {}
    journal.add([], numbers(0))
    journal.drop()
    assert not (tmp_path / "none").exists()


def test_models_never_mix_and_are_dropped_apart(tmp_path: Path) -> None:
    folder = tmp_path / "batch"
    one, other = VectorJournal(folder, "all-MiniLM-L6-v2"), VectorJournal(folder, "all-MiniLM-L6-v2-int8")
    one.add(hashes(2), numbers(2))
    other.add(hashes(2), numbers(2, seed=1))

    one.drop()

    assert found(one, hashes(2)) == {}
    np.testing.assert_array_equal(found(other, hashes(2))[hashes(1)[0]], numbers(2, seed=1)[0])
    other.drop()
    assert not folder.exists()


KILLED = """
import os, sys
from pathlib import Path
import numpy as np
from personahub_assets.embedding.vectors import VectorJournal
journal = VectorJournal(Path(sys.argv[1]), "m")
for chunk in range(1_000_000):
    names = [f"{number:020x}" for number in range(100 * chunk, 100 * chunk + 100)]
    journal.add(names, np.full((100, 8), chunk, dtype=np.float32))
    print(chunk, flush=True)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no kill -9")
def test_what_was_added_survives_kill_9(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", "-c", KILLED, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        for line in process.stdout:
            if int(line) == 20:
                break
        process.kill()
        rest = process.stdout.read().split()
    said = int(rest[-1]) if rest else 20

    rows = found(VectorJournal(tmp_path, "m"), hashes(100 * (said + 2)))

    # What was said to be done is there; of the chunk at work all or nothing.
    assert len(rows) in (100 * (said + 1), 100 * (said + 2))
    assert all(set(vector) == {int(name, 16) // 100} for name, vector in rows.items())


@pytest.mark.parametrize("damage", ["cut", "empty", "flipped", "swapped"])
def test_damaged_chunks_are_dropped_and_logged_never_trusted(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    journal = VectorJournal(tmp_path, "m")
    journal.add(hashes(10), numbers(10))
    (first,) = journal.folder.iterdir()
    journal.add(hashes(10, start=10), numbers(10, seed=1))
    content = first.read_bytes()
    match damage:
        case "cut":
            first.write_bytes(content[:-1])
        case "empty":
            first.write_bytes(b"")
        case "flipped":
            first.write_bytes(content[:5000] + bytes([content[5000] ^ 1]) + content[5001:])
        case "swapped":
            (second,) = set(journal.folder.iterdir()) - {first}
            second.replace(first)
            journal.add(hashes(10, start=10), numbers(10, seed=1))

    with caplog.at_level(logging.WARNING):
        assert sorted(found(journal, hashes(20))) == hashes(10, start=10)

    assert [str(first) in record.getMessage() for record in caplog.records] == [True]
    caplog.clear()
    assert len(found(journal, hashes(20))) == 10
    assert not caplog.records
    journal.add(hashes(10), numbers(10))
    assert len(found(journal, hashes(20))) == 20


def test_a_chunk_left_half_written_is_passed_over(tmp_path: Path) -> None:
    journal = VectorJournal(tmp_path, "m")
    journal.add(hashes(1), numbers(1))
    (whole,) = journal.folder.iterdir()
    (journal.folder / "0123.aside").write_bytes(whole.read_bytes()[:100])
    assert len(found(journal, hashes(1))) == 1
    journal.drop()
    assert not tmp_path.exists()


@pytest.mark.parametrize("shape", [(2, 4), (3,), (0, 4), (3, 4, 1)])
def test_other_than_one_vector_per_hash_is_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="3 hashes need as many rows"):
        VectorJournal(tmp_path / "j", "m").add(hashes(3), np.ones(shape, dtype=np.float32))
    assert not (tmp_path / "j").exists()


def test_frame_has_the_types_of_the_table() -> None:
    frame = vector_frame(hashes(2), numbers(2)[:, ::2])
    assert frame.schema == SCHEMA
    np.testing.assert_array_equal(np.array(frame["embedding"].to_list(), dtype=np.float32), numbers(2)[:, ::2])
    assert vector_frame([], numbers(0)).schema == SCHEMA


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="permissions of another kind")
def test_a_journal_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match=r"Not a directory.*move it away"):
        VectorJournal(tmp_path / "file", "m").add(hashes(1), numbers(1))
