"""Confidence intervals of shares; no torch."""

import math


def wilson_interval(hits: float, num: float, z: float = 1.959964) -> tuple[float, float]:
    """Return Wilson's score interval for a share of ``hits`` in ``num``, at 95 % by default; [0, 1] if ``num`` is 0."""
    if num == 0:
        return 0.0, 1.0
    share, square = hits / num, z * z
    centre = (share + square / (2 * num)) / (1 + square / num)
    half = z / (1 + square / num) * math.sqrt(share * (1 - share) / num + square / (4 * num * num))
    return max(0.0, centre - half), min(1.0, centre + half)
