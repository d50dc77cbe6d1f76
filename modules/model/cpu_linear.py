"""Matrix products on CPUs: the same float32 numbers, up to twice as fast, and an adapter's share without extra passes.

torch multiplies float32 matrices with MKL, which leaves half of the machine unused on CPUs of other makers that have
AVX-512. oneDNN, which torch carries too, does not. Its switch is called "bf16", because on CPUs with AMX it would round to
bfloat16; hence a probe: it is used only where the product stays exact. It is on for linear layers alone: inside torch's
attention it would prepare a new kernel for each call.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from peft.tuners.lora.layer import Linear as LoraLinear
from torch import Tensor, nn


def use_onednn(model: nn.Module) -> None:
    """Let a model's float32 linear layers on the CPU, adapted or not, use oneDNN; others stay unchanged."""
    if not onednn_is_exact():
        return
    for module in model.modules():
        if _is_plain(module):
            module.__class__ = QuickLinear
        elif type(module) is LoraLinear and _is_plain(module.get_base_layer()):
            module.__class__ = QuickLoraLinear


@cache
def onednn_is_exact() -> bool:
    """Return whether products by oneDNN agree with float64 as well as float32 can."""
    if not torch.backends.mkldnn.is_available():
        return False
    generator = torch.Generator().manual_seed(0)
    first, second = torch.randn(2, 128, 128, generator=generator)
    with _onednn():
        product = first @ second
    exact = first.double() @ second.double()
    return bool((product - exact).abs().max() < 1e-5 * exact.abs().max())


class QuickLinear(nn.Linear):
    """A linear layer that multiplies by oneDNN."""

    def forward(self, input: Tensor) -> Tensor:
        """Map (..., in) to (..., out)."""
        return super().forward(input) if _is_mixed(input) else _product(input, self.weight, self.bias)


class QuickLoraLinear(LoraLinear):
    """A linear layer with adapters, of which at most one is active, that multiplies by oneDNN."""

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Map (..., in) to (..., out)."""
        names = [name for name in self.active_adapters if name in self.lora_A]
        if self.disable_adapters or not names:
            return self.base_layer(x, *args, **kwargs)
        (name,) = names
        base = self.base_layer
        assert isinstance(base, nn.Linear)
        if (
            args
            or kwargs
            or self.merged
            or _is_mixed(x)
            or name in self.lora_variant
            or _drops(self.lora_dropout[name])
        ):
            return super().forward(x, *args, **kwargs)
        down, up = self.lora_A[name], self.lora_B[name]
        assert isinstance(down, nn.Linear)
        assert isinstance(up, nn.Linear)
        return _product(x, base.weight, base.bias, down.weight, up.weight, self.scaling[name])


def _product(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    down: Tensor | None = None,
    up: Tensor | None = None,
    scale: float = 1.0,
) -> Tensor:
    rows = x.reshape(-1, x.shape[-1])
    if torch.is_grad_enabled():
        result = _Product.apply(rows, weight, bias, down, up, scale)
    else:
        with _onednn():
            result = F.linear(rows, _fold(weight, down, up, scale), bias)
    return result.view(*x.shape[:-1], -1)


def _fold(weight: Tensor, down: Tensor | None, up: Tensor | None, scale: float) -> Tensor:
    """Return W + s U D. The sum costs a pass over one layer's weights; the usual way costs three over all rows."""
    return weight if down is None or up is None else torch.addmm(weight, up, down, alpha=scale)


class _Product(torch.autograd.Function):
    """x (W + s U D)' + b of rows x (N, in) with W (out, in), b (out), and an adapter's D (r, in) and U (out, r)."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, down: Tensor | None, up: Tensor | None, scale: float
    ) -> Tensor:
        needs_x = weight.requires_grad or (down is not None and down.requires_grad)
        ctx.save_for_backward(x if needs_x else None, weight, down, up)
        ctx.scale = scale
        with _onednn():
            return F.linear(x, _fold(weight, down, up, scale), bias)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        x, weight, down, up = ctx.saved_tensors
        needs_x, needs_weight, needs_bias, needs_down, needs_up, _ = ctx.needs_input_grad
        with _onednn():
            of_x = grad @ _fold(weight, down, up, ctx.scale) if needs_x else None
            of_weight = grad.T @ x if needs_weight else None
            of_down = ((grad @ up).T @ x).mul_(ctx.scale) if needs_down else None
            of_up = (grad.T @ (x @ down.T)).mul_(ctx.scale) if needs_up else None
        return of_x, of_weight, grad.sum(0) if needs_bias else None, of_down, of_up, None


@contextmanager
def _onednn() -> Iterator[None]:
    setting = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]  # made at run time
    before = setting.fp32_precision
    setting.fp32_precision = "bf16"
    try:
        yield
    finally:
        setting.fp32_precision = before


def _is_plain(layer: nn.Module) -> bool:
    is_linear = type(layer) in (nn.Linear, QuickLinear)
    return is_linear and layer.weight.dtype is torch.float32 and layer.weight.device.type == "cpu"


def _is_mixed(x: Tensor) -> bool:
    return x.dtype is not torch.float32 or torch.is_autocast_enabled("cpu")


def _drops(dropout: nn.Module) -> bool:
    return isinstance(dropout, nn.Dropout) and dropout.training and dropout.p > 0
