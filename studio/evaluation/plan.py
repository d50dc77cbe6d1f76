"""Plans an evaluation: fills in what is measured, checks that it fits together, and reads the items of its suites."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from sqlite_utils import Database

from modules.config import EvaluateConfig, PPOConfig, SFTConfig
from modules.rl import labels
from studio.errors import CheckpointError, ConfigError, DataError, RewardError
from studio.evaluation import best_of, suites
from studio.evaluation.suites import Suite
from studio.models import base_models, checkpoints, parents, reward_sources
from studio.models.base_names import BASE
from studio.models.checkpoints import Checkpoint
from studio.workspace import Workspace

PART = "suites"
"""Part of the run's frozen rows: one row a suite."""


class Plan(NamedTuple):
    """A config with all names filled in, and the checkpoints and rows that the run starts from."""

    config: EvaluateConfig
    parents: dict[str, int]
    rows: dict[str, list[dict[str, Any]]]


def resolve(ws: Workspace, db: Database, config: EvaluateConfig) -> Plan:
    """Fill in defaults, check that everything fits together, and read the suites.

    Raises:
        StudioError: something is missing or does not go together; the message says what to do.
    """
    if config.best_of:
        config = best_of.complete(db, config)
    names = subjects(config.checkpoints) or _usual(db)
    found = {name: _policy(db, name) for name in names if name != BASE}
    for checkpoint in found.values():
        parents.fill(config, parents.read(db, checkpoint))  # refuses what contradicts it
    base_model = _base_model(db, config, [*found.values()])
    measured = suites.find(db, ws.evaluations, config.suites)
    reward, gold, toxicity = None, None, ""
    if any(suite.kind == "prompt" for suite in measured):
        base_models.check_room(base_model, {"max_new_tokens": config.max_new_tokens})
        reward = _reward(db, config.reward_checkpoint, base_model, [*found.values()])
        gold = _reward(db, config.gold_checkpoint, base_model, [*found.values()]) if config.gold_checkpoint else None
        for checkpoint in found.values():
            reference_of(db, config, checkpoint)
        toxicity = _toxicity(ws, config)
    elif config.toxicity.strip() or config.reward_checkpoint or config.gold_checkpoint or config.best_of:
        raise ConfigError(
            "toxicity, reward_checkpoint, gold_checkpoint and best_of are about sampled answers, but no suite samples any: add caution, "
            "answers or prompts:FILE, or leave them empty."
        )
    if reward and gold and reward.id == gold.id:
        raise ConfigError(
            f"gold_checkpoint and reward_checkpoint are both {gold.name}, which cannot judge itself. Name one that learned from other votes."
        )
    if config.best_of and reward is None:
        raise CheckpointError(
            "best_of chooses by a reward model's score, but there is none of this base model. Train one first, on the Train page or by: rlhf-studio reward"
        )
    filled = {
        "checkpoints": ", ".join(BASE if name == BASE else found[name].name for name in names),
        "suites": config.suites or ", ".join(suite.name for suite in measured),
        "base_model": base_model,
        "reward_checkpoint": reward.name if reward else "",
        "gold_checkpoint": gold.name if gold else "",
        "toxicity": toxicity,
    }
    ids = {f"measured-{number}": each.id for number, each in enumerate(found.values(), start=1)}
    return Plan(
        config.model_copy(update=filled),
        ids | {role: judge.id for role, judge in (("reward", reward), ("gold", gold)) if judge},
        {PART: [suite._asdict() for suite in measured]},
    )


def subjects(text: str) -> list[str]:
    """Return the names in `checkpoints`, each once, in their order."""
    return list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


def reference_of(db: Database, config: EvaluateConfig, found: Checkpoint) -> Checkpoint | None:
    """Return the SFT policy from which the KL of a checkpoint is measured; None where answers are cut by top_p, whose KL it is not.

    Raises:
        CheckpointError: it is gone.
    """
    if config.top_p < 1:
        return None
    if found.stage == "sft":
        return found
    return checkpoints.get(db, checkpoints.parents_of_run(db, found.run_id)["sft"])


def fixed(
    ws: Workspace, db: Database, config: SFTConfig | PPOConfig, *, has_held_out: bool
) -> dict[str, list[dict[str, Any]]]:
    """Return the part of a trainer's rows with the items that each evaluation measures; none where it names no suite.

    Raises:
        StudioError: there is no such suite, it needs sampling, or nothing is held out, so that nothing is ever evaluated.
    """
    if not config.eval_suites.strip():
        return {}
    if not has_held_out:
        raise DataError(
            "eval_suites is measured at each evaluation, but nothing is held out to evaluate on. Import more, or leave it empty."
        )
    found = suites.find(db, ws.evaluations, config.eval_suites)
    for suite in found:
        if suite.kind in ("prompt", "task"):
            raise ConfigError(
                f"eval_suites names {suite.name}, which takes too long within a training. Measure it afterwards, on the Evaluate page or by: "
                f"rlhf-studio evaluate --set suites={suite.name}"
            )
    return {PART: [_cut(suite, config.eval_suite_items, config.seed)._asdict() for suite in found]}


def _cut(suite: Suite, num_items: int, seed: int) -> Suite:
    """Return the suite with a fixed draw of its items."""
    return suite._replace(items=[suite.items[place] for place in suites.subset(suite.items, num_items, seed)])


def thaw(rows: list[dict[str, Any]]) -> list[Suite]:
    """Return the suites of a run's frozen rows."""
    return [Suite(**row) for row in rows]


def _usual(db: Database) -> list[str]:
    newest = [checkpoints.newest(db, stage) for stage in ("sft", "dpo", "ppo")]
    return [BASE, *(each.name for each in newest if each)]


def _policy(db: Database, name: str) -> Checkpoint:
    found = checkpoints.get(db, name)
    if found.stage not in checkpoints.POLICIES:
        raise CheckpointError(
            f"Checkpoint {found.name} comes from the reward model, which writes no text. Name checkpoints of SFT, PPO or DPO, or base."
        )
    return found


def _base_model(db: Database, config: EvaluateConfig, found: list[Checkpoint]) -> str:
    """Return the pretrained model: the one named, else that of the first checkpoint, else that of the newest SFT."""
    newest = checkpoints.newest(db, "sft")
    name = config.base_model or next((each.base_model for each in [*found, *([newest] if newest else [])]), "")
    if not name:
        raise CheckpointError(
            "There is no checkpoint yet, so it is not known which model base stands for. Name it, such as base_model=starter, or train SFT first."
        )
    name = base_models.absolute(name)
    base_models.resolve(name)
    return name


def _reward(db: Database, name: str, base_model: str, found: list[Checkpoint]) -> Checkpoint | None:
    """Return a reward model that scores answers, the newest where none is named; it shares the base of all that is measured."""
    chosen = checkpoints.get(db, name) if name else None
    if chosen and chosen.stage != "reward":
        raise CheckpointError(f"Checkpoint {chosen.name} is not a reward model. Name one from a reward run.")
    reward = chosen or checkpoints.newest(db, "reward")
    if reward is None:
        return None
    others = [name for name in (base_model, *(each.base_model for each in found)) if name != reward.base_model]
    if not others:
        return checkpoints.get(db, reward.name)
    if chosen is None:
        return None
    raise CheckpointError(
        f"Reward model {chosen.name} belongs to {chosen.base_model}, and {others[0]} is measured too. Choose one of the same base model."
    )


def _toxicity(ws: Workspace, config: EvaluateConfig) -> str:
    """Return the classifier with its folder absolute, if it has labels to tell toxic texts by."""
    if not config.toxicity.strip():
        return ""
    text, _ = reward_sources.resolve(ws, config.reward_terms)
    term = EvaluateConfig(toxicity=text).reward_terms[0]
    names = _labels(Path(term.source) / "config.json")
    if names is None:
        return text
    if len(names) < 2:
        raise RewardError(
            f"The classifier {term.source} has one label, so its score is not the probability that a text is toxic. Choose one with two labels "
            "or more, and name the toxic one: classifier:FOLDER#LABEL."
        )
    if not term.item:
        raise RewardError(
            f"The classifier {term.source} needs the label that means toxic: write classifier:FOLDER#LABEL with one of "
            f"{', '.join(names.values())}."
        )
    labels.find(term.item, names, term.source)
    return text


def _labels(file: Path) -> dict[int, str] | None:
    """Return the labels of a classifier's folder by their numbers; None where it is on the hub and not yet known.

    Raises:
        RewardError: the folder numbers a label by something else than a number.
    """
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    names = config.get("id2label") if isinstance(config, dict) else None
    if not isinstance(names, dict):
        return {0: "LABEL_0", 1: "LABEL_1"}
    try:
        return {int(number): str(name) for number, name in names.items()}
    except ValueError as error:
        raise RewardError(f"{file} numbers its labels {', '.join(names)}. Correct id2label: 0, 1 and so on.") from error
