"""Shares and means with 95 % intervals that take votes on one prompt for what they are: not independent of each other.

A share has Wilson's interval with the number of votes divided by the design effect, which is how much more the prompts'
totals vary than those of independent votes would (Kish 1965; Dean and Pagano 2015), never less than 1.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from modules.intervals import wilson_interval
from studio.evaluation.statistics import t_quantile


class Estimate(NamedTuple):
    """A figure with its 95 % interval, and what it rests on; nan where nothing was counted."""

    value: float
    low: float
    high: float
    num: int
    num_prompts: int


NOTHING = Estimate(math.nan, math.nan, math.nan, 0, 0)


def share(hits: ArrayLike, prompts: Sequence[int], counts: ArrayLike | None = None) -> Estimate:
    """Return the share of hits in all that was counted.

    Args:
        hits: (N,) of each vote: 1 or 0, or a fraction or number of its count.
        prompts: (N,) the prompt of each vote.
        counts: (N,) how much each vote counts; None counts each once.
    """
    hit = np.asarray(hits, float)
    count = np.ones_like(hit) if counts is None else np.asarray(counts, float)
    hit, count, prompt = hit[count > 0], count[count > 0], np.asarray(prompts)[count > 0]
    if not len(hit):
        return NOTHING
    inside = np.unique(prompt, return_inverse=True)[1]
    totals, sizes = np.bincount(inside, hit), np.bincount(inside, count)
    num, value = float(count.sum()), float(hit.sum() / count.sum())
    if (sizes <= 1).all():
        return Estimate(value, *wilson_interval(value * num, num), round(num), len(totals))
    if len(totals) == 1:
        return Estimate(value, 0.0, 1.0, round(num), 1)
    effective = num / _design_effect(totals, sizes, value)
    interval = wilson_interval(value * effective, effective, t_quantile(len(totals) - 1))
    return Estimate(value, *interval, round(num), len(totals))


def mean(values: Sequence[float], prompts: Sequence[int]) -> Estimate:
    """Return the mean of the votes' values, (N,), with the interval of a mean over prompts; nan for one prompt."""
    if not len(values):
        return NOTHING
    value = np.asarray(values, float)
    inside = np.unique(prompts, return_inverse=True)[1]
    middle, num_prompts = float(value.mean()), int(inside.max()) + 1
    if num_prompts < 2:
        return Estimate(middle, math.nan, math.nan, len(value), 1)
    spread = np.bincount(inside, value - middle)
    error = math.sqrt(float(spread @ spread) * num_prompts / (num_prompts - 1)) / len(value)
    half = t_quantile(num_prompts - 1) * error
    return Estimate(middle, middle - half, middle + half, len(value), num_prompts)


def rate(counts: Sequence[float], amounts: Sequence[float]) -> Estimate:
    """Return what is counted for each unit of an amount, such as votes a second: the ratio of both sums, with its interval.

    Args:
        counts: (N,) what each counts; N is the number of the estimate.
        amounts: (N,) what each took, 0 or more.
    """
    count, amount = np.asarray(counts, float), np.asarray(amounts, float)
    num, total = len(count), float(amount.sum())
    if not total:
        return NOTHING
    value = float(count.sum()) / total
    if num < 2:
        return Estimate(value, math.nan, math.nan, num, num)
    missed = count - value * amount
    half = t_quantile(num - 1) * math.sqrt(float(missed @ missed) * num / (num - 1)) / total
    return Estimate(value, max(0.0, value - half), value + half, num, num)


def blocks(num: int, most: int, least: int) -> list[slice]:
    """Cut so many votes into at most `most` parts of nearly equal size, of at least `least` votes if there are so many."""
    parts = max(1, min(most, num // least))
    edges = [round(num * part / parts) for part in range(parts + 1)] if num else []
    return [slice(first, last) for first, last in pairwise(edges)]


def _design_effect(totals: np.ndarray, sizes: np.ndarray, value: float) -> float:
    """Return by how much fewer independent votes would be as sure.

    Where all votes agree nothing tells how alike those of a prompt are; then they count as if they were all the same.
    """
    num, num_prompts = float(sizes.sum()), len(sizes)
    if not 0 < value < 1:
        return max(1.0, float(sizes @ sizes) / num)
    spread = totals - value * sizes
    observed = float(spread @ spread) * num_prompts / (num_prompts - 1)
    return max(1.0, observed / (num * value * (1 - value)))
