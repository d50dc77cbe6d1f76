"""The reliability drawing: dots and intervals are where they should be, and text is text."""

from modules.intervals import wilson_interval
from tests.support.measured import VALUES
from ui.components.reliability_curve import BOTTOM, HEIGHT, TOP, _x, _y
from ui.pages.runs.reliability import panel


def test_the_drawing_puts_a_dot_where_prediction_and_observation_meet():
    svg = panel(VALUES)
    assert panel({"train/loss": 1.0}) == ""
    assert svg.count("<circle") == 2
    x, y = _x(0.97), _y(0.9)
    assert f'cx="{x}" cy="{y:.1f}" r="9.0"' in svg, "the most comparisons, the largest dot"
    low, high = wilson_interval(27, 30)
    assert f'y1="{_y(low):.1f}" y2="{_y(high):.1f}"' in svg
    assert (_x(0.5), _x(1.0)) == ("0.00%", "100.00%")
    assert (_y(1.0), _y(0.0)) == (TOP, HEIGHT - BOTTOM)


def test_names_from_the_data_are_text_in_the_table():
    html = panel(VALUES)
    assert "&lt;b&gt;story" in html
    assert "<b>story" not in html
    assert "512 reference answers are 0 on average (before: 1.50) with a standard deviation of 0.750" in html
