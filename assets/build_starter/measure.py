"""What the finished model can do: its losses on held-out text, and what the scripted rater finds in its samples."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import AutoTokenizer, LlamaForCausalLM, PreTrainedTokenizerFast

from assets.build_starter.card import count_splits
from studio.demo.scripted_rater import Assessment, assess

Row = dict[str, Any]
SAMPLE_SEED = 0
MAX_NEW_TOKENS = 96


class Sample(NamedTuple):
    """One response and what the rater saw in it; None where it has no opinion."""

    prompt: Row
    text: str
    num_tokens: int
    has_end: bool
    seen: Assessment | None


def measure(folder: Path, prompts: Sequence[Row], demonstrations: Sequence[Row]) -> dict[str, Any]:
    """All figures of the model card that are not known from the training."""
    model = LlamaForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    held_out = [row for row in demonstrations if row["split"] == "test"]
    samples = sample(model, tokenizer, [row for row in prompts if row["split"] == "test" and row["reference"]])
    story = next(row for row in prompts if row["split"] == "test" and not row["reference"])
    firsts = {item.prompt["category"]: item for item in reversed([*samples, *sample(model, tokenizer, [story])])}
    lengths = sorted(item.num_tokens for item in samples)
    references = {row["id"]: row["reference"] for row in prompts if row["reference"]}
    shown = [row for row in demonstrations if row["split"] == "train" and row["prompt_id"] in references]
    seen = [assess(references[row["prompt_id"]], row["messages"][-1]["content"]) for row in shown]
    return {
        "story_loss": response_loss(model, tokenizer, [row for row in held_out if row["category"] == "story"]),
        "other_loss": response_loss(model, tokenizer, [row for row in held_out if row["category"] != "story"]),
        "num_samples": len(samples),
        "shares": [row._asdict() for row in shares(samples)],
        "end_share": sum(item.has_end for item in samples) / len(samples),
        "median_tokens": lengths[len(lengths) // 2],
        "p95_tokens": lengths[int(0.95 * len(lengths))],
        "samples": [
            {"prompt": item.prompt["messages"][-1]["content"], "response": item.text}
            for item in reversed(firsts.values())
        ],
        "prompts": count_splits(prompts),
        "demonstrations": count_splits(demonstrations),
        "right_demonstrations": sum(item.is_right for item in seen) / len(seen),
        "ideal_demonstrations": sum(item.is_ideal for item in seen) / len(seen),
    }


@torch.inference_mode()
def response_loss(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, rows: Sequence[Row], batch_size: int = 36
) -> float:
    """Mean loss in nats per response token (the end token included) over demonstrations."""
    total, count = 0.0, 0
    model.eval()
    for start in range(0, len(rows), batch_size):
        encoded: Any = tokenizer.apply_chat_template(
            [row["messages"] for row in rows[start : start + batch_size]],
            return_dict=True,
            return_assistant_tokens_mask=True,
            padding=True,
            padding_side="right",
        )
        ids = torch.tensor(encoded["input_ids"])
        keep = torch.tensor(encoded["assistant_masks"])[:, 1:].bool()
        logits = model(ids, attention_mask=torch.tensor(encoded["attention_mask"])).logits[:, :-1].float()
        losses = torch.nn.functional.cross_entropy(logits.transpose(1, 2), ids[:, 1:], reduction="none")
        total += losses[keep].sum().item()
        count += int(keep.sum())
    return total / count


@torch.inference_mode()
def sample(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, prompts: Sequence[Row], batch_size: int = 64
) -> list[Sample]:
    """One response at temperature 1 to each prompt."""
    torch.manual_seed(SAMPLE_SEED)
    model.eval()
    samples: list[Sample] = []
    for start in range(0, len(prompts), batch_size):
        batch = prompts[start : start + batch_size]
        encoded: Any = tokenizer.apply_chat_template(
            [row["messages"] for row in batch],
            add_generation_prompt=True,
            padding=True,
            return_tensors="pt",
            return_dict=True,
        )
        width = encoded["input_ids"].shape[1]
        generating: Any = model  # the class inherits it from a mixin that its stub does not name
        output = generating.generate(
            **encoded, do_sample=True, temperature=1.0, top_k=0, top_p=1.0, max_new_tokens=MAX_NEW_TOKENS
        )
        samples += [_read(row, ids[width:], tokenizer) for row, ids in zip(batch, output, strict=True)]
    return samples


def _read(row: Row, ids: Tensor, tokenizer: PreTrainedTokenizerFast) -> Sample:
    tokens = ids.tolist()
    has_end = tokenizer.eos_token_id in tokens
    if has_end:
        tokens = tokens[: tokens.index(tokenizer.eos_token_id) + 1]
    text = str(tokenizer.decode(tokens, skip_special_tokens=True))
    return Sample(row, text, len(tokens), has_end, assess(row["reference"], text) if row["reference"] else None)


class Shares(NamedTuple):
    """What the rater found in a set of samples: shares from 0 to 1, and the mean utility."""

    category: str
    num_samples: int
    courteous: float
    complete: float
    right: float
    to_the_point: float
    ideal: float
    utility: float


def shares(samples: Sequence[Sample]) -> list[Shares]:
    """The shares in each rated category, and in all of them."""
    rated = [item for item in samples if item.seen is not None]
    names = list(dict.fromkeys(item.prompt["category"] for item in rated))
    table = [_shares(name, [i.seen for i in rated if i.seen and i.prompt["category"] == name]) for name in names]
    return [*table, _shares("all", [item.seen for item in rated if item.seen])]


def _shares(name: str, seen: Sequence[Assessment]) -> Shares:
    number = len(seen)
    return Shares(
        category=name,
        num_samples=number,
        courteous=sum(item.is_courteous and not item.is_rude for item in seen) / number,
        complete=sum(item.completeness == 1.0 for item in seen) / number,
        right=sum(item.is_right for item in seen) / number,
        to_the_point=sum(item.num_idle == 0 and item.num_excess_words == 0 for item in seen) / number,
        ideal=sum(item.is_ideal for item in seen) / number,
        utility=sum(item.utility for item in seen) / number,
    )
