"""Writes the README of an exported model: its kind, origin and figures, and how to load it elsewhere."""

import json
from collections.abc import Mapping
from typing import Any

from modules.config import STAGES
from studio.models.checkpoints import Checkpoint

WHAT = {
    "sft": "a language model fine-tuned on demonstrations",
    "reward": "a reward model: it scores a response to a prompt",
    "ppo": "a language model trained by PPO against a reward model",
    "dpo": "a language model trained by DPO on ratings",
}
TEMPLATES = {
    "own": "The tokenizer's own chat template.",
    "chatml": "ChatML: each turn is `<|im_start|>role`, a line break, the text, `<|im_end|>`, a line break.",
    "plain": "Plain: each turn on a line of its own; an assistant turn ends with the end token.",
}


def model_card(
    checkpoint: Checkpoint,
    parents: Mapping[str, str],
    meta: Mapping[str, Any],
    figures: Mapping[str, Any] | None,
) -> str:
    """Return the card as Markdown.

    Args:
        checkpoint: The exported checkpoint.
        parents: Role to the checkpoint that its run started from.
        meta: The checkpoint's meta.json, with its base model as plain peft finds it.
        figures: The figures of merging, where it was merged.
    """
    sections = [
        _front_matter(meta["base_model"], is_adapter=meta["method"] == "lora" and figures is None),
        f"# {checkpoint.name}\n\nMade with RLHF Studio: {WHAT[checkpoint.stage]}, saved at step {checkpoint.step}.",
        _facts(checkpoint, parents, meta),
        "## Measured\n\n"
        + (_table(checkpoint.metrics) if checkpoint.metrics else "Nothing was measured on held-out data."),
        "## Loading it\n\n" + _loading(checkpoint.stage, meta, figures),
        "## Settings that were not defaults\n\n"
        + f"```json\n{json.dumps(_changed(checkpoint.stage, meta.get('config', {})), indent=2)}\n```",
    ]
    return "\n\n".join(sections) + "\n"


def _changed(stage: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the run's settings that were not at their default, those of another version of the studio too."""
    fields = STAGES[stage].model_fields
    return {name: value for name, value in config.items() if name not in fields or value != fields[name].default}


def _front_matter(base_model: str, is_adapter: bool) -> str:
    library = "peft" if is_adapter else "transformers"
    return f"---\nbase_model: {json.dumps(base_model)}\nlibrary_name: {library}\n---"


def _facts(checkpoint: Checkpoint, parents: Mapping[str, str], meta: Mapping[str, Any]) -> str:
    lineage = ", ".join(f"{name} ({role})" for role, name in parents.items())
    lines = [
        f"- Base model: {meta['base_model']} (fingerprint {checkpoint.base_fingerprint})",
        f"- Trained: {meta['method']}" + (", on a 4-bit NF4 base" if meta["quantisation"] == "nf4" else ""),
        f"- Started from: {lineage or 'the base model'}",
        f"- Conversations: {TEMPLATES.get(meta['chat_template'], meta['chat_template'])}",
        f"- Saved: {checkpoint.created_at}",
    ]
    return "\n".join(lines)


def _loading(stage: str, meta: Mapping[str, Any], figures: Mapping[str, Any] | None) -> str:
    """Return a snippet for plain peft and transformers, with the notes it needs."""
    if stage == "reward" and figures is not None:
        return _classifying(meta, figures)
    role = main_role(meta)
    is_adapter = meta["method"] == "lora" and figures is None
    imports, lines = ["from transformers import AutoModelForCausalLM"], []
    if is_adapter:
        imports.insert(0, "from peft import PeftModel")
        lines.append(f"base = AutoModelForCausalLM.from_pretrained({meta['base_model']!r})")
        lines.append(f"model = PeftModel.from_pretrained(base, {role!r})")
    else:
        where = "." if figures else role
        lines.append(f"model = AutoModelForCausalLM.from_pretrained({where!r})")
    if figures is None:
        imports[-1] += ", AutoTokenizer"
        lines.append(f"tokenizer = AutoTokenizer.from_pretrained({meta['base_model']!r})  # the base model's own")
    if stage == "reward":
        imports.append("from safetensors.torch import load_file")
        lines += _scoring(f"{role}/head.safetensors", is_adapter)
    text = "In this folder:\n\n```python\n" + "\n".join([*imports, "", *lines]) + "\n```"
    if not figures:
        text += f"\n\nIts folders are roles: {', '.join(meta['roles'])}."
        if meta["quantisation"] == "nf4":
            text += " The adapter was trained on the base in NF4 with double quantisation; load the base the same way."
        return text
    return f"{text}\n\n{_merging(meta, figures)}"


def _merging(meta: Mapping[str, Any], figures: Mapping[str, Any]) -> str:
    """Say what merging lost."""
    text = f"Merging changed no logit by more than {figures['max_logit_difference']:.2g}"
    text += f" (largest logit: {figures['max_logit']:.3g}; weights saved as {figures['dtype']})"
    text += "; the 4-bit base was dequantised first." if meta["quantisation"] == "nf4" else "."
    if not figures["is_template_exact"]:
        text += (
            "\n\nCaution: opened by plain transformers, the tokenizer gives a conversation other ids than the model was trained "
            "on, so results differ a little. The ids of training come from `modules.data.chat.ChatFormat` of RLHF Studio."
        )
    return text


def _classifying(meta: Mapping[str, Any], figures: Mapping[str, Any]) -> str:
    """Return a snippet that scores conversations with a merged reward model."""
    bias = figures["score_bias"]
    plus = f" + {bias!r}  # the head's constant, for which this class has no place" if bias else ""
    text = f"""In this folder:

```python
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(".")
model = AutoModelForSequenceClassification.from_pretrained(".").eval()
conversations = [
    [{{"role": "user", "content": "What is the capital of Spain?"}}, {{"role": "assistant", "content": "Madrid."}}],
]
batch = tokenizer.apply_chat_template(conversations, padding=True, return_tensors="pt", return_dict=True)
with torch.no_grad():
    scores = model(**batch).logits[:, 0]{plus}
```

A conversation ends with the assistant's answer; its score is read at the end token, which the template writes last. Pad on
the right with the tokenizer's pad token, and with nothing else. A score is any number, not a probability: in a pipeline set
`function_to_apply="none"`. These scores differ from those in training by {figures["max_score_difference"]:.2g} at most (largest score:
{figures["max_score"]:.3g}, on padded random rows)."""
    return f"{text}\n\n{_merging(meta, figures)}"


def _scoring(head: str, is_adapter: bool) -> list[str]:
    """Return lines of code that score `ids`, a conversation including the response's end token."""
    inner = "model.get_base_model().base_model" if is_adapter else "model.base_model"
    return [
        f"head = load_file({head!r})",
        "# ids (1, T): the conversation, up to and with the end token of the response",
        f"hidden = {inner}(input_ids=ids).last_hidden_state[0, -1].float()",
        'score = hidden @ head["weight"][0] + head["bias"][0]',
    ]


def _table(metrics: Mapping[str, float]) -> str:
    rows = [f"| {name} | {value:.4g} |" for name, value in sorted(metrics.items())]
    return "\n".join(["| metric | value |", "|---|---|", *rows])


def main_role(meta: Mapping[str, Any]) -> str:
    """Return the checkpoint's main role: the policy where it has one."""
    return "policy" if "policy" in meta["roles"] else meta["roles"][0]
