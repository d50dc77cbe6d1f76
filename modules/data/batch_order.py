"""The order of training data: a function of the seed alone, so that a run can resume at any step."""

from collections.abc import Hashable, Sequence

import torch

from modules.runtime.seeds import order_seed

WINDOW = 8
"""Rows are sorted by length within this many batches: little padding, and still a random order."""


def permutation(length: int, seed: int, epoch: int = 0) -> list[int]:
    """Return the numbers below ``length`` in an order of their own for each seed and epoch."""
    generator = torch.Generator().manual_seed(order_seed(seed, epoch))
    return torch.randperm(length, generator=generator).tolist()


def plan_by_length(lengths: Sequence[int], batch_size: int, epochs: int, seed: int) -> list[list[int]]:
    """Return the row indices of each batch of a run: every row once an epoch, rows of similar length together."""
    plan = []
    for epoch in range(epochs):
        order = permutation(len(lengths), seed, epoch)
        size = WINDOW * batch_size
        windows = [sorted(order[i : i + size], key=lambda row: lengths[row]) for i in range(0, len(order), size)]
        sorted_rows = [row for window in windows for row in window]
        batches = [sorted_rows[i : i + batch_size] for i in range(0, len(sorted_rows), batch_size)]
        plan += [batches[i] for i in permutation(len(batches), seed + 1, epoch)]
    return plan


def plan_by_prompt(
    prompts: Sequence[str],
    batch_size: int,
    epochs: int,
    seed: int,
    *,
    counts_prompts: bool = False,
    sides: Sequence[tuple[Hashable, Hashable]] = (),
) -> list[list[int]]:
    """Return the row indices of each batch of a run, all pairs of a prompt in one batch.

    The size of a batch counts pairs, or prompts. A prompt that alone has more pairs than that is cut between pairs that
    have no response in common, never within a ranking: nothing is learnt from one response in several steps of an epoch.

    Args:
        prompts: Of each pair.
        batch_size, epochs, seed: See `RewardConfig`.
        counts_prompts: What the size counts; prompts are then never cut.
        sides: The two responses of each pair; without them all pairs of a prompt count as belonging together.
    """
    groups: dict[str, list[int]] = {}
    for index, prompt in enumerate(prompts):
        groups.setdefault(prompt, []).append(index)
    members = [
        _connected(group, sides) if sides and not counts_prompts and len(group) > batch_size else [group]
        for group in groups.values()
    ]
    plan: list[list[int]] = []
    for epoch in range(epochs):
        batch: list[int] = []
        size = 0
        for group in (part for i in permutation(len(members), seed, epoch) for part in members[i]):
            added = 1 if counts_prompts else len(group)
            if batch and size + added > batch_size:
                plan.append(batch)
                batch, size = [], 0
            batch, size = batch + group, size + added
        plan += [batch] if batch else []
    return plan


def _connected(pairs: Sequence[int], sides: Sequence[tuple[Hashable, Hashable]]) -> list[list[int]]:
    """Group pairs into parts that have no response in common, in their order."""
    leader: dict[Hashable, Hashable] = {}

    def find(side: Hashable) -> Hashable:
        while leader.setdefault(side, side) != side:
            side = leader[side]
        return side

    for index in pairs:
        first, second = sides[index]
        leader[find(second)] = find(first)
    parts: dict[Hashable, list[int]] = {}
    for index in pairs:
        parts.setdefault(find(sides[index][0]), []).append(index)
    return list(parts.values())


def stream(length: int, count: int, step: int, seed: int) -> list[int]:
    """Return items [step * count, (step + 1) * count) of endless, reshuffled passes over ``length`` rows."""
    picked: list[int] = []
    position = step * count
    while len(picked) < count:
        epoch, offset = divmod(position, length)
        part = permutation(length, seed, epoch)[offset : offset + count - len(picked)]
        picked += part
        position += len(part)
    return picked


def in_order(length: int, batch_size: int) -> list[list[int]]:
    """Return the row indices of each batch, unshuffled."""
    return [list(range(i, min(i + batch_size, length))) for i in range(0, length, batch_size)]
