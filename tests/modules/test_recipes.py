"""InstructGPT's recipe is what its table says, is scaled as it says, and combines with a hardware preset."""

import re
from pathlib import Path

import pytest

from modules.config import FRESH, STAGES, recipes, settle
from modules.config.presets import HARDWARE, preset

ROWS = re.findall(
    r"^\| (sft|reward|ppo) \| `(\w+)` \| (.+?) \| (.+) \|$",
    (Path(__file__).parents[2] / "modules/README.md").read_text(),
    flags=re.MULTILINE,
)
PAPER = {"sft": 12_725, "reward": 33_207, "ppo": 31_144}
"""Demonstrations, ranked prompts and prompts that the paper had (Table 6)."""


def said(value, full):
    words = [f"{each:g}" if isinstance(each, float) else str(each) for each in (value, full)]
    return words[0] if value == full else f"{words[0]}, full {words[1]}"


def test_the_table_has_each_setting_with_its_value_and_its_source():
    found = [
        (stage, name, said(setting.value, recipes.instructgpt(stage, "full", num)[name].value), setting.source)
        for stage, num in PAPER.items()
        for name, setting in recipes.instructgpt(stage, "lora", num).items()
    ]
    assert found == ROWS


def test_the_papers_own_figures_come_out_at_its_own_size():
    ppo = recipes.values("ppo", "full", PAPER["ppo"])
    assert (ppo["batch_size"], ppo["minibatch_size"], ppo["epochs"], ppo["iterations"]) == (512, 64, 1, 500)
    assert (ppo["kl_coef"], ppo["clip_range"], ppo["ema_decay"], ppo["ptx_coef"]) == (0.02, 0.2, 0.992, 27.8)
    assert ppo["warmup_fraction"] * ppo["iterations"] == 10
    reward = recipes.values("reward", "full", PAPER["reward"])
    assert (reward["batch_size"], reward["weighting"], reward["epochs"]) == (64, "prompt", 1)
    assert (reward["learning_rate"], recipes.values("reward", "lora", 9)["learning_rate"]) == (9e-6, 1e-4)


@pytest.mark.parametrize(("num", "batch", "iterations"), [(1, 64, 1), (200, 64, 26), (1000, 64, 128), (5000, 256, 161)])
def test_less_data_gives_smaller_batches_as_long_as_there_are_a_hundred_steps(num, batch, iterations):
    found = recipes.values("ppo", "lora", num)
    assert (found["batch_size"], found["minibatch_size"], found["iterations"]) == (batch, batch // 8, iterations)
    assert 0 < found["warmup_fraction"] <= 1


@pytest.mark.parametrize(("num", "batches"), [(50, (8, 8)), (1600, (16, 16)), (3200, (32, 32)), (6400, (32, 64))])
def test_an_epoch_of_sft_and_of_the_reward_model_keeps_a_hundred_steps_too(num, batches):
    assert tuple(recipes.values(stage, "lora", num)["batch_size"] for stage in ("sft", "reward")) == batches


@pytest.mark.parametrize("hardware", HARDWARE)
@pytest.mark.parametrize("stage", PAPER)
def test_it_is_a_config_with_any_hardware_and_leaves_memory_to_that(stage, hardware):
    theirs, own = preset(stage, hardware), recipes.values(stage, "lora", PAPER[stage])
    config = settle(STAGES[stage].model_validate(theirs | own), FRESH)
    for name in ("device", "precision", "micro_batch_size", "gradient_checkpointing", "max_length"):
        assert getattr(config, name) == theirs[name]
