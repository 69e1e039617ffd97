"""Packed word sets: the round trip is exact, and few bytes are used."""

import numpy as np
import polars as pl
from hypothesis import example, given
from hypothesis import strategies as st

from personahub_assets.dedup.codec import max_codes, pack, size_of, unpack, word_at
from personahub_assets.dedup.wordsets import FREQUENT, Sets, order_of, word_sets

# Hashes have 63 bits, ranks 15; both ends of either are words like others.
words = st.integers(0, 2**63 - 1) | st.integers(2**63, 2**63 + 32_767)


def sets_of(rows: list[list[int]]) -> Sets:
    starts = np.cumsum([0, *(len(row) for row in rows)], dtype=np.int64)
    return Sets(starts, np.array([word for row in rows for word in row], np.uint64))


@given(st.lists(st.lists(words, min_size=1, max_size=20, unique=True).map(sorted), max_size=8))
@example([])
@example([[0], [2**63 - 1], [2**63], [2**63 + 32_767]])
@example([[*range(70_000)]])
def test_what_is_unpacked_is_what_was_packed(rows: list[list[int]]) -> None:
    sets = sets_of(rows)
    packed = pack(sets)
    assert [array.tolist() for array in unpack(packed)] == [array.tolist() for array in sets]
    assert len(packed.codes) <= max_codes(sets)


@given(st.lists(words, min_size=1, max_size=30, unique=True).map(sorted))
def test_words_are_found_by_number(row: list[int]) -> None:
    starts, codes = pack(sets_of([[7], row, [8]]))
    assert size_of(codes, starts[1], starts[2]) == len(row)
    assert [word_at(codes, starts[1], i) for i in range(len(row))] == row


def test_frequent_words_take_two_bytes() -> None:
    texts = pl.Series([f"a person from town {i % 7} who likes word {i % 5}" for i in range(100)])
    sets = word_sets(texts, 1, order_of(word_sets(texts)))
    assert (sets.keys & FREQUENT).all()
    assert len(pack(sets).codes) == len(sets.keys) + 2 * len(texts)
