"""Runs merged in pieces are the runs merged at once; arrays beyond the memory are in files."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from personahub_assets.dedup import array_cache, merging
from personahub_assets.dedup.merging import Run, joined, merged_keys, merged_values
from personahub_assets.dedup.scratch import Scratch

runs = st.lists(st.lists(st.integers(0, 9), max_size=12), min_size=1, max_size=4)


@settings(max_examples=60, deadline=None)
@given(runs, st.integers(1, 5), st.booleans(), st.sampled_from([np.uint64, "S3"]))
def test_pieces_are_the_whole(numbers: list[list[int]], piece: int, is_sorted: bool, kind: np.typing.DTypeLike) -> None:
    """Of equal keys the values are in the order of the runs, and in a run in its own."""
    keys = [np.array(each, np.uint64).astype(kind) for each in numbers]
    orders = [np.argsort(each, kind="stable") for each in keys]
    firsts = np.cumsum([0, *map(len, keys)])
    made = [
        Run(each[order], order.astype(np.uint32), None, first)
        if is_sorted
        else Run(each, order.astype(np.uint32), order, first)
        for each, order, first in zip(keys, orders, firsts.tolist(), strict=False)
    ]
    whole = np.concatenate(keys)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(merging, "_PIECE", piece)
        assert np.asarray(merged_keys(made)).tolist() == np.sort(whole).tolist()
        assert np.asarray(merged_values(made)).tolist() == np.argsort(whole, kind="stable").tolist()


def test_what_is_computed_while_it_is_written_is_read_back(tmp_path: Path) -> None:
    texts = joined([np.array([b"a", b"bc"]), np.array([], "S1"), np.array([b"def"])])
    array_cache.save(tmp_path / "folder", "stamp", {"texts": texts, "parts": [np.arange(2), np.arange(3)]})
    arrays = array_cache.opened(tmp_path / "folder", "stamp")
    assert arrays is not None
    assert arrays["texts"].tolist() == [b"a", b"bc", b"def"]
    assert arrays["parts"].tolist() == [0, 1, 0, 1, 2]


def test_arrays_beyond_the_memory_are_in_files_without_a_name(tmp_path: Path) -> None:
    scratch = Scratch(tmp_path / "aside", 100)
    near, far = scratch.empty((10,), np.float64), scratch.empty((3, 4), np.float32)
    assert (tmp_path / "aside").exists()
    assert not list((tmp_path / "aside").iterdir())
    far[:] = np.arange(12).reshape(3, 4)
    assert (far.sum(), far.base is not None, near.base is None) == (66, True, True)
    assert scratch.empty((0, 7), np.float32).shape == (0, 7)
