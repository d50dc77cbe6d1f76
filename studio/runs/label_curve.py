"""What a learning curve needs before it starts: the settings of its reward models, and votes enough to tell anything."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlite_utils import Database

from modules.config import CurveConfig, RewardConfig, VotesConfig
from studio.errors import ConfigError, DataError
from studio.models import parents
from studio.models.checkpoints import Checkpoint
from studio.preferences import arms, snapshots
from studio.preferences.snapshots import Recipe
from studio.runs import earlier_configs

FEWEST_LABELS = 4
"""Labels of the smallest size."""
FEWEST_PROMPTS = 10
"""Held-out prompts with a decided vote: fewer say nothing of other prompts."""


Row = dict[str, Any]
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
            f"({', '.join(unread)}). Train a reward model with this version first, on the Train page or by: rlhf-studio reward"
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


def by_arm(db: Database, config: CurveConfig, rows: Mapping[str, list[Row]]) -> dict[str, list[Row]]:
    """Return the rows that a curve takes: of one with arms only the labels that have an arm, with its name as ``arm``.

    Held-out votes on pairs that were chosen are left out there: they are those of which a reward model was unsure, so the accuracy
    on them is not that on all pairs.
    """
    if not config.arms:
        return dict(rows)
    known = arms.by_comparison(db)
    train = [row | {"arm": arm} for row in rows["train"] if (arm := known.get(row["comparison_id"]))]
    held_out = [row for row in rows["validation"] if known.get(row["comparison_id"]) != "active"]
    return {**rows, "train": train, "validation": held_out}


def parts(config: CurveConfig, rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """Return the labels of each curve that is measured: of both arms, else of all under an empty name."""
    if not config.arms:
        return {"": list(rows)}
    return {arm: [row for row in rows if row["arm"] == arm] for arm in arms.ARMS}


def num_common(config: CurveConfig, rows: Sequence[Mapping[str, Any]]) -> int:
    """Return how many labels the largest size is: all, or of two arms those of the smaller one."""
    return min(num_labels(part) for part in parts(config, rows).values())


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
    num = num_common(config, train)
    if (smallest := config.sizes(num)[0]) < FEWEST_LABELS:
        enough = FEWEST_LABELS << (config.num_sizes - 1)
        fewer = max((n for n in range(4, config.num_sizes) if num >> (n - 1) >= FEWEST_LABELS), default=0)
        raise DataError(
            f"{_there_are(config, train)}, so the smallest of {config.num_sizes} sizes would have {smallest}, and at "
            f"least {FEWEST_LABELS} are needed. {_rate_until(config, enough)}"
            + (f", or set num_sizes to {fewer}." if fewer else ".")
        )
    measured = decided(held_out)
    if (prompts := len({row["prompt_id"] for row in measured})) < FEWEST_PROMPTS:
        raise DataError(
            f"A learning curve is measured on decided votes of held-out prompts{_HELD_OUT * config.arms}, of which there are "
            f"{len(measured):,} on {prompts:,} prompt{'s' * (prompts != 1)}: at least {FEWEST_PROMPTS} prompts are needed. Rate pairs of validation prompts; to sample "
            "some: rlhf-studio sample --set split=validation" + _NOT_CHOSEN * config.arms
        )


_HELD_OUT = " (on pairs that were not chosen, where arms are compared)"
_NOT_CHOSEN = ", and to rate them at random: rlhf-studio session start --set choose=random --set split=validation"


def _there_are(config: CurveConfig, train: Sequence[Mapping[str, Any]]) -> str:
    if not config.arms:
        return f"There are {num_labels(train):,} labels on train prompts"
    active, random = (num_labels(part) for part in parts(config, train).values())
    return f"Sessions that choose have given {active:,} labels on train prompts that were chosen and {random:,} drawn at random"


def _rate_until(config: CurveConfig, enough: int) -> str:
    if not config.arms:
        return f"Rate pairs of train prompts until there are {enough:,} labels"
    return (
        f"Rate in a session that does both (rlhf-studio session start --set choose=uncertainty --set random_share=0.5) until there are "
        f"{enough:,} of each"
    )
