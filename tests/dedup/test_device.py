"""The device of the semantic stage, where there is no torch; tests/vllm/test_device.py compares the decisions."""

from importlib.util import find_spec

import numpy as np
import pytest

from personahub_assets.core.errors import ConfigError
from personahub_assets.dedup import device, semantic
from personahub_assets.dedup.cosines import Kept

ROWS = np.eye(3, 8, dtype=np.float32)
NONE_KEPT = Kept(np.empty((0, 8), np.float32), np.empty(0, np.int64))


@pytest.mark.parametrize("choice", ["auto", "cpu"])
def test_the_cpu_decides_where_a_gpu_is_not_worth_it(choice: device.Choice) -> None:
    arguments = ROWS, np.arange(3), np.ones(3, np.bool_), [NONE_KEPT], 0.9
    decided = device.decide(choice, *arguments, exact_up_to=np.inf)
    expected = semantic.decide(*arguments)
    assert not len(semantic.differences(decided, expected))
    assert decided.method == "exact"


@pytest.mark.skipif(find_spec("torch") is not None, reason="torch is installed")
def test_a_gpu_that_is_asked_for_needs_torch() -> None:
    assert device.gpu("auto") is None
    with pytest.raises(ConfigError, match="torch is not installed"):
        device.decide("cuda", ROWS, np.arange(3), np.ones(3, np.bool_), [NONE_KEPT], 0.9)
