"""Draw the asset graph from the code: docs/graph.svg for people, tests/graph.txt for reviews.

    python scripts/draw_graph.py      rewrites both

Groups are columns in the order of their dependencies, with their assets from top to bottom. Groups without dependents
share the last column. Both files are equal on every machine; tests/test_graph_picture.py asserts that they are up to
date.
"""

import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from graphlib import TopologicalSorter
from html import escape
from itertools import pairwise
from pathlib import Path
from typing import Any

from personahub_assets.core.config import Environment
from personahub_assets.definitions import build

ROOT = Path(__file__).resolve().parent.parent
PICTURE = ROOT / "docs" / "graph.svg"
SNAPSHOT = ROOT / "tests" / "graph.txt"

# Measures in pixels.
_BOX = (168, 44)
_GAP_X, _GAP_Y = 66, 16  # between the columns' frames, between boxes
_FRAME = 14  # space between a group's frame and its boxes
_TITLE = 26
_SPLIT = _TITLE + _FRAME + 10  # from the boxes of a group to those of the group below it
_LANE = 20  # height of one line that runs below the frames
_MARGIN = 8
_LEGEND = 34

# Boxes have a background; everything else is a medium grey, which is readable on white and on black.
_GREY = "#768390"
_LINE = "#8b98a5"
_FILLS = {"asks": ("#dbe9ff", "#2f6fd0"), "computes": ("#eef1f4", "#66727e"), "whole": ("#fdeccb", "#b07514")}
_MEANINGS = {
    "asks": "by batch, asks the language model",
    "computes": "by batch, no language model",
    "whole": "one for the whole home",
}
_FONT = "font-family='Inter, Helvetica, Arial, sans-serif'"


@dataclass(frozen=True)
class Asset:
    """The drawn properties of an asset."""

    name: str
    group: str
    deps: tuple[str, ...]
    kinds: tuple[str, ...]
    partitioned: str | None
    pool: str | None
    checks: tuple[str, ...]


def assets() -> list[Asset]:
    """All assets, each after those that it depends on, groups together."""
    with tempfile.TemporaryDirectory() as home:
        # An empty home, so that the picture depends only on the code, not on hub.toml or environment variables.
        graph = build(Environment(home=Path(home))).resolve_asset_graph()
    checks: dict[str, list[str]] = {}
    for key in graph.asset_check_keys:
        checks.setdefault(key.asset_key.to_user_string(), []).append(key.name)
    found = {
        key.to_user_string(): _asset(graph.get(key), checks.get(key.to_user_string(), []))
        for key in graph.get_all_asset_keys()
    }
    return _in_order(found)


def snapshot(found: list[Asset]) -> str:
    """The graph as text, one block per asset."""
    blocks = ["# The asset graph. Written by: python scripts/draw_graph.py"]
    for asset in found:
        lines = {
            "deps": ", ".join(asset.deps),
            "kinds": ", ".join(asset.kinds),
            "partitions": asset.partitioned or "none",
            "pool": asset.pool or "none",
            "checks": ", ".join(asset.checks),
        }
        blocks.append(f"{asset.group} / {asset.name}\n" + "\n".join(f"  {k}: {v or 'none'}" for k, v in lines.items()))
    return "\n\n".join(blocks) + "\n"


def picture(found: list[Asset]) -> str:
    """The graph as SVG."""
    layout = Layout(found)
    parts = [*layout.frames(), *layout.edges(), *layout.boxes(), layout.legend()]
    width, height = layout.size
    head = (
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width} {height}' width='{width}' height='{height}' "
        f"role='img' aria-label='The asset graph of PersonaHub' {_FONT}>"
    )
    arrow = (
        "<defs><marker id='arrow' viewBox='0 0 8 8' refX='7' refY='4' markerWidth='7' markerHeight='7' orient='auto'>"
        f"<path d='M0,0.8 L7.5,4 L0,7.2 Z' fill='{_LINE}'/></marker></defs>"
    )
    return "\n".join([head, arrow, *parts, "</svg>"]) + "\n"


class Layout:
    """Positions of frames, boxes and edges; boxes are centred in their column."""

    def __init__(self, found: list[Asset]):
        self._assets = {asset.name: asset for asset in found}
        self._groups: dict[str, list[str]] = {}
        for asset in found:
            self._groups.setdefault(asset.group, []).append(asset.name)
        inner = {
            self._assets[dep].group for asset in found for dep in asset.deps if self._assets[dep].group != asset.group
        }
        ends = [group for group in self._groups if group not in inner]
        self._columns = [[group] for group in self._groups if group in inner] + [ends]
        self._column = {
            name: at for at, groups in enumerate(self._columns) for group in groups for name in self._groups[group]
        }
        self._edges = [(dep, asset.name) for asset in found for dep in asset.deps]
        self._lanes = [edge for edge in self._edges if self._column[edge[1]] - self._column[edge[0]] > 1]
        self._tallest = max(self._height(groups) for groups in self._columns)
        self._place = dict(self._places())

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        columns = len(self._columns)
        width = 2 * _MARGIN + columns * (_BOX[0] + 2 * _FRAME) + (columns - 1) * _GAP_X
        return width, self._floor + _LANE * len(self._lanes) + _LEGEND + _MARGIN

    @property
    def _floor(self) -> int:
        """The lower edge of the frames."""
        return _MARGIN + _TITLE + self._tallest + _FRAME

    def _left(self, column: int) -> int:
        return _MARGIN + column * (_BOX[0] + 2 * _FRAME + _GAP_X)

    def _height(self, groups: list[str]) -> int:
        """Height from the first box of a column to the last."""
        return sum(_stack(len(self._groups[group])) for group in groups) + _SPLIT * (len(groups) - 1)

    def _places(self) -> Iterable[tuple[str, tuple[int, int]]]:
        for column, groups in enumerate(self._columns):
            top = _MARGIN + _TITLE + (self._tallest - self._height(groups)) // 2
            for group in groups:
                for name in self._groups[group]:
                    yield name, (self._left(column) + _FRAME, top)
                    top += _BOX[1] + _GAP_Y
                top += _SPLIT - _GAP_Y

    def frames(self) -> Iterable[str]:
        """The groups."""
        for column, groups in enumerate(self._columns):
            tops = [self._place[self._groups[group][0]][1] - _TITLE for group in groups[1:]]
            for group, y, end in zip(groups, [_MARGIN, *tops], [*(top - 10 for top in tops), self._floor], strict=True):
                yield from _frame(self._left(column), y, end - y, group)

    def boxes(self) -> Iterable[str]:
        """The assets."""
        for name, (x, y) in self._place.items():
            asset = self._assets[name]
            yield _box(x, y, *_BOX, 7, _look(asset))
            middle = x + _BOX[0] // 2
            yield _text(middle, y + 19, name, "font-size='13' font-weight='600' fill='#1c2530'")
            checks = f"{len(asset.checks)} check{'s' * (len(asset.checks) != 1)}"
            below = " · ".join([*asset.kinds, *([checks] if asset.checks else [])])
            yield _text(middle, y + 35, below, "font-size='10.5' fill='#4b5763'")

    def edges(self) -> Iterable[str]:
        """The dependencies: down within a group, across to the next column, below the frames to farther columns."""
        for edge in self._edges:
            if edge in self._lanes:
                path = self._below(edge, self._lanes.index(edge))
            elif self._column[edge[0]] == self._column[edge[1]]:
                path = self._down(edge)
            else:
                path = self._across(edge)
            yield f"<path d='{path}' fill='none' stroke='{_LINE}' stroke-width='1.3' marker-end='url(#arrow)'/>"

    def _down(self, edge: tuple[str, str]) -> str:
        (x, y), (_, y2) = self._place[edge[0]], self._place[edge[1]]
        middle = x + _BOX[0] // 2
        if y2 - y == _BOX[1] + _GAP_Y:
            return f"M{middle},{y + _BOX[1]} L{middle},{y2 - 1}"
        side = x + _BOX[0]  # past the boxes between them
        return f"M{side},{y + _BOX[1] // 2} C{side + 12},{y + 30} {side + 12},{y2 + 14} {side + 1},{y2 + _BOX[1] // 2}"

    def _across(self, edge: tuple[str, str]) -> str:
        (x, y), (x2, y2) = self._place[edge[0]], self._place[edge[1]]
        start, y, y2 = x + _BOX[0], self._port(edge, out=True) + y, self._port(edge, out=False) + y2
        bend = (x2 - start) // 2
        return f"M{start},{y} C{start + bend},{y} {x2 - bend},{y2} {x2 - 1},{y2}"

    def _below(self, edge: tuple[str, str], lane: int) -> str:
        (x, y), (x2, y2) = self._place[edge[0]], self._place[edge[1]]
        start, end = x + _BOX[0], x2
        y, y2 = y + self._port(edge, out=True), y2 + self._port(edge, out=False)
        floor = self._floor + _LANE * lane + 12
        right, left = start + _FRAME + 16 + 10 * lane, end - _FRAME - 16 - 10 * lane
        corners = [(start, y), (right, y), (right, floor), (left, floor), (left, y2), (end - 1, y2)]
        return _rounded(corners)

    def _port(self, edge: tuple[str, str], *, out: bool) -> int:
        """Vertical position of an edge at its box: the edges of a side are spread over its height, in order."""
        mine, other = (0, 1) if out else (1, 0)
        ends = [e for e in self._edges if e[mine] == edge[mine] and self._column[e[0]] != self._column[e[1]]]
        ends.sort(key=lambda e: (e in self._lanes, self._place[e[other]][1]))
        step = min(8, (_BOX[1] - 12) // max(len(ends), 1))
        return _BOX[1] // 2 + round((ends.index(edge) - (len(ends) - 1) / 2) * step)

    def legend(self) -> str:
        """The meaning of the colours."""
        y = self.size[1] - _MARGIN - 16
        marks, x = [], _MARGIN + 2
        for look, says in _MEANINGS.items():
            marks.append(_box(x, y, 22, 14, 4, look))
            marks.append(f"<text x='{x + 29}' y='{y + 11}' font-size='12' fill='{_GREY}'>{says}</text>")
            x += 58 + round(6.3 * len(says))
        return "\n".join(marks)


def _asset(node: Any, checks: list[str]) -> Asset:
    # Dagster's node class is private, and its annotations lack the attributes used here.
    return Asset(
        name=node.key.to_user_string(),
        group=node.group_name,
        deps=tuple(sorted(key.to_user_string() for key in node.parent_keys)),
        kinds=tuple(sorted(node.kinds or ())),
        partitioned=node.partitions_def.name if node.partitions_def else None,
        pool=next(iter(sorted(node.pools or ())), None),
        checks=tuple(sorted(checks)),
    )


def _in_order(found: Mapping[str, Asset]) -> list[Asset]:
    """Sort by group, then within a group by dependencies, then by name."""
    groups = _sorted({asset.group: {found[dep].group for dep in asset.deps} - {asset.group} for asset in _all(found)})
    inner = _sorted({name: set(asset.deps) for name, asset in found.items()})
    return sorted(found.values(), key=lambda asset: (groups.index(asset.group), inner.index(asset.name)))


def _all(found: Mapping[str, Asset]) -> list[Asset]:
    """One node per group, with all dependencies of the group."""
    deps: dict[str, set[str]] = {}
    for asset in found.values():
        deps.setdefault(asset.group, set()).update(asset.deps)
    return [Asset(group, group, tuple(sorted(names)), (), None, None, ()) for group, names in deps.items()]


def _sorted(graph: Mapping[str, set[str]]) -> list[str]:
    """Sort topologically, then by name."""
    sorter = TopologicalSorter(graph)
    sorter.prepare()
    order: list[str] = []
    while sorter.is_active():
        ready = sorted(sorter.get_ready())
        order += ready
        sorter.done(*ready)
    return order


def _stack(count: int) -> int:
    return count * _BOX[1] + (count - 1) * _GAP_Y


def _look(asset: Asset) -> str:
    if not asset.partitioned:
        return "whole"
    return "asks" if asset.pool == "llm" else "computes"


def _frame(x: int, y: int, height: int, group: str) -> Iterable[str]:
    width = _BOX[0] + 2 * _FRAME
    yield (
        f"<rect x='{x}' y='{y}' width='{width}' height='{height}' rx='10' fill='{_GREY}' "
        f"fill-opacity='0.08' stroke='{_GREY}' stroke-opacity='0.5'/>"
    )
    yield (
        f"<text x='{x + width // 2}' y='{y + 18}' text-anchor='middle' font-size='13' font-weight='600' "
        f"fill='{_GREY}'>{escape(group)}</text>"
    )


def _box(x: int, y: int, width: int, height: int, radius: int, look: str) -> str:
    fill, stroke = _FILLS[look]
    return f"<rect x='{x}' y='{y}' width='{width}' height='{height}' rx='{radius}' fill='{fill}' stroke='{stroke}'/>"


def _text(x: int, y: int, text: str, style: str) -> str:
    return f"<text x='{x}' y='{y}' text-anchor='middle' {style}>{escape(text)}</text>"


def _rounded(corners: list[tuple[int, int]], radius: int = 8) -> str:
    """An SVG path with rounded right angles."""
    path = f"M{corners[0][0]},{corners[0][1]}"
    for (before, corner), (_, after) in pairwise(pairwise(corners)):
        start, end = _towards(corner, before, radius), _towards(corner, after, radius)
        path += f" L{start[0]},{start[1]} Q{corner[0]},{corner[1]} {end[0]},{end[1]}"
    return f"{path} L{corners[-1][0]},{corners[-1][1]}"


def _towards(corner: tuple[int, int], other: tuple[int, int], radius: int) -> tuple[int, int]:
    """The point at most `radius` away from a corner on the way to another point in the same row or column."""
    step = [max(-radius, min(radius, (b - a) // 2)) for a, b in zip(corner, other, strict=True)]
    return corner[0] + step[0], corner[1] + step[1]


def files() -> dict[Path, str]:
    """The current contents of both files, by path."""
    found = assets()
    return {PICTURE: picture(found), SNAPSHOT: snapshot(found)}


def main() -> None:
    """Rewrite both files."""
    for path, text in files().items():
        path.write_text(text, "utf-8")
        print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()
