"""Plots are well-formed, stay inside their frame for any data, and have a text without data."""

import base64
import math
import re
from collections.abc import Iterator
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from personahub_assets.defs.metadata.svg import as_markdown, bar_chart, histogram, line_chart, line_charts, ranking

SVG = "{http://www.w3.org/2000/svg}"
FINITE = st.floats(allow_nan=False, allow_infinity=False)
POINTS = st.lists(st.tuples(FINITE, FINITE), max_size=12)
RAMP = [(second / 10, min(512, 8 * 1.05**second)) for second in range(120)]


def lines(svg: str) -> list[list[tuple[float, float]]]:
    """The points of each line; a single point is a line of one."""
    root = ElementTree.fromstring(svg)
    found = [
        [(float(x), float(y)) for x, y in (pair.split(",") for pair in line.attrib["points"].split())]
        for line in root.iter(f"{SVG}polyline")
        if line.attrib["points"]
    ]
    return found + [[(float(dot.attrib["cx"]), float(dot.attrib["cy"]))] for dot in root.iter(f"{SVG}circle")]


def texts(svg: str) -> list[str]:
    return [node.text or "" for node in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def bars(svg: str) -> Iterator[dict[str, float]]:
    """Frames of all bars, without the background and the legend."""
    for box in ElementTree.fromstring(svg).iter(f"{SVG}rect"):
        if "x" in box.attrib and (box.attrib["width"], box.attrib["height"]) != ("10", "10"):
            yield {name: float(box.attrib[name]) for name in ("x", "y", "width", "height")}


def size(svg: str) -> tuple[float, float]:
    root = ElementTree.fromstring(svg)
    return float(root.attrib["width"]), float(root.attrib["height"])


@given(st.dictionaries(st.text(max_size=40), POINTS, max_size=9), st.text(), st.text(), st.text())
def test_lines_stay_inside_the_frame(
    series: dict[str, list[tuple[float, float]]], title: str, x_label: str, y_label: str
) -> None:
    svg = line_chart(series, title=title, x_label=x_label, y_label=y_label)
    width, height = size(svg)
    drawn = lines(svg)
    assert sum(map(len, drawn)) == sum(map(len, series.values()))
    assert all(64 <= x <= width - 20 and 50 <= y <= height - 46 for line in drawn for x, y in line)


@given(st.lists(st.tuples(st.text(max_size=20), FINITE, FINITE), max_size=20))
def test_bars_stay_inside_the_frame(rows: list[tuple[str, float, float]]) -> None:
    series = {"one": [row[1] for row in rows], "<two>": [row[2] for row in rows]}
    svg = bar_chart([row[0] for row in rows], series, title="a & b", x_label="<x>", y_label="y")
    width, height = size(svg)
    drawn = list(bars(svg))
    assert len(drawn) == 2 * len(rows)
    for box in drawn:
        assert 64 <= box["x"] <= box["x"] + box["width"] <= width - 20
        assert box["y"] >= 50
        assert box["y"] + box["height"] <= height - 46 + 0.1


def test_panels_share_their_x_axis_and_name_theirs() -> None:
    calm = [(x, 40.0) for x, _ in RAMP[::2]]
    svg = line_charts({"window": {"": RAMP}, "rows/s": {"": calm}}, title="Ramp", x_label="seconds")
    ramp, flat = lines(svg)
    assert ramp[0][0] == flat[0][0]
    assert max(y for _, y in ramp) < min(y for _, y in flat)
    assert {"window", "rows/s", "Ramp", "seconds"} <= set(texts(svg))
    # One row of round numbers under the lowest panel, and one column beside each.
    assert [text for text in texts(svg) if re.fullmatch(r"[\d,]+", text)] == [
        *("0", "200", "400", "600", "0", "10", "20", "30", "40"),
        *("0", "2", "4", "6", "8", "10"),
    ]


def test_the_line_follows_its_values() -> None:
    (line,) = lines(line_chart({"": [(0, 0), (1, 10), (2, 5)]}, title="", x_label="", y_label=""))
    (x0, y0), (x1, y1), (x2, y2) = line
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.2)
    assert y0 > y2 > y1
    assert y0 - y2 == pytest.approx(y2 - y1, abs=0.2)


def test_a_legend_names_several_series_only() -> None:
    one = line_chart({"asked": RAMP}, title="", x_label="", y_label="")
    two = line_chart({"asked": RAMP, "answered": RAMP}, title="", x_label="", y_label="")
    assert "asked" not in texts(one)
    assert {"asked", "answered"} <= set(texts(two))


@pytest.mark.parametrize("points", [[], [(float("nan"), 1.0), (1.0, float("inf"))]])
def test_nothing_to_draw_is_said(points: list[tuple[float, float]]) -> None:
    for svg in (
        line_charts({}, title="Empty", x_label="s"),
        line_chart({}, title="Empty", x_label="s", y_label="n"),
        line_chart({"a": points, "b": []}, title="Empty", x_label="s", y_label="n"),
        bar_chart([], {"a": []}, title="Empty", x_label="s", y_label="n"),
        bar_chart(["one"], {}, title="Empty", x_label="s", y_label="n"),
    ):
        assert "no data" in texts(svg)
        assert lines(svg) == []


def test_a_huge_line_is_thinned_but_keeps_its_extremes() -> None:
    points = [(float(n), 1.0) for n in range(200_000)]
    points[70_001], points[130_003] = (70_001.0, 900.0), (130_003.0, -900.0)
    (line,) = lines(line_chart({"": points}, title="", x_label="", y_label=""))
    whole = line_chart({"": [(0.0, 1.0), (1.0, 900.0), (2.0, -900.0)]}, title="", x_label="", y_label="")
    assert 100 < len(line) <= 400
    assert {min(y for _, y in line), max(y for _, y in line)} == {
        min(y for _, y in lines(whole)[0]),
        max(y for _, y in lines(whole)[0]),
    }


def test_of_very_many_bars_the_first_are_shown_and_that_is_said() -> None:
    svg = bar_chart([str(n) for n in range(5000)], {"": [1.0] * 5000}, title="Bins", x_label="", y_label="")
    assert len(list(bars(svg))) == 400
    assert "Bins (first 400 of 5,000)" in texts(svg)


def test_series_of_another_length_are_refused() -> None:
    with pytest.raises(ValueError, match=r"each of the 2 labels, got \{'b': 1\}"):
        bar_chart(["x", "y"], {"a": [1, 2], "b": [1]}, title="", x_label="", y_label="")


def test_markdown_holds_the_whole_image_in_one_line() -> None:
    svg = line_chart({"é": RAMP}, title="Größe <&>", x_label="s", y_label="n")
    line = as_markdown(svg, "the [ramp]\nof a run")
    found = re.fullmatch(r"!\[the ramp of a run\]\(data:image/svg\+xml;base64,([A-Za-z0-9+/=]+)\)", line)
    assert found
    assert base64.b64decode(found[1]).decode() == svg


# --- histograms and rankings ---


@given(
    st.lists(st.one_of(FINITE, st.sampled_from([float("nan"), float("inf")])), max_size=200),
    st.lists(st.integers(0, 5_000).map(float), max_size=200),
)
def test_every_finite_value_is_in_one_bar_of_a_histogram(one: list[float], two: list[float]) -> None:
    svg = histogram({"one": one, "<two>": two}, title="t", x_label="x", y_label="y")
    finite = sum(math.isfinite(value) for value in one), len(two)
    drawn = list(bars(svg))
    assert len(drawn) <= 2 * 130
    assert sum(map(bool, finite)) <= sum(box["height"] > 0 for box in drawn)
    assert ("no data" in texts(svg)) == (not any(finite))
    assert all(box["x"] + box["width"] <= size(svg)[0] - 20 for box in drawn)


def test_a_histogram_has_round_steps_and_one_bar_for_the_tail() -> None:
    values = [float(n % 240) for n in range(4_800)] + [1e6]
    svg = histogram({"": values}, title="t", x_label="characters", y_label="rows")
    found = list(bars(svg))
    unit = min(box["height"] for box in found)
    assert [round(10 * box["height"] / unit) / 10 for box in found[:-1]] == [1.0] * (len(found) - 1)
    assert len(found) == 24
    assert "230+" in texts(svg) or "220" in texts(svg)
    assert "characters, from … on" in texts(svg)


def test_counts_have_whole_numbers_at_the_axis() -> None:
    svg = histogram({"": [3.0, 9.0]}, title="t", x_label="x", y_label="rows")
    assert [text for text in texts(svg) if re.fullmatch(r"0\.\d", text)] == []


# Hypothesis also draws strings of our own modules: a name that reads "no data" looks like an empty chart.
@given(st.dictionaries(st.text(max_size=40).filter(lambda name: "no data" not in name), FINITE, max_size=50))
def test_a_ranking_stays_inside_its_frame_and_names_each(values: dict[str, float]) -> None:
    svg = ranking(values, title="t", x_label="rows")
    width, height = size(svg)
    drawn = list(bars(svg))
    assert len(drawn) == min(len(values), 30)
    for box in drawn:
        assert 0 <= box["x"] <= box["x"] + box["width"] <= width
        assert 0 <= box["y"] <= box["y"] + box["height"] <= height
    assert ("no data" in texts(svg)) == (not values)
    assert any("first 30 of" in text for text in texts(svg)) == (len(values) > 30)
