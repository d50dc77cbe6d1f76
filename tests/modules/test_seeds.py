"""Seeds: every one that the settings take works in every stage, and two of them are two runs."""

from collections.abc import Callable
from itertools import combinations
from typing import Any

import pytest
import torch
from conftest import comparison, conversation, prompt

from modules.config import STAGES
from modules.data.batch_order import permutation
from modules.data.datamodules import PPODataModule, RewardDataModule, SFTDataModule
from modules.model.backbone import Backbone
from modules.ppo import PPOModule
from modules.runtime.seeds import LARGE, iteration_seed, order_seed

SEEDS = (0, 1, LARGE - 1, LARGE, 2 * LARGE, 2**16, 2**20, 281_474_133, 2**31 - 2, 2**31 - 1)
LOW = 2**32
"""torch's generator on a CPU reads a seed's lowest 32 bits."""


@pytest.mark.parametrize("seed", SEEDS, ids=str)
def test_every_seed_that_the_settings_take_works_in_every_stage(
    four_roles: Callable[..., Backbone], alone: Any, seed: int
) -> None:
    for config in STAGES.values():
        config(seed=seed)
    backbone = four_roles()
    SFTDataModule([conversation(i) for i in range(4)], [], backbone.chat, seed=seed)
    comparisons = [comparison(i) for i in range(4)]
    RewardDataModule(comparisons, [], backbone.chat, ensemble=2, offtopic_share=1.0, seed=seed)
    rows = [conversation(i) for i in range(4)]
    prompts = [prompt(i) for i in range(4)]
    data = PPODataModule(
        prompts, [], backbone.chat, demonstrations=rows, ptx_per_iteration=2, batch_size=2, iterations=1, seed=seed
    )
    module = PPOModule(backbone, seed=seed, max_new_tokens=4, epochs=2, minibatch_size=2)
    alone(module)
    module.training_step(next(iter(data.train_dataloader())), 0)
    assert module.step_index == 1


def test_two_seeds_have_two_orders_and_two_draws_of_random_numbers() -> None:
    for first, second in combinations(SEEDS, 2):
        assert permutation(50, first) != permutation(50, second), (first, second)
        assert iteration_seed(first, 0) % LOW != iteration_seed(second, 0) % LOW, (first, second)


@pytest.mark.parametrize("seed", [3, LARGE + 3, 2**31 - 1], ids=str)
def test_no_place_of_a_run_has_the_seed_of_another(seed: int) -> None:
    steps = [*range(-1, 200), 70_000, 70_001]
    places = [iteration_seed(seed, step, epoch) % LOW for step in steps for epoch in range(-1, 4)]
    places += [order_seed(seed, epoch) % LOW for epoch in range(200)]
    assert len(set(places)) == len(places)


def test_small_seeds_keep_the_numbers_that_older_runs_began_with() -> None:
    assert permutation(8, 7, 2) == torch.randperm(8, generator=torch.Generator().manual_seed((7 << 20) + 2)).tolist()
    assert iteration_seed(7, 11) == (7 * 1_000_003 + 12) * 65536
    assert iteration_seed(7, 11, 3) == (7 * 1_000_003 + 12) * 65536 + 4
