"""The distances from the SFT policy at which PPO saves a checkpoint (`save_at_kl`); no torch.

Over-optimisation is seen along the KL, not along the iterations (Gao et al. 2023), so policies are kept where the KL first
reaches chosen values.
"""

import math
from typing import NamedTuple


class Milestone(NamedTuple):
    """A value that the KL has reached."""

    value: float
    """The value asked for, in nats per response; of several reached at once the highest."""
    kl: float
    """The KL measured when it was reached."""


def parse(text: str) -> tuple[float, ...]:
    """Return the values in a line such as ``1, 3, 6``, in ascending order, each once.

    Raises:
        ValueError: One is not a number above 0.
    """
    values = set()
    for part in filter(None, (part.strip() for part in text.split(","))):
        try:
            value = float(part)
        except ValueError:
            value = math.nan
        if not 0 < value < math.inf:
            raise ValueError(f"{part[:40]} is not a KL in nats; write numbers above 0, such as 1, 3, 6, 10, 20")
        values.add(value)
    return tuple(sorted(values))


class Milestones:
    """Notices each value once.

    Args:
        values: Nats per response, ascending.
    """

    def __init__(self, values: tuple[float, ...]) -> None:
        self.values = values
        self.passed = 0.0
        """The highest value reached so far; 0 for none."""
        self.latest: Milestone | None = None
        """The value reached for the first time by the last KL that was noted, if any was."""

    def note(self, kl: float) -> None:
        """Take account of an iteration's KL; one that is not a number reaches nothing."""
        reached = [value for value in self.values if self.passed < value <= kl]
        self.latest = Milestone(reached[-1], kl) if reached else None
        self.passed = reached[-1] if reached else self.passed
