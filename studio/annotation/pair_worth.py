"""Scores how much a comparison is worth rating next, by what a reward model predicted for it. Higher comes first.

- spread, the disagreement of an ensemble: the standard deviation over its members of the probability that the first response is
  the better one.
- closeness of the mean prediction p to one half, 1 - 2 |p - 1/2|: a margin near zero.
- information, in nats: what the vote is expected to tell of which member is right, the entropy of the mean prediction minus the
  mean entropy of the members' (BALD, Houlsby et al. 2011).

A reward model without an ensemble has neither spread nor information; then closeness takes their place. Of more than two
responses each is the mean over their pairs.
"""

import math
import statistics
from collections.abc import Callable
from itertools import combinations

Scores = list[list[float]]
"""The score of each member, for each slot."""
LEAST = 1e-12


def preference(scores: Scores, first: int = 0, second: int = 1) -> float:
    """Return the probability that slot `first` is better than slot `second`, by the mean of the members."""
    return _sigmoid(statistics.fmean(scores[first]) - statistics.fmean(scores[second]))


def uncertainty(scores: Scores) -> tuple[float, str]:
    """Return the spread, or the closeness where there is no ensemble, and the name of the measure."""
    return _of_ensemble(scores, statistics.pstdev, "spread")


def closeness(scores: Scores) -> tuple[float, str]:
    """Return the closeness of the mean prediction to one half, and the name of the measure."""
    pairs = combinations(range(len(scores)), 2)
    return statistics.fmean(1.0 - 2.0 * abs(preference(scores, i, j) - 0.5) for i, j in pairs), "closeness"


def information(scores: Scores) -> tuple[float, str]:
    """Return the expected information, or the closeness where there is no ensemble, and the name of the measure."""
    return _of_ensemble(scores, _information, "information")


def _of_ensemble(scores: Scores, measure: Callable[[list[float]], float], kind: str) -> tuple[float, str]:
    """Return the mean over the pairs of what a measure says of the members' probabilities."""
    if len(scores[0]) < 2:
        return closeness(scores)
    pairs = combinations(range(len(scores)), 2)
    chances = ([_sigmoid(a - b) for a, b in zip(scores[i], scores[j], strict=True)] for i, j in pairs)
    return statistics.fmean(map(measure, chances)), kind


def _information(chances: list[float]) -> float:
    return _entropy(statistics.fmean(chances)) - statistics.fmean(map(_entropy, chances))


def _entropy(chance: float) -> float:
    inside = min(max(chance, LEAST), 1.0 - LEAST)
    return -inside * math.log(inside) - (1.0 - inside) * math.log(1.0 - inside)


def _sigmoid(x: float) -> float:
    return 1.0 / (1.0 + math.exp(-x)) if x >= 0 else math.exp(x) / (1.0 + math.exp(x))
