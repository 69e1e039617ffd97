"""Semantic dedup with torch decides as without it. The device is torch's CPU: here torch has no GPU."""

import subprocess
import sys

import numpy as np
import pytest

from personahub_assets.core.errors import ConfigError
from personahub_assets.dedup import semantic
from personahub_assets.dedup.cosines import Ints, Kept, Vectors
from personahub_assets.dedup.device import Products, decide_on, gpu

pytestmark = pytest.mark.vllm
SAME = 0.99999


@pytest.fixture(scope="module")
def products(vllm_python: str) -> Products:
    """torch of the engine's environment, behind the packages of this one."""
    asked = [vllm_python, "-c", "import torch, pathlib; print(pathlib.Path(torch.__file__).parents[1])"]
    folder = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [*sys.path, folder])
        return Products("cpu")


def rows(count: int, dimensions: int, groups: int, seed: int) -> Vectors:
    """Vectors of length 1 in groups, so that many cosines are near the threshold, and some vectors are equal."""
    random = np.random.default_rng(seed)
    centres = random.normal(size=(groups, dimensions))
    vectors = centres[random.integers(groups, size=count)] + 0.33 * random.normal(size=(count, dimensions))
    equal = min(20, count // 2)
    vectors[count - equal :] = vectors[:equal]
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def kept_rows(vectors: Vectors, places: Ints) -> Kept:
    return Kept(vectors, places, np.arange(len(vectors)) % 3)


@pytest.mark.parametrize(
    ("count", "dimensions", "groups"), [(1, 384, 1), (700, 384, 40), (5_000, 384, 900), (600, 1_024, 30), (800, 64, 1)]
)
def test_decisions_are_equal_bit_for_bit(products: Products, count: int, dimensions: int, groups: int) -> None:
    vectors, earlier = rows(count, dimensions, groups, 1), rows(count * 2, dimensions, groups, 1)
    random = np.random.default_rng(2)
    drawn = random.permutation(count * 4)
    places = np.sort(drawn[:count])
    kept = [
        kept_rows(earlier[:count], drawn[count : 2 * count]),
        kept_rows(earlier[count:], np.sort(drawn[2 * count : 3 * count])),
    ]
    may_stay, marks = random.random(count) < 0.95, np.arange(count) % 3
    arguments = (vectors, places, may_stay, kept, 0.9)
    expected = semantic.decide(*arguments, marks=marks, same=SAME)
    decided = decide_on(products, *arguments, marks=marks, same=SAME)
    assert np.array_equal(decided.keeper, expected.keeper)
    assert np.array_equal(decided.similarity, expected.similarity, equal_nan=True)
    assert np.array_equal(decided.stays, expected.stays)
    assert count == 1 or (expected.keeper >= 0).any()


def test_a_wanted_gpu_that_is_not_there_is_named(products: Products) -> None:
    assert gpu("cpu") is None
    if gpu("auto") is None:
        with pytest.raises(ConfigError, match="torch finds no GPU"):
            gpu("cuda")
