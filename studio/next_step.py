"""Says what to do next in the loop: demonstrations -> SFT -> pairs -> ratings -> reward model -> PPO -> pairs.

`status` reads the workspace once and gives for each station the amount of data, the newest checkpoint, and what has
become stale. From the same facts it derives one suggested next step; it never acts on it.
"""

from dataclasses import dataclass, replace

from sqlite_utils import Database

from modules.config import VotesConfig
from studio.models import checkpoints
from studio.models.checkpoints import Checkpoint
from studio.preferences import comparisons, prompts, ratings, snapshots, unseen
from studio.runs import run_pages as shelf
from studio.runs import runs
from studio.runs.runs import Run

FEW_RATINGS = 10
"""Ratings from which on one may go once round the loop to see how it works; the model learns very little from them."""
FRESH_RATINGS = 20
"""Ratings the newest reward model has not seen, after which a new one is worth training."""


@dataclass(frozen=True)
class Station:
    """One station of the loop.

    `checkpoint` is the newest one of a training station, `metrics` its figures; `stale` says what it lags behind, or
    is empty; `run` is the active run there.
    """

    key: str
    title: str
    count: int
    unit: str
    detail: str = ""
    checkpoint: str = ""
    metrics: dict[str, float] | None = None
    stale: str = ""
    run: Run | None = None


@dataclass(frozen=True)
class Step:
    """A suggested next step: a sentence, the label of its button, and the page (and stage or run) it leads to.

    `others` are what one may do instead: label and page of each.
    """

    key: str
    sentence: str
    label: str
    page: str
    item: str = ""
    others: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class LoopStatus:
    """The whole loop at one moment; `stations` in the order of the loop."""

    stations: tuple[Station, ...]
    step: Step
    active: tuple[Run, ...]

    def station(self, key: str) -> Station:
        """Return the station with this key."""
        return next(station for station in self.stations if station.key == key)


@dataclass(frozen=True)
class _Facts:
    """The facts from which the stations and the next step are derived."""

    num_prompts: int
    num_demonstrations: int
    num_new_demonstrations: int
    num_comparisons: int
    num_unrated: int
    num_rated: int
    num_skipped: int
    num_imported: int
    num_fresh: int
    num_frozen: int
    """Ratings that the newest reward model was made from, those held out included, counted up to `ratings.ENOUGH`."""
    sft: Checkpoint | None
    reward: Checkpoint | None
    ppo: Checkpoint | None
    is_policy_behind: bool
    is_pairs_behind: bool
    num_ended: dict[str, int]
    active: tuple[Run, ...]

    @property
    def policy(self) -> Checkpoint | None:
        return self.ppo or self.sft


def status(db: Database) -> LoopStatus:
    """Read the current state of the loop."""
    facts = _facts(db)
    return LoopStatus(_stations(facts), _next_step(facts), facts.active)


def _facts(db: Database) -> _Facts:
    sft, reward, ppo = (checkpoints.newest(db, stage) for stage in ("sft", "reward", "ppo"))
    policy = ppo or sft
    pairs, rated = comparisons.counts(db), ratings.summary(db)
    texts = prompts.counts(db)
    last = shelf.newest(db, "sample", "finished", "stopped")
    sampled = last.config if last else None
    answered_by = (getattr(sampled, "checkpoint", ""), getattr(sampled, "opponent", ""))
    return _Facts(
        num_prompts=texts["prompts"],
        num_demonstrations=texts["demonstrations"],
        num_new_demonstrations=prompts.count_demonstrations_since(db, _began(db, sft)) if sft else 0,
        num_comparisons=pairs["comparisons"],
        num_unrated=pairs["unrated"],
        num_rated=rated["rated"],
        num_skipped=rated["skip"],
        num_imported=rated["import"],
        num_fresh=_num_unseen(db, reward) if reward else rated["rated"],
        num_frozen=_num_frozen(db, reward) if reward else 0,
        sft=sft,
        reward=reward,
        ppo=ppo,
        is_policy_behind=bool(reward and (ppo is None or ppo.id < reward.id)),
        is_pairs_behind=bool(policy and sampled and policy.name not in answered_by),
        num_ended=shelf.count_ended(db),
        active=tuple(shelf.at_work(db)),
    )


def _began(db: Database, checkpoint: Checkpoint) -> str:
    """Return when a checkpoint's run was created: it has seen nothing newer."""
    return runs.get(db, checkpoint.run_id).created_at


def _num_unseen(db: Database, reward: Checkpoint) -> int:
    run = runs.get(db, reward.run_id)
    recipe = snapshots.recipe_of(run.config) if isinstance(run.config, VotesConfig) else snapshots.Recipe()
    return unseen.count(db, recipe, run.created_at)


def _num_frozen(db: Database, reward: Checkpoint) -> int:
    snapshot_id = runs.get(db, reward.run_id).snapshot_id
    return 0 if snapshot_id is None else unseen.count_frozen(db, snapshot_id, ratings.ENOUGH)


def _stations(facts: _Facts) -> tuple[Station, ...]:
    working = {run.stage: run for run in reversed(facts.active)}
    lagging = f"older than {facts.reward.name}" if facts.ppo and facts.reward and facts.is_policy_behind else ""
    behind = f"{facts.policy.name} has not answered yet" if facts.policy and facts.is_pairs_behind else ""
    return (
        Station("demonstrations", "Demonstrations", facts.num_demonstrations, "to imitate", f"{facts.num_prompts:,} prompts"),
        _trained("sft", "SFT", facts, facts.sft, _unseen(facts.num_new_demonstrations, "demonstration"), working.get("sft")),
        Station(
            "pairs", "Pairs", facts.num_unrated, "to rate", f"{facts.num_comparisons:,} in all",
            stale=behind, run=working.get("sample"),
        ),
        Station("ratings", "Ratings", facts.num_rated, "judgements", _rating_detail(facts)),
        _trained("reward", "Reward model", facts, facts.reward, _unseen(facts.num_fresh, "rating"), working.get("reward")),
        _trained("ppo", "PPO", facts, facts.ppo, lagging, working.get("ppo")),
    )  # fmt: skip


def _trained(key: str, title: str, facts: _Facts, newest: Checkpoint | None, stale: str, run: Run | None) -> Station:
    count = facts.num_ended.get(key, 0)
    unit = "run" if count == 1 else "runs"
    if newest is None:
        return Station(key, title, count, unit, run=run)
    return Station(key, title, count, unit, checkpoint=newest.name, metrics=newest.metrics, stale=stale, run=run)


def _unseen(count: int, what: str) -> str:
    return f"has not seen {count:,} {what}{'s' * (count != 1)}" if count else ""


def _rating_detail(facts: _Facts) -> str:
    parts = [f"{facts.num_imported:,} imported"] if facts.num_imported else []
    return ", ".join([*parts, f"{facts.num_skipped:,} skipped"] if facts.num_skipped else parts)


def _next_step(facts: _Facts) -> Step:
    """Return the step that applies, and a chat with the newest policy where there is one."""
    step = _first_that_applies(facts)
    if facts.policy is None:
        return step
    return replace(step, others=(*step.others, (f"Chat with {facts.policy.name}", "chat")))


def _first_that_applies(facts: _Facts) -> Step:
    """Return the first step that applies, in the order of the loop; after the first round, the newest data flows on."""
    if not facts.num_prompts:
        return Step(
            "begin",
            "Nothing is here yet. Start with the built-in starter kit, or import your own data.",
            "Import data",
            "data",
        )
    if facts.active:
        run = facts.active[-1]
        return Step("watch", f"{run.name} is running. Watch its curves.", f"Watch {run.name}", "runs", run.name)
    if facts.sft is None:
        return _first_sft(facts)
    return _first_reward(facts) if facts.reward is None else _next_round(facts, facts.reward)


def _first_sft(facts: _Facts) -> Step:
    if not facts.num_demonstrations:
        sentence = f"There are {facts.num_prompts:,} prompts and no demonstrations. Import some, or write the first one yourself."
        return Step("demonstrate", sentence, "Write a demonstration", "data")
    sentence = f"Teach the base model your {facts.num_demonstrations:,} demonstrations."
    return Step("sft", sentence, "Train SFT", "train", "sft")


def _first_reward(facts: _Facts) -> Step:
    if facts.num_unrated and facts.num_rated < ratings.ENOUGH:
        wanted = min(facts.num_unrated, ratings.ENOUGH - facts.num_rated)
        sentence = (
            f"Rate {wanted:,} more pair{'s' * (wanted != 1)}; about {ratings.ENOUGH} ratings make a first reward model."
        )
        try_it = facts.num_rated >= FEW_RATINGS and facts.policy is not None
        others = (("Train a reward model on those you have", "train/reward"),) if try_it else ()
        return Step("rate", sentence, "Rate pairs", "rate", others=others)
    if facts.num_rated and (facts.num_rated >= ratings.ENOUGH or facts.policy is None):
        return Step(
            "reward",
            f"Train a reward model on your {facts.num_rated:,} ratings.",
            "Train the reward model",
            "train",
            "reward",
        )
    assert facts.policy is not None
    if facts.num_rated:
        have = f"You have {facts.num_rated:,} rating{'s' * (facts.num_rated != 1)}; about {ratings.ENOUGH} make a first reward model."
        return Step(
            "sample", f"{have} Let {facts.policy.name} answer more prompts.", "Sample more pairs", "train", "sample"
        )
    return Step(
        "sample",
        f"Let {facts.policy.name} answer prompts twice, so that there are pairs to compare.",
        "Sample pairs",
        "train",
        "sample",
    )


def _ppo(facts: _Facts, reward: Checkpoint) -> Step:
    sentence = f"Improve the policy against {reward.name}."
    num_seen = facts.num_frozen
    if num_seen >= ratings.ENOUGH or not facts.num_unrated:
        return Step("ppo", sentence, "Run PPO", "train", "ppo")
    wanted = min(facts.num_unrated, ratings.ENOUGH - num_seen)
    sentence += f" It was made from {num_seen:,} rating{'s' * (num_seen != 1)}; from about {ratings.ENOUGH} on, what it prefers is more than a guess."
    others = ((f"Rate {wanted:,} more pair{'s' * (wanted != 1)} first", "rate"),)
    return Step("ppo", sentence, "Run PPO", "train", "ppo", others)


def _next_round(facts: _Facts, reward: Checkpoint) -> Step:
    if facts.num_fresh >= FRESH_RATINGS or (facts.num_fresh and not facts.num_unrated):
        sentence = f"{reward.name} has not seen {facts.num_fresh:,} of your ratings. Train a new one on all of them."
        return Step("reward", sentence, "Train the reward model", "train", "reward")
    if facts.is_policy_behind:
        return _ppo(facts, reward)
    assert facts.policy is not None
    if facts.num_unrated and not facts.is_pairs_behind:
        return Step("rate", f"{facts.num_unrated:,} pairs are waiting for your judgement.", "Rate pairs", "rate")
    sentence = f"Let {facts.policy.name} answer, and see whether you like what it learned."
    return Step("sample", sentence, "Sample new pairs", "train", "sample")
