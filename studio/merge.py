"""Merges a checkpoint's adapter into its base model: ``python -m studio.merge CHECKPOINT FOLDER``. Nobody imports it.

An adapter that was trained on a 4-bit base has learnt to correct that base's rounding, so the base is dequantised first
and the adapter added to exactly the weights it saw. The largest change of a logit between the model as trained and the
model as saved is measured and printed as JSON.
"""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor
from transformers import PreTrainedModel

from modules.backbone import HEAD_WEIGHTS, pick_device, pick_dtype
from modules.chat import ChatFormat
from modules.checkpoint import CheckpointMeta, load_meta
from modules.errors import StudioError
from modules.pretrained import end_ids, find_model, load_model, load_tokenizer
from studio import base_models
from studio.model_card import main_role

PROBE_ROWS, PROBE_TOKENS = 4, 32
LINE_END = r"{{ '\n' }}"  # a bare line break behind a block would be trimmed
TEMPLATES = {
    "chatml": "{% for m in messages %}<|im_start|>{{ m['role'] + '\\n' + m['content'] }}"
    "{% if m['role'] == 'assistant' %}{ANSWER_END}{% else %}{TURN_END}{% endif %}{LINE_END}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant{LINE_END}{% endif %}",
    "plain": "{% for m in messages %}{{ m['content'] }}"
    "{% if m['role'] == 'assistant' %}{ANSWER_END}{% endif %}{LINE_END}{% endfor %}",
}
"""The built-in chat formats of `modules.chat` as templates that a tokenizer carries."""


def merge(source: Path, target: Path) -> dict[str, Any]:
    """Write the merged model with its tokenizer into `target`; returns the figures for the model card.

    Raises:
        StudioError: the checkpoint or its base model cannot be used.
    """
    meta = load_meta(source)
    role = source / main_role(meta.model_dump())
    base = find_model(base_models.resolve(meta.base_model))
    if meta.method == "full":
        model, figures = _load_full(role)
    else:
        model, figures = _merge_adapter(base, role, meta)
    _write_tokenizer(base, target, meta, model)
    model.save_pretrained(target)
    if (role / HEAD_WEIGHTS).exists():
        shutil.copy(role / HEAD_WEIGHTS, target / HEAD_WEIGHTS)
    return figures


def _merge_adapter(base: Path, role: Path, meta: CheckpointMeta) -> tuple[PreTrainedModel, dict[str, Any]]:
    device = pick_device("auto")
    model = load_model(base, dtype=pick_dtype("auto", device), device=device, quantisation=meta.quantisation)
    stored_dtype = model.config.dtype if isinstance(model.config.dtype, torch.dtype) else torch.float32
    # 1. as it was trained
    trained = PeftModel.from_pretrained(model, str(role))
    before = _logits(trained)
    # 2. the same base weights, no longer in 4 bits
    plain = trained.unload()
    if meta.quantisation == "nf4":
        plain = plain.dequantize()
    # 3. the adapter added to them
    merged = PeftModel.from_pretrained(plain, str(role)).merge_and_unload(safe_merge=True)
    merged.to(stored_dtype)
    after = _logits(merged)
    return merged, {
        "max_logit_difference": float((after - before).abs().max()),
        "max_logit": float(before.abs().max()),
        "dtype": str(stored_dtype).removeprefix("torch."),
    }


def _load_full(role: Path) -> tuple[PreTrainedModel, dict[str, Any]]:
    model = load_model(role, dtype=torch.float32, device=torch.device("cpu"))
    largest = float(_logits(model).abs().max())
    return model, {"max_logit_difference": 0.0, "max_logit": largest, "dtype": "float32"}


@torch.no_grad()
def _logits(model: Any) -> Tensor:
    """Float32 logits (rows, tokens, V) of a fixed probe on the CPU."""
    vocab_size = model.config.get_text_config().vocab_size
    ids = torch.randint(vocab_size, (PROBE_ROWS, PROBE_TOKENS), generator=torch.Generator().manual_seed(0))
    return model.eval()(input_ids=ids.to(model.device), use_cache=False).logits.float().cpu()


def _write_tokenizer(base: Path, target: Path, meta: CheckpointMeta, model: PreTrainedModel) -> None:
    """The tokenizer with the chat template the model was trained with, and every token that ends a response."""
    tokenizer = load_tokenizer(base)
    chat = ChatFormat(tokenizer, meta.chat_template, end_ids(model.config, base))
    if meta.chat_template in TEMPLATES:
        start = "".join(str(tokenizer.convert_ids_to_tokens(token)) for token in chat.bos_ids)
        answer_end = str(tokenizer.convert_ids_to_tokens(chat.end_id))
        template = TEMPLATES[meta.chat_template].replace("{ANSWER_END}", answer_end)
        template = template.replace("{TURN_END}", chat.end_text).replace("{LINE_END}", LINE_END)
        tokenizer.chat_template = start + template
    tokenizer.save_pretrained(str(target))
    if model.generation_config is not None:
        model.generation_config.eos_token_id = sorted(chat.stop_ids)
        model.generation_config.pad_token_id = chat.pad_id


def main(source: str, target: str) -> int:
    """Merge and print the figures; a refusal is one sentence on stderr."""
    try:
        figures = merge(Path(source), Path(target))
    except StudioError as error:
        print(error, file=sys.stderr)
        return 1
    except (torch.OutOfMemoryError, MemoryError):
        print("There is not enough memory for the whole model. Merge on a machine with more.", file=sys.stderr)
        return 1
    print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
