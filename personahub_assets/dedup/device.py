"""Exact semantic dedup with the products of a GPU, and the decisions of the CPU.

    decide("auto", vectors, positions, may_stay, kept, 0.9)      `semantic.decide`, on the GPU if it is worth it
    decide_on(Products("cuda"), vectors, positions, may_stay, kept, 0.9)

The GPU multiplies float32 matrices and proposes pairs whose product may reach the threshold. The CPU then computes the
cosine of each proposed pair as `cosines.py` says, and applies the rule of `keepers.py`. A sum of d float32 products
in any order differs from the exact one by less than d · 2⁻²³ for vectors of length 1, so with that margin no pair is
missed: keepers, similarities and kept rows are those of `semantic.decide`, bit for bit.

torch is not a dependency. It is used if it is installed, as it is beside vLLM.
"""

from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Literal

import numpy as np

from personahub_assets.core.errors import ConfigError
from personahub_assets.dedup import semantic
from personahub_assets.dedup.cosines import UNIT, Doubles, Flags, Ints, Kept, Vectors, check_lengths, dot, scaled, spans
from personahub_assets.dedup.keepers import NONE, Decided, prefers
from personahub_assets.dedup.kernels import kernel

Choice = Literal["auto", "cpu", "cuda"]

_WORTH_IT = 10**11  # comparisons from which `auto` takes a GPU: 13 s on two cores; torch needs seconds to begin
_PIECE = 65_536  # kept rows on the device at a time: 100 MB at 384 dimensions
_BLOCK = 2_048  # rows that are multiplied with them at a time: half a GB of products


class Products:
    """Products of float32 matrices on a device of torch.

    Args:
        device: its name in torch, such as `cuda`, or `cpu`, which proves the decisions where there is no GPU.
    """

    def __init__(self, device: str):
        self._torch = import_module("torch")
        # A TensorFloat has 10 bits: its products would miss pairs. This is torch's default.
        self._torch.backends.cuda.matmul.allow_tf32 = False
        self._device = device

    def load(self, rows: Vectors) -> Any:
        """Copy rows to the device."""
        return self._torch.from_numpy(np.array(rows, np.float32)).to(self._device)

    def reaching(self, rows: Any, others: Any, cuts: Doubles) -> tuple[Ints, Ints]:
        """Pairs of a row and another one whose product reaches the cut of the row, by their numbers."""
        limits = self._torch.from_numpy(cuts.astype(np.float32)).to(self._device)
        pairs = (rows @ others.T >= limits[:, None]).nonzero().cpu().numpy()
        return np.ascontiguousarray(pairs[:, 0]), np.ascontiguousarray(pairs[:, 1])


def gpu(choice: Choice) -> Products | None:
    """The GPU of this machine for `[compute] device`; None for the CPU.

    Raises:
        ConfigError: if it is `cuda`, and torch is not installed or finds no GPU.
    """
    if choice == "cpu":
        return None
    has_torch = find_spec("torch") is not None
    if has_torch and import_module("torch").cuda.is_available():
        return Products("cuda")
    if choice == "cuda":
        reason = "torch finds no GPU" if has_torch else "torch is not installed in this environment"
        raise ConfigError(f'compute.device of hub.toml is "cuda", and {reason}: use "cpu", or "auto" for either')
    return None


def decide(
    choice: Choice,
    vectors: Vectors,
    positions: Ints,
    may_stay: Flags,
    earlier: Sequence[Kept],
    threshold: float,
    *,
    marks: Ints | None = None,
    same: float = np.inf,
    **options: Any,
) -> semantic.Decided:
    """Decide by `semantic.decide`, or with the same result on a GPU.

    Args:
        choice: `[compute] device`.
        options: of `semantic.decide` on the CPU. A GPU compares all, and takes no part if other processes hold shards.

    Raises:
        ConfigError: if the choice is `cuda`, and there is no GPU.
        ValueError: as `semantic.decide`.
    """
    comparisons = len(vectors) * (sum(len(each.places) for each in earlier) + len(vectors))
    is_wanted = not options.get("shards") and (choice == "cuda" or comparisons >= _WORTH_IT)
    products = gpu(choice) if is_wanted else None
    if products is None:
        return semantic.decide(vectors, positions, may_stay, earlier, threshold, marks=marks, same=same, **options)
    decided = decide_on(products, vectors, positions, may_stay, earlier, threshold, marks=marks, same=same)
    return semantic.Decided(decided.keeper, decided.similarity, decided.stays, "exact", 1.0)


def decide_on(
    products: Products,
    vectors: Vectors,
    positions: Ints,
    may_stay: Flags,
    earlier: Sequence[Kept],
    threshold: float,
    *,
    marks: Ints | None = None,
    same: float = np.inf,
) -> Decided:
    """Walk rows in order and decide which are kept, as `semantic.decide` does exactly; see there for the arguments.

    Raises:
        ValueError: if a vector does not have length 1.
    """
    check_lengths("vectors", vectors)
    walk = _Walk(products, Kept(vectors, positions, marks), threshold, same)
    for each in earlier:
        for begin, end in spans(len(each.places), _PIECE):
            walk.compare(each, begin, end)
    return Decided(walk.keeper, walk.similarity, walk.settle(may_stay))


class _Walk:
    """The rows of a walk, with the best keepers found so far."""

    def __init__(self, products: Products, rows: Kept, threshold: float, same: float):
        self.products, self.threshold, self.same = products, threshold, same
        self.vectors, self.positions, self.marks = rows.vectors, rows.places, rows.all_marks
        self.similarity = np.full(len(rows.places), np.nan)
        self.keeper = np.full(len(rows.places), NONE)

    def cuts(self, begin: int, end: int) -> Doubles:
        """Products of float32 from which some rows may have a better keeper."""
        wanted = np.where(self.keeper[begin:end] == NONE, self.threshold, self.similarity[begin:end])
        # The cosine divides by the lengths, which differ from 1; then the rounding of the sum and of the cut itself.
        cuts: Doubles = wanted * (1 - 3 * UNIT) - (self.vectors.shape[1] + 2) * 2.0**-23
        return cuts

    def compare(self, earlier: Kept, first: int, last: int) -> None:
        """Compare all rows with some kept rows of an earlier walk."""
        vectors = np.array(earlier.vectors[first:last])
        check_lengths("kept vectors", vectors)
        positions, marks = np.array(earlier.places[first:last]), np.array(earlier.all_marks[first:last])
        loaded = self.products.load(vectors)
        for begin, end in spans(len(self.positions), _BLOCK):
            rows, columns = self._reaching(begin, end, loaded)
            self._verify(rows, columns, vectors, positions, marks)

    def settle(self, may_stay: Flags) -> Flags:
        """Compare rows with each other and decide about them in their order; return which are kept."""
        stays = np.zeros(len(self.positions), np.bool_)
        for begin, end in spans(len(self.positions), _BLOCK):
            stayed = np.flatnonzero(stays[:begin])
            for first, last in spans(len(stayed), _PIECE):
                others = stayed[first:last]
                vectors = self.vectors[others]
                rows, columns = self._reaching(begin, end, self.products.load(vectors))
                self._verify(rows, columns, vectors, self.positions[others], self.marks[others])
            rows, columns = self._reaching(begin, end, self.products.load(self.vectors[begin:end]))
            _settle(self._columns, self.limits, begin, end, rows, columns + begin, may_stay, stays)
        return stays

    def _reaching(self, begin: int, end: int, others: Any) -> tuple[Ints, Ints]:
        rows = self.products.load(self.vectors[begin:end])
        numbers, columns = self.products.reaching(rows, others, self.cuts(begin, end))
        return numbers + begin, columns

    def _verify(self, rows: Ints, columns: Ints, vectors: Vectors, positions: Ints, marks: Ints) -> None:
        _verify(self._columns, self.limits, rows, columns, (vectors, positions, marks))

    @property
    def limits(self) -> tuple[float, float]:
        """Cosines of similar rows: at least the first, below the second."""
        return self.threshold, self.same

    @property
    def _columns(self) -> tuple[Vectors, Ints, Ints, Doubles, Ints]:
        return self.vectors, self.positions, self.marks, self.similarity, self.keeper


# --- Kernels -------------------------------------------------------------------------------------------------------


@kernel
def _take(walk, limits, i, vector, position, mark):
    """Use a kept row as keeper of a row if it is the best so far."""
    vectors, positions, marks, similarity, keeper = walk
    if position < positions[i] and mark == marks[i]:
        cosine = scaled(dot(vectors[i], vector), vectors[i], vector)
        if limits[0] <= cosine < limits[1] and prefers(cosine, position, similarity[i], keeper[i]):
            similarity[i], keeper[i] = cosine, position


@kernel
def _verify(walk, limits, rows, columns, earlier):
    """Compute the cosines of proposed pairs of a row and a kept row."""
    vectors, positions, marks = earlier
    for pair in range(len(rows)):
        j = columns[pair]
        _take(walk, limits, rows[pair], vectors[j], positions[j], marks[j])


@kernel
def _settle(walk, limits, begin, end, rows, columns, may_stay, stays):
    """Decide about the rows of a block in order; pairs are sorted by their first row."""
    vectors, positions, marks, _, keeper = walk
    pair = 0
    for i in range(begin, end):
        while pair < len(rows) and rows[pair] == i:
            j = columns[pair]
            if j < i and stays[j]:
                _take(walk, limits, i, vectors[j], positions[j], marks[j])
            pair += 1
        stays[i] = may_stay[i] and keeper[i] == NONE
