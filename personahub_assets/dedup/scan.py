"""Search quantised kept rows for the best keepers of quantised rows: the compiled part of the semantic stage."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from personahub_assets.dedup.cosines import UNIT, Doubles, Ints, Vectors, dot, scaled
from personahub_assets.dedup.int8 import LANES, reaching
from personahub_assets.dedup.keepers import NONE, prefers
from personahub_assets.dedup.kernels import kernel

_GROUP = 4  # tiles that a thread takes together: they fit into the L1 cache


class Reach(NamedTuple):
    """Cosines of similar rows: at least the threshold, below `same`."""

    threshold: float
    same: float


class Queries(NamedTuple):
    """Rows to decide, with the best keepers found so far."""

    vectors: Vectors
    places: Ints
    marks: Ints
    codes: npt.NDArray[np.int8]
    losses: Doubles
    offsets: Ints  # (n,) added to each product because tiles store codes + 128
    similarity: Doubles
    keeper: Ints


class Shelf(NamedTuple):
    """Kept rows in tiles: row `rows[slot]` of the vectors is in lane slot % 64 of tile slot // 64."""

    tiles: npt.NDArray[np.uint8]  # (tiles, width / 4, 64, 4)
    extra: npt.NDArray[np.int32]  # (slots,) losses, in units of a product
    vectors: Vectors
    rows: Ints
    places: Ints
    marks: Ints


@kernel
def _take(queries, i, cosine, position, reach):
    """Use a kept row as keeper if it is the best so far."""
    if reach.threshold <= cosine < reach.same and prefers(cosine, position, queries.similarity[i], queries.keeper[i]):
        queries.similarity[i], queries.keeper[i] = cosine, position


@kernel
def _wanted(queries, i, reach):
    """Cosine from which a row may be a better keeper."""
    return reach.threshold if queries.keeper[i] == NONE else queries.similarity[i]


@kernel
def cut_of(queries, i, reach, square):
    """Product of codes from which a row may be a better keeper, rounded down."""
    return np.int32(np.floor((_wanted(queries, i, reach) - queries.losses[i]) / square) + queries.offsets[i])


@kernel
def compare(queries, i, shelf, tile, near, count, reach, square):
    """Compare a row with the rows of a tile that may be better keepers; return the new cut."""
    for lane in range(LANES):
        slot = tile * LANES + lane
        if not near >> np.uint64(lane) & np.uint64(1) or slot >= count:
            continue
        if shelf.places[slot] < queries.places[i] and shelf.marks[slot] == queries.marks[i]:
            x, y = queries.vectors[i], shelf.vectors[shelf.rows[slot]]
            product = dot(x, y)
            if product * (1 + 3 * UNIT) >= _wanted(queries, i, reach):  # almost the cosine, at a third of the cost
                _take(queries, i, scaled(product, x, y), shelf.places[slot], reach)
    return cut_of(queries, i, reach, square)


@kernel
def scan(queries, begin, end, shelf, count, reach, square):
    """Find the best keepers of some rows in the tiles of a shelf."""
    tiles = (count + LANES - 1) // LANES
    cuts = np.array([cut_of(queries, i, reach, square) for i in range(begin, end)])
    for first in range(0, tiles, _GROUP):
        for i in range(begin, end):
            for tile in range(first, min(first + _GROUP, tiles)):
                near = reaching(shelf.tiles, shelf.extra, tile, queries.codes, i, cuts[i - begin])
                if near:
                    cuts[i - begin] = compare(queries, i, shelf, tile, near, count, reach, square)


@kernel
def store(codes, loss, shelf, slot, square):
    """Write a quantised row to a slot of a shelf."""
    for k in range(len(codes)):
        shelf.tiles[slot // LANES, k // 4, slot % LANES, k % 4] = np.int32(codes[k]) + 128
    shelf.extra[slot] = np.int32(np.ceil(loss / square))


@kernel
def settle(queries, begin, end, shelf, count, may_stay, stays, reach, square):
    """Decide about the rows of a block, in order, and add kept rows to the shelf; return its number of rows."""
    first = count // LANES
    for i in range(begin, end):
        cut = cut_of(queries, i, reach, square)
        for tile in range(first, (count + LANES - 1) // LANES):
            near = reaching(shelf.tiles, shelf.extra, tile, queries.codes, i, cut)
            if near:
                cut = compare(queries, i, shelf, tile, near, count, reach, square)
        stays[i] = may_stay[i] and queries.keeper[i] == NONE
        if stays[i]:
            store(queries.codes[i], queries.losses[i], shelf, count, square)
            shelf.rows[count], shelf.places[count], shelf.marks[count] = i, queries.places[i], queries.marks[i]
            count += 1
    return count
