"""An interval for a win rate that holds at every look: one may stop as soon as it excludes one half.

An ordinary 95 % interval that is looked at after each vote gives a false alarm in four of ten comparisons of equals.
Here a share p is rejected once its e-value, the likelihood of the votes under a uniform prior divided by that under p,
reaches 1 / alpha; by Ville's inequality a true p is ever rejected with probability alpha at most (Robbins 1970).
"""

import math

ALPHA = 0.05
HALVINGS = 60


def interval(wins: int, losses: int, alpha: float = ALPHA) -> tuple[float, float]:
    """Return the shares that no look so far has reason to reject; [0, 1] before the first vote.

    Ties are no part of it: the share is that of wins among decided votes.
    """
    best = wins / (wins + losses) if wins + losses else 0.5
    return _edge(wins, losses, best, 0.0, alpha), _edge(wins, losses, best, 1.0, alpha)


def is_decided(wins: int, losses: int, alpha: float = ALPHA) -> bool:
    """Return whether the interval excludes one half."""
    return _log_e(wins, losses, 0.5) >= -math.log(alpha)


def votes_to_decide(wins: int, losses: int, alpha: float = ALPHA, most: int = 100_000) -> int | None:
    """Return how many more decided votes at the present share would exclude one half; None where `most` would not."""
    share = max(wins, losses) / (wins + losses) if wins + losses else 0.5

    def is_enough(more: int) -> bool:
        return _log_e(max(wins, losses) + share * more, min(wins, losses) + (1 - share) * more, 0.5) >= -math.log(alpha)

    if not is_enough(most):
        return None
    low, high = -1, most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if is_enough(middle) else (middle, high)
    return high


def _log_e(wins: float, losses: float, p: float) -> float:
    beta = math.lgamma(1 + wins) + math.lgamma(1 + losses) - math.lgamma(2 + wins + losses)
    return beta - (wins * math.log(p) if wins else 0.0) - (losses * math.log1p(-p) if losses else 0.0)


def _edge(wins: int, losses: int, inside: float, outside: float, alpha: float) -> float:
    """Return the edge between the best share and 0 or 1, which belongs to the interval if it was not excluded."""
    is_impossible = (losses if outside else wins) > 0
    if not is_impossible and _log_e(wins, losses, outside) < -math.log(alpha):
        return outside
    for _ in range(HALVINGS):
        middle = (inside + outside) / 2
        is_rejected = _log_e(wins, losses, middle) >= -math.log(alpha)
        inside, outside = (inside, middle) if is_rejected else (middle, outside)
    return outside
