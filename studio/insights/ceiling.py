"""The noise ceiling: how often a perfect reward model could agree with a rater who does not always agree with themselves.

A rater who errs in a share e of votes, independently each time, gives the same answer twice with s = (1 - e)^2 + e^2. So
e = (1 - sqrt(2 s - 1)) / 2, and a model that is always right agrees with 1 - e of the votes. Where some pairs are harder
than others the truth is lower, and who remembers the first answer repeats it: so it is *at most* that.
"""

import math

from studio.insights.estimates import Estimate


def ceiling(self_agreement: float) -> float:
    """Return the highest accuracy that can be reached; 1/2 for who agrees with themselves no more often than a coin."""
    return (1.0 + math.sqrt(max(0.0, 2.0 * self_agreement - 1.0))) / 2.0


def of(self_agreement: Estimate) -> Estimate:
    """Return the ceiling with its interval, which is that of self-agreement carried over: the formula only rises."""
    if not self_agreement.num:
        return self_agreement
    value, low, high = (ceiling(each) for each in self_agreement[:3])
    return self_agreement._replace(value=value, low=low, high=high)
