"""The settings that `modules.ppo.PPOModule` takes, and how its parts are made of them.

`PPOConfig` explains each and holds the defaults.
"""

import inspect
import textwrap
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Literal, TypedDict, TypeVar

from modules.config import PPOConfig, RolloutWeights, ScheduleKind


class PPOSettings(TypedDict, total=False):
    """The fields of `PPOConfig` that belong to the trainer; the others are for models, data and runs."""

    seed: int
    max_new_tokens: int
    temperature: float
    minibatch_size: int
    micro_batch_size: int
    rollout_batch_size: int
    rollout_weights: RolloutWeights
    epochs: int
    learning_rate: float
    value_learning_rate: float
    schedule: ScheduleKind
    warmup_fraction: float
    iterations: int
    value_start: Literal["reward", "zero"]
    value_warmup: int
    max_grad_norm: float
    kl_coef: float
    kl_estimator: Literal["k1", "k3"]
    kl_target: float
    clip_range: float
    value_clip_range: float
    entropy_coef: float
    gamma: float
    lam: float
    whiten_advantages: bool
    center_scores: bool
    score_scale: Literal["none", "running"]
    reward_pessimism: float
    score_clip: float
    missing_eos: Literal["penalty", "score"]
    missing_eos_penalty: float
    missing_eos_score: float
    bootstrap_unfinished: bool
    ptx_coef: float
    ptx_target: Literal["tokens", "reference"]
    approx_kl_limit: float
    kl_budget: float
    tax_budget: float
    tax_suite: str
    ema_decay: float
    save_at_kl: str


NAMES = tuple(PPOSettings.__annotations__)
Part = TypeVar("Part")
Kind = TypeVar("Kind")


def complete(settings: Mapping[str, Any]) -> PPOConfig:
    """Return a config with these settings and the defaults of the others; a notebook may go beyond a form's bounds.

    Raises:
        TypeError: The trainer has no such setting.
    """
    if unknown := [name for name in settings if name not in NAMES]:
        raise TypeError(f"PPOModule has no setting {', '.join(unknown)}. It has: {', '.join(NAMES)}.")
    return PPOConfig.model_construct(None, **settings)


def explained(kind: type[Kind]) -> type[Kind]:
    """Decorate a class that takes ``**settings``: help() and a notebook then show each with its type, default and meaning."""
    known = PPOConfig.model_fields
    shown = inspect.signature(kind.__init__)
    own = [each for each in shown.parameters.values() if each.kind is not each.VAR_KEYWORD]
    named = [
        inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=known[name].default, annotation=known[name].annotation
        )
        for name in NAMES
    ]
    setattr(kind.__init__, "__signature__", shown.replace(parameters=[*own, *named]))  # noqa: B010  # pyright knows no such name
    lines = [f"{name} ({known[name].default!r}): {known[name].description}" for name in NAMES]
    told = "\n".join(textwrap.fill(line, 116, initial_indent=" " * 4, subsequent_indent=" " * 8) for line in lines)
    kind.__doc__ = f"{inspect.cleandoc(kind.__doc__ or '')}\n\nSettings:\n{told}"
    return kind


def part(kind: type[Part], config: PPOConfig) -> Part:
    """Build a dataclass, such as the objective, from the settings that its fields are named after."""
    return kind(**{field.name: getattr(config, field.name) for field in fields(kind)})  # type: ignore[arg-type]  # the names are the same
