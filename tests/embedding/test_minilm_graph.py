"""The graphs in the package are what `scripts/minilm_graph.py` writes."""

import pytest
from minilm_graph import build_graph

from personahub_assets.embedding import minilm


@pytest.mark.skipif(minilm.source_folder() is None, reason="the offsets are those of the installed weights")
@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_the_package_ships_the_graph_that_the_script_builds(precision: minilm.Precision) -> None:
    built = build_graph(precision).SerializeToString(deterministic=True)
    assert built == minilm.graph_file(precision).read_bytes(), "run: python scripts/minilm_graph.py"
