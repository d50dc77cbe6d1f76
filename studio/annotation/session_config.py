"""Settings of a rating session, and their meaning in this workspace."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator
from sqlite_utils import Database

from modules.config import categories, listed
from studio.annotation.pair_selection import PairQuery
from studio.errors import RatingError
from studio.models import checkpoint_pages as shelf
from studio.models import checkpoints
from studio.models.base_names import BASE
from studio.preferences import prompts

EVERYWHERE = "train+validation"
Choice = Literal["auto", "uncertainty", "margin", "information", "diversity", "newest", "random"]
UNMEASURED = "uncertainty"
"""What auto does as long as nothing was measured."""
Share = Annotated[float, Field(ge=0.0, le=1.0)]


class SessionConfig(BaseModel):
    """The settings of a rating session."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    target: Annotated[int, Field(ge=1, le=100_000)] = 100
    """Votes wanted; skips do not count, repeats do."""
    block_size: Annotated[int, Field(ge=5, le=500)] = 30
    """Votes after which the session rests and shows its card; attention drops after 25 to 40."""
    source: Literal["any", "policy", "policy_vs_sft", "imported"] = "any"
    """Answers to compare: any waiting pairs, two answers of one policy, a policy against the SFT model or another, or imported pairs."""
    checkpoint: str = ""
    """The policy that answers, for the sources policy and policy_vs_sft; leave empty for the newest policy, else the newest SFT checkpoint."""
    opponent: str = ""
    """The other model, for policy_vs_sft: a checkpoint, or base for the pretrained model; leave empty for the newest SFT checkpoint."""
    rank: Annotated[int, Field(ge=0, le=9)] = 0
    """Rank up to this many answers to a prompt on one screen (fewer if some were identical, at least three); 0 takes pairs and rankings as they come, and samples pairs."""
    categories: str = ""
    """Prompt categories to rate, separated by commas; leave empty for all."""
    choose: Choice = "auto"
    """Which pairs come first, apart from the random share. uncertainty: those the newest reward model is least sure of (its ensemble disagrees; without one, closest to even). margin: closest to even. information: the vote tells most of which member of the ensemble is right. diversity: prompts with the fewest votes. newest, or random: none in particular. auto: uncertainty, until a learning curve with arms has measured that it saves no labels; then nine in ten at random."""
    random_share: Share = 0.3
    """Share of new pairs drawn at random, the baseline against which choosing is measured."""
    repeat_share: Share = 0.1
    """Share of items shown a second time in the session, half of them with the sides swapped or the ranking reversed; never trained on."""
    second_looks: Share = 0.05
    """Share of items that show one of your earlier votes again, unmarked, where a reward model was sure of the other answer. Once you have voted again you are asked what it was: your slip, the model's error, or something the guideline does not say. Only votes from before this session; never trained on twice."""
    show_predictions: bool = False
    """Show after each vote what the reward model predicted before it."""
    attributes: bool = False
    """Also ask how helpful, truthful and harmless each answer is, from 1 to 7."""
    sample_below: Annotated[int, Field(ge=0, le=10_000)] = 20
    """With a policy as source: start a sampling run automatically when fewer pairs than this are waiting; 0 never does."""
    sample_prompts: Annotated[int, Field(ge=1, le=10_000)] = 60
    """Number of prompts such a run answers."""
    split: Literal["train+validation", "train", "validation", "test"] = EVERYWHERE
    """Which prompts it draws from; anything but the default also leaves out waiting pairs on other prompts. Votes on validation and test prompts are never trained on: they measure."""

    @field_validator("rank")
    @classmethod
    def _ranks_three_or_more(cls, value: int) -> int:
        if value in (1, 2):
            raise ValueError("two answers are a pair; rank 3 to 9, or 0 for none")
        return value


def head_to_head(
    one: str, other: str, votes: int, split: Literal["train+validation", "train", "validation", "test"] = "validation"
) -> SessionConfig:
    """Return the settings of a session that measures which of two checkpoints is preferred: all at random, no repeats.

    One may be base. It becomes the opponent, since it is the checkpoint that tells which model is meant; sides are drawn anyway.
    """
    if one == BASE:
        one, other = other, one
    return SessionConfig(
        source="policy_vs_sft",
        checkpoint=one,
        opponent=other,
        target=votes,
        choose="random",
        random_share=1.0,
        repeat_share=0.0,
        second_looks=0.0,
        split=split,
    )


def question(config: SessionConfig) -> str:
    """Say which two a session compares, but not whose answer is on which side; empty where it compares no two."""
    return f"{config.checkpoint} against {config.opponent}, sides hidden" if config.source == "policy_vs_sft" else ""


def fill_in(db: Database, config: SessionConfig) -> SessionConfig:
    """Return the config with its checkpoints and its choice named: those left empty are the newest ones that fit.

    Raises:
        RatingError: the source has no such checkpoint, or needs two; no prompt has one of the categories; or more than all
            items would be shown again.
    """
    again = config.repeat_share + config.second_looks
    if again > 1:
        raise RatingError(
            f"repeat_share = {config.repeat_share:g} and second_looks = {config.second_looks:g} are more than all items together. "
            "Lower one, so that their sum is at most 1; below 1 there are new pairs too."
        )
    _check_categories(db, config)
    if config.choose == "auto":
        config = config.model_copy(update={"choose": UNMEASURED})
    if config.source in ("any", "imported"):
        if config.checkpoint or config.opponent:
            raise RatingError(
                f"checkpoint and opponent go with the sources policy and policy_vs_sft, not with {config.source}."
            )
        return config
    names = {"checkpoint": _policy(db, config.checkpoint, *checkpoints.POLICIES)}
    if config.source == "policy_vs_sft":
        names["opponent"] = BASE if config.opponent == BASE else _policy(db, config.opponent, "sft")
        if names["opponent"] == names["checkpoint"]:
            raise RatingError(
                f"{names['checkpoint']} cannot be compared with itself under policy_vs_sft. Choose the source policy "
                "for two answers of one policy, or train PPO first."
            )
    elif config.opponent:
        raise RatingError("opponent goes with the source policy_vs_sft; policy compares two answers of one checkpoint.")
    return config.model_copy(update=names)


def _check_categories(db: Database, config: SessionConfig) -> None:
    known = [name for name in prompts.list_categories(db) if name]
    unknown = sorted(set(categories(config.categories)) - set(known))
    if unknown:
        named = f"They have: {listed(known)}." if known else "They have none: leave categories empty."
        raise RatingError(f"No prompt has the category {', '.join(unknown)}. {named}")


def why_none(config: SessionConfig, found: dict[str, int]) -> str:
    """Explain why a session of this config has no pair to show, and what to do, from `pair_selection.census`."""
    source = {"any": "pairs", "imported": "imported pairs"}.get(
        config.source, f"pairs of {' and '.join(filter(None, [config.checkpoint, config.opponent]))}"
    )
    also = (
        "Sample new pairs, or import some without a judgement; or end the session and start one that asks for others."
    )
    if not found["all"]:
        return f"There are no pairs in this workspace yet. {also}"
    if not found["origin"]:
        return f"There are no {source} yet. {also}"
    if not found["rank"]:
        return f"None of the {source} is a ranking of 3 to {config.rank} answers. {also}"
    if not found["category"]:
        asked = [f"of the categories {config.categories}"] if config.categories else []
        asked += [] if config.split == EVERYWHERE else [f"of the {config.split} split"]
        return f"None of the {source} has a prompt {' and '.join(asked)}. {also}"
    fitting = f"{'The one pair' if found['category'] == 1 else 'All ' + format(found['category'], ',') + ' pairs'} that it asks for"
    if found["imported"] == found["category"]:
        return f"{fitting} came with a judgement, so nothing is left to rate in it. {also}"
    if found["judged"] == found["category"]:
        return f"{fitting} {'is' if found['category'] == 1 else 'are'} already judged. {also}"
    return (
        f"{found['judged']:,} of the pairs that it asks for are already judged, and {found['category'] - found['judged']:,} "
        f"were shown to you, or drawn, outside this session and wait there: pause or end it to rate them. {also}"
    )


def _policy(db: Database, name: str, *stages: str) -> str:
    newest = next((c for stage in stages if (c := checkpoints.newest(db, stage))), None)
    if not name and newest is None:
        raise RatingError("There is no policy yet whose answers could be rated. Train SFT first, or import pairs.")
    if name == BASE:
        raise RatingError(
            "base is compared with a checkpoint of SFT, PPO or DPO, whose pretrained model it is. Name that as checkpoint, base as "
            "opponent, and policy_vs_sft as source."
        )
    found = checkpoints.get(db, name or (newest.name if newest else ""))
    if found.stage not in checkpoints.POLICIES:
        raise RatingError(f"Checkpoint {found.name} is a reward model and gives no answers. Choose an SFT or PPO one.")
    return found.name


def wanted_prompts(config: SessionConfig) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the categories and the splits that a session is confined to; empty for all."""
    return tuple(sorted(categories(config.categories))), () if config.split == EVERYWHERE else (config.split,)


def query(db: Database, config: SessionConfig) -> PairQuery:
    """Return the config as ids, for `pair_selection`."""
    named = shelf.ids(db, [config.checkpoint, config.opponent])
    reward = checkpoints.newest(db, "reward")
    wanted, splits = wanted_prompts(config)
    return PairQuery(
        wanted,
        config.source if config.source in ("any", "imported") else "sampled",
        named.get(config.checkpoint),
        named.get(config.opponent),
        config.opponent == BASE,
        UNMEASURED if config.choose == "auto" else config.choose,
        config.random_share,
        reward.id if reward else None,
        config.rank,
        splits,
    )
