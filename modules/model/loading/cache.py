"""Keys and values of the past while sampling."""

from typing import Any

import torch
from torch import Tensor
from transformers import Cache
from transformers.cache_utils import DynamicLayer

_ROOM = 64


def new_cache() -> Cache:
    """Return an empty cache; it holds attention layers only."""
    return Cache(layer_class_to_replicate=RoomyLayer)


class RoomyLayer(DynamicLayer):
    """Keys and values (B, heads, T, D) of one layer, with room for tokens to come.

    transformers' own layer copies all it holds at every token, which takes two fifths of the time of sampling on a CPU.
    """

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Add the newest tokens; returns all keys and values."""
        start, end = self.get_seq_length(), self.get_seq_length() + key_states.shape[-2]
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self._room = torch.empty(0), torch.empty(0)
        if start == 0 or end > self._room[0].shape[-2]:
            self._room = self._grown(self.keys, key_states, end), self._grown(self.values, value_states, end)
        for room, states in zip(self._room, (key_states, value_states), strict=True):
            room[..., start:end, :] = states
        self.keys, self.values = (room[..., :end, :] for room in self._room)
        return self.keys, self.values

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep some rows."""
        length = self.get_seq_length()
        self._room = self._room[0][indices], self._room[1][indices]
        self.keys, self.values = (room[..., :length, :] for room in self._room)

    def _grown(self, held: Tensor | None, states: Tensor, end: int) -> Tensor:
        rows, heads, _, size = states.shape
        room = states.new_empty(rows, heads, end + max(_ROOM, end // 2), size)
        if held is not None and held.numel():
            room[..., : held.shape[-2], :] = held
        return room
