"""Paired differences between two checkpoints on the same items: intervals, exact McNemar, Holm, and a verdict in words.

Pairing narrows an interval, because an item that is hard for one model is hard for the other; resampling whole clusters (a
paradigm, a prompt) widens it, because items of a cluster rise and fall together. Both are given. Nothing here but numpy.

Sources: Bonett and Price 2012 (interval of paired proportions), McNemar 1947 in its exact form, Holm 1979, Cameron, Gelbach and
Miller 2008 (resampling few clusters, by a t distribution).
"""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Verdict = Literal["worse", "no difference shown", "better"]

Z = 1.959964
POWER_Z = 0.841621
"""Of a chance of 80 % to show a difference of the size that is called the smallest."""
NUM_RESAMPLES = 2000
ALPHA = 0.05


class Difference(NamedTuple):
    """What one measure says about two checkpoints on the same items."""

    num: int
    before: float
    after: float
    difference: float
    """After minus before."""
    low: float | None
    high: float | None
    """95 % interval of the difference, items being independent; None with one item, which says nothing about others."""
    cluster_low: float | None
    cluster_high: float | None
    """95 % interval when whole clusters are resampled; None where there are no clusters."""
    num_clusters: int
    only_before: int | None
    only_after: int | None
    """Items that only one of the two has; None where a measure is not 0 or 1."""
    p_value: float
    """Two-sided: exact McNemar where a measure is 0 or 1, else of the mean difference."""
    spread: float
    """Standard deviation of the items' values before, by which differences of different units can be drawn together."""
    smallest: float | None
    """Smallest difference that so many items would show with a chance of 80 %; None with one item."""


def paired(
    before: ArrayLike,
    after: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    clusters: Sequence[str] | None = None,
    seed: int = 0,
) -> Difference:
    """Compare two checkpoints on the same n items.

    Args:
        before, after: (n,) values, item by item.
        weights: (n,) weights of the items in the means, such as bytes; None weighs all alike.
        clusters: (n,) names; items of one name are resampled together. None, or a name for each item, does not resample.
        seed: Of the resampling.
    """
    first, second = np.asarray(before, float), np.asarray(after, float)
    weight = np.ones_like(first) if weights is None else np.asarray(weights, float)
    change, total = second - first, float(weight.sum())
    difference = float(change @ weight) / total
    is_binary = weights is None and bool(np.isin(first, (0, 1)).all() and np.isin(second, (0, 1)).all())
    lost, won = (int((change < 0).sum()), int((change > 0).sum())) if is_binary else (None, None)
    middle, error = _binary(lost or 0, won or 0, len(first)) if is_binary else (difference, _error(change, weight))
    resampled = _resampled(change, weight, clusters, seed)
    factor = Z if is_binary else t_quantile(len(first) - 1)
    widest = error * factor
    if resampled is not None:
        widest = max(widest, (resampled[1] - resampled[0]) / 2)
    has_interval = len(first) > 1
    return Difference(
        len(first),
        float(first @ weight) / total,
        float(second @ weight) / total,
        difference,
        middle - factor * error if has_interval else None,
        middle + factor * error if has_interval else None,
        *(resampled or (None, None)),
        len(set(clusters)) if clusters is not None else 0,
        lost,
        won,
        mcnemar(lost, won) if lost is not None and won is not None else p_of_t(difference, error, len(first) - 1),
        math.sqrt(float(weight @ (first - float(first @ weight) / total) ** 2) / total),
        (Z + POWER_Z) / Z * widest if has_interval else None,
    )


def mcnemar(only_before: int, only_after: int) -> float:
    """Return the exact two-sided p of McNemar's test: a fair coin thrown once for each discordant item."""
    num, fewer = int(only_before + only_after), int(min(only_before, only_after))  # of any size, also from numpy
    ways = sum(math.comb(num, k) for k in range(fewer + 1))
    return min(1.0, 2 * ways / 2**num)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p values adjusted for the number of tests by Holm's method, in the order given."""
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted


def verdict(found: Difference, adjusted_p: float, *, higher_is_better: bool) -> Verdict:
    """Say in words what is shown: a difference needs an adjusted p below 0.05 and every interval on one side of 0."""
    bounds = [found.low, found.high, found.cluster_low, found.cluster_high]
    known = [bound for bound in bounds if bound is not None]
    is_one_sided = bool(known) and (min(known) > 0 or max(known) < 0)
    if adjusted_p >= ALPHA or not is_one_sided:
        return "no difference shown"
    return "better" if (found.difference > 0) == higher_is_better else "worse"


def t_quantile(freedom: int) -> float:
    """Return the 97.5 % quantile of Student's t, by the expansion of Abramowitz and Stegun 26.7.5."""
    if freedom < 1:
        return math.inf
    if freedom <= 2:
        return (12.7062, 4.3027)[freedom - 1]
    terms = (
        (Z**3 + Z) / 4,
        (5 * Z**5 + 16 * Z**3 + 3 * Z) / 96,
        (3 * Z**7 + 19 * Z**5 + 17 * Z**3 - 15 * Z) / 384,
        (79 * Z**9 + 776 * Z**7 + 1482 * Z**5 - 1920 * Z**3 - 945 * Z) / 92160,
    )
    return Z + sum(term / freedom**power for power, term in enumerate(terms, start=1))


def p_of_t(difference: float, error: float, freedom: int) -> float:
    """Return the two-sided p of a mean difference with its standard error, by the series of Abramowitz and Stegun 26.7.3 and 4."""
    if freedom < 1 or error == 0:
        return 1.0 if freedom < 1 or difference == 0 else 0.0
    angle = math.atan(abs(difference) / error / math.sqrt(freedom))
    sine, cosine, is_odd = math.sin(angle), math.cos(angle), freedom % 2
    term = total = cosine if is_odd else 1.0
    for k in range(1, (freedom - is_odd) // 2):
        term *= cosine**2 * (2 * k / (2 * k + 1) if is_odd else (2 * k - 1) / (2 * k))
        total += term
    if not is_odd:
        return max(0.0, 1 - sine * total)
    return max(0.0, 1 - 2 / math.pi * (angle + (sine * total if freedom > 1 else 0.0)))


def _binary(lost: int, won: int, num: int) -> tuple[float, float]:
    """Return the middle and the standard error of Bonett and Price's interval of a difference of paired shares."""
    down, up = (lost + 1) / (num + 2), (won + 1) / (num + 2)
    return up - down, math.sqrt((up + down - (up - down) ** 2) / (num + 2))


def _error(change: Array, weight: Array) -> float:
    """Return the standard error of a weighted mean of independent items."""
    num, total = len(change), float(weight.sum())
    if num < 2:
        return 0.0
    spread = weight * (change - float(change @ weight) / total)
    return math.sqrt(float(spread @ spread) * num / (num - 1)) / total


def _resampled(change: Array, weight: Array, clusters: Sequence[str] | None, seed: int) -> tuple[float, float] | None:
    """Return the 95 % interval of the weighted mean change when whole clusters are drawn with replacement; None without any.

    The quantiles are moved outwards by what a t distribution with so few clusters asks for.
    """
    names = sorted(set(clusters or ()))
    if len(names) < 2 or len(names) == len(change):
        return None
    place = {name: index for index, name in enumerate(names)}
    index = np.array([place[name] for name in clusters or ()])
    changes, weights = (np.bincount(index, values, len(names)) for values in (change * weight, weight))
    drawn = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1 / len(names)), NUM_RESAMPLES)
    means = (drawn @ changes) / (drawn @ weights)
    middle = float(changes.sum() / weights.sum())
    wider = t_quantile(len(names) - 1) / Z * math.sqrt(len(names) / (len(names) - 1))
    low, high = (middle + wider * (float(bound) - middle) for bound in np.quantile(means, (0.025, 0.975)))
    return low, high
