"""Several texts in one row, none seeing another: nothing is padded, and nothing else changes.

Positions start again with every text. transformers reads from them where one text ends, and lets attention (sliding
windows too) reach no further back than that; `check_packing` makes sure that a model really does so.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from modules.data.sequences import Sequences
from modules.errors import ConfigError
from modules.losses import select_shifted, token_stats
from modules.model.backbone import Backbone

_LENGTH, _TOLERANCE = 6, 1e-2


class Packed(NamedTuple):
    """Rows that hold several texts each."""

    ids: Tensor
    """(N, T) token ids, padded on the right."""
    mask: Tensor
    """(N, T) bool, True on the tokens that are learnt; never on the first of a text, which nothing predicts."""
    positions: Tensor
    """(N, T) place of each token in its own text; pads count on from the last one."""


def pack(sequences: Sequences, row_length: int, num_rows: int) -> Iterator[Packed]:
    """Lay texts side by side, the longest first, each into the first row that has room.

    Args:
        sequences: B texts; each is kept whole, so a row is longer than ``row_length`` if a text is.
        row_length: Tokens a row may hold.
        num_rows: Rows handed out at a time.
    """
    lengths = sequences.lengths.tolist()
    rows: list[list[int]] = []
    free: list[int] = []
    for text in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        row = next((i for i, room in enumerate(free) if lengths[text] <= room), len(rows))
        if row == len(rows):
            rows.append([])
            free.append(row_length)
        rows[row].append(text)
        free[row] -= lengths[text]
    for start in range(0, len(rows), num_rows):
        yield _lay_out(sequences, lengths, rows[start : start + num_rows])


def _lay_out(sequences: Sequences, lengths: list[int], rows: list[list[int]]) -> Packed:
    width = max(sum(lengths[text] for text in row) for row in rows)
    ids = sequences.ids.new_zeros(len(rows), width)
    mask = sequences.mask.new_zeros(len(rows), width)
    positions = torch.zeros_like(ids)
    for index, row in enumerate(rows):
        start = 0
        for text in row:
            end = start + lengths[text]
            ids[index, start:end] = sequences.ids[text, : lengths[text]]
            mask[index, start + 1 : end] = sequences.mask[text, 1 : lengths[text]]
            last = width if text == row[-1] else end
            positions[index, start:last] = torch.arange(last - start)
            start = end
    return Packed(ids, mask, positions)


@torch.no_grad()
def check_packing(backbone: Backbone, role: str) -> None:
    """Refuse a model in which a packed text sees the one before it, by trying it.

    Raises:
        ConfigError: A text sees the one before it.
    """
    first, other, second = (
        torch.arange(start, start + _LENGTH, device=backbone.device) % backbone.vocab_size
        for start in (0, _LENGTH, 2 * _LENGTH)
    )
    positions = torch.arange(_LENGTH, device=backbone.device).repeat(2)
    ids = torch.stack([torch.cat([first, second]), torch.cat([other, second])])
    with backbone.sampling(role):
        packed = backbone.hidden(ids, positions=positions.expand(2, -1))[:, _LENGTH:]
        alone = backbone.hidden(second.unsqueeze(0))
    if not torch.allclose(packed.float(), alone.float().expand_as(packed), atol=_TOLERANCE * float(alone.abs().max())):
        raise ConfigError(
            f"In the model {backbone.base_model} a packed text would see the text before it: its architecture "
            "ignores positions that start again. Set packing to false."
        )


def negative_logprobs(backbone: Backbone, batch: Sequences | Packed) -> Tensor:
    """Return -log p of each taught token (N,), float32, by the active role."""
    positions = batch.positions if isinstance(batch, Packed) else None
    hidden, targets = select_shifted(backbone.hidden(batch.ids, positions=positions), batch.ids, batch.mask)
    return -token_stats(backbone.logits, hidden, targets, vocab_size=backbone.vocab_size).logprobs
