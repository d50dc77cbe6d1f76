"""Calibration of stated probabilities against what came out: the reliability curve and its mean distance; no torch."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

NUM_BINS = 10
LENGTH_TOLERANCE = 0.1
"""Two responses are equally long if they differ by at most this share of the longer one."""


class Bin(NamedTuple):
    """A point of the reliability curve."""

    place: int
    """Number of the equal part of [1/2, 1]."""
    predicted: float
    """Mean probability given to the response that scores higher."""
    observed: float
    """Share of pairs in which it was the preferred one."""
    num: int


def reliability(confidence: ArrayLike, hits: ArrayLike, num_bins: int = NUM_BINS) -> list[Bin]:
    """Return the reliability curve over equal bins of [1/2, 1]; empty bins are left out.

    Args:
        confidence: (N,) probability given to the response that scores higher.
        hits: (N,) whether it was the preferred one.
        num_bins: number of bins.
    """
    said, right = np.asarray(confidence), np.asarray(hits)
    places = places_of(said, num_bins)
    nums, sums, rights = (np.bincount(places, each, num_bins) for each in (None, said, right))
    return [Bin(int(n), float(sums[n] / nums[n]), float(rights[n] / nums[n]), int(nums[n])) for n in nums.nonzero()[0]]


def places_of(confidence: ArrayLike, num_bins: int = NUM_BINS) -> np.ndarray:
    """Return the number of each confidence's bin, (N,)."""
    return np.clip(((np.asarray(confidence) - 0.5) * 2 * num_bins).astype(int), 0, num_bins - 1)


def calibration_error(confidence: ArrayLike, hits: ArrayLike, num_bins: int = NUM_BINS) -> float:
    """Return mean distance between stated confidence and observed share of hits, over the points of `reliability`."""
    points = reliability(confidence, hits, num_bins)
    return sum(point.num * abs(point.predicted - point.observed) for point in points) / max(np.asarray(hits).size, 1)
