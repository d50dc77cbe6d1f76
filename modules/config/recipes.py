"""The training recipe of a paper as a preset, scaled to the data that is there; each value with its source. No torch.

InstructGPT (Ouyang et al. 2022, arXiv:2203.02155), its models of 1.3B and 6B. A hardware preset decides on memory, and both
combine. What the paper leaves open has the studio's default, unless it is named here.
"""

from typing import Any, NamedTuple

RECIPES = {"instructgpt": "InstructGPT (Ouyang et al. 2022), scaled to your data"}
"""Name to title."""

LEAST_STEPS = 100
"""Fewest optimizer steps of an epoch (PPO: iterations of the run) that a batch may leave, down to the smallest batch."""
SMALLEST_BATCH = {"sft": 8, "reward": 8, "ppo": 64}
PASSES = 256_000 / 31_144
"""Answers that the paper's policy gave to each of its prompts."""
WARMUP_ITERATIONS = 10
ADAPTER_RATES = {1.04e-5: 1e-4, 9e-6: 1e-4, 5e-6: 5e-5}
"""The paper's rate of all weights to that of adapters."""


class Setting(NamedTuple):
    """A setting's value and where it comes from."""

    value: Any
    source: str


def instructgpt(stage: str, method: str, num: int) -> dict[str, Setting]:
    """Return the recipe's settings of a stage.

    Args:
        stage: ``sft``, ``reward`` or ``ppo``.
        method: ``lora`` or ``full``, which decides on learning rates.
        num: Demonstrations, prompts with ratings, or prompts to roll out.
    """
    return {"sft": _sft, "reward": _reward, "ppo": _ppo}[stage](method == "full", num)


def values(stage: str, method: str, num: int) -> dict[str, Any]:
    """Return the settings of `instructgpt` without their sources; arguments as there."""
    return {name: setting.value for name, setting in instructgpt(stage, method, num).items()}


def _sft(is_full: bool, num: int) -> dict[str, Setting]:
    return {
        "epochs": Setting(2, "C.3, the model that PPO starts from; the SFT baseline of C.1 had 16"),
        "batch_size": Setting(_batch("sft", 32, num), "C.3: 32"),
        "learning_rate": _rate(is_full, 1.04e-5, "C.3: 5e-6 (1.3B), 1.04e-5 (6B)"),
        "warmup_fraction": Setting(0.0, "C.1: none; the cosine ends at 0 here, at a tenth there"),
    }


def _reward(is_full: bool, num: int) -> dict[str, Setting]:
    return {
        "epochs": Setting(1, "C.2: a second epoch overfits at once"),
        "weighting": Setting("prompt", "3.4: all pairs of a prompt in one batch, each 1 / C(K, 2)"),
        "batch_size": Setting(_batch("reward", 64, num), "C.2: 64 prompts"),
        "learning_rate": _rate(is_full, 9e-6, "C.2: 9e-6"),
        "warmup_fraction": Setting(0.0, "C.2 names none; the cosine ends at 0 here, at a tenth there"),
        "ties": Setting("drop", "C.2: ties were dropped"),
        "ensemble": Setting(1, "C.2: one model"),
        "offtopic_share": Setting(0.0, "not in the paper"),
    }


def _ppo(is_full: bool, num: int) -> dict[str, Setting]:
    episodes = max(1, round(PASSES * num))
    batch = _batch("ppo", 512, episodes)
    iterations = max(1, round(episodes / batch))
    return {
        "batch_size": Setting(batch, "C.4: 512"),
        "minibatch_size": Setting(batch // 8, "C.4: 64, an eighth of the batch"),
        "epochs": Setting(1, "C.4: a single inner epoch"),
        "iterations": Setting(iterations, "C.4: 256k answers to 31k prompts, 8.2 for each"),
        "learning_rate": _rate(
            is_full,
            5e-6,
            "E.9: 2.55e-6 to 2.55e-5 tried; above 8.05e-6 all without ptx diverged; the chosen one is not printed",
        ),
        "value_learning_rate": _rate(is_full, 9e-6, "C.4: 9e-6"),
        "schedule": Setting("constant", "C.4: constant"),
        "warmup_fraction": Setting(
            round(min(1.0, WARMUP_ITERATIONS / iterations), 4), "C.4: over the first 10 iterations"
        ),
        "kl_coef": Setting(0.02, "C.4: 0.02"),
        "kl_target": Setting(0.0, "C.4: the coefficient is fixed"),
        "clip_range": Setting(0.2, "C.4: 0.2"),
        "gamma": Setting(1.0, "C.4: no discount"),
        "temperature": Setting(1.0, "C.4: 1"),
        "ema_decay": Setting(0.992, "C.4: 0.992"),
        "ptx_coef": Setting(27.8, "C.4: 27.8"),
        "ptx_target": Setting("tokens", "3.5, equation 2: the texts' log-likelihood"),
        "value_start": Setting("reward", "C.4: from the reward model"),
        "value_warmup": Setting(0, "C.4 names none"),
        "center_scores": Setting(False, "3.5: demonstrations score 0, which the reward run has done"),
    }


def _rate(is_full: bool, rate: float, source: str) -> Setting:
    """Return the paper's rate, or with adapters about ten times as much, which is the studio's choice."""
    return Setting(rate if is_full else ADAPTER_RATES[rate], source)


def _batch(stage: str, papers: int, num: int) -> int:
    """Return the paper's batch, halved until an epoch (PPO: the run) has `LEAST_STEPS` steps or the smallest is reached."""
    batch = papers
    while batch > SMALLEST_BATCH[stage] and num / batch < LEAST_STEPS:
        batch //= 2
    return batch
