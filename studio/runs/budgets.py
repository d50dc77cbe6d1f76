"""Refuses budgets of a PPO run that nothing can be measured against."""

from collections.abc import Collection

from modules.config import PPOConfig
from studio.errors import ConfigError, DataError


def check(config: PPOConfig, *, has_prompts: bool, has_demonstrations: bool) -> None:
    """Refuse a budget whose held-out prompts or demonstrations are not there.

    Raises:
        DataError: they are not.
    """
    if (config.kl_budget or config.tax_budget) and not has_prompts:
        raise DataError(
            "kl_budget and tax_budget choose by the score on held-out prompts, but there are none. Import more prompts, or set "
            "both to 0."
        )
    if config.tax_budget and not config.tax_suite and not has_demonstrations:
        raise DataError(
            "tax_budget needs held-out demonstrations to measure the loss on, but there are none. Import more, name a suite as "
            "tax_suite, or set it to 0."
        )


def check_suite(config: PPOConfig, measured: Collection[str]) -> None:
    """Refuse a tax_suite that limits nothing, or is not among the suites that are measured on the way.

    Raises:
        ConfigError: it is one of these.
    """
    if not config.tax_suite:
        return
    if not config.tax_budget:
        raise ConfigError(
            "tax_suite says what tax_budget is measured on, but tax_budget is 0. Set it, such as to 0.05, or leave tax_suite empty."
        )
    if config.tax_suite not in measured:
        named = f"eval_suites has: {', '.join(measured)}" if measured else "eval_suites is empty"
        raise ConfigError(
            f"tax_suite is {config.tax_suite}, but {named}. Name it there too, so that it is measured on the way."
        )
