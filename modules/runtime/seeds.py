"""Seeds of random generators from a run's seed, one for each place in the run.

torch's generator on a CPU reads only the lowest 32 bits of what it is given, so a sum or a shift would let large seeds of
runs fall together: 0 and 4,096 would give one order of the data. Large ones are mixed instead. Small ones keep the numbers
they always had, so that older runs resume in the order they began with.
"""

import hashlib

LARGE = 4096
"""From this seed of a run on, and from 16 times as many iterations on, seeds are mixed."""


def order_seed(seed: int, epoch: int) -> int:
    """Return a seed for the order of rows in an epoch (0, 1, ...)."""
    return (seed << 20) + epoch if seed < LARGE else _mixed("order", seed, epoch)


def iteration_seed(seed: int, step: int, epoch: int = -1) -> int:
    """Return a seed for a PPO iteration's responses (0, 1, ...; -1 before the first), or for an epoch's order in it."""
    if seed < LARGE and step < 16 * LARGE - 1:
        return (seed * 1_000_003 + step + 1) * 1024 * 64 + 1 + epoch
    return _mixed("iteration", seed, step, epoch)


def _mixed(*place: str | int) -> int:
    """Return 32 bits, all of which change with each part of the place."""
    return int.from_bytes(hashlib.blake2b(repr(place).encode(), digest_size=4).digest(), "big")
