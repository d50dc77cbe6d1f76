"""How many more labels? What more ratings would bring, from reward models trained on nested parts of those there are.

Accuracy on fixed held-out votes is taken to follow a - b n^-c, with a at most the noise ceiling. The interval comes from
drawing training seeds and the prompts of held-out votes with replacement and fitting again. A model that has only begun to learn
follows no such law, and drawing again does not notice that; so the fit is tried on what is known: without the largest size it has
to predict it, and the interval is wider by as much as it misses. A curve of five sizes tells little of what lies far beyond
them, so nothing is said of more than twice the labels, and *not identifiable yet* where the interval is wider than the gain.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from studio.evaluation.statistics import Z, t_quantile

Numbers = NDArray[np.float64]
RATES = tuple(round(0.05 * step, 2) for step in range(1, 41))
"""The exponents c that are tried."""
NUM_RESAMPLES = 400


class PowerLaw(NamedTuple):
    """Accuracy ``end - drop * n ** -rate`` with n labels."""

    end: float
    drop: float
    rate: float

    def at(self, num: float) -> float:
        """Return the accuracy with so many labels."""
        return self.end - self.drop * num**-self.rate


class Gain(NamedTuple):
    """What more labels would add to the accuracy, with its 95 % interval."""

    more: int
    gain: float
    low: float
    high: float
    num_held_out: int
    missed: float = 0.0
    """Part of the interval on either side: what the law, fitted to the smaller sizes, missed the largest one by."""

    @property
    def is_identifiable(self) -> bool:
        """Return whether the interval is no wider than the gain."""
        return self.high - self.low <= self.gain

    @property
    def sentence(self) -> str:
        """Say the gain, or that it cannot be told, and about how many held-out votes would change that."""
        between = f"{_points(self.low)} to {_points(self.high)} points, on {self.num_held_out:,} held-out votes"
        if self.is_identifiable:
            return (
                f"{self.more:,} more labels are expected to bring {_points(self.gain)} points of accuracy ({between})."
            )
        return f"Not identifiable yet: {self.more:,} more labels would bring {between}.{self._why}"

    @property
    def _why(self) -> str:
        """Say what it would take to tell."""
        if self.gain <= 0:
            return ""
        if 2 * self.missed > self.gain:
            return " The smaller sizes do not predict the largest: accuracy has not settled on a curve yet."
        return f" It may take about {self._needed:,} held-out votes to tell."

    @property
    def _needed(self) -> int:
        """Return at how many held-out votes the interval would be as wide as the gain: it narrows with their root."""
        exact = self.num_held_out * ((self.high - self.low) / self.gain) ** 2
        return math.ceil(float(f"{exact:.2g}"))


def _points(share: float) -> str:
    """Return a share in points of a hundred, with its sign; what rounds to 0 has a plus."""
    return f"{round(100 * share, 1) + 0.0:+.1f}"


class Forecast(NamedTuple):
    """What a learning curve says of more labels than its largest size."""

    law: PowerLaw
    next_100: Gain | None
    """None where 100 would be more than twice the labels."""
    twice: Gain


def forecast(
    sizes: Sequence[int], right: NDArray[np.bool_], prompts: Sequence[int], ceiling: float, seed: int = 0
) -> Forecast:
    """Extrapolate a learning curve, to twice its labels at most.

    Args:
        sizes: S numbers of labels, four or more, rising.
        right: (S, R, T), whether the reward model of each size and of each of R seeds, two or more, was right on each held-out vote.
        prompts: T prompts of the held-out votes.
        ceiling: the noise ceiling, which no accuracy passes.
        seed: of the draws.
    """
    num = sizes[-1]
    (drawn_again,) = resampled([right], prompts, np.random.default_rng(seed))
    means = right.mean(axis=(1, 2))
    (law,) = fit(sizes, means[None], ceiling)
    (before,) = fit(sizes[:-1], means[None, :-1], ceiling)
    missed = abs(float(means[-1]) - before.at(num))
    laws = fit(sizes, drawn_again, ceiling)
    num_seeds = right.shape[1]
    freedom = len(sizes) * (num_seeds - 1)  # a few seeds drawn from themselves vary less than new ones would
    wider = t_quantile(freedom) / Z * math.sqrt(num_seeds / (num_seeds - 1))

    def gain(more: int) -> Gain:
        middle = law.at(num + more) - law.at(num)
        drawn = [each.at(num + more) - each.at(num) for each in laws]
        low, high = (middle + wider * (float(edge) - middle) for edge in np.quantile(drawn, (0.025, 0.975)))
        part = missed * math.log2(1 + more / num)  # the largest size is one doubling ahead, too
        return Gain(more, middle, low - part, high + part, len(prompts), part)

    return Forecast(law, gain(100) if num >= 100 else None, gain(num))


def resampled(curves: Sequence[NDArray[np.bool_]], prompts: Sequence[int], rng: np.random.Generator) -> list[Numbers]:
    """Return the accuracies (B, S) of each curve, with the prompts of held-out votes and the seeds of each size drawn again.

    Args:
        curves: (S, R, T) each, measured on the same held-out votes: all get the same prompts in each of the B draws.
        prompts: T prompts of the held-out votes.
        rng: makes the draws.
    """
    inside = np.unique(prompts, return_inverse=True)[1]
    counts = np.bincount(inside).astype(float)
    drawn_prompts = rng.multinomial(len(counts), np.full(len(counts), 1 / len(counts)), NUM_RESAMPLES).astype(float)
    return [_drawn(right, inside, drawn_prompts, drawn_prompts @ counts, rng) for right in curves]


def _drawn(
    right: NDArray[np.bool_], inside: NDArray[Any], drawn_prompts: Numbers, num_votes: Numbers, rng: np.random.Generator
) -> Numbers:
    num_sizes, num_seeds, _ = right.shape
    hits = np.stack([[np.bincount(inside, each) for each in size] for size in right.astype(float)])
    drawn_seeds = rng.multinomial(num_seeds, np.full(num_seeds, 1 / num_seeds), (NUM_RESAMPLES, num_sizes)) / num_seeds
    shares = np.einsum("bp,srp->bsr", drawn_prompts, hits) / num_votes[:, None, None]
    return np.einsum("bsr,bsr->bs", shares, drawn_seeds)


def fit(sizes: Sequence[int], accuracies: Numbers, ceiling: float) -> list[PowerLaw]:
    """Return the closest curves, in squares, that rise and end at most at the ceiling.

    Args:
        sizes: S numbers of labels.
        accuracies: (B, S), one curve a row.
        ceiling: the noise ceiling.
    """
    least = np.full(len(accuracies), np.inf)
    best = np.zeros((len(accuracies), 3))
    for rate in RATES:
        slope = np.asarray(sizes, float) ** -rate
        end, drop = _line(slope, accuracies, ceiling)
        misses = ((end[:, None] - drop[:, None] * slope - accuracies) ** 2).sum(axis=1)
        is_better = misses < least
        least[is_better] = misses[is_better]
        best[is_better] = np.stack([end, drop, np.full_like(end, rate)], axis=1)[is_better]
    return [PowerLaw(*map(float, row)) for row in best]


def _line(slope: Numbers, accuracies: Numbers, ceiling: float) -> tuple[Numbers, Numbers]:
    """Return end and drop (B,) of the closest lines ``end - drop * slope`` with a drop of at least 0 and an end at the ceiling at most.

    Where a bound is passed the closest line lies on it: the squares are convex.
    """
    centred, mean = slope - slope.mean(), accuracies.mean(axis=1)
    drop = np.maximum(-(accuracies @ centred) / (centred @ centred), 0.0)
    end = mean + drop * slope.mean()
    at_ceiling = np.maximum((ceiling - accuracies) @ slope / (slope @ slope), 0.0)
    is_above = end > ceiling
    return np.where(is_above, ceiling, end), np.where(is_above, at_ceiling, drop)
