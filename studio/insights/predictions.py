"""How reward models did on votes that they predicted before: accuracy, log-loss, calibration, and preference for length."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from modules.calibration import LENGTH_TOLERANCE, calibration_error, places_of, reliability
from modules.intervals import wilson_interval
from studio.annotation.session_summary import log_loss
from studio.insights.estimates import NOTHING, Estimate, blocks, mean, share
from studio.insights.votes import Predicted, Vote
from studio.preferences.vocabulary import STRENGTHS
from studio.runs.reward_evaluation import Point

MOST_GROUPS = 12
MOST_BLOCKS, LEAST_IN_BLOCK = 12, 20
NUM_DRAWS = 200
ARMS = {
    "random": "drawn at random",
    "uncertainty": "chosen as uncertain",
    "margin": "chosen as close",
    "information": "chosen as informative",
    "diversity": "chosen for its prompt",
    "newest": "chosen as newest",
    None: "outside sessions",
}


@dataclass(frozen=True)
class Group:
    """The figures of a part of the decided votes."""

    kind: str
    """strength, chosen, length, category or rater."""
    name: str
    accuracy: Estimate
    said: float
    """Mean probability that it gave to what it preferred: the accuracy of a calibrated model is the same."""
    log_loss: Estimate
    """Of these decided votes."""


@dataclass(frozen=True)
class Stretch:
    """Figures over decided votes that follow each other, with the number of the first and the last one."""

    first: int
    last: int
    accuracy: Estimate
    said: float
    log_loss: Estimate


@dataclass(frozen=True)
class RewardModel:
    """What a reward model's predictions were worth, on votes that it could not have seen."""

    name: str
    accuracy: Estimate
    """Of decided votes; a probability of exactly 1/2 is half a hit."""
    log_loss: Estimate
    """In nats a vote, ties included; guessing gives 0.693."""
    calibration_error: float
    calibration_noise: float
    """The error that a perfectly calibrated model stays below in 95 % of such samples."""
    points: list[Point]
    over_time: list[Stretch]
    groups: list[Group]
    longer: Estimate
    """How often it prefers the longer of two responses that differ in length."""
    rater_longer: Estimate
    """How often the rater did, on the same votes."""


def measure(name: str, found: Sequence[Predicted], seed: int = 0) -> RewardModel:
    """Measure a reward model on votes that came after its predictions, oldest first."""
    decided = [each for each in found if each.vote.is_decided]
    sure = np.array([max(each.left_p, 1.0 - each.left_p) for each in decided])
    hits = np.array([_hit(each) for each in decided])
    unequal = [each for each in decided if each.vote.left_length != each.vote.right_length]
    return RewardModel(
        name,
        _accuracy(decided),
        _loss(found),
        calibration_error(sure, hits),
        calibration_noise(sure, [each.vote.comparison_id for each in decided], seed),
        [
            Point(p.predicted, p.observed, *wilson_interval(p.observed * p.num, p.num), p.num)
            for p in reliability(sure, hits)
        ],
        over_time(decided),
        _groups(decided),
        _share(unequal, lambda each: _longer(each.vote, each.left_p)),
        _share(unequal, lambda each: _longer(each.vote, each.target)),
    )


def over_time(decided: Sequence[Predicted]) -> list[Stretch]:
    """Return the figures of one stretch of decided votes after the other."""
    cuts = blocks(len(decided), MOST_BLOCKS, LEAST_IN_BLOCK)
    return [Stretch(cut.start + 1, cut.stop, *_figures(decided[cut])) for cut in cuts]


def calibration_noise(confidence: np.ndarray, pairs: Sequence[int], seed: int = 0) -> float:
    """Return the calibration error that chance alone exceeds in 5 % of samples: outcomes drawn as the confidence says.

    Args:
        confidence: (N,) probability of the response that scores higher.
        pairs: (N,) comparison of each; those who judge the same pair are taken to be of one mind.
        seed: of the draws.
    """
    if not len(confidence):
        return 0.0
    rng, places = np.random.default_rng(seed), places_of(confidence)
    said, pair = np.bincount(places, confidence), np.unique(pairs, return_inverse=True)[1]
    drawn = [np.bincount(places, rng.random(len(confidence))[pair] < confidence) for _ in range(NUM_DRAWS)]
    return float(np.quantile([np.abs(each - said).sum() / len(confidence) for each in drawn], 0.95))


def length_of(vote: Vote) -> str:
    """Say how much the two responses differ in length."""
    longer = max(vote.left_length, vote.right_length)
    apart = abs(vote.left_length - vote.right_length)
    if apart <= LENGTH_TOLERANCE * longer:
        return f"within {LENGTH_TOLERANCE:.0%}"
    return "up to half" if apart <= longer / 2 else "more than half"


def _groups(decided: Sequence[Predicted]) -> list[Group]:
    """Return the figures by strength, choice, length, and where there are several by category and rater."""
    strengths: dict[int | None, str] = {None: "not said", **STRENGTHS}
    return [
        *_by("strength", decided, lambda vote: strengths[vote.strength], list(strengths.values())),
        *_by("chosen", decided, lambda vote: ARMS.get(vote.arm, str(vote.arm)), list(ARMS.values())),
        *_by("length", decided, length_of, [f"within {LENGTH_TOLERANCE:.0%}", "up to half", "more than half"]),
        *_by("category", decided, lambda vote: vote.category or "none"),
        *_by("rater", decided, lambda vote: vote.rater),
    ]


def _by(
    kind: str, decided: Sequence[Predicted], name_of: Callable[[Vote], str], names: Sequence[str] | None = None
) -> list[Group]:
    """Return a group for each name, of the most frequent ones where no order is given; none where all have one name."""
    parts: dict[str, list[Predicted]] = {}
    for each in decided:
        parts.setdefault(name_of(each.vote), []).append(each)
    frequent = sorted(name for name, _ in Counter({k: len(v) for k, v in parts.items()}).most_common(MOST_GROUPS))
    shown = [name for name in names or frequent if name in parts]
    return [Group(kind, name, *_figures(parts[name])) for name in shown] if len(parts) > 1 else []


def _figures(decided: Sequence[Predicted]) -> tuple[Estimate, float, Estimate]:
    """Return accuracy, what was said on average, and log-loss."""
    said = float(np.mean([max(each.left_p, 1.0 - each.left_p) for each in decided]))
    return _accuracy(decided), said, _loss(decided)


def _loss(found: Sequence[Predicted]) -> Estimate:
    return mean(
        [log_loss(each.left_p, each.vote.first_outcome) for each in found], [each.vote.prompt_id for each in found]
    )


def _accuracy(decided: Sequence[Predicted]) -> Estimate:
    return _share(decided, _hit)


def _share(found: Sequence[Predicted], hit: Callable[[Predicted], float]) -> Estimate:
    if not found:
        return NOTHING
    return share([hit(each) for each in found], [each.vote.prompt_id for each in found])


def _hit(each: Predicted) -> float:
    """Return 1 where the response with the higher probability won, 0 where the other did, 1/2 where both had the same."""
    return 0.5 if each.left_p == 0.5 else float((each.left_p > 0.5) == (each.target > 0.5))


def _longer(vote: Vote, left_p: float) -> float:
    """Return 1 where the longer response is preferred, 0 where the shorter is, 1/2 for neither."""
    return 0.5 if left_p == 0.5 else float((left_p > 0.5) == (vote.left_length > vote.right_length))
