"""Plots as self-contained SVG: lines, bars and histograms, for metadata and documents, without a plotting library."""

import math
import re
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import cycle

import numpy as np
import numpy.typing as npt

Points = Sequence[tuple[float, float]]

_WIDTH, _LEFT, _RIGHT, _TOP, _BOTTOM, _HEAD = 720, 64, 20, 34, 46, 32
_MOST_POINTS = 400
_MOST_BINS, _MOST_ROWS = 24, 30
_TAIL = 0.995  # of a histogram: larger values share the last bar, or one outlier would squeeze all others into one bar
_HUGE = 1e300  # keeps differences and margins finite
_CHAR = 7.2  # width of a letter at 12 px, on the safe side
# Okabe and Ito's colours, which colour-blind readers can tell apart.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#333333")
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True)
class _Axis:
    """A range of values, its round numbers, and the pixels that it is drawn over."""

    low: float
    high: float
    step: float
    start: float
    end: float

    @classmethod
    def over(cls, values: Iterable[float], start: float, end: float, *, from_zero: bool) -> "_Axis":
        numbers = [*values, 0.0] if from_zero else list(values)
        low, high = min(numbers, default=0.0), max(numbers, default=1.0)
        if high - low <= 1e-9 * max(abs(low), abs(high)):  # only one value, or nearly so
            margin = max(abs(low) * 0.1, 1e-9) if low else 1.0
            low, high = low - (0 if from_zero else margin), high + margin
        step = _round_step((high - low) / (5 if from_zero else 8))
        if from_zero and all(value == round(value) for value in numbers):
            step = max(step, 1.0)  # counts are whole numbers
        if from_zero:  # the axis ends at a round number
            low, high = math.floor(low / step) * step, math.ceil(high / step) * step
        return cls(low, high, step, start, end)

    def at(self, value: float) -> float:
        """Pixel of a value, always inside the axis."""
        share = min(max((value - self.low) / (self.high - self.low), 0.0), 1.0)
        return self.start + share * (self.end - self.start)

    def ticks(self) -> list[tuple[float, str]]:
        """Pixel and text of each round number within the range."""
        first, last = math.ceil(self.low / self.step - 1e-6), math.floor(self.high / self.step + 1e-6)
        decimals = max(0, -math.floor(math.log10(self.step) + 1e-9))
        plain = max(abs(self.low), abs(self.high)) < 1e7 and decimals <= 4
        values = [number * self.step for number in range(first, last + 1)]
        return [(self.at(v), f"{v:,.{decimals}f}" if plain else f"{v:.6g}") for v in values]


def line_chart(series: Mapping[str, Points], *, title: str, x_label: str, y_label: str) -> str:
    """Draw one line per series of (x, y) points.

    Points are joined in order of x. Points that are not finite are left out; of very many points the highest and lowest
    are kept. The y axis includes 0. Without points the chart shows "no data".
    """
    return line_charts({y_label: series}, title=title, x_label=x_label, height=240)


def line_charts(panels: Mapping[str, Mapping[str, Points]], *, title: str, x_label: str, height: float = 120) -> str:
    """Draw panels under each other that share one x axis; `panels` maps the label of each y axis to its series."""
    drawn = {
        label: {name: _thinned(points) for name, points in lines.items()}
        for label, lines in (panels or {"": {}}).items()
    }
    xs = [x for lines in drawn.values() for points in lines.values() for x, _ in points]
    across = _Axis.over(xs, _LEFT, _WIDTH - _RIGHT, from_zero=False)
    elements, top = [], float(_TOP)
    for label, lines in drawn.items():
        top += _HEAD
        ys = [y for points in lines.values() for _, y in points]
        up = _Axis.over(ys, top + height, top, from_zero=True)
        elements += [_head(label, list(lines), top), _grid(up, across, labelled=label == list(drawn)[-1] and bool(xs))]
        for colour, points in zip(_colours(), lines.values(), strict=False):
            elements.append(_line([(across.at(x), up.at(y)) for x, y in points], colour))
        if not ys:
            elements.append(_text("no data", (across.start + across.end) / 2, top + height / 2, anchor="middle"))
        top += height
    return _svg(elements, title, x_label, top)


def bar_chart(
    labels: Sequence[str], series: Mapping[str, Sequence[float]], *, title: str, x_label: str, y_label: str
) -> str:
    """Draw one bar per label and series, the series side by side; of more than 400 labels the first are shown.

    Raises:
        ValueError: if a series has not one value per label.
    """
    wrong = {name: len(values) for name, values in series.items() if len(values) != len(labels)}
    if wrong:
        raise ValueError(f"want one value for each of the {len(labels)} labels, got {wrong}")
    if len(labels) > _MOST_POINTS:
        title += f" (first {_MOST_POINTS} of {len(labels):,})"
    labels = labels[:_MOST_POINTS]
    bars = {
        name: [_clipped(v) if math.isfinite(v) else 0.0 for v in values[:_MOST_POINTS]]
        for name, values in series.items()
    }
    top, bottom = _TOP + _HEAD, _TOP + _HEAD + 240
    up = _Axis.over([v for values in bars.values() for v in values], bottom, top, from_zero=True)
    slot = (_WIDTH - _LEFT - _RIGHT) / max(len(labels), 1)
    thick = slot * 0.8 / max(len(bars), 1)
    elements = [_head(y_label, list(bars), top), _grid(up, None)]
    for position, (colour, values) in enumerate(zip(_colours(), bars.values(), strict=False)):
        for index, value in enumerate(values):
            x, ends = _LEFT + slot * (index + 0.1) + thick * position, sorted((up.at(value), up.at(0.0)))
            size = f'width="{thick:.2f}" height="{ends[1] - ends[0]:.1f}"'
            elements.append(f'<rect x="{x:.2f}" y="{ends[0]:.1f}" {size} fill="{colour}"/>')
    names = [_clean(label, 16) for label in labels]
    every = math.ceil((max(map(len, names), default=0) * _CHAR + 8) / slot)  # so that labels do not overlap
    for index in range(0, len(names), every):
        elements.append(_text(names[index], _LEFT + slot * (index + 0.5), bottom + 18, anchor="middle"))
    if not labels or not bars:
        elements.append(_text("no data", _WIDTH / 2, (top + bottom) / 2, anchor="middle"))
    return _svg(elements, title, x_label, bottom)


def histogram(values: Mapping[str, npt.ArrayLike], *, title: str, x_label: str, y_label: str) -> str:
    """Draw a histogram with about 24 steps of a round width, side by side for each series.

    The label of a bar is its lower bound; the last bar has all larger values. Values that are not finite are left out.
    """
    finite = {name: _finite(series) for name, series in values.items()}
    every = np.concatenate([*finite.values(), np.empty(0)])
    if not every.size:
        return bar_chart([], {}, title=title, x_label=x_label, y_label=y_label)
    edges, decimals = _edges(every)
    labels = [f"{edge:,.{decimals}f}" for edge in edges]
    labels[-1] += "+" if every.max() >= 2 * edges[-1] - edges[-2] else ""
    # Values below the first edge because of rounding are in the first bar.
    bounds = [-np.inf, *edges[1:], np.inf]
    counts = {name: np.histogram(series, bounds)[0].tolist() for name, series in finite.items()}
    return bar_chart(labels, counts, title=title, x_label=f"{x_label}, from … on", y_label=y_label)


def ranking(values: Mapping[str, float], *, title: str, x_label: str) -> str:
    """Draw one horizontal bar per name, with its value beside it; of more than 30 the first are shown."""
    if len(values) > _MOST_ROWS:
        title += f" (first {_MOST_ROWS} of {len(values):,})"
    rows = [(_clean(name, 28), value if math.isfinite(value) else 0.0) for name, value in values.items()][:_MOST_ROWS]
    left, room, top = 16 + 28 * _CHAR, 110, _TOP + 10
    longest, bottom = max((value for _, value in rows if value > 0), default=1.0), top + 24 * max(len(rows), 2)
    elements = []
    for index, (name, value) in enumerate(rows):
        y, wide = top + 24 * index, max(0.0, value / longest) * (_WIDTH - left - room)
        elements.append(_text(name, left - 8, y + 15, anchor="end"))
        elements.append(f'<rect x="{left:.1f}" y="{y + 2:.1f}" width="{wide:.1f}" height="18" fill="{_COLOURS[0]}"/>')
        elements.append(_text(_amount(value), left + wide + 6, y + 15))
    if not rows:
        elements.append(_text("no data", _WIDTH / 2, (top + bottom) / 2, anchor="middle"))
    return _svg(elements, title, x_label, bottom - 12)


def as_markdown(svg: str, alt: str) -> str:
    """Put an SVG into one line of Markdown, as an image that needs no file."""
    words = re.sub(r"[\[\]\\\s]+", " ", alt).strip()
    return f"![{words}](data:image/svg+xml;base64,{b64encode(svg.encode()).decode()})"


def _finite(values: npt.ArrayLike) -> npt.NDArray[np.float64]:
    array = np.asarray(values, np.float64)
    return np.clip(array[np.isfinite(array)], -_HUGE, _HUGE)


def _edges(values: npt.NDArray[np.float64]) -> tuple[list[float], int]:
    """The lower bounds of bars, at least two, and the number of decimals for labels."""
    low, high = float(values.min()), float(np.quantile(values, _TAIL))
    step = _round_step(max((high - low) / _MOST_BINS, abs(high) * 1e-9, 1e-9))
    if np.array_equal(values, np.rint(values)):
        step = max(step, 1.0)
    first, last = math.floor(low / step + 1e-9), math.floor(high / step + 1e-9)
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    return [number * step for number in range(first, max(last, first + 1) + 1)], decimals


def _amount(value: float) -> str:
    return f"{value:,.0f}" if float(value).is_integer() and abs(value) < 1e15 else f"{value:,.3g}"


def _thinned(points: Points) -> list[tuple[float, float]]:
    """At most 400 finite points in order of x: the first, the last, and of each stretch the lowest and the highest."""
    ordered = sorted((_clipped(x), _clipped(y)) for x, y in points if math.isfinite(x) and math.isfinite(y))
    if len(ordered) <= _MOST_POINTS:
        return ordered
    inner, size = ordered[1:-1], math.ceil(len(ordered) / (_MOST_POINTS // 2 - 1))
    stretches = [inner[at : at + size] for at in range(0, len(inner), size)]
    extremes = [sorted({min(stretch, key=_height), max(stretch, key=_height)}) for stretch in stretches]
    return [ordered[0], *(point for pair in extremes for point in pair), ordered[-1]]


def _height(point: tuple[float, float]) -> float:
    return point[1]


def _clipped(value: float) -> float:
    return min(max(float(value), -_HUGE), _HUGE) if abs(value) > 1 / _HUGE else 0.0


def _round_step(rough: float) -> float:
    """The next of 1, 2, 5, 10, … times a power of ten."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10, 20) if factor * power >= rough * (1 - 1e-9))


def _grid(up: _Axis, across: _Axis | None, *, labelled: bool = False) -> str:
    """Lines and numbers of a panel's axes."""
    left, right = _LEFT, _WIDTH - _RIGHT
    elements = []
    for y, text in up.ticks():
        elements.append(f'<line x1="{left}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}" stroke="#dddddd"/>')
        elements.append(_text(text, left - 8, y + 4, anchor="end"))
    for x, text in across.ticks() if across else ():
        elements.append(
            f'<line x1="{x:.1f}" y1="{up.start:.1f}" x2="{x:.1f}" y2="{up.start + 5:.1f}" stroke="#888888"/>'
        )
        if labelled:
            elements.append(_text(text, x, up.start + 18, anchor="middle"))
    zero = up.at(0.0)
    return "".join([*elements, f'<line x1="{left}" y1="{zero:.1f}" x2="{right}" y2="{zero:.1f}" stroke="#888888"/>'])


def _head(label: str, names: list[str], top: float) -> str:
    """The label of the y axis above a panel, and the legend beside it if there are several series."""
    words = _clean(label, 40)
    elements, x = [_text(words, 8, top - 13, weight="bold")], 8 + len(words) * _CHAR + 24
    for colour, name in zip(_colours(), names if len(names) > 1 else (), strict=False):
        shown = _clean(name, 24)
        if x + 16 + len(shown) * _CHAR > _WIDTH:
            elements.append(_text("…", x, top - 13))
            break
        elements.append(f'<rect x="{x:.1f}" y="{top - 22:.1f}" width="10" height="10" fill="{colour}"/>')
        elements.append(_text(shown, x + 15, top - 13))
        x += len(shown) * _CHAR + 32
    return "".join(elements)


def _line(points: list[tuple[float, float]], colour: str) -> str:
    if len(points) == 1:
        return f'<circle cx="{points[0][0]:.1f}" cy="{points[0][1]:.1f}" r="3" fill="{colour}"/>'
    joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{joined}" fill="none" stroke="{colour}" stroke-width="1.8" stroke-linejoin="round"/>'


def _colours() -> Iterable[str]:
    return cycle(_COLOURS)


def _clean(text: str, most: int) -> str:
    """Text without characters that XML forbids, on one line and cut."""
    words = " ".join(_NOT_XML.sub("�", text).split())
    return words if len(words) <= most else words[: most - 1] + "…"


def _text(text: str, x: float, y: float, *, anchor: str = "start", weight: str = "normal", size: int = 12) -> str:
    style = f'text-anchor="{anchor}" font-weight="{weight}" font-size="{size}"'
    return f'<text x="{x:.1f}" y="{y:.1f}" {style}>{escape(text)}</text>'


def _svg(elements: list[str], title: str, x_label: str, bottom: float) -> str:
    height = bottom + _BOTTOM
    inside = [
        f'<rect width="{_WIDTH}" height="{height:.0f}" fill="#ffffff"/>',  # dark pages show it on white too
        _text(_clean(title, 80), _WIDTH / 2, 22, anchor="middle", weight="bold", size=15),
        *elements,
        _text(_clean(x_label, 80), (_LEFT + _WIDTH - _RIGHT) / 2, height - 8, anchor="middle"),
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height:.0f}" '
        f'viewBox="0 0 {_WIDTH} {height:.0f}" font-family="system-ui, sans-serif" fill="#222222">'
        f"{''.join(inside)}</svg>"
    )
