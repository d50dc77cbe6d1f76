"""Merges an adapter into its base model: ``python -m studio.worker.merge CHECKPOINT FOLDER WORKSPACE DEVICE``.

An adapter that was trained on a 4-bit base has learnt to correct that base's rounding, so the base is dequantised first
and the adapter added to exactly the weights it saw. The largest change of a logit between the model as trained and the
model as saved is measured and printed as JSON.
"""

import json
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import torch
from peft import PeftModel
from torch import Tensor, nn
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.pytorch_utils import Conv1D

from modules.data.chat import ChatFormat
from modules.errors import CheckpointError, StudioError
from modules.model.backbone import HEAD_WEIGHTS
from modules.model.checkpoint import CheckpointMeta, load_meta
from modules.model.files import stored_dtype
from modules.model.pretrained import end_ids, find_model, load_config, load_model, load_tokenizer
from modules.model.roles import ADAPTER_WEIGHTS, read_weights
from modules.runtime.devices import pick_device, pick_dtype
from studio.models import base_models
from studio.models.model_card import main_role
from studio.worker.borrowed_gpu import borrowed
from studio.worker.classifier import as_classifier, prepare_tokenizer, scores
from studio.workspace import Workspace

ROUNDING = {"float64": 0.01, "float32": 0.01, "float16": 0.1, "bfloat16": 0.1}
"""The share of the largest logit by which a merged model's logits may differ: rounding in its number format."""
PROBE_ROWS, PROBE_TOKENS = 4, 32
PROBE_LENGTHS = torch.tensor([32, 24, 16, 9])
CONVERSATION = [
    {"role": "user", "content": "What is the capital of Spain?"},
    {"role": "assistant", "content": "Madrid."},
    {"role": "user", "content": "And of France?"},
    {"role": "assistant", "content": "Paris."},
]
LINE_END = r"{{ '\n' }}"  # a bare line break after a block would be trimmed
TEMPLATES = {
    "chatml": "{% for m in messages %}<|im_start|>{{ m['role'] + '\\n' + m['content'] }}"
    "{% if m['role'] == 'assistant' %}{ANSWER_END}{% else %}{TURN_END}{% endif %}{LINE_END}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant{LINE_END}{% endif %}",
    "plain": "{% for m in messages %}{{ m['content'] }}"
    "{% if m['role'] == 'assistant' %}{ANSWER_END}{% endif %}{LINE_END}{% endfor %}",
}
"""The built-in chat formats of `modules.data.chat` as templates that a tokenizer carries."""


class Probe(NamedTuple):
    """A model's outputs on a fixed text; float32, on the CPU."""

    logits: Tensor
    """(rows, tokens, V)."""
    hidden: Tensor
    """(rows, tokens, H)."""


def merge(source: Path, target: Path) -> dict[str, Any]:
    """Write the merged model with its tokenizer into `target`; returns the figures for the model card.

    A model with a head becomes a sequence classification model, see `studio.worker.classifier`.

    Raises:
        StudioError: the checkpoint or its base model cannot be used.
    """
    meta = load_meta(source)
    role = source / main_role(meta.model_dump())
    base = find_model(base_models.resolve(meta.base_model))
    tokenizer = load_tokenizer(base)
    chat = ChatFormat(tokenizer, meta.chat_template, end_ids(load_config(base), base))
    ids = _probe_ids(load_config(base).get_text_config().vocab_size, chat.end_id)
    if meta.method == "full":
        model, trained, figures = _load_full(base, role, ids)
    else:
        model, trained, figures = _merge_adapter(base, role, meta, ids)
    _dress(tokenizer, model, chat)
    if (role / HEAD_WEIGHTS).exists():
        head = read_weights(role / HEAD_WEIGHTS)
        model = as_classifier(model, head, prepare_tokenizer(tokenizer, chat))
        figures |= _score_figures(model, head, ids, trained.hidden)
    tokenizer.save_pretrained(str(target))
    model.save_pretrained(target)
    return figures | {"is_template_exact": _is_template_exact(target, chat)}


def _merge_adapter(
    base: Path, role: Path, meta: CheckpointMeta, ids: Tensor
) -> tuple[PreTrainedModel, Probe, dict[str, Any]]:
    device = pick_device("auto")
    dtype = pick_dtype(meta.config.get("precision", "auto"), device)
    model = load_model(base, dtype=dtype, device=device, quantisation=meta.quantisation)
    # 1. as it was trained
    trained = PeftModel.from_pretrained(model, str(role))
    before = _probe(trained.get_base_model(), ids)
    # 2. the same base weights, not in 4 bits, and no adapted layer that shares its tensor with another
    plain = trained.unload()
    if meta.quantisation == "nf4":
        plain = plain.dequantize()
    _untie(plain, _adapted_layers(role))
    # 3. with the adapter added
    merged = PeftModel.from_pretrained(plain, str(role)).merge_and_unload(safe_merge=True)
    _restore_layers(merged)
    return merged, before, _store(merged, base, before, ids)


def _store(model: PreTrainedModel, base: Path, before: Probe, ids: Tensor) -> dict[str, Any]:
    """Convert a model to the number format of its stored base; returns how far its logits move from those before.

    Raises:
        CheckpointError: They move too far for the same model.
    """
    stored = stored_dtype(base)
    model.to(getattr(torch, stored))
    difference = float((_probe(model, ids).logits - before.logits).abs().max())
    largest = float(before.logits.abs().max())
    if not difference <= ROUNDING[stored] * largest:
        raise CheckpointError(
            f"The merged model in {stored} answers differently from the one that was trained: a logit differs by {difference:.2g}, where "
            f"the largest is {largest:.3g}. Nothing was written. Export the checkpoint without merging; its card says how to load it."
        )
    return {"max_logit_difference": difference, "max_logit": largest, "dtype": stored}


def _adapted_layers(role: Path) -> set[str]:
    """Return the names of the layers in an adapter's file, enough to tell embedding and output layer."""
    return {name.split(".lora_")[0].rsplit(".", 1)[-1] for name in read_weights(role / ADAPTER_WEIGHTS)}


def _untie(model: PreTrainedModel, adapted: set[str]) -> None:
    """Give the output layer its own tensor, if it shares the embedding's and one of the two has an adapter."""
    embedding, output = model.get_input_embeddings(), model.get_output_embeddings()
    if output is None or output.weight is not embedding.weight:
        return
    names = {
        path.rsplit(".", 1)[-1] for path, module in model.named_modules() if module is embedding or module is output
    }
    if not names & adapted:
        return
    output.weight = nn.Parameter(output.weight.detach().clone(), requires_grad=False)
    model.config.tie_word_embeddings = False
    model.config.get_text_config().tie_word_embeddings = False


def _restore_layers(model: PreTrainedModel) -> None:
    """Turn the linear layers that 4-bit loading makes of GPT-2's `Conv1D` back: its weights are stored transposed."""
    with torch.device("meta"):
        blueprint = type(model)(model.config)
    for path, layer in blueprint.named_modules():
        linear = model.get_submodule(path)
        if isinstance(layer, Conv1D) and isinstance(linear, nn.Linear):
            restored = Conv1D(linear.out_features, linear.in_features)
            restored.weight = nn.Parameter(linear.weight.detach().T.contiguous())
            restored.bias = linear.bias
            model.set_submodule(path, restored)


def _load_full(base: Path, role: Path, ids: Tensor) -> tuple[PreTrainedModel, Probe, dict[str, Any]]:
    model = load_model(role, dtype=torch.float32, device=torch.device("cpu"))
    before = _probe(model, ids)
    return model, before, _store(model, base, before, ids)


def _probe_ids(vocab_size: int, end_id: int) -> Tensor:
    """Return random token ids (rows, tokens); row i has the end token where `_score_figures` cuts it."""
    ids = torch.randint(vocab_size, (PROBE_ROWS, PROBE_TOKENS), generator=torch.Generator().manual_seed(0))
    ids[torch.arange(PROBE_ROWS), PROBE_LENGTHS - 1] = end_id
    return ids


@torch.no_grad()
def _probe(model: Any, ids: Tensor) -> Probe:
    output = model.eval()(input_ids=ids.to(model.device), use_cache=False, output_hidden_states=True)
    return Probe(output.logits.float().cpu(), output.hidden_states[-1].float().cpu())


def _score_figures(
    classifier: PreTrainedModel, head: dict[str, Tensor], ids: Tensor, hidden: Tensor
) -> dict[str, float]:
    """Measure how far the saved model's scores of padded rows are from those of the model as trained."""
    ends = hidden[torch.arange(PROBE_ROWS), PROBE_LENGTHS - 1]
    expected = ends @ head["weight"].float()[0] + head["bias"].float()
    found = scores(classifier, ids, PROBE_LENGTHS)
    return {
        "score_bias": classifier.config.score_bias,
        "max_score_difference": float((found - expected).abs().max()),
        "max_score": float(expected.abs().max()),
    }


def _dress(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel, chat: ChatFormat) -> None:
    """Give the tokenizer the chat template the model was trained with, and the model every token that ends a response."""
    if chat.template in TEMPLATES:
        start = "".join(str(tokenizer.convert_ids_to_tokens(token)) for token in chat.bos_ids)
        answer_end = str(tokenizer.convert_ids_to_tokens(chat.end_id))
        template = TEMPLATES[chat.template].replace("{ANSWER_END}", answer_end)
        template = template.replace("{TURN_END}", chat.end_text).replace("{LINE_END}", LINE_END)
        tokenizer.chat_template = start + template
    tokenizer.model_input_names = ["input_ids", "attention_mask"]  # GPT-2 would embed token types
    if model.generation_config is not None:
        model.generation_config.eos_token_id = sorted(chat.stop_ids)
        model.generation_config.pad_token_id = chat.pad_id


def _is_template_exact(target: Path, chat: ChatFormat) -> bool:
    """Return whether the saved tokenizer, opened by plain transformers, encodes a conversation as in training."""
    tokenizer = AutoTokenizer.from_pretrained(target, local_files_only=True)
    ids = tokenizer.apply_chat_template(CONVERSATION, tokenize=True, return_dict=False)
    expected = chat.encode_conversation(CONVERSATION).ids
    return list(ids)[: len(expected)] == expected


def main(source: str, target: str, root: str = "", device: str = "auto") -> int:
    """Merge and print the figures; a refusal is a sentence on stderr. In a workspace, on a GPU that no run uses."""
    try:
        with borrowed(Workspace.existing(root), device) if root else nullcontext():
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
    sys.exit(main(*sys.argv[1:]))
