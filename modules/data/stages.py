"""Builds a stage's data module from its config and frozen rows, for a run, its preview or a probe."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from modules.config import DPOConfig, PPOConfig, RewardConfig, SFTConfig, TrainConfig, categories
from modules.data.chat import ChatFormat
from modules.data.datamodules import PPODataModule, RewardDataModule, Row, SFTDataModule
from modules.data.dropped import advice, told
from modules.errors import DataError

Rows = Callable[[str], Sequence[Row]]
"""Part (train, validation, demonstrations, ptx) to its rows; none where the stage has no such part."""


def sft_data(config: SFTConfig, rows: Rows, chat: ChatFormat) -> SFTDataModule:
    """Build the data module of demonstrations."""
    return SFTDataModule(
        rows("train"),
        rows("validation"),
        chat,
        **_settings(config, "batch_size", "epochs", "max_length", "seed"),
    )


def reward_data(config: RewardConfig, rows: Rows, chat: ChatFormat) -> RewardDataModule:
    """Build the data module of comparisons."""
    return RewardDataModule(
        rows("train"),
        rows("validation"),
        chat,
        demonstrations=rows("demonstrations"),
        **_settings(config, "batch_size", "epochs", "max_length", "weighting", "ensemble", "offtopic_share", "seed"),
    )


def dpo_data(config: DPOConfig, rows: Rows, chat: ChatFormat) -> RewardDataModule:
    """Build the data module of comparisons, of which no score has to be centred."""
    return RewardDataModule(
        rows("train"),
        rows("validation"),
        chat,
        **_settings(config, "batch_size", "epochs", "max_length", "weighting", "seed"),
    )


def ppo_data(config: PPOConfig, rows: Rows, chat: ChatFormat) -> PPODataModule:
    """Build the data module of prompts."""
    return PPODataModule(
        rows("train"),
        rows("validation"),
        chat,
        demonstrations=rows("ptx"),
        validation_demonstrations=rows("demonstrations"),
        excluded=categories(config.exclude_categories),
        ptx_per_iteration=config.minibatch_size if config.ptx_coef > 0 else 0,
        is_centred=config.center_scores and config.center_on == "demonstrations",
        **_settings(config, "batch_size", "iterations", "max_prompt_length", "max_length", "eval_prompts", "seed"),
    )


def num_given(config: TrainConfig, rows: Rows) -> int:
    """Count all rows, those in a data module's `dropped` included."""
    parts = ["train", "validation"]
    if isinstance(config, PPOConfig):
        parts += ["demonstrations"] + (["ptx"] if config.ptx_coef > 0 else [])
    return sum(len(rows(part)) for part in parts)


def refusal(config: TrainConfig, dropped: Counter[str], given: int) -> str:
    """Return why a run with so many rows dropped does not start; empty where it may."""
    count = sum(dropped.values())
    if count <= config.max_dropped * given:
        return ""
    lengths = "max_prompt_length or max_length" if isinstance(config, PPOConfig) else "max_length"
    helps = [
        *advice(dropped, lengths, chooses_template=isinstance(config, SFTConfig)),
        "start anyway with max_dropped=1",
    ]
    return (
        f"{count:,} of {given:,} rows ({count / given:.0%}) would be left out, more than max_dropped = {config.max_dropped:g} "
        f"allows: {told(dropped)}. To go on, {', or '.join(helps)}."
    )


def check_dropped(config: TrainConfig, dropped: Counter[str], given: int) -> None:
    """Refuse a run that would leave out too much.

    Raises:
        DataError: More than `TrainConfig.max_dropped` of the rows.
    """
    found = refusal(config, dropped, given)
    if found:
        raise DataError(found)


def _settings(config: TrainConfig, *names: str) -> dict[str, Any]:
    """Return the settings that a data module takes under their own names."""
    return {name: getattr(config, name) for name in names}
