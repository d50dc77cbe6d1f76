"""Fills a config with the settings of the model, and refuses settings that contradict them."""

from collections.abc import Iterable
from typing import Any

from modules.config import FRESH, AnyConfig, StageConfig, is_open, settle
from studio.errors import CheckpointError, ConfigError
from studio.models.parents.traits import Traits

SHARED = ("method", "quantisation", "chat_template")
"""Settings that all roles of a run share, besides the base model."""


def check_alike(first: Traits, *others: Traits) -> None:
    """Refuse checkpoints that cannot share a base in memory, or that read conversations differently.

    Raises:
        CheckpointError: they differ; both values are named.
    """
    for other in others:
        if other.fingerprint != first.fingerprint:
            raise CheckpointError(
                f"Checkpoint {other.name} belongs to the base model {other.base_model}, but {first.name} to "
                f"{first.base_model}. Choose checkpoints of one base model."
            )
        for name in SHARED:
            mine, theirs = getattr(first, name), getattr(other, name)
            if mine != theirs and mine and theirs:
                raise CheckpointError(
                    f"Checkpoint {other.name} was trained with {name.replace('_', ' ')} {theirs}, but {first.name} with {mine}, and "
                    f"one run can use only one of them. Choose checkpoints that agree, or train the stage of {other.name} again "
                    f"from {first.name}."
                )


def fill(config: AnyConfig, trained: Traits) -> AnyConfig:
    """Return the config with all open settings taken from the checkpoint that the run continues.

    Raises:
        ConfigError: a setting contradicts it; both values are named.
    """
    for name in FRESH:
        if trained.is_complete and hasattr(config, name) and not is_open(config, name):
            _check(name, getattr(config, name), trained)
    config = settle(config, trained.settings())
    if config.precision == "auto":
        config = config.model_copy(update={"precision": trained.precision})
    return config


def check_resumed(name: str, config: StageConfig, started_from: Iterable[Traits], way_out: str) -> None:
    """Refuse to resume a run that uses a checkpoint differently from its training, as earlier versions allowed.

    Args:
        name: The run's name.
        config: Its config at the start.
        started_from: The checkpoints that it began from.
        way_out: The command of a new run with the other settings.

    Raises:
        ConfigError: the run does so; both values are named, and the way out.
    """
    for trained in started_from:
        for setting in ("method", "quantisation"):
            ours, theirs = getattr(config, setting, "auto"), getattr(trained, setting)
            if trained.is_complete and ours not in ("auto", theirs):
                raise ConfigError(
                    f"Run {name} has {setting} {ours}, but {trained.name}, from which it began, was trained with {theirs}, so what it "
                    "learned belongs to another model. Start a new run with its other settings, which takes over how its "
                    f"checkpoint was trained: {way_out}"
                )


def sentence(trained: Traits) -> str:
    """Say what a run inherits."""
    said = [f"method {trained.method}", f"quantisation {trained.quantisation}"]
    if trained.method == "lora":
        said += [
            f"lora_rank {trained.lora_rank}",
            f"lora_alpha {trained.lora_alpha:g}",
            f"lora_targets {trained.lora_targets}",
        ]
    if trained.precision != "auto":
        said.append(f"precision {trained.precision}")
    if trained.chat_template:
        said.append(f"chat template {trained.chat_template}")
    return f"Taken over from {trained.name}: {', '.join(said)}."


def _check(name: str, given: Any, trained: Traits) -> None:
    has_adapter = trained.method == "lora"
    if name.startswith("lora_") and not has_adapter:
        raise ConfigError(
            f"{name} is {given}, but {trained.name}, from which this run goes on, was trained in full and has no adapter: leave "
            f"{name} out, or train SFT with method=lora."
        )
    if given == getattr(trained, name) or (name == "lora_targets" and _names(given) == trained.layers):
        return
    left_open = {"lora_rank": "at 0", "lora_alpha": "at 0", "lora_targets": "empty"}.get(name, "at auto")
    raise ConfigError(
        f"{name} is {given}, but {trained.name}, from which this run goes on, was trained with {name} {getattr(trained, name)}: "
        f"leave {name} {left_open}, or train SFT with {name}={given} first."
    )


def _names(targets: str) -> frozenset[str]:
    return frozenset(part.strip().rsplit(".", 1)[-1] for part in targets.split(",") if part.strip())
