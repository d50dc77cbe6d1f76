"""How well scores agree with a person's comparisons: accuracy with its interval, and calibration.

A tie has no preferred response, so ties count in the loss but not here.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from modules.intervals import wilson_interval


class Agreement(NamedTuple):
    """Agreement of scores with comparisons that are not ties."""

    num: int
    accuracy: float
    low: float
    """Lower end of the 95 % interval."""
    high: float
    """Upper end of the 95 % interval."""
    ece: float
    """Expected calibration error."""


def agreement(margins: Tensor, target_p: Tensor) -> Agreement:
    """Measure agreement.

    Args:
        margins: (N,) score of chosen minus score of rejected.
        target_p: (N,) probability that chosen is the better one; 1/2 is a tie.

    Returns:
        Equal scores count as half a hit. Without any pair that is no tie, everything is 0 and the interval [0, 1].
    """
    is_decided = target_p != 0.5
    towards = margins[is_decided] * (target_p[is_decided] - 0.5).sign()
    hits = (towards > 0).float() + 0.5 * (towards == 0).float()
    num = len(hits)
    low, high = wilson_interval(float(hits.sum()), num)
    accuracy = float(hits.mean()) if num else 0.0
    return Agreement(num, accuracy, low, high, calibration_error(torch.sigmoid(towards.abs()), hits))


def calibration_error(confidence: Tensor, hits: Tensor, num_bins: int = 10) -> float:
    """Mean distance between stated confidence and observed share of hits, over equal bins of [1/2, 1].

    Args:
        confidence: (N,) probability given to the response that scores higher.
        hits: (N,) whether it was the preferred one.
    """
    bins = ((confidence - 0.5) * 2 * num_bins).long().clamp(max=num_bins - 1)
    error = 0.0
    for index in bins.unique():
        inside = bins == index
        error += float(inside.float().mean() * (confidence[inside].mean() - hits[inside].mean()).abs())
    return error
