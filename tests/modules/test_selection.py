"""The policy that a PPO run hands on: the best held-out score within a budget of KL, and of held-out loss."""

import json

import pytest

from modules.rl.best_policy import Selection


def measure(selection: Selection, *figures: tuple[float, float], tax: float | None = None) -> Selection:
    for step, (score, kl) in enumerate(figures):
        losses = {} if tax is None else {"eval/tax_loss": 2.0 + tax * step, "eval/demonstration_loss": 9.0}
        selection.consider(step, {"eval/score": score, "eval/kl": kl} | losses)
    return selection


def test_the_best_score_within_the_budget_wins_and_on_equal_scores_the_earlier() -> None:
    found = measure(Selection(kl_budget=5.0), (0.1, 0.0), (0.7, 4.0), (0.9, 5.1), (0.7, 1.0), (0.6, 2.0))
    assert found.best is not None
    assert found.best.step == 1
    assert found.sentence().startswith(
        "Step 1 is handed on: the best held-out score within 5 nats of KL (score 0.7, KL 4"
    )
    assert measure(Selection(kl_budget=5.0), (0.1, 0.0), (0.7, 5.0)).best == (1, 0.7, 5.0, None), (
        "the budget itself is allowed"
    )


def test_the_start_counts_so_nothing_worse_is_handed_on() -> None:
    found = measure(Selection(kl_budget=1.0), (0.5, 0.0), (0.9, 2.0), (0.4, 0.5))
    assert found.best is not None
    assert found.best.step == 0
    assert "Step 0 (the start) is handed on" in found.sentence()


def test_where_no_policy_keeps_within_the_budget_the_last_is_handed_on_and_the_run_says_so() -> None:
    found = measure(Selection(kl_budget=1.0), (0.5, 1.5), (0.9, 2.0))
    assert found.best is None
    assert found.sentence() == "No policy that was measured kept within 1 nats of KL, so the last one is handed on."


def test_without_a_budget_nothing_is_chosen_and_nothing_said() -> None:
    found = measure(Selection(), (0.5, 0.0), (0.9, 2.0))
    assert (found.is_on, found.best, found.sentence()) == (False, None, "")


def test_the_tax_budget_is_a_share_of_the_loss_at_the_start() -> None:
    """Losses of 2.0, 2.06, 2.12, 2.18: 6 % more is 2.12."""
    scores = [(0.1, 0.0), (0.2, 0.0), (0.3, 0.0), (0.4, 0.0)]
    found = measure(Selection(tax_budget=0.06), *scores, tax=0.06)
    assert found.best is not None
    assert found.best.step == 2
    assert "within 6.0% more held-out loss" in found.sentence()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_figure_that_is_not_finite_is_never_chosen(bad: float) -> None:
    found = measure(Selection(kl_budget=5.0), (bad, 0.0), (0.1, float("nan")))
    assert found.best is None
    found.consider(2, {"eval/score": 0.1, "eval/kl": 1.0, "eval/demonstration_loss": float("nan")})
    json.dumps(found.state(), allow_nan=False)


def test_the_choice_survives_its_json() -> None:
    found = measure(Selection(kl_budget=5.0, tax_budget=1.0), (0.1, 0.0), (0.7, 4.0), tax=0.1)
    again = Selection(kl_budget=5.0, tax_budget=1.0)
    again.load_state(json.loads(json.dumps(found.state())))
    assert again == found
