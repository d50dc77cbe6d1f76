"""How a policy answers, as PPO logs it: spread of scores, pull of length, repetition."""

from types import SimpleNamespace

import pytest
import torch

from modules.rl.habits import distinct_share, groups_share, habits


def test_the_share_of_distinct_runs_of_four_tokens():
    assert distinct_share([1, 2, 3, 4, 5]) == 1.0
    assert distinct_share([7] * 10) == pytest.approx(1 / 7)
    assert distinct_share([1, 2] * 5) == pytest.approx(2 / 7)
    assert distinct_share([1, 2, 3]) == 1.0
    assert distinct_share([]) == 1.0
    assert distinct_share([1, 1, 1], size=2) == pytest.approx(1 / 2)


def by_trying(scores, least):
    """The share that two groups explain, by trying every cut of the ordered scores."""
    ordered = sorted(scores)
    total = sum((x - sum(ordered) / len(ordered)) ** 2 for x in ordered)
    rests = [
        sum((x - sum(part) / len(part)) ** 2 for part in (ordered[:at], ordered[at:]) for x in part)
        for at in range(least, len(ordered) - least + 1)
    ]
    return 1 - min(rests) / total


def test_the_share_that_two_groups_explain():
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(40, generator=generator)
    assert groups_share(scores) == pytest.approx(by_trying(scores.tolist(), 4))
    assert groups_share(1000 + 3 * scores[torch.randperm(40, generator=generator)]) == pytest.approx(
        groups_share(scores), abs=1e-4
    )
    many = torch.randn(4000, generator=generator)
    assert groups_share(many) == pytest.approx(0.64, abs=0.02)
    assert groups_share(torch.arange(100.0)) == pytest.approx(0.75, abs=0.01)
    apart = torch.cat([scores, scores + 10])
    assert groups_share(apart) > 0.95
    assert groups_share(torch.ones(9)) == groups_share(torch.tensor([1.0])) == 0.0
    assert groups_share(torch.tensor([0.0] * 39 + [9.0])) < 0.3, "one outlier is no group"


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
