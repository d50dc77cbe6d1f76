"""What a reward run measured, read back: points with intervals, lines with numbers, and what is no curve."""

import pytest

from modules.intervals import wilson_interval
from studio.cli import runs as cli_runs
from studio.runs import reward_evaluation
from tests.support.measured import VALUES


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
