"""Fits strengths to votes with ties: Davidson's model (1970), which is Bradley-Terry with a term for ties.

A vote on a left and a right checkpoint has three outcomes, whose log-odds are linear in the parameters:

    left  t_left + side        right  t_right        tie  (t_left + t_right + side) / 2 + tie

so the log-likelihood is concave, and Newton's method finds its one maximum. `side` is the rater's habit of preferring
what stands on the left. A small ridge keeps strengths finite where one checkpoint never lost.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
RIDGE = 0.01
"""Weight of half the squared parameters, in votes."""
STEPS = 50
CLOSE = 1e-10


@dataclass(frozen=True)
class Fit:
    """Strengths of K checkpoints in logits, relative to the anchor."""

    strengths: Numbers
    """(K,), 0 for the anchor."""
    tie: float
    """Log-odds of a tie against a win, between equals."""
    side: float
    """Log-odds of left against right, between equals."""

    def expected(self, one: int, other: int) -> float:
        """Return the expected score of `one` against `other`: the chance to win plus half that of a tie, sides drawn."""
        gap = self.strengths[one] - self.strengths[other]
        tie = (gap + self.side) / 2 + self.tie
        on_the_left, on_the_right = _shares(np.array([[gap + self.side, 0.0, tie], [gap, self.side, tie]]))
        return float(on_the_left[0] + on_the_left[2] / 2 + on_the_right[0] + on_the_right[2] / 2) / 2


def fit(pairs: Sequence[tuple[int, int]], counts: Numbers, num: int, anchor: int = 0) -> Fit:
    """Return the maximum of the penalised likelihood.

    Args:
        pairs: P tuples (left, right) of different checkpoints, each below `num`.
        counts: (P, 3), how often left won, right won, and neither.
        num: number of checkpoints, K.
        anchor: the checkpoint whose strength is 0.
    """
    features = _features(pairs, num, anchor)
    totals = counts.sum(axis=1)
    at = np.zeros(features.shape[2])
    for _ in range(STEPS):
        shares = _shares(features @ at)
        mean = np.einsum("po,pof->pf", shares, features)
        gradient = np.einsum("po,pof->f", counts - totals[:, None] * shares, features) - RIDGE * at
        spread = np.einsum("p,po,pof,pog->fg", totals, shares, features, features)
        curvature = spread - np.einsum("p,pf,pg->fg", totals, mean, mean) + RIDGE * np.eye(len(at))
        step = np.linalg.solve(curvature, gradient)
        at = at + step / max(1.0, float(np.abs(step).max()))
        if float(np.abs(step).max()) < CLOSE:
            break
    strengths = np.insert(at[:-2], anchor, 0.0)
    return Fit(strengths, float(at[-2]), float(at[-1]))


def bootstrap(
    pairs: Sequence[tuple[int, int]], votes: Numbers, num: int, anchor: int, num_resamples: int, seed: int
) -> Numbers:
    """Return strengths refitted on prompts drawn with replacement, (num_resamples, K).

    Votes on one prompt resemble each other, so whole prompts are drawn, not votes.

    Args:
        pairs: as in `fit`.
        votes: (prompts, P, 3), the counts of each prompt.
        num: number of checkpoints, K.
        anchor: the checkpoint whose strength is 0.
        num_resamples: how many times to draw.
        seed: of the draws.
    """
    generator = np.random.default_rng(seed)
    drawn = generator.multinomial(len(votes), np.full(len(votes), 1.0 / len(votes)), size=num_resamples)
    resampled = np.tensordot(drawn.astype(float), votes, axes=1)
    return np.array([fit(pairs, counts, num, anchor).strengths for counts in resampled])


def _features(pairs: Sequence[tuple[int, int]], num: int, anchor: int) -> Numbers:
    """Return (P, 3, K + 1): the outcomes left, right, tie; the strengths without the anchor's, then tie and side."""
    features = np.zeros((len(pairs), 3, num + 2))
    for row, (left, right) in enumerate(pairs):
        features[row, 0, left] = features[row, 1, right] = 1.0
        features[row, 2, [left, right]] += 0.5
    features[:, 2, num] = 1.0
    features[:, 0, num + 1], features[:, 2, num + 1] = 1.0, 0.5
    return np.delete(features, anchor, axis=2)


def _shares(logits: Numbers) -> Numbers:
    """Return the softmax over the last axis."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)
