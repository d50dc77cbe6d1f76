"""One typed config a stage: the form, the CLI's ``--set`` and the run's ``config.json``.

`stages` holds those that train, `answers` the two that train nothing, `base` what they share. Nothing here loads torch, so
the page's process may import it. Each field's docstring is its tooltip.
"""

from modules.config.answers import EvaluateConfig, SampleConfig
from modules.config.base import StageConfig, TrainConfig
from modules.config.stages import (
    FRESH,
    STAGES,
    AnyConfig,
    CurveConfig,
    DPOConfig,
    PPOConfig,
    RewardConfig,
    RolloutWeights,
    ScheduleKind,
    SFTConfig,
    VotesConfig,
    categories,
    is_open,
    listed,
    settle,
)

__all__ = [
    "FRESH",
    "STAGES",
    "AnyConfig",
    "CurveConfig",
    "DPOConfig",
    "EvaluateConfig",
    "PPOConfig",
    "RewardConfig",
    "RolloutWeights",
    "SFTConfig",
    "SampleConfig",
    "ScheduleKind",
    "StageConfig",
    "TrainConfig",
    "VotesConfig",
    "categories",
    "is_open",
    "listed",
    "settle",
]
