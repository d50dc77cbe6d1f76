"""Refuses settings that are fine alone but together do nothing, or not what they say. No torch."""

from modules.config.stages import DPOConfig, PPOConfig, StageConfig
from modules.errors import ConfigError


def check(config: StageConfig) -> None:
    """Refuse settings that contradict each other.

    Raises:
        ConfigError: They contradict; the message says which and what to set.
    """
    if isinstance(config, PPOConfig):
        check_kl(config.kl_coef, config.kl_target)
    if isinstance(config, PPOConfig | DPOConfig):
        _check_dropout(config)


def check_kl(coef: float, target: float) -> None:
    """Refuse an adaptive price of the KL that would stay 0.

    Raises:
        ConfigError: It is 0, and a target is set.
    """
    if target > 0 and coef <= 0:
        raise ConfigError(
            f"kl_target is {target:g}, so kl_coef should adapt, but it starts at 0 and is only ever multiplied: set kl_coef to a "
            "start such as 0.05, or kl_target to 0."
        )


def _check_dropout(config: PPOConfig | DPOConfig) -> None:
    if config.lora_dropout > 0:
        raise ConfigError(
            f"lora_dropout is {config.lora_dropout:g}, but PPO and DPO compare log-probabilities of the same tokens, which dropout "
            "would change by itself: set lora_dropout to 0."
        )
