"""Runs a few tokens through a loaded model: outputs must be finite, and equal in every way it is used here."""

from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedModel

from modules.errors import BaseModelError
from modules.model.files.family import SUITABLE
from modules.model.loading.cache import new_cache
from modules.model.loading.output import output_logits

_TOKENS, _PAST, _PADS = 8, 6, 2


@torch.no_grad()
def check_forward(model: PreTrainedModel, folder: Path) -> None:
    """Refuse a model that the trainers would use wrongly.

    They compute logits in chunks from hidden states, and sample behind padding on the left from a cache of keys and values.

    Raises:
        BaseModelError: it does not run, its outputs are not finite, or they depend on how they are computed.
    """
    vocab_size = model.config.get_text_config().vocab_size
    ids = torch.arange(_TOKENS, device=model.device).unsqueeze(0) % vocab_size
    try:
        whole = model(input_ids=ids, use_cache=False).logits.float()
        parts = _from_hidden(model, ids)
    except Exception as error:  # a probe: whatever a model raises here it would raise in training
        raise _does_not_run(folder, error) from error
    if not whole.isfinite().all():
        raise _not_finite(model, folder)
    rounding = 1e-3 if model.dtype is torch.float32 else 0.02 * float(whole.std())
    if not torch.allclose(whole, parts, atol=rounding, rtol=1e-2):
        raise BaseModelError(
            f"The model in {folder} ({model.config.model_type}) scales its logits after the output layer, which the chunked "
            "log-probabilities here do not do: choose another architecture."
        )
    try:
        sampled = _sampled(model, ids)
    except Exception as error:
        raise _does_not_run(folder, error) from error
    if not _agree(whole, sampled):
        raise BaseModelError(
            f"The model in {folder} ({model.config.model_type}) expects other tokens when it samples, with padding on the left and a "
            f"cache of the past, than when it reads a whole text, so it cannot be trained here: {SUITABLE}"
        )


def _from_hidden(model: PreTrainedModel, ids: Tensor) -> Tensor:
    positions = torch.arange(ids.shape[1], device=ids.device).unsqueeze(0)
    hidden = model.base_model(input_ids=ids, position_ids=positions, use_cache=False)
    return output_logits(model, hidden.last_hidden_state)


def _sampled(model: PreTrainedModel, ids: Tensor) -> Tensor:
    """Return logits (1, T, V) as the sampler gets them: padding on the left, some tokens at once, then one by one."""
    cache = new_cache()
    padded = torch.cat([ids[:, :1].expand(-1, _PADS), ids], dim=1)
    mask = torch.arange(padded.shape[1], device=ids.device).unsqueeze(0) >= _PADS
    positions = (mask.long().cumsum(-1) - 1).clamp(min=0)
    found, start = [], 0
    for end in range(_PADS + _PAST, padded.shape[1] + 1):
        output = model.base_model(
            input_ids=padded[:, start:end],
            attention_mask=mask[:, :end].long(),
            position_ids=positions[:, start:end],
            past_key_values=cache,
            use_cache=True,
        )
        found.append(output_logits(model, output.last_hidden_state))
        start = end
    return torch.cat(found, dim=1)[:, _PADS:]


def _agree(whole: Tensor, sampled: Tensor) -> bool:
    """Return whether two ways to the same logits differ by rounding only; in 16 bits that may pick another expert."""
    if sampled.shape != whole.shape:
        return False
    difference = (whole - sampled).abs()
    return bool(sampled.isfinite().all()) and float(difference.mean()) <= 0.02 * float(whole.std()) + 1e-3


def _not_finite(model: PreTrainedModel, folder: Path) -> BaseModelError:
    """Return the error for outputs that are not finite: which weights are not, or too small a number format."""
    bad = [
        name for name, value in model.state_dict().items() if value.is_floating_point() and not value.isfinite().all()
    ]
    if bad:
        others = f" and {len(bad) - 1} others" if len(bad) > 1 else ""
        return BaseModelError(
            f"The model in {folder} is damaged: its weights {bad[0]}{others} hold NaN or infinity, so its outputs are not finite. "
            "Fetch it again, or choose another model."
        )
    return BaseModelError(
        f"The outputs of the model in {folder} are not finite in {str(model.dtype).removeprefix('torch.')}, though all its weights are: "
        "choose another precision (fp32), or another model."
    )


def _does_not_run(folder: Path, error: Exception) -> BaseModelError:
    first = (str(error).strip().splitlines() or [""])[0][:200]
    return BaseModelError(f"The model in {folder} loads but does not run ({type(error).__name__}: {first}): {SUITABLE}")
