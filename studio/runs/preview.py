"""Shows what a run would train on before it starts. The tokenizer runs in a child process, since it loads torch."""

import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlite_utils import Database

from modules.config import DPOConfig, PPOConfig, RewardConfig, SFTConfig, TrainConfig, VotesConfig
from studio import children
from studio.children import ChildError
from studio.errors import CheckpointError, RunError
from studio.models import base_models, checkpoints
from studio.runs import prepare
from studio.runs.prepare import Prepared
from studio.workspace import Workspace

TIMEOUT_S = 300.0
TEMPLATES = {
    "own": "the tokenizer's own",
    "chatml": "ChatML",
    "plain": "plain: each turn on a line of its own",
}
_TURN_BYTES = 64
"""Upper bound of the bytes that a chat template writes around a turn."""


@dataclass(frozen=True)
class Example:
    """A row as the model gets it."""

    title: str
    tokens: list[tuple[str, str]]
    """Each token's text, and whether it is read, taught or scored."""
    rest: str = ""
    """The part after the tokens, in words."""


@dataclass(frozen=True)
class Lesson:
    """The training data of a planned run."""

    template: str
    """The chat template in words."""
    examples: list[Example]
    """The first rows."""
    summary: str
    """The number of rows, how many are left out, and why."""
    longest: int = 0
    """Tokens of the longest text, a response of PPO included."""
    refusal: str = ""
    """The reason why the run would not start as it is; empty where it would."""
    may_start_anyway: bool = False
    """True if it is refused only for the rows that would be left out."""


def lesson(ws: Workspace, prepared: Prepared) -> Lesson:
    """Look at what a run with this config would train on; takes as long as loading a tokenizer does.

    Raises:
        DataError: there is nothing to train on.
        CheckpointError: a checkpoint it needs is missing.
        BaseModelError: there is no such model.
        RunError: the template or the rows cannot be used; the message says why.
    """
    assert isinstance(prepared.config, TrainConfig)
    with ws.read() as db:
        base_model, chat_template = base_of(db, prepared.config)
    request = {
        "stage": prepare.stage_of(prepared.config),
        "config": prepared.config.model_dump(),
        "base_model": base_models.resolve(base_model),
        "chat_template": chat_template,
        "rows": prepared.rows,
    }
    found = ask(ws, "studio.worker.preview", request, TIMEOUT_S)
    examples = [
        Example(title, [(text, part) for text, part in tokens], rest) for title, tokens, rest in found["examples"]
    ]
    too_long = _too_long_for_model(prepared.config, found["longest"], found["positions"])
    return Lesson(
        TEMPLATES[found["template"]],
        examples,
        _summary(found, prepared.config),
        found["longest"],
        found["refusal"] or too_long,
        may_start_anyway=bool(found["refusal"]) and not too_long,
    )


@dataclass(frozen=True)
class Refusal:
    """The reason not to start a run."""

    text: str
    may_start_anyway: bool


def check(ws: Workspace, prepared: Prepared) -> Refusal | None:
    """Return the reason not to start this run; None where it may start.

    Rows that are all short are not tokenized, unless the model's own chat template is used, which may refuse any.

    Raises:
        StudioError: something the stage needs is missing.
    """
    with ws.read() as db:
        if not _may_drop(db, prepared) and not _may_refuse(db, prepared):
            return None
    found = lesson(ws, prepared)
    return Refusal(found.refusal, found.may_start_anyway) if found.refusal else None


def base_of(db: Database, config: TrainConfig) -> tuple[str, str]:
    """Return a prepared config's base model and chat template: its own, or those of its SFT checkpoint."""
    if isinstance(config, SFTConfig):
        return config.base_model, config.chat_template
    assert isinstance(config, VotesConfig | PPOConfig)
    found = checkpoints.get(db, config.sft_checkpoint)
    try:
        meta = json.loads((found.folder / "meta.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"The checkpoint {found.name} has no readable meta.json: choose another.") from error
    return found.base_model, meta["chat_template"]


def ask(
    ws: Workspace,
    module: str,
    request: dict[str, Any],
    timeout_s: float,
    started: Callable[[subprocess.Popen[str]], None] = lambda child: None,
) -> dict[str, Any]:
    """Ask a child process about a run that is about to start; arguments as `children.ask`.

    Raises:
        RunError: it refused, failed or took too long.
    """
    try:
        return children.ask(module, request, cwd=ws.root, timeout_s=timeout_s, started=started)
    except ChildError as error:
        if error.is_late:
            raise RunError(f"The check before the start took longer than {timeout_s:.0f} s and was stopped.") from error
        if error.is_killed:
            raise RunError(
                "It does not fit: the system ended its process for lack of memory. Lower micro_batch_size or lengths."
            ) from error
        raise RunError(f"This run could not start: {error}") from error


def _may_refuse(db: Database, prepared: Prepared) -> bool:
    """Return whether the rows use a chat template that came with the model, as far as known without loading it."""
    assert isinstance(prepared.config, TrainConfig)
    base_model, chat_template = base_of(db, prepared.config)
    if chat_template in ("chatml", "plain") or base_model == base_models.STARTER_NAME:
        return False
    folder = Path(base_models.resolve(base_model))
    if not folder.is_dir():
        return True
    if any(folder.glob("*.jinja")) or any(folder.glob("*chat_template*")):
        return True
    settings = folder / "tokenizer_config.json"
    return settings.is_file() and b'"chat_template"' in settings.read_bytes()


def _may_drop(db: Database, prepared: Prepared) -> bool:
    """Return False if every row has few enough bytes for settings and model, a token being at least one byte."""
    config = prepared.config
    assert isinstance(config, TrainConfig)
    positions = base_models.num_positions(base_of(db, config)[0])
    for part, limit in _limits(config):
        most = positions
        if isinstance(config, PPOConfig) and part in ("train", "validation"):
            most -= config.max_new_tokens
        for row in prepared.rows.get(part, []):
            turns = [turn["content"] for turn in row.get("messages", [])]
            answers = [row[side] for side in ("chosen", "rejected") if side in row]
            size = sum(_size(text) for text in turns) + max(map(_size, answers), default=0) + _TURN_BYTES
            if size > min(limit, most):
                return True
    return False


def _size(text: str) -> int:
    return len(text.encode()) + _TURN_BYTES


def _limits(config: TrainConfig) -> list[tuple[str, int]]:
    """Return each part with the most tokens its rows may have."""
    if isinstance(config, PPOConfig):
        prompts, texts = config.max_prompt_length, config.max_length
        return [("train", prompts), ("validation", prompts), ("demonstrations", texts), ("ptx", texts)]
    return [("train", config.max_length), ("validation", config.max_length)]


def _too_long_for_model(config: TrainConfig, longest: int, positions: int) -> str:
    if longest <= positions:
        return ""
    lengths = "max_prompt_length or max_new_tokens" if isinstance(config, PPOConfig) else "max_length"
    return f"The longest text may have {longest:,} tokens, but the model has {positions:,} positions: lower {lengths}."


def _summary(found: dict[str, Any], config: TrainConfig) -> str:
    rows, tokens = found["num_rows"], found["num_tokens"]
    match config:
        case SFTConfig():
            text = f"{rows:,} demonstrations with {tokens:,} tokens, of which {found['num_taught']:,} are taught."
        case RewardConfig():
            text = f"{rows:,} pairs with {tokens:,} tokens; each response is scored at its last one."
        case DPOConfig():
            text = f"{rows:,} pairs with {tokens:,} tokens; the {found['num_taught']:,} tokens of their responses are compared."
        case _:
            text = f"{rows:,} prompts with {tokens:,} tokens; the policy's answers are taught, not the prompts."
    text += f" The longest takes {found['longest']:,} tokens"
    text += ", its response included." if isinstance(config, PPOConfig) else "."
    for reason, count in sorted(found["dropped"].items()):
        example = found["left_out"].get(reason, "")
        such = f', such as "{example}"' if example else ""
        text += f" {count:,} of {found['given']:,} left out: {_reason(reason, config)}{such}."
    text += "" if found["dropped"] else " None of these is left out, and none is cut."
    return " ".join([text, *found["remarks"]])


def _reason(reason: str, config: TrainConfig) -> str:
    if reason != "too long":
        return reason
    if isinstance(config, PPOConfig):
        return f"longer than max_prompt_length = {config.max_prompt_length} or max_length = {config.max_length} tokens"
    return f"longer than max_length = {config.max_length} tokens; a text is never cut"
