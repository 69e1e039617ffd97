"""The picture and the text snapshot of the graph are those of the code."""

import re
import runpy
import xml.etree.ElementTree as ET
from itertools import combinations
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
DRAW = runpy.run_path(str(ROOT / "scripts" / "draw_graph.py"))
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def files() -> dict[Path, str]:
    drawn: dict[Path, str] = DRAW["files"]()
    return drawn


def test_the_graph_is_as_reviewed(files: dict[Path, str]) -> None:
    wanted = (ROOT / "tests" / "graph.txt").read_text("utf-8")
    assert files[ROOT / "tests" / "graph.txt"] == wanted, (
        "the graph is not as tests/graph.txt says; if that is meant, run: python scripts/draw_graph.py"
    )


def test_the_picture_is_up_to_date(files: dict[Path, str]) -> None:
    wanted = (ROOT / "docs" / "graph.svg").read_text("utf-8")
    assert files[ROOT / "docs" / "graph.svg"] == wanted, "docs/graph.svg is old; run: python scripts/draw_graph.py"


def test_a_hub_toml_or_a_variable_here_changes_nothing(
    files: dict[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hub.toml").write_text("[related_personas]\nhops = 0\n")
    monkeypatch.setenv("PERSONAHUB_HOME", str(tmp_path))
    monkeypatch.setenv("PERSONAHUB_LLM_MODEL", "another")
    assert DRAW["files"]() == files


def test_the_picture_shows_every_asset_and_every_edge(files: dict[Path, str]) -> None:
    found = DRAW["assets"]()
    root = ET.fromstring(files[ROOT / "docs" / "graph.svg"])
    texts = [text.text for text in root.iter(f"{SVG}text")]
    assert [asset.name for asset in found if asset.name not in texts] == []
    edges = [path for path in root.iter(f"{SVG}path") if path.get("marker-end")]
    assert len(edges) == sum(len(asset.deps) for asset in found)


def test_no_box_overlaps_another_or_leaves_the_picture(files: dict[Path, str]) -> None:
    root = ET.fromstring(files[ROOT / "docs" / "graph.svg"])
    width, height = float(root.get("width", 0)), float(root.get("height", 0))
    boxes = [
        tuple(float(box.get(name, 0)) for name in ("x", "y", "width", "height"))
        for box in root.iter(f"{SVG}rect")
        if box.get("fill-opacity") is None  # not the frames, which hold the boxes
    ]
    for x, y, w, h in boxes:
        assert x >= 0
        assert y >= 0
        assert x + w <= width
        assert y + h <= height
    for (ax, ay, aw, ah), (bx, by, bw, bh) in combinations(boxes, 2):
        assert ax + aw <= bx or bx + bw <= ax or ay + ah <= by or by + bh <= ay


def test_edges_run_from_left_to_right_or_down(files: dict[Path, str]) -> None:
    """No dependency points back: the columns are in the order of the groups."""
    for path in re.findall(
        r"<path d='M([\d.]+),([\d.]+)[^']* L?([\d.]+),([\d.]+)' fill='none'", files[DRAW["PICTURE"]]
    ):
        x, y, x2, y2 = map(float, path)
        assert x2 > x or (abs(x2 - x) <= 1 and y2 > y)
