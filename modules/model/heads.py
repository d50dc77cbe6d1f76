"""Linear heads that read a score from a hidden state: one, or an ensemble whose members disagree where unsure.

A head's file holds the mean head as ``weight`` (1, H) and ``bias`` (1), which any reader can use, and next to it the
members of an ensemble as ``members.weight`` (M, H) and ``members.bias`` (M).
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from modules.errors import CheckpointError


class EnsembleHead(nn.Linear):
    """M linear heads on one trunk (Osband et al. 2016); their mean, itself a linear head, is what it returns."""

    def forward(self, input: Tensor) -> Tensor:
        """Return the mean of the members: (..., H) to (..., 1)."""
        return self.members(input).mean(-1, keepdim=True)

    def members(self, hidden: Tensor) -> Tensor:
        """Return each member's output: (..., H) to (..., M)."""
        return super().forward(hidden)


def new_head(hidden_size: int, members: int = 1) -> nn.Linear:
    """Draw a float32 head from N(0, 1 / (H + 1)), each member separately; biases are 0."""
    kind = nn.Linear if members == 1 else EnsembleHead
    head = kind(hidden_size, members, dtype=torch.float32)
    nn.init.normal_(head.weight, std=1 / math.sqrt(hidden_size + 1))
    nn.init.zeros_(head.bias)
    return head


def member_outputs(head: nn.Module, hidden: Tensor) -> Tensor:
    """Return outputs (..., M) on hidden states (..., H); M is 1 for a head that is not an ensemble."""
    return head.members(hidden) if isinstance(head, EnsembleHead) else head(hidden)


def head_tensors(head: nn.Module) -> dict[str, Tensor]:
    """Return what a head's file holds."""
    own = {name: value.detach().cpu().contiguous() for name, value in head.state_dict().items()}
    if not isinstance(head, EnsembleHead):
        return own
    return _mean(own) | {f"members.{name}": value for name, value in own.items()}


def num_members(tensors: Mapping[str, Tensor]) -> int:
    """Return how many members the head in a file has."""
    return len(tensors["members.bias"]) if "members.bias" in tensors else 1


def load_head(head: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Overwrite a head with a file's tensors; a head that is not an ensemble takes the mean.

    Raises:
        CheckpointError: The file holds another number of members than the ensemble has.
    """
    if not isinstance(head, EnsembleHead):
        head.load_state_dict({name: tensors[name] for name in ("weight", "bias")})
        return
    if num_members(tensors) != head.out_features:
        raise CheckpointError(
            f"The checkpoint's head has {num_members(tensors)} members, but {head.out_features} are needed: set ensemble to "
            f"{num_members(tensors)}, or choose another checkpoint."
        )
    head.load_state_dict({name: tensors[f"members.{name}"] for name in ("weight", "bias")})


def _mean(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.mean(0, keepdim=True) for name, value in tensors.items()}
