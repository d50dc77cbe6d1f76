"""How a policy answers, as PPO logs it: spread of scores, pull of length, repetition."""

from types import SimpleNamespace

import pytest
import torch

from modules.rl.habits import distinct_share, habits


def test_the_share_of_distinct_runs_of_four_tokens():
    assert distinct_share([1, 2, 3, 4, 5]) == 1.0
    assert distinct_share([7] * 10) == pytest.approx(1 / 7)
    assert distinct_share([1, 2] * 5) == pytest.approx(2 / 7)
    assert distinct_share([1, 2, 3]) == 1.0
    assert distinct_share([]) == 1.0
    assert distinct_share([1, 1, 1], size=2) == pytest.approx(1 / 2)


def test_the_habits_of_an_iteration():
    mask = torch.tensor([[True, False, False], [True, True, False], [True, True, True]])
    experience = SimpleNamespace(scores=torch.tensor([1.0, 2.0, 3.0]), mask=mask)
    rollout = SimpleNamespace(responses=[[7] * 5, [1, 2, 3, 4], [1]])
    found = habits(experience, rollout)
    assert found["objective/score_spread"] == pytest.approx((2 / 3) ** 0.5)
    assert found["rollout/length_correlation"] == pytest.approx(1.0)
    assert found["rollout/distinct_4grams"] == pytest.approx((1 / 2 + 1 + 1) / 3)
    same = SimpleNamespace(scores=torch.ones(3), mask=mask)
    assert habits(same, rollout)["rollout/length_correlation"] == 0.0
