"""Says how much a run would have to do: its steps, and the time at the pace of the last such runs."""

import math
from collections import Counter
from typing import NamedTuple

from modules.config import CurveConfig, PPOConfig, RewardConfig, SFTConfig, StageConfig, TrainConfig, VotesConfig
from studio.errors import StudioError
from studio.models import base_models, checkpoint_pages, checkpoints
from studio.models.checkpoints import Checkpoint
from studio.preferences import arms, prompts, ratings, snapshots, unseen
from studio.runs import label_curve, metrics, prepare, progress, runs
from studio.workspace import Database

FIELDS = (
    "base_model", "epochs", "batch_size", "max_demonstrations", "iterations", "num_sizes", "num_seeds", "arms", "ties", "weak_labels",
    "raters", "rated_since", "rated_until", "rated_categories", "votes_half",
)  # fmt: skip
"""The settings that it depends on, besides the checkpoints."""
COUNTED = 20_000
"""Most ratings of which those that a run would choose are counted."""
FEW_STEPS = 10
"""Optimizer steps below which SFT learns very little."""
NUM_BEFORE = 3
"""Runs whose pace is looked at."""
_measured: dict[tuple[str, str], float] = {}
"""Stage and base model to the seconds of an example, as measured by this process on this machine."""


def sentence(db: Database, config: StageConfig) -> str:
    """Return the steps of a run with this config and about how long it takes, where one on the same base model ran before or was measured.

    Of ratings, those of training prompts that the config chooses are counted; of more than `COUNTED` all that are stored, so that
    a run may have fewer steps than it says. Empty for stages that do not train and where there is nothing to train on.

    Raises:
        StudioError: there is no such checkpoint.
    """
    if isinstance(config, CurveConfig):
        return _curve(db, config)
    if not isinstance(config, TrainConfig):
        return ""
    steps, what = _steps(db, config)
    few = _few(db, config, steps)
    if not steps:
        return ""
    return " ".join(filter(None, [f"{what}.", few, _starter(config), _time(db, config, steps)]))


def _steps(db: Database, config: TrainConfig) -> tuple[int, str]:
    """Return the steps, and the same in words."""
    if isinstance(config, PPOConfig):
        unit = "iteration" if config.iterations == 1 else "iterations"
        return config.iterations, f"{config.iterations:,} {unit} of {config.batch_size:,} responses"
    if isinstance(config, SFTConfig):
        found, unit, epochs = _demonstrations(db, config), "demonstration", config.epochs
    else:
        found, unit, epochs = _ratings(db, config), "rating", getattr(config, "epochs", 1)
    steps = epochs * math.ceil(found.num / config.batch_size)
    times = "" if epochs == 1 else f", {epochs} times"
    return steps, f"About {steps:,} step{'s' * (steps != 1)}: {found.words(unit)}{times}"


class _Rows(NamedTuple):
    """What is stored, and what becomes of it."""

    num: int
    """Trained on."""
    stored: int
    held_out: int
    """Only measured with: their prompts are not for training."""

    def words(self, unit: str) -> str:
        """Say how many are trained on, and why not the others."""
        if self.num == self.stored:
            return f"{self.num:,} {unit}{'s' * (self.num != 1)}"
        left = self.stored - self.num - self.held_out
        others = [f"{self.held_out:,} held out to measure with"] * bool(self.held_out)
        others += [f"{left:,} left out by these settings"] * (left > 0)
        return f"{self.num:,} of {self.stored:,} {unit}s ({', '.join(others)})"


def _demonstrations(db: Database, config: SFTConfig) -> _Rows:
    found = prompts.counts(db)
    stored, train = found["demonstrations"], found["demonstrations_train"]
    return _Rows(min(train, config.max_demonstrations or train), stored, stored - train)


def _ratings(db: Database, config: TrainConfig) -> _Rows:
    """Count the ratings that a run would learn from; of very many, all that are stored."""
    stored = ratings.summary(db)["rated"]
    if stored > COUNTED or not isinstance(config, VotesConfig):
        return _Rows(stored, stored, 0)
    recipe = snapshots.recipe_of(config)
    return _Rows(unseen.count(db, recipe, ""), stored, unseen.count(db, recipe, "", is_held_out=True))


def _few(db: Database, config: TrainConfig, steps: int) -> str:
    """Say that there is little to learn from; empty where there is enough."""
    if isinstance(config, VotesConfig) and (found := _ratings(db, config)).num + found.held_out < ratings.ENOUGH:
        return f"So few teach very little: from about {ratings.ENOUGH} ratings on, what it learns is more than a guess."
    return "So few steps teach very little." if isinstance(config, SFTConfig) and steps < FEW_STEPS else ""


def _starter(config: TrainConfig) -> str:
    if isinstance(config, SFTConfig) and config.base_model == "starter":
        return "The starter was made to answer like its own demonstrations, so on them the loss hardly falls."
    return ""


def remember(db: Database, config: TrainConfig, step_s: float) -> None:
    """Keep, for the life of this process, what a step with this config took here."""
    _measured[prepare.stage_of(config), _base_of(db, config)] = step_s / config.batch_size


def _time(db: Database, config: TrainConfig, steps: int) -> str:
    """Say the time at the pace of the newest runs of this stage on the same base model; else as measured, else when it will be known."""
    stage, base, examples = prepare.stage_of(config), _base_of(db, config), steps * config.batch_size
    if before := _before(db, stage, base):
        (name, newest), *_ = before
        said = f"At the pace of {name}: about {progress.duration(newest * examples)}"
        low, high = (progress.duration(end([pace for _, pace in before]) * examples) for end in (min, max))
        return f"{said}." if low == high else f"{said}; the last {len(before)} such runs had paces for {low} to {high}."
    if (pace := _measured.get((stage, base))) is not None:
        most = (
            "at most " if isinstance(config, PPOConfig) else ""
        )  # it was measured with responses that do not end early
        return f"At the measured pace: {most}about {progress.duration(pace * examples)}."
    unit = "iteration" if isinstance(config, PPOConfig) else "step"
    return (
        f"How long it takes is known once a run has begun, from its second {unit} on; Measure a real step tells it now."
        if steps > 1
        else ""
    )


def _before(db: Database, stage: str, base: str) -> list[tuple[str, float]]:
    """Return the newest runs of a stage on a base model, with the seconds that each took for an example."""
    saved = [each.run_id for each in checkpoint_pages.page(db, stage) if each.base_model == base]
    found = []
    for run_id in dict.fromkeys(saved):
        run, pace = runs.get(db, run_id), metrics.pace(db, run_id)
        if pace is not None and isinstance(run.config, TrainConfig):
            found.append((run.name, pace[1] / run.config.batch_size))
        if len(found) == NUM_BEFORE:
            break
    return found


def _at_pace(db: Database, before: Checkpoint, examples: float) -> str:
    """Say the time of so many examples at the pace of the run that saved a checkpoint; empty where that is not known."""
    run, pace = runs.get(db, before.run_id), metrics.pace(db, before.run_id)
    if pace is None or not isinstance(run.config, TrainConfig):
        return ""
    return f"At the pace of {run.name}: about {progress.duration(pace[1] * examples / run.config.batch_size)}."


def refusal(db: Database, config: CurveConfig) -> str:
    """Say why a learning curve would be refused, as far as it is known before its rows are read; empty where nothing speaks against it."""
    try:
        prepare.parents_of(db, config)
    except StudioError as error:
        return str(error)
    return _refused(config, *_labels(db, config))


def _refused(config: CurveConfig, found: _Rows, largest: int) -> str:
    enough = label_curve.FEWEST_LABELS << (config.num_sizes - 1)
    if largest < enough:
        kinds = " of each kind, chosen and drawn at random" * config.arms
        return (
            f"A curve of {config.num_sizes} sizes needs {enough:,} ratings on train prompts{kinds}, since each size is half of the next and the "
            f"smallest needs {label_curve.FEWEST_LABELS}. There {'is' if largest == 1 else 'are'} {largest:,}."
        )
    if found.stored <= COUNTED and found.held_out < label_curve.FEWEST_PROMPTS:
        return (
            f"A curve is measured on votes on at least {label_curve.FEWEST_PROMPTS} held-out prompts. There {'is' if found.held_out == 1 else 'are'} "
            f"{found.held_out:,} such vote{'s' * (found.held_out != 1)}: rate pairs of validation prompts."
        )
    return ""


def _labels(db: Database, config: CurveConfig) -> tuple[_Rows, int]:
    """Return the labels that there are to learn from and to measure with, and how many the largest size has."""
    reward = _reward_of(db, config)
    before = runs.get(db, reward.run_id).config if reward else None
    if isinstance(before, RewardConfig) and not config.snapshot:
        found = _ratings(db, before)
    else:
        stored = ratings.summary(db)["rated"]
        found = _Rows(stored, stored, stored)
    by_arm = Counter(arms.by_comparison(db).values()) if config.arms else {}
    return found, min(by_arm[arm] for arm in arms.ARMS) if config.arms else found.num


def _reward_of(db: Database, config: CurveConfig) -> Checkpoint | None:
    named = config.reward_checkpoint
    return checkpoints.recorded(db, named) if named else checkpoints.newest(db, "reward")


def _curve(db: Database, config: CurveConfig) -> str:
    """Say how many reward models are trained, on how much, and the time at the pace of the one whose settings they have."""
    prepare.parents_of(db, config)  # refuses what is not there
    reward = _reward_of(db, config)
    if reward is None:
        return ""
    found, largest = _labels(db, config)
    if refused := _refused(config, found, largest):
        return refused
    before = runs.get(db, reward.run_id).config
    sizes, num_curves = config.sizes(largest), 1 + config.arms
    examples = num_curves * config.num_seeds * sum(sizes)
    epochs = before.epochs if isinstance(before, RewardConfig) else 1
    of_arm = ", as many of both kinds" if config.arms else ""
    said = (
        f"{num_curves * config.num_sizes * config.num_seeds} reward models on about {sizes[0]:,} to {largest:,} labels{of_arm}, with the settings of {reward.name}: "
        f"together as much training as {examples / max(found.num, 1):.2g} reward models on all labels. Each is then measured on the held-out votes."
    )
    return " ".join(filter(None, [said, _at_pace(db, reward, epochs * examples)]))


def _base_of(db: Database, config: TrainConfig) -> str:
    if isinstance(config, SFTConfig):
        return base_models.absolute(config.base_model)
    started_from: dict[str, Checkpoint] = prepare.parents_of(db, config)
    return started_from["sft"].base_model
