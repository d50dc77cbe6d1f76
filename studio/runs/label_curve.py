"""What a learning curve needs before it starts: the settings of its reward models, and votes enough to tell anything."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlite_utils import Database

from modules.config import CurveConfig, RewardConfig, VotesConfig
from studio.errors import ConfigError, DataError
from studio.models import parents
from studio.models.checkpoints import Checkpoint
from studio.preferences import snapshots
from studio.preferences.snapshots import Recipe
from studio.runs import earlier_configs

FEWEST_LABELS = 4
"""Labels of the smallest size."""
FEWEST_PROMPTS = 10
"""Held-out prompts with a decided vote: fewer say nothing of other prompts."""


PART = "settings"
"""Part of the run's frozen rows: one row, the settings of its reward models."""


def thaw(rows: Sequence[Mapping[str, Any]]) -> RewardConfig:
    """Return the settings that were frozen with the run."""
    return RewardConfig.model_validate(rows[0])


def trained_as(config: CurveConfig, reward: Checkpoint, sft: str) -> RewardConfig:
    """Return the settings of a reward model as its learning curve trains them.

    They are trained one at a time on one device, and none is chosen by the votes that it is measured on.

    Raises:
        ConfigError: the reward model was trained with settings that this version does not know.
    """
    before, unread = earlier_configs.read("reward", json.dumps(parents.config_of(reward)))
    if unread:
        raise ConfigError(
            f"{reward.name} was trained by another version of the studio with settings that this one does not know "
            f"({', '.join(unread)}). Train a reward model with this version first: rlhf-studio reward"
        )
    assert isinstance(before, RewardConfig)
    own: dict[str, Any] = {"sft_checkpoint": sft, "device": config.device, "gpu": config.gpu, "seed": config.seed}
    own |= {name: value for name in ("precision", "quantisation") if (value := getattr(config, name)) != "auto"}
    own |= {"keep_best": False, "devices": 1, "num_nodes": 1, "strategy": "auto", "trackers": ""}
    return before.model_copy(update=own)


def recipe(db: Database, settings: VotesConfig) -> Recipe:
    """Return how the ratings of a run with these settings are chosen: as its snapshot's were, where it names one.

    Raises:
        DataError: its snapshot is not there.
    """
    if not settings.snapshot:
        return snapshots.recipe_of(settings)
    return snapshots.recipe_behind(snapshots.get(db, settings.snapshot))


def num_labels(rows: Sequence[Mapping[str, Any]]) -> int:
    """Return how many labels the rows are: the pairs of a ranking count as one together."""
    return int(sum(row["weight"] for row in rows) + 1e-6)


def decided(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the rows that are no ties: of a tie no side is right."""
    return [row for row in rows if row["target_p"] != 0.5]


def check(config: CurveConfig, train: Sequence[Mapping[str, Any]], held_out: Sequence[Mapping[str, Any]]) -> None:
    """Refuse a curve whose smallest part is next to nothing, or that nothing can be measured on.

    Raises:
        DataError: there are too few labels, or decided votes on too few held-out prompts.
    """
    num = num_labels(train)
    if (smallest := config.sizes(num)[0]) < FEWEST_LABELS:
        enough = FEWEST_LABELS << (config.num_sizes - 1)
        fewer = max((n for n in range(4, config.num_sizes) if num >> (n - 1) >= FEWEST_LABELS), default=0)
        raise DataError(
            f"There are {num:,} labels on train prompts, so the smallest of {config.num_sizes} sizes would have {smallest}, and at "
            f"least {FEWEST_LABELS} are needed. Rate pairs of train prompts until there are {enough:,} labels"
            + (f", or set num_sizes to {fewer}." if fewer else ".")
        )
    measured = decided(held_out)
    if (prompts := len({row["prompt_id"] for row in measured})) < FEWEST_PROMPTS:
        raise DataError(
            f"A learning curve is measured on decided votes of held-out prompts, of which there are {len(measured):,} on {prompts:,} "
            f"prompt{'s' * (prompts != 1)}: at least {FEWEST_PROMPTS} prompts are needed. Rate pairs of validation prompts; to sample "
            "some: rlhf-studio sample --set split=validation"
        )
