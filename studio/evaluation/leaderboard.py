"""Ranks checkpoints by the votes between them, with all that stands behind each number.

Prompts to which both gave the same answer are never put up for a vote, so they count nowhere: where many are alike, two
checkpoints are closer than their win rate says.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from sqlite_utils import Database

from modules.intervals import wilson_interval
from studio.errors import RatingError
from studio.evaluation import anytime, davidson
from studio.models import checkpoints
from studio.models.base_names import BASE, is_base, shown
from studio.models.checkpoints import Checkpoint
from studio.preferences import model_votes
from studio.preferences.model_votes import ModelVote

NUM_RESAMPLES = 300
RIDGE = 0.01
STEPS = 50


@dataclass(frozen=True)
class Standing:
    """A checkpoint on the leaderboard, or a pretrained model."""

    name: str
    """As it is stored; `base_names.shown` tells it to people."""
    strength: float
    """In logits, 0 for the anchor of its group."""
    low: float
    """Lower end of the 95 % interval of the strength, from prompts drawn with replacement; the anchor has none."""
    high: float
    win_rate: float
    """Expected score against the anchor, a tie counting as half, the sides drawn at random."""
    wins: int
    ties: int
    losses: int
    """Raw, against whoever it met."""


@dataclass(frozen=True)
class Group:
    """Checkpoints that are connected by votes; strengths of two groups cannot be compared."""

    anchor: str
    standings: list[Standing]
    side: float
    """Log-odds of left against right between equals: the rater's habit."""
    tie: float
    """Log-odds of a tie against a win between equals."""


@dataclass(frozen=True)
class HeadToHead:
    """All votes between two checkpoints, seen from the one that won more often."""

    one: str
    other: str
    wins: int
    ties: int
    losses: int
    half: float
    """Win rate with a tie as half a win."""
    half_low: float
    half_high: float
    decided: float
    """Win rate among decided votes; nan without any."""
    anytime_low: float
    """Lower end of the interval of `decided` that holds at every look; pairs of rankings are left out."""
    anytime_high: float
    is_decided: bool
    votes_to_decide: int | None
    """Decided votes that would still be needed at the present share; None where 100,000 would not do."""
    length_controlled: float
    """Win rate predicted for answers of equal length."""
    length_difference: float
    """Median of the first's length minus the other's, in characters."""
    rater: str
    """Whose votes they are."""

    @property
    def counted(self) -> str:
        """Say how many votes there are, and whose, if not the person's."""
        num = self.wins + self.ties + self.losses
        return f"{num:,} {'vote' if num == 1 else 'votes'}{'' if self.rater == 'person' else f' of {self.rater}'}"

    @property
    def verdict(self) -> str:
        """Say whether the votes have decided, and if not, how many more would at this rate."""
        if self.is_decided:
            better = self.one if self.anytime_low > 0.5 else self.other
            return f"Decided: {shown(better, (self.one, self.other))} is preferred."
        if self.votes_to_decide is None:
            return "Not decided; at this rate no realistic number of votes would decide it."
        more = "vote" if self.votes_to_decide == 1 else "votes"
        return f"Not decided; at this rate about {self.votes_to_decide:,} more decided {more} would settle it."


@dataclass(frozen=True)
class Leaderboard:
    """What the votes of one rater say of the checkpoints."""

    rater: str
    num_votes: int
    num_prompts: int
    groups: list[Group]
    pairs: list[HeadToHead]

    def shown(self, name: str) -> str:
        """Return a stored name as people read it, told apart from all others that were voted on."""
        return shown(name, [each.name for group in self.groups for each in group.standings])

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; a number that is not finite is None."""
        return plain(asdict(self))


def build(votes: Sequence[ModelVote], rater: str, anchors: Sequence[str] = (), seed: int = 0) -> Leaderboard:
    """Rank the checkpoints that were ever compared.

    Args:
        votes: of one rater.
        rater: the rater's name.
        anchors: checkpoints whose strength is to be 0, the first that is in a group; a group without any takes the
            first of its names.
        seed: of the resampling.
    """
    groups = [_group(members, votes, anchors, seed) for members in _connected(votes)]
    met = [_better_first(pair, votes) for pair in sorted({_names(vote) for vote in votes})]
    return Leaderboard(
        rater,
        len(votes),
        len({vote.prompt_id for vote in votes}),
        groups,
        [head_to_head(*pair, votes, rater) for pair in met],
    )


def read(db: Database, rater: str = "person", anchors: Sequence[str] = ()) -> Leaderboard:
    """Rank by the votes in the workspace; without `anchors` the SFT checkpoints are, the oldest first. base may be one.

    Raises:
        RatingError: this rater has not voted on answers of two different checkpoints, or on none of an anchor.
        CheckpointError: there is no checkpoint of an anchor's name.
    """
    votes, voters = model_votes.between_checkpoints(db, rater), model_votes.raters(db)
    if not votes:
        who = f" Others have: {', '.join(voters)}." if voters and rater not in voters else ""
        raise RatingError(
            f"The rater {rater} has not voted on answers of two different checkpoints.{who} Compare two, by "
            "Compare blind on the Evaluate page or: rlhf-studio compare ppo-1 sft-1"
        )
    voted = sorted({name for vote in votes for name in (vote.left, vote.right)})
    named = [found for name in anchors for found in _anchors(db, name, voted, rater)]
    return build(
        votes, rater, named or [each.name for each in reversed(checkpoints.list_all(db, "sft", has_deleted=True))]
    )


def _anchors(db: Database, name: str, voted: list[str], rater: str) -> list[str]:
    """Return the names among those that were voted on that an anchor stands for; errors as `read`."""
    bases = [each for each in voted if is_base(each)]
    meant = bases if name == BASE else [name] if name in bases else [checkpoints.recorded(db, name).name]
    found = [each for each in meant if each in voted]
    if not found:
        offered = ", ".join(dict.fromkeys(BASE if is_base(each) else each for each in voted))
        raise RatingError(
            f"The rater {rater} has never voted on {name}, so it cannot be the anchor. These can be: {offered}."
        )
    return found


def against_sft(db: Database, found: Sequence[Checkpoint]) -> dict[str, HeadToHead]:
    """Map each of these checkpoints to what votes say of it against the SFT checkpoint that it began with.

    Those without such a vote are left out. The votes are the person's, or, where there are none between the two, those of the first
    other rater who gave some.
    """
    began = [(c, checkpoints.parents_of_run(db, c.run_id).get("sft")) for c in found if c.stage in ("ppo", "dpo")]
    won: dict[str, HeadToHead] = {}
    for rater in model_votes.raters(db) if began else []:
        between: dict[frozenset[str], list[ModelVote]] = {}
        for vote in model_votes.between_checkpoints(db, rater, [c.id for c, _ in began if c.name not in won]):
            between.setdefault(frozenset((vote.left, vote.right)), []).append(vote)
        for c, sft in began:
            if sft and c.name not in won and (met := between.get(frozenset((c.name, sft)))):
                won[c.name] = head_to_head(c.name, sft, met, rater)
    return won


def head_to_head(one: str, other: str, votes: Iterable[ModelVote], rater: str) -> HeadToHead:
    """Return what the votes of a rater between two checkpoints say, of which there is at least one."""
    between = [vote for vote in votes if {one, other} == {vote.left, vote.right}]
    wins, ties, losses = _record(one, between)
    low, high = wilson_interval(wins + ties / 2, len(between))
    sure_wins, _, sure_losses = _record(one, [vote for vote in between if not vote.is_of_a_ranking])
    is_decided = anytime.is_decided(sure_wins, sure_losses)
    longer = [(v.left_length - v.right_length) * (1 if v.left == one else -1) for v in between]
    points = [_points(vote, one) for vote in between]
    return HeadToHead(
        one,
        other,
        wins,
        ties,
        losses,
        (wins + ties / 2) / len(between),
        low,
        high,
        wins / (wins + losses) if wins + losses else math.nan,
        *anytime.interval(sure_wins, sure_losses),
        is_decided,
        0 if is_decided else anytime.votes_to_decide(sure_wins, sure_losses),
        at_equal_length(points, longer),
        float(np.median(longer)),
        rater,
    )


def _names(vote: ModelVote) -> tuple[str, str]:
    return min(vote.left, vote.right), max(vote.left, vote.right)


def _better_first(pair: tuple[str, str], votes: Iterable[ModelVote]) -> tuple[str, str]:
    """Return the two with the one that won more often in front."""
    wins, _, losses = _record(pair[0], [vote for vote in votes if set(pair) == {vote.left, vote.right}])
    return pair if wins >= losses else (pair[1], pair[0])


def _connected(votes: Iterable[ModelVote]) -> list[list[str]]:
    """Return the groups of checkpoints that are connected by votes, the largest first."""
    group_of: dict[str, set[str]] = {}
    for vote in votes:
        joined = group_of.get(vote.left, {vote.left}) | group_of.get(vote.right, {vote.right})
        group_of.update(dict.fromkeys(joined, joined))
    distinct = {id(group): sorted(group) for group in group_of.values()}
    return sorted(distinct.values(), key=lambda group: (-len(group), group))


def _group(members: list[str], votes: Sequence[ModelVote], anchors: Sequence[str], seed: int) -> Group:
    inside = [vote for vote in votes if vote.left in members]
    anchor = next((members.index(name) for name in anchors if name in members), 0)
    pairs = sorted({(members.index(vote.left), members.index(vote.right)) for vote in inside})
    counts = _count(inside, members, pairs)
    fitted = davidson.fit(pairs, counts.sum(axis=0), len(members), anchor)
    drawn = davidson.bootstrap(pairs, counts, len(members), anchor, NUM_RESAMPLES, seed)
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
    standings = [
        Standing(
            name,
            float(fitted.strengths[k]),
            float(low[k]),
            float(high[k]),
            fitted.expected(k, anchor),
            *_record(name, inside),
        )
        for k, name in enumerate(members)
    ]
    return Group(members[anchor], sorted(standings, key=lambda s: -s.strength), fitted.side, fitted.tie)


def _count(votes: Sequence[ModelVote], members: list[str], pairs: list[tuple[int, int]]) -> davidson.Numbers:
    """Return the outcomes left, right, tie for each prompt and pair, (prompts, P, 3)."""
    prompts = {prompt: row for row, prompt in enumerate(sorted({vote.prompt_id for vote in votes}))}
    column = {(members[left], members[right]): k for k, (left, right) in enumerate(pairs)}
    counts = np.zeros((len(prompts), len(pairs), 3))
    for vote in votes:
        counts[prompts[vote.prompt_id], column[vote.left, vote.right], ("left", "right", "tie").index(vote.winner)] += 1
    return counts


def _record(name: str, votes: Iterable[ModelVote]) -> tuple[int, int, int]:
    """Return wins, ties and losses."""
    points = [_points(vote, name) for vote in votes if name in (vote.left, vote.right)]
    return points.count(1.0), points.count(0.5), points.count(0.0)


def _points(vote: ModelVote, name: str) -> float:
    if vote.winner == "tie":
        return 0.5
    return 1.0 if name == (vote.left if vote.winner == "left" else vote.right) else 0.0


def at_equal_length(points: Sequence[float], longer: Sequence[float]) -> float:
    """Return the win rate that a logistic model predicts for answers of equal length (after Dubois et al. 2024).

    Args:
        points: of each vote: 1 won, 0.5 tied, 0 lost.
        longer: how much longer the answer was than the other one.
    """
    spread = float(np.std(longer))
    target = np.asarray(points, dtype=float)
    inputs = np.stack([np.ones(len(target)), np.tanh(np.asarray(longer) / (spread or 1.0))], axis=1)
    at = np.zeros(2)
    for _ in range(STEPS):
        share = 1.0 / (1.0 + np.exp(-inputs @ at))
        gradient = inputs.T @ (target - share) - RIDGE * at
        curvature = (inputs * (share * (1.0 - share))[:, None]).T @ inputs + RIDGE * np.eye(2)
        step = np.linalg.solve(curvature, gradient)
        at = at + step / max(1.0, float(np.abs(step).max()))
    return float(1.0 / (1.0 + np.exp(-at[0])))


def plain(value: Any) -> Any:
    """Return a value of dicts and lists for JSON; a number that is not finite is None."""
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [plain(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
