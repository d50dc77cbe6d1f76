"""Adapted layers that share one word for the role that is played, and keep little for the backward pass in 16 bits.

peft tells each layer which adapter is active, and touches every tensor in doing so: tens of thousands of calls a switch. Here
all layers read one `Turn`. In 16 bits the adapters' float32 weights are rounded to the layer's format for the products, so that
a layer keeps its input once, not a float32 copy of it for each adapter (QLoRA computes in this way too).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from peft.tuners.lora import LoraLayer
from peft.tuners.lora.layer import Linear as LoraLinear
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.integrations import dequantize_bnb_weight, get_bnb_param_type
from torch import Tensor, nn

BASE = "base"
"""The role without any adapter: the pretrained model itself. Exists with LoRA only."""


_kinds: set[type] = set()
"""Classes made by `_with_turn`."""


class Turn:
    """The role that the layers of one model play."""

    def __init__(self) -> None:
        self.role = BASE


def share_turn(layer: Any, turn: Turn) -> BaseTunerLayer:
    """Let a layer of peft read this turn from now on."""
    if type(layer) not in _kinds:
        layer.__class__ = _with_turn(type(layer))
    layer.turn = turn
    return layer


@cache
def _with_turn(kind: Any) -> type:
    """Return a class of peft's layers with a turn; its instances can become ones of the new class."""

    class TurnLayer(kind):
        turn: Turn
        sampling_weight: Tensor | None = None
        """(out, in) base and adapter as one, while a role samples from a 4-bit base."""

        @property
        def disable_adapters(self) -> bool:
            return self.turn.role == BASE

        @property
        def active_adapter(self) -> str:
            return self.turn.role

        def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            if self.sampling_weight is not None:
                return F.linear(x, self.sampling_weight, self.get_base_layer().bias)
            if not args and not kwargs and _is_half(self, x, self.turn.role):
                return _half_product(self, x, self.turn.role)
            return super().forward(x, *args, **kwargs)

    TurnLayer.__name__ = f"Turn{kind.__name__}"
    _kinds.add(TurnLayer)
    return TurnLayer


@contextmanager
def folded(layers: Sequence[Any], name: str) -> Iterator[None]:
    """Fold an adapter into the base weights of its layers inside the block, in which the base must play.

    The original tensors come back afterwards, so nothing drifts. 4-bit weights are spelt out in the format they compute in.
    """
    originals: list[tuple[nn.Parameter, Tensor]] = []
    try:
        for layer in layers:
            weight = layer.get_base_layer().weight
            assert isinstance(weight, nn.Parameter)
            if is_4bit(layer):
                layer.sampling_weight = _sum(dequantize_bnb_weight(weight), layer, name)
            else:
                originals.append((weight, weight.data))
                weight.data = _sum(weight.data, layer, name)
        yield
    finally:
        for weight, data in originals:
            weight.data = data
        for layer in layers:
            layer.sampling_weight = None


def _sum(weight: Tensor, layer: Any, name: str) -> Tensor:
    if name not in layer.lora_A:
        return weight
    return (weight.float() + layer.get_delta_weight(name).detach().float()).to(weight.dtype)


def is_4bit(layer: Any) -> bool:
    """Return whether a layer's base holds 4-bit weights."""
    return get_bnb_param_type(layer.get_base_layer().weight) == "4bit"


def can_fold(layers: Sequence[Any], tied: object) -> bool:
    """Return whether all layers are linear and none of their weights is the embedding's, ``tied``."""
    kinds = all(isinstance(layer, LoraLinear) or is_4bit(layer) for layer in layers)
    return kinds and all(layer.get_base_layer().weight is not tied for layer in layers)


def _is_half(layer: Any, x: Tensor, name: str) -> bool:
    """Return whether an adapter can be multiplied in the 16 bits of the layer's input x (..., in)."""
    if x.dtype not in (torch.bfloat16, torch.float16) or torch.is_autocast_enabled(x.device.type):
        return False
    if not isinstance(layer, LoraLayer) or name not in layer.lora_A or layer.merged or name in layer.lora_variant:
        return False
    up = layer.lora_B[name]
    return isinstance(up, nn.Linear) and up.bias is None and not _drops(layer.lora_dropout[name])


def _half_product(layer: Any, x: Tensor, name: str) -> Tensor:
    base, down, up = layer.get_base_layer(), layer.lora_A[name].weight, layer.lora_B[name].weight
    is_plain = type(base) is nn.Linear and base.weight.dtype is x.dtype
    weight, bias = (base.weight, base.bias) if is_plain else (None, None)
    rows = x.reshape(-1, x.shape[-1])
    result = _HalfProduct.apply(rows, weight, bias, down, up, layer.scaling[name]).view(*x.shape[:-1], -1)
    return result if is_plain else base(x) + result


class _HalfProduct(torch.autograd.Function):
    """x W' + b + s (x D') U' of rows x (N, in) in 16 bits; W and b may be missing. D (r, in) and U (out, r) are float32.

    Kept for the backward: x, which the layers that share an input keep once, and x D' (N, r).
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, down: Tensor, up: Tensor, scale: float
    ) -> Tensor:
        inner = x @ down.to(x.dtype).T
        ctx.save_for_backward(x if down.requires_grad else None, inner if up.requires_grad else None, weight, down, up)
        ctx.scale = scale
        if weight is None:
            return (inner * scale) @ up.to(x.dtype).T
        return torch.addmm(F.linear(x, weight, bias), inner, up.to(x.dtype).T, alpha=scale)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        x, inner, weight, down, up = ctx.saved_tensors
        needs_x, _, _, needs_down, needs_up, _ = ctx.needs_input_grad
        of_inner = (grad @ up.to(grad.dtype)) * ctx.scale
        of_x = None
        if needs_x:
            of_x = of_inner @ down.to(grad.dtype)
            of_x = of_x if weight is None else torch.addmm(of_x, grad, weight)
        of_down = _wide(of_inner.T, x) if needs_down else None
        of_up = _wide(grad.T, inner).mul_(ctx.scale) if needs_up else None
        return of_x, None, None, of_down, of_up, None


def _wide(first: Tensor, second: Tensor) -> Tensor:
    """Return the product of two matrices of 16 bits in float32."""
    if first.device.type == "cuda":
        return torch.mm(first, second, out_dtype=torch.float32)
    return (first @ second).float()


def _drops(dropout: nn.Module) -> bool:
    return isinstance(dropout, nn.Dropout) and dropout.training and dropout.p > 0
