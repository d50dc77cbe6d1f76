"""Agreement of scores with a person's held-out comparisons: accuracy, log-loss, calibration, and effect of length.

A tie has no preferred response, so ties count in the loss but nowhere else. Intervals take pairs as independent; with
many pairs per prompt they are a little too narrow.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from modules.calibration import LENGTH_TOLERANCE, NUM_BINS, calibration_error, reliability
from modules.intervals import wilson_interval
from modules.losses import comparison_losses

MAX_CATEGORIES = 24
"""Only this many categories, those with the most pairs, are reported on their own."""
Z = 1.959964


class Judged(NamedTuple):
    """Scored comparisons; each field is (N,)."""

    chosen: Tensor
    """Score of the preferred response."""
    rejected: Tensor
    """Score of the other one."""
    target_p: Tensor
    """Probability that chosen is the better one; 1/2 is a tie."""
    weight: Tensor
    """Weight of the pair."""
    chosen_length: Tensor
    """Tokens of the preferred response."""
    rejected_length: Tensor
    """Tokens of the other one."""
    strength: Tensor
    """1, 2 or 3; 0 if unknown."""
    category: Tensor
    """Number of the category."""
    uncertainty: Tensor
    """Standard deviation of the score difference over an ensemble's members; 0 without one."""


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
        Equal scores count as half a hit. If all pairs are ties, everything is 0 and the interval [0, 1].
    """
    confidence, hits = decided(margins, target_p)
    num = len(hits)
    low, high = wilson_interval(float(hits.sum()), num)
    accuracy = float(hits.mean()) if num else 0.0
    return Agreement(num, accuracy, low, high, calibration_error(confidence.tolist(), hits.tolist()))


def decided(margins: Tensor, target_p: Tensor) -> tuple[Tensor, Tensor]:
    """Return of the untied pairs the probability of the higher score's response (D,) and whether it won (D,)."""
    is_decided = target_p != 0.5
    towards = margins[is_decided] * (target_p[is_decided] - 0.5).sign()
    return torch.sigmoid(towards.abs()), (towards > 0).float() + 0.5 * (towards == 0).float()


def measure(judged: Judged, category_names: tuple[str, ...]) -> dict[str, float]:
    """Return all metrics of held-out comparisons, by the names of `modules.metrics`.

    Args:
        judged: The comparisons.
        category_names: Names for the numbers in ``judged.category``.
    """
    margins = judged.chosen - judged.rejected
    overall = agreement(margins, judged.target_p)
    confidence, hits = decided(margins, judged.target_p)
    found = {
        **_with_interval("eval/accuracy", overall),
        "eval/num": float(overall.num),
        "eval/ece": overall.ece,
        **_log_loss(margins, judged),
        **_length(judged),
    }
    found |= {f"reliability_num/{place}": 0.0 for place in range(NUM_BINS)}  # so that an older point does not live on
    for point in reliability(confidence.tolist(), hits.tolist()):
        found[f"reliability_predicted/{point.place}"] = point.predicted
        found[f"reliability_observed/{point.place}"] = point.observed
        found[f"reliability_num/{point.place}"] = float(point.num)
    for group, name, inside in _groups(judged, category_names):
        part = agreement(margins[inside], judged.target_p[inside])
        if part.num:
            found |= {f"{group}_accuracy/{name}": part.accuracy, f"{group}_num/{name}": float(part.num)}
    if judged.uncertainty.any():
        found["eval/uncertainty"] = float(judged.uncertainty.mean())
        is_decided, is_wrong = judged.target_p != 0.5, hits < 0.5
        if is_wrong.any() and not is_wrong.all():  # else there is nothing to tell apart
            found["eval/uncertainty_auc"] = area_under_roc(judged.uncertainty[is_decided], is_wrong)
    return found


def correlation(first: Tensor, second: Tensor) -> float:
    """Return Pearson's correlation of two (N,) tensors; 0 where one of them does not vary."""
    first, second = first.double() - first.double().mean(), second.double() - second.double().mean()
    scale = first.norm() * second.norm()
    return float((first @ second) / scale) if scale > 0 else 0.0


def area_under_roc(values: Tensor, is_positive: Tensor) -> float:
    """Return the chance that a positive's value exceeds a negative's, equal values counting half; 1/2 without both.

    Args:
        values: (N,).
        is_positive: (N,) bool.
    """
    num = int(is_positive.sum())
    pairs = num * (len(values) - num)
    if not pairs:
        return 0.5
    # Mann and Whitney: from the ranks of the positive ones, equal values sharing the mean of theirs. Twice a rank is whole.
    _, group, counts = values.unique(return_inverse=True, return_counts=True)
    doubled = (2 * counts.cumsum(0) - counts + 1)[group]
    return (int(doubled[is_positive].sum()) - num * (num + 1)) / (2 * pairs)


def _log_loss(margins: Tensor, judged: Judged) -> dict[str, float]:
    """Return weighted mean of the loss without offset, and its normal 95 % interval."""
    total = judged.weight.sum()
    losses = comparison_losses(margins, judged.target_p)
    mean = (judged.weight * losses).sum() / total
    half = Z * float((judged.weight * (losses - mean)).norm() / total)
    return {
        "eval/loss": float(mean),
        "eval/loss_low": max(0.0, float(mean) - half),
        "eval/loss_high": float(mean) + half,
    }


def _length(judged: Judged) -> dict[str, float]:
    """Measure the effect of length: correlation with Fisher's interval, and accuracy where lengths are equal."""
    scores = torch.cat([judged.chosen, judged.rejected])
    found = correlation(scores, torch.cat([judged.chosen_length, judged.rejected_length]))
    half = Z / math.sqrt(max(len(judged.chosen) - 3, 1))
    centre = math.atanh(max(-0.999999, min(0.999999, found)))
    longer = torch.maximum(judged.chosen_length, judged.rejected_length)
    is_matched = (judged.chosen_length - judged.rejected_length).abs() <= LENGTH_TOLERANCE * longer
    matched = agreement((judged.chosen - judged.rejected)[is_matched], judged.target_p[is_matched])
    return {
        "eval/length_correlation": found,
        "eval/length_correlation_low": math.tanh(centre - half),
        "eval/length_correlation_high": math.tanh(centre + half),
        "eval/length_matched_num": float(matched.num),
        **(_with_interval("eval/length_matched_accuracy", matched) if matched.num else {}),
    }


def _groups(judged: Judged, category_names: tuple[str, ...]) -> Iterator[tuple[str, str, Tensor]]:
    """Yield group, name and bool mask (N,) of each strength and of the most frequent categories."""
    for strength in (1, 2, 3):
        yield "strength", str(strength), judged.strength == strength
    counts = torch.bincount(judged.category, minlength=len(category_names))
    if int((counts > 0).sum()) > 1:
        for index in sorted(counts.argsort(descending=True, stable=True)[:MAX_CATEGORIES].tolist()):
            yield "category", category_names[index] or "none", judged.category == index


def _with_interval(name: str, part: Agreement) -> dict[str, float]:
    return {name: part.accuracy, f"{name}_low": part.low, f"{name}_high": part.high}
