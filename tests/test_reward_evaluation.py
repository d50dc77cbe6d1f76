"""What a reward run measured, read back: points with intervals, lines with numbers, and what is no curve."""

import pytest

from modules.intervals import wilson_interval
from studio.cli import runs as cli_runs
from studio.runs import reward_evaluation

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


def test_points_have_their_intervals_and_a_tenth_that_is_empty_now_has_none():
    points = reward_evaluation.reliability(VALUES)
    assert [(p.predicted, p.observed, p.num) for p in points] == [(0.52, 0.5, 10), (0.97, 0.9, 30)]
    assert (points[1].low, points[1].high) == wilson_interval(27, 30)
    assert reward_evaluation.reliability({}) == []


def test_each_line_has_an_interval_and_the_number_behind_it():
    found = {(row.group, row.name): row for row in reward_evaluation.lines(VALUES)}
    assert found["accuracy", "all"][2:] == (0.7, 0.55, 0.82, 40)
    assert found["accuracy", "equally long"].num == 4
    assert found["correlation", "score and length"][2:5] == (-0.25, -0.5, 0.05)
    assert found["strength", "slightly better"][2:] == (0.6, *wilson_interval(6, 10), 10)
    assert found["category", "<b>story</b>"].high == wilson_interval(24, 30)[1]
    assert reward_evaluation.lines({"train/loss": 1.0}) == []


@pytest.mark.parametrize("name", ["reliability_num/3", "category_accuracy/talk", "eval/num", "eval/center"])
def test_parts_of_the_report_are_no_curves(name):
    assert reward_evaluation.is_summed_up(name)


def test_accuracy_and_loss_stay_curves():
    assert not any(
        reward_evaluation.is_summed_up(n) for n in ("eval/accuracy", "eval/loss", "train/loss", "eval/uncertainty")
    )


def test_the_terminal_shows_accuracies_with_intervals_and_the_reliability_curve(capsys):
    cli_runs._show_trust(VALUES)
    shown = capsys.readouterr().out
    assert "accuracy: all                  0.700   0.550 to 0.820   40" in shown
    assert "strength: slightly better" in shown
    assert "0.97       0.90      0.74 to 0.97   30" in shown
    cli_runs._show_trust({"train/loss": 1.0})
    assert capsys.readouterr().out == "", "nothing was measured"
