"""Item 39: PPO on a toy with a known answer, from a plain Trainer to the last decimal of its KL."""

from collections.abc import Callable

import pytest
import torch
from conftest import Memory, prompt, trainer
from torch import Tensor, nn

from modules.data.datamodules import PPODataModule
from modules.model.backbone import Backbone
from modules.model.generate import Rollout
from modules.ppo import PPOModule
from modules.rl.experience import ScoreFunction

SEEDS = [0, 1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (2, 3, 4))]
WANTED = frozenset(range(6, 36))
"""A third of the words: the random model says them about a third of the time."""


def share_of_wanted(rollout: Rollout) -> Tensor:
    return torch.tensor([4 * sum(t in WANTED for t in response) / len(response) for response in rollout.responses])


def nothing(rollout: Rollout) -> Tensor:
    return torch.zeros(len(rollout.responses))


def learn(
    load: Callable[..., Backbone],
    *,
    seed: int,
    kl_coef: float,
    learning_rate: float = 3e-2,
    score: ScoreFunction = share_of_wanted,
) -> Memory:
    backbone = load(seed)
    backbone.chat.stop_ids = frozenset({95})
    backbone.add_role("reference")
    backbone.add_role("policy", copy_of="reference", trainable=True)
    backbone.add_role("value", trainable=True, head=True)
    if score is nothing:
        for parameter in backbone.heads["value"].parameters():
            nn.init.zeros_(parameter)  # random values are noise, which whitening would blow up
    data = PPODataModule([prompt(i) for i in range(32)], [], backbone.chat, batch_size=32, iterations=10, seed=seed)
    module = PPOModule(
        backbone,
        score_function=score,
        seed=seed,
        max_new_tokens=6,
        value_warmup=1,
        minibatch_size=16,
        epochs=4,
        learning_rate=learning_rate,
        value_learning_rate=1e-2,
        kl_coef=kl_coef,
        missing_eos_penalty=0.0,
    )
    memory = Memory()
    trainer(memory, limit_val_batches=0).fit(module, datamodule=data)
    return memory


@pytest.mark.parametrize("seed", SEEDS)
def test_item_39_the_share_of_wanted_words_rises_for_every_seed(load: Callable[..., Backbone], seed: int) -> None:
    score = learn(load, seed=seed, kl_coef=0.02).of("objective/score")
    assert score[1] < 2.2
    assert score[10] > 2.5, f"4 would be nothing but wanted words; it went {list(score.values())}"


def test_item_39_a_dearer_kl_stays_nearer_to_the_reference(load: Callable[..., Backbone]) -> None:
    cheap = learn(load, seed=0, kl_coef=0.01, learning_rate=3e-3).of("objective/kl")
    dear = learn(load, seed=0, kl_coef=3.0, learning_rate=3e-3).of("objective/kl")
    assert dear[10] < 0.5 * cheap[10]


@pytest.mark.parametrize("seed", SEEDS)
def test_item_39_without_a_reward_the_policy_stays_where_it_is(load: Callable[..., Backbone], seed: int) -> None:
    kl = learn(load, seed=seed, kl_coef=0.05, learning_rate=3e-3, score=nothing).of("objective/kl")
    assert max(map(abs, kl.values())) < 0.01, f"it went {kl}"
