"""Reads all that the ratings tell in one piece, for the page and the terminal."""

from dataclasses import asdict, dataclass, replace
from typing import Any

from sqlite_utils import Database

from studio.errors import RatingError
from studio.evaluation.leaderboard import plain
from studio.insights import (
    active_choice,
    consistency,
    disagreements,
    habits,
    learning_curves,
    predictions,
    raters,
    votes,
)
from studio.insights.active_choice import ActiveChoice
from studio.insights.consistency import Consistency
from studio.insights.disagreements import Disagreements
from studio.insights.estimates import Estimate
from studio.insights.habits import Block, Habit
from studio.insights.learning_curves import LearningCurve
from studio.insights.predictions import RewardModel
from studio.insights.raters import Agreement
from studio.models import checkpoints
from studio.runs.reward_evaluation import Point


@dataclass(frozen=True)
class Insights:
    """What the newest judgements of a rater, or of all, tell."""

    rater: str
    """Empty for all."""
    raters: list[str]
    """Everybody who judged."""
    num_all: int
    """Judgements that count, skips included."""
    num_read: int
    """Of them the newest ones, on which all figures rest."""
    consistencies: list[Consistency]
    """Of all together, then of each rater where there are several."""
    reward_models: list[RewardModel]
    """The newest ones, the newest first."""
    num_models: int
    """Reward models that predicted any of these votes."""
    newest_model: str
    """The newest reward model, which predicts what a session will show; empty where there is none."""
    disagreements: Disagreements
    """Votes against a confident reward model, of whoever is looked at."""
    habits: list[Habit]
    """Of all together, then of each rater where there are several."""
    agreement: Agreement
    """Among all raters, whoever is looked at."""
    over_time: list[Block]
    all_time: Block | None
    """Pace, ties and skips of all that was judged in this studio."""
    curve: LearningCurve | None
    """The learning curve that was measured last, whoever is looked at."""
    active_choice: ActiveChoice | None
    """What choosing pairs saves, as it was measured last, whoever is looked at."""

    @property
    def ceiling(self) -> Estimate:
        """The noise ceiling of all together."""
        return self.consistencies[0].ceiling

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, estimates with their names; a number that is not finite is None."""
        curves = {
            "curve": self.curve and self.curve.as_dict(),
            "active_choice": self.active_choice and self.active_choice.as_dict(),
        }
        return plain(_named(asdict(replace(self, curve=None, active_choice=None))) | curves)


def read(db: Database, rater: str = "", newest: int = votes.NEWEST) -> Insights:
    """Read what the newest judgements tell.

    Args:
        db: open for reading.
        rater: whose judgements; empty for all.
        newest: how many of them at most.

    Raises:
        RatingError: nobody of this name judged anything.
    """
    known = votes.raters(db)
    if rater and rater not in known:
        who = f"Those who have: {', '.join(known)}." if known else "Nobody has yet: rlhf-studio rate"
        raise RatingError(f"The rater {rater} has judged nothing that counts. {who}")
    found = votes.read(db, rater, newest)
    repeats = consistency.repeats(db, rater, newest)
    models = votes.predicted(db, found)
    names = sorted({vote.rater for vote in found})
    several = names if len(names) > 1 else []
    return Insights(
        rater,
        known,
        votes.count(db, rater),
        len(found),
        [
            consistency.consistency(repeats, rater),
            *(consistency.consistency([r for r in repeats if r.rater == name], name) for name in several),
        ],
        [predictions.measure(name, each) for name, each in list(models.items())[: votes.MOST_MODELS]],
        len(models),
        _newest_model(db),
        disagreements.read(db, rater, newest),
        [habits.habit(found, rater), *(habits.habit([v for v in found if v.rater == name], name) for name in several)],
        raters.agreement(votes.read(db, newest=newest) if rater else found),
        habits.over_time(found),
        habits.all_time(found),
        learning_curves.newest(db),
        active_choice.newest(db),
    )


def mark(db: Database) -> str:
    """Return what differs as soon as something was judged or predicted, or a learning curve or a reward model is new."""
    return f"{votes.mark(db)} {learning_curves.mark(db)} {_newest_model(db)}"


def _newest_model(db: Database) -> str:
    newest = checkpoints.newest(db, "reward")
    return newest.name if newest else ""


def _named(value: Any) -> Any:
    """Return the value with its named tuples as dicts."""
    if isinstance(value, Estimate | Point):
        return value._asdict()
    if isinstance(value, dict):
        return {key: _named(each) for key, each in value.items()}
    return [_named(each) for each in value] if isinstance(value, list) else value
