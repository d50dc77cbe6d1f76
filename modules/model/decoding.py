"""One step of sampling, for all rows of a batch at once: same shapes and same memory at each token, and no word to the host.

So a step can be recorded as a CUDA graph and replayed; elsewhere it runs as it is. What the host must know (which rows have
ended) it asks at some steps only. See `modules.model.generate` for the loop.
"""

import logging
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from modules.model.backbone import Backbone

Choose = Callable[[Tensor, Tensor], Tensor]
"""Logits (N, V) and uniform numbers (N,) to token ids (N,)."""
Record = Callable[[Callable[[], None]], Callable[[], None]]
"""A step to what repeats it on the same memory."""


class Pace(NamedTuple):
    """How often a device is interrupted."""

    look_every: int
    """Steps between two looks for rows that have ended."""
    leave_at: float
    """Rows leave once at most this share of them goes on: leaving copies the cache, and a recorded step is lost."""
    block: int
    """Columns by which the part of the cache that is read grows."""


def pace_of(device: torch.device) -> Pace:
    """Return the pace of a device: on a CPU a look costs nothing, and each row costs its share."""
    return Pace(1, 0.875, 16) if device.type == "cpu" else Pace(16, 0.75, 128)


class Decoder:
    """Rows that are being answered.

    Args:
        backbone: In the role that answers.
        prompts: N lists of ids, none empty.
        noise: (N, R) uniform numbers, one for each token that may be drawn.
        limits: Most tokens of each response, at most R.
        choose: Draws tokens.
    """

    def __init__(
        self, backbone: Backbone, prompts: list[Sequence[int]], noise: Tensor, limits: list[int], choose: Choose
    ) -> None:
        device, longest = noise.device, max(len(prompt) for prompt in prompts)
        room = longest + noise.shape[1]
        self._backbone, self._choose, self._noise = backbone, choose, noise
        self._stops = torch.tensor(sorted(backbone.chat.stop_ids), device=device)
        self._cache = backbone.new_cache(room)
        self.pace = pace_of(device)
        ids = torch.full((len(prompts), longest), backbone.chat.pad_id)
        mask = torch.zeros(len(prompts), room, dtype=torch.bool)
        for row, prompt in enumerate(prompts):
            ids[row, longest - len(prompt) :] = torch.tensor(list(prompt))
            mask[row, longest - len(prompt) : longest] = True
        self._mask, ids = mask.to(device), ids.to(device)
        self._tokens = ids[:, -1:].clone()
        self._positions = torch.tensor([[len(prompt)] for prompt in prompts], device=device)
        self._sampled = torch.full(noise.shape, backbone.chat.pad_id, device=device)
        self._lengths = torch.tensor(limits, device=device)
        self._step = torch.zeros(1, dtype=torch.long, device=device)
        # The prompts at once; what follows them is drawn from the last column.
        hidden = backbone.hidden(ids, self._mask[:, :longest], cache=self._cache)
        self._draw(hidden[:, -1])
        self._cache.column = torch.full((1,), longest, device=device)
        self._cache.num_filled = longest

    @property
    def can_be_recorded(self) -> bool:
        """Return whether the host has no part in a step."""
        return not self._cache.is_windowed

    def step(self) -> None:
        """Draw the next token of each row. What it reads and writes lies where it lay."""
        column = self._cache.column
        assert column is not None
        self._mask.index_fill_(1, column, True)
        read = self._mask[:, : self._cache.num_read]
        hidden = self._backbone.next_hidden(self._tokens, read, self._positions, self._cache)
        self._draw(hidden[:, -1])
        column.add_(1)
        # A row that has ended may go on until it leaves, but never behind the model's last position.
        self._positions.add_(1).clamp_(max=self._backbone.context_length - 1)

    def read_up_to(self, step: int) -> bool:
        """Let the step that draws token ``step`` read enough of the cache; returns whether it reads more than the last."""
        filled = self._cache.room - self._noise.shape[1] + step
        block = 1 if self._cache.is_windowed else self.pace.block
        before = self._cache.num_read
        self._cache.num_filled = filled - 1
        self._cache.num_read = min(self._cache.room, -(-filled // block) * block)
        return self._cache.num_read != before

    def alive(self, step: int) -> list[bool]:
        """Return which rows go on to token ``step``; the host waits for it."""
        return (self._lengths > step).tolist()

    def responses(self) -> list[list[int]]:
        """Return the rows' responses so far, cut after their first end token."""
        rows = zip(self._sampled.tolist(), self._lengths.tolist(), strict=True)
        return [row[:length] for row, length in rows]

    def keep(self, rows: list[int]) -> None:
        """Go on with some rows; the others leave."""
        index = torch.tensor(rows, device=self._noise.device)
        self._cache.keep(index)
        self._mask, self._tokens, self._positions, self._noise, self._sampled, self._lengths = (
            tensor.index_select(0, index)
            for tensor in (self._mask, self._tokens, self._positions, self._noise, self._sampled, self._lengths)
        )

    def _draw(self, states: Tensor) -> None:
        """Draw from the last hidden states (N, H), and note where a response ended."""
        heights = self._noise.index_select(1, self._step).squeeze(1)
        tokens = self._choose(self._backbone.logits(states), heights).unsqueeze(-1)
        self._sampled.index_copy_(1, self._step, tokens)
        self._step.add_(1)
        has_ended = (tokens == self._stops).any(-1)
        self._lengths.copy_(torch.where(has_ended, torch.minimum(self._lengths, self._step), self._lengths))
        self._tokens.copy_(tokens)


class Repeater:
    """Runs a decoder's steps, recorded where that is possible.

    Args:
        decoder: Its rows.
        record: None to run each step as it is.
    """

    def __init__(self, decoder: Decoder, record: Record | None) -> None:
        self._decoder = decoder
        self._record = record if decoder.can_be_recorded else None
        self._replay: Callable[[], None] | None = None
        self._is_warm = False

    def run(self, step: int) -> None:
        """Draw token ``step``: the first of a shape as it is, the second recorded, all others replayed."""
        if self._decoder.read_up_to(step):
            self.forget()
        if self._replay is None and self._record is not None and self._is_warm:
            self._replay = self._try(self._record)
        (self._replay or self._decoder.step)()
        self._is_warm = True

    def forget(self) -> None:
        """Drop the recorded step: its shapes are no longer those of the rows."""
        self._replay, self._is_warm = None, False

    def _try(self, record: Record) -> Callable[[], None] | None:
        try:
            return record(self._decoder.step)
        except RuntimeError as error:
            logging.getLogger(__name__).warning("Sampling goes on without CUDA graphs: %s", str(error).splitlines()[0])
            self._record = None
            return None


def recorder_of(device: torch.device) -> Record | None:
    """Return what records a step on a device; None where nothing does."""
    return _record_graph if device.type == "cuda" else None


def _record_graph(step: Callable[[], None]) -> Callable[[], None]:
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):  # nothing is computed yet
        step()
    return graph.replay
