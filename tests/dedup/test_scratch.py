"""Arrays of a walk on disk."""

from pathlib import Path

import numpy as np
import pytest

from personahub_assets.dedup import semantic
from personahub_assets.dedup.cosines import Kept
from personahub_assets.dedup.scratch import Scratch, release

_STATUS = Path("/proc/self/status")
needs_proc = pytest.mark.skipif(not _STATUS.exists(), reason="needs /proc, to count mapped pages")


def mapped_kb() -> int:
    """Pages of mapped files that count as memory of this process."""
    return next(int(line.split()[1]) for line in _STATUS.read_text().splitlines() if line.startswith("RssFile"))


def stored(file: Path, rows: int) -> np.ndarray:
    """Unit vectors of 64 dimensions, mapped from a file."""
    vectors = np.random.default_rng(0).standard_normal((rows, 64)).astype(np.float32)
    np.save(file, vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    return np.asarray(np.load(file, mmap_mode="r"))


@needs_proc
def test_a_released_array_takes_no_memory_and_keeps_its_content(tmp_path: Path) -> None:
    array = stored(tmp_path / "a.npy", 200_000)
    content = array.tobytes()
    before = mapped_kb()
    release(array[1000:])
    assert before - mapped_kb() > 45_000
    assert array.tobytes() == content


@needs_proc
@pytest.mark.parametrize("exact_up_to", [np.inf, 0])
def test_a_walk_holds_a_few_pieces_of_the_kept_vectors(tmp_path: Path, exact_up_to: float) -> None:
    kept = Kept(stored(tmp_path / "a.npy", 400_000), np.arange(400_000))
    new = kept.vectors[::4000].copy()
    case = new, 400_000 + np.arange(len(new)), np.ones(len(new), np.bool_)
    semantic.decide(*case, [Kept(kept.vectors[:1], kept.places[:1])], 0.9, exact_up_to=exact_up_to)  # compiles
    release(kept.vectors)
    before = mapped_kb()
    decided = semantic.decide(*case, [kept], 0.9, exact_up_to=exact_up_to)
    assert not decided.stays.any()
    assert mapped_kb() - before < 50_000  # of 100,000


def test_nothing_is_lost() -> None:
    array = np.arange(10)
    release(array)
    release(array[:0])
    assert array.tolist() == list(range(10))


def test_changes_are_not_lost(tmp_path: Path) -> None:
    scratch = Scratch(tmp_path, 0).empty((100_000,), np.int64)
    scratch[:] = 7
    release(scratch)
    assert (scratch == 7).all()
    np.save(tmp_path / "a.npy", np.zeros(100_000, np.int64))
    copied = np.load(tmp_path / "a.npy", mmap_mode="c")
    copied[:] = 7
    release(copied)
    assert (copied == 7).all()
