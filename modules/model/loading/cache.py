"""Keys and values of the past while sampling: room for all tokens from the start, filled in place.

transformers' own layer copies all it holds at every token, and its shapes change with each, so a step could not be recorded as a
CUDA graph. Here a step writes at a column that is a tensor on the device, and reads as many columns as the host says.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers import Cache, PreTrainedModel
from transformers.cache_utils import DynamicLayer


class FixedCache(Cache):
    """The past of N rows, of at most ``room`` columns, the same in all layers.

    The first forward fills columns from the left. Each later one brings one token a row, which goes to `column`.
    """

    def __init__(self, model: PreTrainedModel, room: int) -> None:
        super().__init__(layer_class_to_replicate=partial(FixedLayer, self))  # type: ignore[arg-type]  # called without arguments
        self.room = room
        self.is_windowed = _is_windowed(model, room)
        """True if some layer sees less than ``room`` tokens. transformers then makes the masks, each time from numbers that the host
        reads, and expects a cache that ends with the newest column."""
        self._is_eager = model.config._attn_implementation == "eager"
        self.num_filled = 0
        """Columns before the newest one, as the host knows them."""
        self.num_read = 0
        """Columns that a step attends to; those not filled yet must be masked."""
        self.column: Tensor | None = None
        """(1,) where a step writes; None in the first forward."""

    def mask(self, kept: Tensor, dtype: torch.dtype) -> Tensor:
        """Return the attention mask of a step from what is kept (N, num_read), True on columns to attend to."""
        if self.is_windowed:
            return kept.long()
        kept = kept[:, None, None]
        if self._is_eager:  # it is added to the scores
            return torch.zeros(kept.shape, dtype=dtype, device=kept.device).masked_fill(~kept, torch.finfo(dtype).min)
        return kept

    def take(self, rows: Sequence[tuple["FixedCache", int, int]]) -> None:
        """Fill an empty cache with rows of others: of each the cache, the number of its row and how many of its last columns.

        The newest column of each then lies in the same column, the last one that is filled.
        """
        self.num_filled = max(num for _, _, num in rows)
        for layers in zip(*(other.layers for other, _, _ in rows), strict=True):
            mine = FixedLayer(self)
            mine.take(
                [(layer, row, other.num_filled, num) for layer, (other, row, num) in zip(layers, rows, strict=True)]
            )
            self.layers.append(mine)

    def keep(self, rows: Tensor) -> None:
        """Keep some rows (M,)."""
        for layer in self.layers:
            assert isinstance(layer, FixedLayer)
            layer.batch_select_indices(rows)


class FixedLayer(DynamicLayer):
    """Keys and values (N, heads, room, D) of one layer of a `FixedCache`."""

    def __init__(self, cache: FixedCache) -> None:
        super().__init__()
        self._cache = cache

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Add the newest tokens; returns the keys and values to attend to."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            num_rows = len(key_states)
            self.keys, self.values = self._room(key_states, num_rows), self._room(value_states, num_rows)
        assert self.keys is not None
        assert self.values is not None
        column, end = self._cache.column, key_states.shape[-2]
        if column is None:
            self.keys[..., :end, :], self.values[..., :end, :] = key_states, value_states
            return key_states, value_states
        self.keys.index_copy_(2, column, key_states)
        self.values.index_copy_(2, column, value_states)
        return self.keys[..., : self._cache.num_read, :], self.values[..., : self._cache.num_read, :]

    def take(self, rows: Sequence[tuple["FixedLayer", int, int, int]]) -> None:
        """As `FixedCache.take`: of each the layer, its row, the end of its columns and how many before that."""
        first = rows[0][0]
        assert first.keys is not None
        assert first.values is not None
        self.lazy_initialization(first.keys, first.values)
        self.keys, self.values = self._room(first.keys, len(rows)), self._room(first.values, len(rows))
        for place, (layer, row, end, num) in enumerate(rows):
            to = slice(self._cache.num_filled - num, self._cache.num_filled)
            self.keys[place, :, to] = layer.keys[row, :, end - num : end]  # type: ignore[index]  # all are filled
            self.values[place, :, to] = layer.values[row, :, end - num : end]  # type: ignore[index]  # as above

    def get_seq_length(self) -> int:
        """Return the columns filled before this forward."""
        return self._cache.num_filled

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Return how many columns a mask covers, and that it begins at the first."""
        return (query_length if self._cache.column is None else self._cache.num_read), 0

    def _room(self, states: Tensor, num_rows: int) -> Tensor:
        _, heads, _, size = states.shape
        return torch.zeros(num_rows, heads, self._cache.room, size, dtype=states.dtype, device=states.device)

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep some rows."""
        assert self.keys is not None
        assert self.values is not None
        self.keys, self.values = self.keys.index_select(0, indices), self.values.index_select(0, indices)


def _is_windowed(model: PreTrainedModel, length: int) -> bool:
    text = model.config.get_text_config()
    kinds = set(getattr(text, "layer_types", None) or ["full_attention"])
    window = getattr(text, "sliding_window", None)
    is_short = window is not None and window < length
    return is_short or bool(kinds - {"full_attention", "attention", "sliding_attention"})
