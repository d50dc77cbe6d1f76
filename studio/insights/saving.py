"""How many labels does choosing pairs save? The labels that chosen pairs need for one that random pairs need, from two learning curves.

Both are made to never fall and drawn as lines over the logarithm of the labels. The ratio is read at the best accuracy that both
reach. Its interval comes from drawing seeds and the prompts of held-out votes again. All seeds of a curve draw from the same
labels, so they also share the luck of these labels, which drawing seeds again does not show: the more, the larger the part of
the labels that a size takes. Its spread is taken from how much seeds differ that share few labels, and each draw gets such luck, too.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from studio.insights import learning
from studio.insights.learning import Numbers


class Arm(NamedTuple):
    """A learning curve on the labels of one arm."""

    right: NDArray[np.bool_]
    """(S, R, T), whether the reward model of each size and seed was right on each held-out vote."""
    num_labels: int
    """Labels of the arm, from which the parts were drawn; the largest size or more."""


class Saving(NamedTuple):
    """The labels that chosen pairs need for one label of random pairs, with its 95 % interval; nan where it cannot be told."""

    ratio: float
    low: float
    """0 where part of the draws only tell that the ratio is smaller than what was measured."""
    high: float
    """Infinite where part of the draws only tell that it is larger."""
    accuracy: float
    """At which it is read: the best that both curves reach."""

    @property
    def is_identifiable(self) -> bool:
        """Return whether both curves pass through an accuracy that both reach, and the ratio is bounded on one side at least."""
        return not math.isnan(self.ratio) and (self.low > 0 or self.high < math.inf)

    @property
    def saves(self) -> bool:
        """Return whether all of the interval is below 1."""
        return self.is_identifiable and self.high < 1.0

    @property
    def interval(self) -> str:
        """The interval in words."""
        if not self.low:
            return f"at most {self.high:.2f}"
        return f"at least {self.low:.2f}" if math.isinf(self.high) else f"{self.low:.2f} to {self.high:.2f}"


def measure(sizes: Sequence[int], active: Arm, random: Arm, prompts: Sequence[int], seed: int = 0) -> Saving:
    """Compare two learning curves of the same sizes, measured on the same held-out votes.

    Args:
        sizes: S numbers of labels, rising.
        active: the curve on chosen pairs, of two seeds or more.
        random: the curve on random pairs.
        prompts: T prompts of the held-out votes.
        seed: of the draws.
    """
    rng, arms = np.random.default_rng(seed), (active, random)
    drawn = learning.resampled([arm.right for arm in arms], prompts, rng)
    drawn = [each + _luck(sizes, arm, rng, len(each)) for arm, each in zip(arms, drawn, strict=True)]
    ratio, _, accuracy = _compare(sizes, *(arm.right.mean(axis=(1, 2)) for arm in arms))
    if math.isnan(ratio):
        return Saving(math.nan, math.nan, math.nan, accuracy)
    found = [_compare(sizes, one, other)[:2] for one, other in zip(*drawn, strict=True)]
    lows = np.array([0.0 if math.isnan(exact) and edge <= 1 else edge for exact, edge in found])
    highs = np.array([math.inf if math.isnan(exact) and edge >= 1 else edge for exact, edge in found])
    low, high = np.quantile(lows, 0.025, method="lower"), np.quantile(highs, 0.975, method="higher")
    return Saving(ratio, float(low), float(high), accuracy)


def _compare(sizes: Sequence[int], active: Numbers, random: Numbers) -> tuple[float, float, float]:
    """Return the ratio, an edge of it and the accuracy at which it is read; nan where a curve only starts above what the other reaches.

    The edge is the ratio, or, where that cannot be read, the largest or smallest that it can be.
    """
    curves = [rising(active), rising(random)]
    wanted = min(float(curve[-1]) for curve in curves)
    chosen, drawn = (_reached(sizes, curve, wanted) for curve in curves)
    is_read = all(curve[0] < wanted for curve in curves)
    return chosen / drawn if is_read else math.nan, chosen / drawn, wanted


def _reached(sizes: Sequence[int], curve: Numbers, wanted: float) -> float:
    """Return with how many labels a rising curve reaches an accuracy, along lines over the logarithm; the fewest where it begins above."""
    after = int(np.argmax(curve >= wanted))
    if after == 0:
        return float(sizes[0])
    part = (wanted - curve[after - 1]) / (curve[after] - curve[after - 1])
    return float(sizes[after - 1] * (sizes[after] / sizes[after - 1]) ** part)


def rising(accuracy: Numbers) -> Numbers:
    """Return the closest curve that never falls: neighbours that fall share their mean (pool adjacent violators)."""
    means: list[list[float]] = []
    for value in accuracy:
        means.append([float(value), 1.0])
        while len(means) > 1 and means[-2][0] >= means[-1][0]:
            (one, few), (other, more) = means[-2:]
            means[-2:] = [[(one * few + other * more) / (few + more), few + more]]
    return np.concatenate([np.full(round(num), mean) for mean, num in means])


def _luck(sizes: Sequence[int], arm: Arm, rng: np.random.Generator, num_draws: int) -> Numbers:
    """Return (B, S) what the mean of each size may be off by, besides what drawing its seeds again shows.

    Seeds of a size that takes the part f of the labels differ by 1 - f of the variance that other labels would bring, and f of it is
    common to them. A size that takes more than half tells too little of it, so there it follows from the size before: it falls
    as the labels grow. And R seeds drawn from themselves show only (R - 1) / R of the variance of their mean.
    """
    num, num_seeds = np.asarray(sizes, float), arm.right.shape[1]
    part = num / arm.num_labels
    between = arm.right.mean(axis=2).var(axis=1, ddof=1)
    of_labels = between / np.maximum(1 - part, 0.5)
    for n in range(1, len(sizes)):
        if part[n] > 0.5:
            of_labels[n] = of_labels[n - 1] * num[n - 1] / num[n]
    return rng.standard_normal((num_draws, len(sizes))) * np.sqrt(part * of_labels + between / num_seeds**2)
