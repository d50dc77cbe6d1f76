"""Gathers what a stage needs from the workspace: `resolve` turns a config with defaults into one that names everything.

It only reads, so previews and refused starts leave nothing behind. `freeze` stores the ratings that a reward run trains
on; only the creation of a run calls it. Training rows are plain dicts in the form `modules.data.datamodules` takes.
"""

import random
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NoReturn

from sqlite_utils import Database

from modules.config import (
    STAGES,
    AnyConfig,
    CurveConfig,
    EvaluateConfig,
    PPOConfig,
    RewardConfig,
    SampleConfig,
    SFTConfig,
    StageConfig,
    TrainConfig,
    VotesConfig,
    categories,
    contradictions,
    recipes,
)
from studio import redaction
from studio.errors import CheckpointError, ConfigError, DataError
from studio.evaluation import plan
from studio.models import base_models, checkpoints, parents, reward_sources
from studio.models.base_names import BASE
from studio.models.checkpoints import Checkpoint
from studio.models.parents import Traits
from studio.preferences import prompts, snapshots
from studio.runs import budgets, devices, label_curve, trackers
from studio.workspace import Workspace

Row = dict[str, Any]
MAX_CENTERING = 512
"""Demonstrations whose mean score becomes 0; more would only take longer."""


@dataclass(frozen=True)
class Prepared:
    """A config with all names filled in, and the checkpoints and rows it starts from."""

    config: StageConfig
    parents: dict[str, int]
    rows: dict[str, list[Row]]
    snapshot_id: int | None = None


def stage_of(config: StageConfig) -> str:
    """Return the stage a config belongs to."""
    return next(stage for stage, cls in STAGES.items() if isinstance(config, cls))


def resolve(ws: Workspace, config: StageConfig) -> Prepared:
    """Fill in defaults and gather what the stage would train on now, without writing anything.

    Raises:
        StudioError: something the stage needs is missing, or a setting holds a secret; the message says what to do first.
    """
    check_alone(config)
    with ws.read() as db:
        match config:
            case SFTConfig():
                return _sft(ws, db, config)
            case VotesConfig():
                return _votes(db, config)
            case PPOConfig():
                return _ppo(ws, db, config)
            case SampleConfig():
                return _sample(db, config)
            case EvaluateConfig():
                return Prepared(*plan.resolve(ws, db, config))
            case CurveConfig():
                return _curve(db, config)
    raise TypeError(f"no stage for {type(config).__name__}")


def recipe(ws: Workspace, config: StageConfig) -> dict[str, Any]:
    """Return the settings of InstructGPT's recipe (`modules.config.recipes`) for what a run with this config would train on.

    Raises:
        StudioError: As `resolve` does.
    """
    found = resolve(ws, config)
    assert isinstance(found.config, TrainConfig)
    rows = found.rows["train"]
    num = len({row["prompt_id"] for row in rows} if isinstance(config, RewardConfig) else rows)
    return recipes.values(stage_of(config), found.config.method, num)


def check_changed(db: Database, config: StageConfig, parts: Collection[str]) -> None:
    """Refuse settings that a resumed run cannot have, as `resolve` does for a new one.

    Args:
        db: The workspace's database.
        config: With the changed settings.
        parts: The parts of the run's frozen rows that hold any.

    Raises:
        StudioError: They contradict each other, or need rows, devices or room that are not there.
    """
    check_alone(config)
    if isinstance(config, PPOConfig):
        base_models.check_room(
            checkpoints.get(db, config.sft_checkpoint).base_model, {"max_new_tokens": config.max_new_tokens}
        )
        budgets.check(config, has_prompts="validation" in parts, has_demonstrations="demonstrations" in parts)


def check_alone(config: StageConfig) -> None:
    """Refuse what can be seen from the config and the machine alone."""
    redaction.refuse_secrets(config)
    contradictions.check(config)
    devices.check(config)
    trackers.check(config)
    if isinstance(config, TrainConfig):
        _check_devices(config)


def check_model(db: Database, prepared: Prepared) -> None:
    """Refuse a run whose texts hold words that its model has no rows for, and SFT of one whose weights are no numbers.

    Raises:
        BaseModelError: the word or the weights are named; a short look may miss weights, which the worker meets.
    """
    names = {checkpoints.get(db, checkpoints.name_of(db, found)).base_model for found in prepared.parents.values()}
    if isinstance(prepared.config, SFTConfig):
        base_models.check_finite(prepared.config.base_model)
        names = {prepared.config.base_model}
    for name in sorted(names):
        base_models.check_words(name, _texts(prepared.rows))


def freeze(db: Database, prepared: Prepared) -> Prepared:
    """Freeze the ratings that count now for a run that learns from them and names no snapshot; return others as they are.

    Raises:
        DataError: there is no rating to train on any more.
    """
    config = prepared.config
    if not isinstance(config, VotesConfig | CurveConfig) or config.snapshot:
        return prepared
    learning = config if isinstance(config, VotesConfig) else label_curve.thaw(prepared.rows[label_curve.PART])
    recipe = label_curve.recipe(db, learning)
    snapshot = snapshots.freeze(db, recipe)
    rows = _by_split(snapshots.training_rows(db, snapshot.id), recipe.half)
    if isinstance(config, CurveConfig):
        rows = label_curve.by_arm(db, config, rows)
    config = config.model_copy(update={"snapshot": snapshot.name})
    return replace(prepared, config=config, rows=prepared.rows | rows, snapshot_id=snapshot.id)


def parents_of(db: Database, config: StageConfig) -> dict[str, Checkpoint]:
    """Map each role to the checkpoint that a run with this config would start from; empty for SFT.

    Raises:
        StudioError: there is no such checkpoint.
    """
    match config:
        case VotesConfig():
            return {"sft": _resolve(db, config.sft_checkpoint, "sft")}
        case CurveConfig():
            reward = _resolve(db, config.reward_checkpoint, "reward")
            return {"sft": _resolve(db, checkpoints.parents(db, reward.name)["sft"], "sft")}
        case PPOConfig():
            reward = _reward_of(db, config)
            parent = checkpoints.parents(db, reward.name)["sft"] if reward else ""
            sft = _resolve(db, config.sft_checkpoint or parent, "sft")
            policy = _resolve(db, config.policy_checkpoint or sft.name, "sft", "ppo", "dpo")
            return {"sft": sft, "policy": policy} | ({"reward": reward} if reward else {})
        case SampleConfig():
            policy = _resolve(db, config.checkpoint, *checkpoints.POLICIES)
            opponent = None if config.opponent in ("", BASE) else _resolve(db, config.opponent, *checkpoints.POLICIES)
            return {"policy": policy} | ({"opponent": opponent} if opponent else {})
    return {}


def inherited(db: Database, config: StageConfig) -> Traits | None:
    """Return what a run with this config inherits from the checkpoint that it continues; None for SFT.

    Raises:
        StudioError: there is no such checkpoint.
    """
    started_from = parents_of(db, config)
    found = started_from.get("policy") or started_from.get("sft")
    return parents.read(db, found) if found else None


def _inherit(db: Database, config: AnyConfig, started_from: dict[str, Checkpoint]) -> AnyConfig:
    """Fill in the settings of the model, if all checkpoints agree on them and their base model exists."""
    traits = {role: parents.read(db, found) for role, found in started_from.items()}
    first, *others = traits.values()
    parents.check_alike(first, *others)
    base_models.check(first.base_model, first.method, first.quantisation, first.chat_template)
    return parents.fill(config, traits.get("policy") or traits["sft"])


def _check_devices(config: TrainConfig) -> None:
    """Refuse settings that do not work on several devices."""
    if config.strategy == "fsdp":
        raise ConfigError(
            "strategy fsdp is not possible: a sharded layer must be called equally often by all processes, but each samples until "
            "its own responses have ended and cuts micro-batches by its own lengths. Choose ddp; what does not fit on one GPU then "
            "needs lora, nf4 or gradient_checkpointing."
        )
    processes = config.devices * config.num_nodes
    smallest = min(config.batch_size, config.minibatch_size) if isinstance(config, PPOConfig) else config.batch_size
    if smallest < processes:
        raise ConfigError(
            f"{smallest} examples cannot be shared by devices x num_nodes = {processes} processes: raise batch_size"
            f"{' and minibatch_size' if isinstance(config, PPOConfig) else ''}, or use fewer devices."
        )


def _sft(ws: Workspace, db: Database, config: SFTConfig) -> Prepared:
    config = config.model_copy(update={"base_model": base_models.absolute(config.base_model)})
    base_models.check(config.base_model, config.method, config.quantisation, config.chat_template)
    train, held_out = _demonstrations(db, "train"), _held_out_demonstrations(db)
    if not train:
        raise DataError(
            f"All {len(held_out)} demonstrations belong to held-out prompts, which are never trained on. Import more, or write some on the Data page."
            if held_out
            else "There are no demonstrations to learn from. Import some (rlhf-studio import FILE, or the Data page), or write one on the Data page."
        )
    if 0 < config.max_demonstrations < len(train):
        train = random.Random(config.seed).sample(train, config.max_demonstrations)
    rows = {"train": train, "validation": held_out} | plan.fixed(ws, db, config, has_held_out=bool(held_out))
    return Prepared(config, {}, rows)


def _votes(db: Database, config: VotesConfig) -> Prepared:
    started_from = parents_of(db, config)
    sft, config = started_from["sft"], _inherit(db, config, started_from)
    recipe = snapshots.recipe_of(config)
    snapshot = snapshots.get(db, config.snapshot) if config.snapshot else None
    rated = snapshots.training_rows(db, snapshot.id) if snapshot else snapshots.unfrozen_rows(db, recipe)
    demonstrations = _demonstrations(db, "train") if isinstance(config, RewardConfig) else []
    if len(demonstrations) > MAX_CENTERING:
        demonstrations = random.Random(config.seed).sample(demonstrations, MAX_CENTERING)
    named = {"snapshot": snapshot.name, "votes_half": _half_of(snapshot, config)} if snapshot else {}
    config = config.model_copy(update={"sft_checkpoint": sft.name, **named})
    rows = _by_split(rated, config.votes_half) | ({"demonstrations": demonstrations} if demonstrations else {})
    return Prepared(config, {"sft": sft.id}, rows, snapshot.id if snapshot else None)


def _curve(db: Database, config: CurveConfig) -> Prepared:
    reward, started_from = _resolve(db, config.reward_checkpoint, "reward"), parents_of(db, config)
    trained = _inherit(db, label_curve.trained_as(config, reward, started_from["sft"].name), started_from)
    snapshot = snapshots.get(db, config.snapshot) if config.snapshot else None
    recipe = snapshots.recipe_behind(snapshot) if snapshot else label_curve.recipe(db, trained)
    rated = snapshots.training_rows(db, snapshot.id) if snapshot else snapshots.unfrozen_rows(db, recipe)
    rows = label_curve.by_arm(db, config, _by_split(rated, recipe.half))
    label_curve.check(config, rows["train"], rows["validation"])
    named = {"reward_checkpoint": reward.name, "precision": trained.precision, "quantisation": trained.quantisation}
    config = config.model_copy(update=named | ({"snapshot": snapshot.name} if snapshot else {}))
    rows[label_curve.PART] = [trained.model_dump()]
    return Prepared(config, {"sft": started_from["sft"].id}, rows, snapshot.id if snapshot else None)


def _half_of(snapshot: snapshots.Snapshot, config: VotesConfig) -> str:
    """Return which half of the votes a named snapshot holds."""
    half = snapshots.read_recipe(snapshot.recipe).get("half", "all")
    if config.votes_half not in ("all", half):
        raise ConfigError(
            f"votes_half is {config.votes_half}, but {snapshot.name} was frozen with {half}: leave votes_half at all, or name no snapshot."
        )
    return half


def _by_split(rated: list[Row], half: str) -> dict[str, list[Row]]:
    """Split preferences into those that are trained on and those that are held out."""
    train = [row for row in rated if row["split"] == "train"]
    if not train and half != "all":
        raise DataError(
            f"The {half} half has no rating of a train prompt yet. Rate pairs of more train prompts, or set votes_half to all."
        )
    if not train:
        raise DataError(
            f"All {len(rated)} ratings belong to held-out prompts, so there is none to train on. Rate pairs of train prompts."
        )
    measured = [row for row in rated if row["split"] == "validation"]  # the test split measures policies
    return {"train": train, "validation": measured or [row for row in rated if row["split"] == "test"]}


def _ppo(ws: Workspace, db: Database, config: PPOConfig) -> Prepared:
    started_from = parents_of(db, config)
    config = _inherit(db, config, started_from)
    base_models.check_room(started_from["sft"].base_model, {"max_new_tokens": config.max_new_tokens})
    rewards, sources = reward_sources.resolve(ws, config.reward_terms)
    excluded = categories(config.exclude_categories)
    train = _prompt_rows(db, ("train",), excluded)
    held_out = _prompt_rows(db, ("validation",), excluded) or _prompt_rows(db, ("test",), excluded)
    demonstrations = _held_out_demonstrations(db)
    mixed_in = _demonstrations(db, "train") if config.ptx_coef > 0 else []
    if not train:
        raise DataError("There are no train prompts to roll out. Import prompts, or exclude fewer categories.")
    budgets.check(config, has_prompts=bool(held_out), has_demonstrations=bool(demonstrations))
    names = {f"{role}_checkpoint": found.name for role, found in started_from.items()} | {"rewards": rewards}
    rows = {"train": train, "validation": held_out, "demonstrations": demonstrations}
    rows |= plan.fixed(ws, db, config, has_held_out=bool(held_out or demonstrations))
    budgets.check_suite(config, [row["name"] for row in rows.get(plan.PART, [])])
    if sources:
        rows["rewards"] = sources
    if config.ptx_coef > 0:
        rows["ptx"] = mixed_in or _missing_ptx()
    return Prepared(config.model_copy(update=names), {role: found.id for role, found in started_from.items()}, rows)


def _reward_of(db: Database, config: PPOConfig) -> Checkpoint | None:
    """Return the reward checkpoint, or None where the reward is made of other things only."""
    if config.needs_reward_checkpoint:
        return _resolve(db, config.reward_checkpoint, "reward")
    if config.reward_checkpoint:
        raise ConfigError(
            f"reward_checkpoint is {config.reward_checkpoint}, but rewards has no term reward: add one, such as "
            f"reward + {config.rewards}, or leave reward_checkpoint empty."
        )
    return None


def _sample(db: Database, config: SampleConfig) -> Prepared:
    started_from = parents_of(db, config)
    config = _inherit(db, config, started_from)
    base_models.check_room(started_from["policy"].base_model, {"max_new_tokens": config.max_new_tokens})
    names = {"checkpoint" if role == "policy" else role: found.name for role, found in started_from.items()}
    drawn = _prompt_rows(db, tuple(config.split.split("+")), categories(config.exclude_categories))
    if not drawn:
        raise DataError(f"There are no {config.split} prompts to answer. Import prompts, or choose another split.")
    drawn = random.Random(config.seed).sample(drawn, min(len(drawn), config.num_prompts))
    ids = {role: found.id for role, found in started_from.items()}
    return Prepared(config.model_copy(update=names), ids, {"prompts": drawn})


def _resolve(db: Database, name: str, *stages: str) -> Checkpoint:
    """Return the named checkpoint, or the newest of the first of these stages that has one; its stage is checked."""
    if not name:
        found = next((c for stage in stages if (c := checkpoints.newest(db, stage))), None)
        if found is None:
            raise CheckpointError(
                f"There is no checkpoint of {_names(stages)} yet. Start a run of {_names(stages[-1:])} first."
            )
        return checkpoints.get(db, found.name)
    found = checkpoints.get(db, name)
    if found.stage not in stages:
        raise CheckpointError(
            f"Checkpoint {found.name} comes from {_names([found.stage])}; one from {_names(stages)} is needed here."
        )
    return found


def _names(stages: Sequence[str]) -> str:
    """Return the stages as people write them."""
    names = [{"sft": "SFT", "reward": "the reward model", "ppo": "PPO", "dpo": "DPO"}[stage] for stage in stages]
    return " or ".join([", ".join(names[:-1]), names[-1]] if names[1:] else names)


def _demonstrations(db: Database, split: str) -> list[Row]:
    return [
        {
            "prompt_id": d.prompt_id,
            "category": d.category,
            "messages": [*d.messages, {"role": "assistant", "content": d.response}],
        }
        for d in reversed(prompts.list_demonstrations(db, split=split))
    ]


def _held_out_demonstrations(db: Database) -> list[Row]:
    return [*_demonstrations(db, "validation"), *_demonstrations(db, "test")]


def _prompt_rows(db: Database, splits: tuple[str, ...], excluded: frozenset[str]) -> list[Row]:
    return [
        {"prompt_id": row["id"], "category": row["category"], "messages": row["messages"]}
        for split in splits
        for row in prompts.list_prompts(db, split=split, exclude=excluded)
    ]


def _texts(parts: dict[str, list[Row]]) -> Iterator[str]:
    """Yield the texts of training rows: turns of conversations and answers."""
    for row in (row for rows in parts.values() for row in rows):
        yield from (turn["content"] for turn in row.get("messages", ()))
        yield from (row[side] for side in ("chosen", "rejected") if side in row)


def _missing_ptx() -> NoReturn:
    raise DataError("ptx_coef is set, but there are no demonstrations to mix in. Import some, or set ptx_coef to 0.")
