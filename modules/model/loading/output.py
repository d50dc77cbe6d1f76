"""The output layer: logits in float32, also where hidden states and weights have 16 bits.

Logits rounded to bfloat16 are up to 0.06 off where they are about 20, and so are log-probabilities; the ratios and KLs of PPO
are made of differences of them. The products are the same, only kept as they are summed.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel

_BLOCK = 2**24
"""Weights that are widened at a time on a CPU: 64 MiB."""


def output_logits(model: PreTrainedModel, hidden: Tensor) -> Tensor:
    """Return float32 logits (..., V) of last hidden states (..., H), capped where the model caps them (Gemma 2)."""
    output_layer = model.get_output_embeddings()
    assert output_layer is not None, "a causal language model has an output layer"
    kind = hidden.device.type
    if hidden.dtype is torch.float32 and torch.is_autocast_enabled(kind):
        hidden = hidden.to(torch.get_autocast_dtype(kind))
    if isinstance(output_layer, nn.Linear) and hidden.dtype is not torch.float32:
        with torch.autocast(kind, enabled=False):
            rows = hidden.reshape(-1, hidden.shape[-1])
            logits: Tensor = _WideLinear.apply(rows, output_layer.weight, output_layer.bias)
            logits = logits.view(*hidden.shape[:-1], -1)
    else:
        logits = output_layer(hidden).float()
    cap = getattr(model.config.get_text_config(), "final_logit_softcapping", None)
    return logits if cap is None else cap * torch.tanh(logits / cap)


class _WideLinear(torch.autograd.Function):
    """x W' + b of rows x (N, H) in 16 bits with W (V, H): float32 (N, V). Gradients have 16 bits, as they would have."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        product = _wide_product(x, weight)
        return product if bias is None else product.add_(bias.float())

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        needs_x, needs_weight, needs_bias = ctx.needs_input_grad
        grad = grads[0].to(x.dtype)
        return (
            grad @ weight.to(x.dtype) if needs_x else None,
            (grad.T @ x).to(weight.dtype) if needs_weight else None,
            grads[0].sum(0).to(weight.dtype) if needs_bias else None,
        )


def _wide_product(x: Tensor, weight: Tensor) -> Tensor:
    """Return x W' in float32 from numbers of 16 bits."""
    if x.device.type == "cuda":
        return torch.mm(x, weight.to(x.dtype).T, out_dtype=torch.float32)
    wide, rows = x.float(), max(1, _BLOCK // weight.shape[1])
    return torch.cat([F.linear(wide, part.to(x.dtype).float()) for part in weight.split(rows)], dim=-1)
