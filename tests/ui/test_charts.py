"""Charts: what is drawn is where it should be, and text is text."""

import itertools
import json
import re
from html import unescape

import pytest

from tests.ui.filling import HOSTILE
from ui.components.charts import (
    BOTTOM,
    FULL,
    HEIGHT,
    LABEL_GAP,
    LEFT,
    RIGHT,
    TOP,
    Band,
    Curve,
    _tick_text,
    _ticks,
    chart,
)
from ui.components.html import number


def points_of(svg: str, index: int = 0) -> list[tuple[float, float]]:
    found = re.search(rf'class="line c{index}" points="([^"]+)"', svg)
    assert found
    return [tuple(map(float, pair.split(","))) for pair in found[1].split()]


def test_a_line_runs_from_frame_to_frame_and_upwards_for_more():
    drawn = points_of(chart("loss", "", [Curve("a", [(0, 0.0), (5, 1.0), (10, 2.0)])]))
    assert drawn[0] == (0, HEIGHT - BOTTOM)
    assert drawn[-1] == (FULL, TOP)
    assert drawn[1][0] == pytest.approx(FULL / 2, abs=0.1)
    assert drawn[1][1] == pytest.approx((TOP + HEIGHT - BOTTOM) / 2, abs=0.1)


@pytest.mark.parametrize(
    ("low", "high"), [(0, 1), (0.3, 0.31), (-5, 1234), (2.0, 2.0), (0, 0), (1e-7, 3e-7), (-0.2, -0.1)]
)
def test_ticks_are_few_round_and_enclose_the_values(low, high):
    ticks = _ticks(low, high)
    assert 2 <= len(ticks) <= 6
    assert ticks[0] <= low + 1e-9
    assert ticks[-1] >= high - 1e-9
    steps = {f"{b - a:.6g}" for a, b in itertools.pairwise(ticks)}
    assert len(steps) == 1
    assert steps.pop().replace(".", "").lstrip("0").rstrip("0")[:2].split("e")[0] in ("1", "2", "25", "5")


def test_names_stand_at_the_ends_and_do_not_overlap():
    curves = [Curve(name, [(0, 1.0), (1, 1.0 + n * 1e-6)]) for n, name in enumerate("abc")]
    ys = sorted(
        float(y) for y in re.findall(r'class="name c\d" x="[\d.]+%" dx="8" y="([\d.]+)"', chart("t", "", curves))
    )
    assert all(b - a >= LABEL_GAP - 0.1 for a, b in itertools.pairwise(ys))
    assert ys[-1] <= HEIGHT


def test_the_name_of_a_curve_that_ends_early_stands_beside_the_frame_where_no_line_runs():
    svg = chart("t", "", [Curve("short", [(0, 1.0), (3, 2.0)]), Curve("long", [(0, 0.0), (9, 4.0)])])
    assert re.findall(r'class="name c\d" x="([\d.]+)%" dx="8"', svg) == ["100.00"] * 2
    dots = {float(x) for x in re.findall(r'class="dot c\d" cx="([\d.]+)%"', svg)}
    assert min(dots) < max(dots) == 100, "the dot tells where it ends"


def test_hover_gets_the_exact_values():
    svg = chart("t", "", [Curve("a", [(1, 0.123456789)]), Curve("b", [(2, 3.0)])], x_label="iteration")
    found = re.search(r'data-points="([^"]+)"', svg)
    assert found
    assert json.loads(unescape(found[1])) == [["a", [[1, 0.123456789]]], ["b", [[2, 3.0]]]]
    assert 'data-label="iteration"' in svg


def test_a_single_point_stands_in_the_middle_with_its_value_and_its_step():
    svg = chart("t", "", [Curve("", [(0, 3.21)])])
    assert 'cx="50.00%"' in svg
    assert f'x="50.00%" y="{HEIGHT - 8}" text-anchor="middle">step 0</text>' in svg
    assert "<tspan>3.21</tspan>" in svg
    assert f'data-frame="{LEFT} {RIGHT} -1 1"' in svg, "the hover finds the point where it is drawn"


def test_the_dot_and_the_label_are_at_the_newest_value_and_inside_the_frame():
    svg = chart("t", "", [Curve("a", [(0, 1.0), (9, 2.0)], newest=5.0)])
    found = re.search(r'<circle class="dot c0" cx="([\d.]+)%" cy="([\d.]+)"', svg)
    assert found
    assert float(found[1]) == 100
    assert TOP <= float(found[2]) < points_of(svg)[-1][1]
    assert "a <tspan>5</tspan>" in svg


def test_an_empty_chart_keeps_its_place():
    empty, filled = chart("t", "s", []), chart("t", "s", [Curve("a", [(0, 1.0)])])
    assert "waiting for the first value" in empty
    frame = f'<svg height="{HEIGHT}" style="padding: 0 {RIGHT}px 0 {LEFT}px"'
    assert frame in empty
    assert frame in filled


def test_text_is_text():
    svg = chart(
        HOSTILE, HOSTILE, [Curve(HOSTILE, [(0, 1.0), (1, 2.0)])], Band([(0, 0.5), (1, 1)], [(0, 2), (1, 3)]), HOSTILE
    )
    assert "<script" not in svg
    assert "<img" not in svg
    assert 'class="band"' in svg


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0, "0"),
        (3.0, "3"),
        (1234567, "1,234,567"),
        (0.12345, "0.123"),
        (1.204, "1.20"),
        (12.34, "12.3"),
        (0.0002, "2.0e-04"),
    ],
)
def test_numbers_have_the_digits_that_mean_something(value, text):
    assert number(value) == text


@pytest.mark.parametrize(
    ("low", "high"), [(1.9281, 1.9289), (0.4601, 0.4604), (2e-4, 5e-4), (1.00001e6, 1.00003e6), (0, 1e-5)]
)
def test_the_labels_of_ticks_tell_them_apart_however_narrow_the_range(low, high):
    ticks = _ticks(low, high)
    labels = [_tick_text(tick, ticks[1] - ticks[0]) for tick in ticks]
    assert len(set(labels)) == len(ticks), labels
    assert max(map(len, labels)) <= 10
