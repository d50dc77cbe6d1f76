"""Says which settings a resumed run may change, what differs then, and why the others stay as they were.

What a checkpoint's state depends on stays: the model, the frozen rows, their order, the zero of the scores. What steers the
steps to come may change: how many, how fast, at what price, how often measured and saved, on which device.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from modules.config import PPOConfig, StageConfig, TrainConfig
from studio import settings
from studio.errors import ConfigError, RunError
from studio.models.checkpoints import Checkpoint
from studio.runs.row import Run
from studio.workspace import Workspace

_MODEL = "it belongs to the model that the run has trained"
_ROWS = "it decided which rows were frozen with the run"
_ORDER = "it decides which rows each step takes, so that some would come twice and others never"
_PARENTS = "the policy, its reference and its reward stay those that the run began with"
_SCORES = "the value function has learnt scores with that zero and of that size"
_BEGINNING = "it only decides how a run begins"

FIXED: dict[str, str] = {
    **dict.fromkeys(("base_model", "chat_template", "method", "quantisation", "precision"), _MODEL),
    **dict.fromkeys(("lora_rank", "lora_alpha", "lora_targets", "ensemble", "value_trunk"), _MODEL),
    **dict.fromkeys(("max_demonstrations", "snapshot", "ties", "use_strength", "strength_as", "weak_labels"), _ROWS),
    **dict.fromkeys(("rated_since", "rated_until", "rated_categories", "raters", "exclude_categories"), _ROWS),
    **dict.fromkeys(("eval_suites", "eval_suite_items"), _ROWS),
    **dict.fromkeys(("sft_checkpoint", "reward_checkpoint", "policy_checkpoint", "rewards"), _PARENTS),
    **dict.fromkeys(("center_scores", "center_on", "score_scale", "reward_pessimism"), _SCORES),
    "value_start": _BEGINNING,
    "tax_suite": "the start was measured by what tax_budget has been measured by so far",
}
"""Setting -> why no resume changes it."""
ORDERED: dict[str, str] = dict.fromkeys(("seed", "batch_size", "max_length", "weighting", "offtopic_share"), _ORDER)
"""The same for stages that go through their rows epoch by epoch. PPO draws prompts without end, and may change these."""
SWITCHES: dict[str, str] = {
    "ema_decay": "an average is taken from the first iteration on or not at all",
    "ptx_coef": "no demonstrations were frozen with the run to mix in",
    "keep_best": "the run did not keep its best weights so far",
}
"""Settings that may change, but not be switched on later: setting -> why. (An average cannot be switched off either.)"""


class Change(NamedTuple):
    """A setting that a resumed run has another value of."""

    name: str
    before: Any
    after: Any

    def __str__(self) -> str:
        return f"{self.name} {_shown(self.before)} -> {_shown(self.after)}"


class Continuation(NamedTuple):
    """How a run would go on: from which checkpoint (None: from the start), with which settings."""

    run: Run
    origin: Checkpoint | None
    config: StageConfig

    @property
    def changes(self) -> list[Change]:
        """What differs from the run."""
        return between(self.run.config, self.config)

    def words(self) -> list[str]:
        """Return what differs and what that means, a line each."""
        changes = self.changes
        width = max((len(change.name) for change in changes), default=0)
        lines = [f"{c.name:{width}}  {_shown(c.before)} -> {_shown(c.after)}" for c in changes]
        return [*lines, *notes(self.run.config, self.config, self.origin.step if self.origin else 0)]


def apply(ws: Workspace, run: Run, given: Sequence[str], folder: Path) -> StageConfig:
    """Return a run's config with ``key=value`` settings of a resume.

    Args:
        ws: The workspace.
        run: The run to resume.
        given: What is to change; none leaves all as it was.
        folder: The run's folder.

    Raises:
        ConfigError: A setting does not exist, has an impossible value, or cannot change on a resume.
    """
    if not given:
        return run.config
    if not isinstance(run.config, TrainConfig):
        raise ConfigError(
            f"Run {run.name} saves no model, so it goes on with the settings that it began with. Start a new run to change them."
        )
    config = settings.read_class(type(run.config), run.stage, None, given, run.config.model_dump())
    for change in between(run.config, config):
        if reason := _refusal(config, change):
            other = {change.name: str(change.after)}
            way_out = settings.command_of_run(ws, run.stage, folder / "config.json", other)
            raise ConfigError(
                f"{change.name} cannot change on a resume, from {_shown(change.before)} to {_shown(change.after)}: {reason}. Leave "
                f"it out, or start a new run with it: {way_out}"
            )
    return config


def check_steps(found: Continuation, *, is_done: bool) -> None:
    """Refuse to resume where no step is left.

    Args:
        found: How the run would go on.
        is_done: It finished, and goes on from its end.

    Raises:
        RunError: There is none; the message says how to have more.
    """
    run, origin = found.run, found.origin
    if origin is None or not isinstance(found.config, TrainConfig):
        return
    before, after = _length(run.config), _length(found.config)
    if is_done and after <= before:
        raise RunError(
            f"Run {run.name} is finished: all its steps are done at {origin.name}. Give it more with --set {_unit(run.config)}="
            f"{2 * before}, name an earlier checkpoint to branch off from there, or start a new run."
        )
    if is_done and getattr(found.config, "keep_best", False):
        raise RunError(
            f"Run {run.name} ended with its best weights (keep_best) instead of its last ones, so more steps would not go on from "
            "where it was. Name an earlier checkpoint, or start a new run."
        )
    if isinstance(found.config, PPOConfig) and after <= origin.step and after != before:
        raise RunError(
            f"{origin.name} has {origin.step} iterations behind it, so iterations={after} leaves none: set a larger number."
        )


def between(before: StageConfig, after: StageConfig) -> list[Change]:
    """Return the settings that differ, in the order of the config class."""
    names = [name for name in type(after).model_fields if name in type(before).model_fields]
    pairs = ((name, getattr(before, name), getattr(after, name)) for name in names)
    return [Change(name, old, new) for name, old, new in pairs if old != new]


def said(run: Run, before: Run) -> str:
    """Return what differs from the run that this one continues, to be put behind its name; empty where nothing does."""
    found = between(before.config, run.config)
    return f" with {', '.join(map(str, found))}" if found else ""


def notes(before: StageConfig, after: StageConfig, step: int) -> list[str]:
    """Return sentences on what the changes mean beyond their values, for a run that goes on at this step."""
    names = {change.name for change in between(before, after)}
    said = []
    falls = not isinstance(after, PPOConfig) or after.schedule != "constant"
    if _unit(after) in names and falls:
        said.append(
            f"From step {step} on the learning rate follows the curve of the new total; an unbroken run of that length would have "
            "had other rates before."
        )
    if names & {"seed", "batch_size", "max_prompt_length"}:
        said.append("The prompts to come are drawn in another order, so some may come again early.")
    if names & {"kl_budget", "tax_budget"}:
        said.append(
            "Policies measured before are not judged again: only the best one so far still counts, if it is within."
        )
    return said


def _refusal(config: StageConfig, change: Change) -> str:
    """Return why a change is not possible; empty where it is."""
    is_ordered = not isinstance(config, PPOConfig)
    if reason := FIXED.get(change.name) or (is_ordered and ORDERED.get(change.name)):
        return reason
    if change.name in SWITCHES and (not change.before or (change.name == "ema_decay" and not change.after)):
        return SWITCHES[change.name]
    return ""


def _unit(config: StageConfig) -> str:
    """Return the setting that says how long a stage trains."""
    return "iterations" if isinstance(config, PPOConfig) else "epochs"


def _length(config: StageConfig) -> int:
    return int(getattr(config, _unit(config)))


def _shown(value: Any) -> str:
    return str(value) if value != "" else "(empty)"
