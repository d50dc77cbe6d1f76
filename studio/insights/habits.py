"""The raters' habits: which side and which length they prefer, and pace, ties and skips over time."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from studio.annotation.session_summary import seconds_of_each
from studio.insights.estimates import Estimate, blocks, rate, share
from studio.insights.votes import Vote
from studio.preferences.vocabulary import SIDES, TIES

MOST_BLOCKS, LEAST_IN_BLOCK = 20, 25


@dataclass(frozen=True)
class Habit:
    """What a rater, or all of them, prefers whatever the texts say."""

    rater: str
    """Empty for all."""
    left: Estimate
    """Left among decided votes: the order on the screen is drawn, so one half is no habit."""
    longer: Estimate
    """The longer response among decided votes on responses of different length."""


@dataclass(frozen=True)
class Block:
    """Judgements that follow each other, with the number of the first and the last."""

    first: int
    last: int
    since: str
    """When the first was given; UTC."""
    per_hour: Estimate
    """Votes an hour of active time; it counts judgements, skips included, which take time, too."""
    ties: Estimate
    """Ties and both-bad among votes on pairs."""
    skips: Estimate
    """Skips among all judgements."""


def habit(votes: Sequence[Vote], rater: str = "") -> Habit:
    """Measure habits on decided votes; repeats are left out."""
    decided = [vote for vote in votes if vote.outcome in SIDES and not vote.is_repeat]
    shown = [vote for vote in decided if vote.is_shown]
    unequal = [vote for vote in decided if vote.left_length != vote.right_length]
    longer = [(vote.outcome == "left") == (vote.left_length > vote.right_length) for vote in unequal]
    return Habit(
        rater,
        share([vote.outcome == "left" for vote in shown], [vote.prompt_id for vote in shown]),
        share(longer, [vote.prompt_id for vote in unequal]),
    )


def over_time(votes: Sequence[Vote]) -> list[Block]:
    """Return pace, ties and skips of one block of judgements after the other; only of those given in this studio."""
    shown = [vote for vote in votes if vote.is_shown]
    return [_block(cut, shown[cut]) for cut in blocks(len(shown), MOST_BLOCKS, LEAST_IN_BLOCK)]


def all_time(votes: Sequence[Vote]) -> Block | None:
    """Return pace, ties and skips of all judgements given in this studio together; None where there are none."""
    shown = [vote for vote in votes if vote.is_shown]
    return _block(slice(0, len(shown)), shown) if shown else None


def _block(cut: slice, votes: Sequence[Vote]) -> Block:
    pairs = [vote for vote in votes if vote.outcome not in ("skip", "ranking") and not vote.is_repeat]
    by_rater = [[vote for vote in votes if vote.rater == rater] for rater in sorted({vote.rater for vote in votes})]
    hours = [s / 3600 for own in by_rater for s in seconds_of_each([_times(vote) for vote in own])]
    return Block(
        cut.start + 1,
        cut.stop,
        votes[0].created_at,
        rate([vote.outcome != "skip" for own in by_rater for vote in own], hours),
        share([vote.outcome in TIES for vote in pairs], [vote.prompt_id for vote in pairs]),
        share([vote.outcome == "skip" for vote in votes], [vote.prompt_id for vote in votes]),
    )


def _times(vote: Vote) -> dict[str, Any]:
    return {"created_at": vote.created_at, "elapsed_ms": vote.elapsed_ms}
