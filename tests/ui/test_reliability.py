"""The reliability drawing: dots and intervals are where they should be, and text is text."""

from modules.intervals import wilson_interval
from ui.components.reliability_curve import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, _x, _y
from ui.pages.runs.reliability import panel

VALUES = {
    "eval/accuracy": 0.7,
    "eval/accuracy_low": 0.55,
    "eval/accuracy_high": 0.82,
    "eval/num": 40.0,
    "eval/ece": 0.061,
    "eval/length_matched_accuracy": 0.5,
    "eval/length_matched_accuracy_low": 0.1,
    "eval/length_matched_accuracy_high": 0.9,
    "eval/length_matched_num": 4.0,
    "eval/length_correlation": -0.25,
    "eval/length_correlation_low": -0.5,
    "eval/length_correlation_high": 0.05,
    "eval/center": 1.5,
    "eval/center_spread": 0.75,
    "eval/center_num": 512.0,
    "strength_accuracy/1": 0.6,
    "strength_num/1": 10.0,
    "category_accuracy/<b>story</b>": 0.8,
    "category_num/<b>story</b>": 30.0,
    "reliability_num/0": 10.0,
    "reliability_predicted/0": 0.52,
    "reliability_observed/0": 0.5,
    "reliability_num/4": 0.0,
    "reliability_predicted/4": 0.72,  # from an earlier evaluation, in which this tenth was not empty
    "reliability_observed/4": 0.1,
    "reliability_num/9": 30.0,
    "reliability_predicted/9": 0.97,
    "reliability_observed/9": 0.9,
}


def test_the_drawing_puts_a_dot_where_prediction_and_observation_meet():
    svg = panel(VALUES)
    assert panel({"train/loss": 1.0}) == ""
    assert svg.count("<circle") == 2
    x, y = _x(0.97), _y(0.9)
    assert f'cx="{x:.1f}" cy="{y:.1f}" r="9.0"' in svg, "the most comparisons, the largest dot"
    low, high = wilson_interval(27, 30)
    assert f'y1="{_y(low):.1f}" y2="{_y(high):.1f}"' in svg
    assert _x(0.5) == LEFT
    assert _x(1.0) == WIDTH - RIGHT
    assert (_y(1.0), _y(0.0)) == (TOP, HEIGHT - BOTTOM)


def test_names_from_the_data_are_text_in_the_table():
    html = panel(VALUES)
    assert "&lt;b&gt;story" in html
    assert "<b>story" not in html
    assert "512 reference answers are 0 on average (before: 1.50) with a standard deviation of 0.750" in html
