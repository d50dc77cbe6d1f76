"""PPO's learning rates over its iterations, and scores that fear what an ensemble disagrees about."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from conftest import prompt, scramble

from modules.data.datamodules import PPODataModule
from modules.errors import ConfigError
from modules.model.backbone import Backbone
from modules.model.generate import Rollout
from modules.optimisation import Rates, schedule
from modules.ppo import PPOModule
from modules.rl.experience import reward_scores
from modules.rl.rewards import RoleReward

Load = Callable[..., Backbone]


def test_a_rise_is_followed_by_a_constant_a_line_or_a_cosine() -> None:
    found = {kind: [schedule(step, 10, 0.2, kind) for step in range(10)] for kind in ("constant", "linear", "cosine")}
    for rates in found.values():
        assert rates[:3] == pytest.approx([1 / 3, 2 / 3, 1.0])
        assert min(rates) > 0
    assert found["constant"][2:] == [1.0] * 8
    assert found["linear"][2:] == pytest.approx([1 - i / 8 for i in range(8)])
    assert found["cosine"][2:] == pytest.approx([0.5 + 0.5 * math.cos(math.pi * i / 8) for i in range(8)])


def test_the_policys_schedule_begins_with_its_first_iteration() -> None:
    rates = Rates(1.0, 2.0, "linear", warmup_fraction=0.5, iterations=6, value_warmup=2)
    assert [rates.at(i)[0] for i in range(2, 6)] == pytest.approx([1 / 3, 2 / 3, 1.0, 0.5])
    assert [rates.at(i)[1] for i in range(6)] == pytest.approx([0.5, 1.0, 1.5, 2.0, 4 / 3, 2 / 3])


def test_without_a_schedule_the_rates_are_the_given_ones_bit_for_bit() -> None:
    rates = Rates(1e-4, 2e-4, iterations=7, value_warmup=3)
    assert [rates.at(i) for i in range(9)] == [(1e-4, 2e-4)] * 9


def test_ppo_steps_at_the_rates_of_its_schedule(four_roles: Load, alone: Any) -> None:
    backbone = four_roles()
    data = PPODataModule([prompt(i) for i in range(4)], [], backbone.chat, batch_size=4, iterations=3)
    module = PPOModule(
        backbone, iterations=3, schedule="linear", value_warmup=1, epochs=1, max_new_tokens=3, learning_rate=3e-3
    )
    log = alone(module)
    found, rates = [], []
    for batch in data.train_dataloader():
        module.training_step(batch, 0)
        found.append([group["lr"] for group in module.optimizer.param_groups])
        rates.append(log["policy/lr"])
    assert found == [pytest.approx(list(module.rates.at(i))) for i in range(3)]
    assert rates == pytest.approx([3e-3, 3e-3, 1.5e-3])


@pytest.fixture
def ensemble(load: Load) -> Backbone:
    backbone = load()
    backbone.add_role("reward", head=True, members=3)
    scramble(backbone, "reward")
    return backbone


def test_a_pessimist_subtracts_the_deviation_of_the_members(ensemble: Backbone) -> None:
    rollout = Rollout([[1, 5, 6], [1, 7]], [[8, 9], [10, 11, 12]], [True, True])
    sequences = rollout.sequences(0)
    with torch.no_grad(), ensemble.role("reward"):
        members = ensemble.member_scores(sequences.ids, sequences.lengths)
    by_hand = [sum(row) / 3 - 2 * math.sqrt(sum((x - sum(row) / 3) ** 2 for x in row) / 3) for row in members.tolist()]
    assert reward_scores(ensemble, rollout, 1, 2.0).tolist() == pytest.approx(by_hand, abs=1e-5)
    assert RoleReward(ensemble, 1, 2.0)(rollout).tolist() == pytest.approx(by_hand, abs=1e-5)
    assert reward_scores(ensemble, rollout, 1).tolist() == pytest.approx(members.mean(1).tolist(), abs=1e-5)


def test_ppo_scores_by_its_pessimism_and_refuses_one_about_a_single_head(ensemble: Backbone, four_roles: Load) -> None:
    ensemble.add_role("reference")
    ensemble.add_role("policy", copy_of="reference", trainable=True)
    ensemble.add_role("value", copy_of="reward", trainable=True, head=True)
    rollout = Rollout([[1, 5, 6]], [[8, 9]], [True])
    score = PPOModule(ensemble, reward_pessimism=1.0)._score(rollout)
    assert torch.equal(score, reward_scores(ensemble, rollout, 32, 1.0))
    assert float(score) < float(reward_scores(ensemble, rollout, 32))
    with pytest.raises(ConfigError, match="ensemble=5"):
        PPOModule(four_roles(), reward_pessimism=1.0)
