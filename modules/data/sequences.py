"""Rows of token ids of different lengths as one padded tensor, and the pieces it is computed in.

Rows are padded on the right. With causal attention no token then sees a pad, so no attention mask is needed and a row's
numbers do not depend on its neighbours.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

PASS_TOKENS, GPU_PASS_TOKENS = 128, 4096
"""A forward and backward pass costs as much as this many extra tokens, for starting its operations: on a CPU, measured; on a GPU
the operations of a pass start no faster than some 10 us each, in which time it does many tokens' work."""

CPU_PASS_TOKENS = 2048
"""Above this many tokens a pass does not fit a CPU's caches: a reward step of 16 pairs then takes twice as long."""


class Sequences(NamedTuple):
    """Padded rows."""

    ids: Tensor
    """(B, T) token ids, padded on the right."""
    mask: Tensor
    """(B, T) bool, True on the tokens that are learnt or judged: assistant turns, or the response."""
    lengths: Tensor
    """(B,) real tokens per row."""

    def rows(self, index: Tensor) -> "Sequences":
        """Return the rows at ``index`` (N,), cut to the longest of them."""
        lengths = self.lengths[index]
        longest = int(lengths.max())
        return Sequences(self.ids[index, :longest], self.mask[index, :longest], lengths)

    def to(self, device: torch.device) -> "Sequences":
        """Return the same rows on another device."""
        return Sequences(self.ids.to(device), self.mask.to(device), self.lengths.to(device))


def pad_rows(ids: Sequence[Sequence[int]], masks: Sequence[Sequence[bool]], pad_id: int) -> Sequences:
    """Pad rows of ids and masks, row i of both being equally long, to (B, T)."""
    longest = max((len(row) for row in ids), default=0)
    padded_ids = torch.tensor([[*row, *[pad_id] * (longest - len(row))] for row in ids], dtype=torch.long)
    padded_masks = torch.tensor([[*row, *[False] * (longest - len(row))] for row in masks], dtype=torch.bool)
    return Sequences(
        padded_ids.reshape(len(ids), longest),
        padded_masks.reshape(len(ids), longest),
        torch.tensor([len(row) for row in ids], dtype=torch.long),
    )


def by_length(lengths: Tensor, size: int) -> Iterator[Tensor]:
    """Cut rows into pieces of at most ``size`` rows of similar length.

    The cut with the fewest tokens, padding included, is taken; each piece counts `PASS_TOKENS` more.

    Args:
        lengths: (B,) real tokens per row, on the device that computes.
        size: Rows per forward pass.

    Yields:
        (N,) row indices; together each row once, the longest first (memory runs out at once or never).
    """
    order = torch.argsort(lengths, descending=True, stable=True)
    pass_tokens = PASS_TOKENS if lengths.device.type == "cpu" else GPU_PASS_TOKENS
    sizes = _cheapest_cut(lengths[order].tolist(), size, pass_tokens)
    yield from order.split(sizes) if sizes else ()


def _cheapest_cut(lengths: list[int], size: int, pass_tokens: int) -> list[int]:
    """Return the rows per piece for lengths in descending order, found from the last row backwards."""
    costs = [0] * (len(lengths) + 1)
    ends = [0] * len(lengths)
    for start in reversed(range(len(lengths))):
        choices = range(min(start + size, len(lengths)), start, -1)
        options = {end: (end - start) * lengths[start] + pass_tokens + costs[end] for end in choices}
        ends[start] = min(choices, key=options.__getitem__)
        costs[start] = options[ends[start]]
    sizes, start = [], 0
    while start < len(lengths):
        sizes.append(ends[start] - start)
        start = ends[start]
    return sizes
