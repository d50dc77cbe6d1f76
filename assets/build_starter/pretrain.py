"""Train the starter model from scratch: a small Llama, packed sequences, AdamW and a cosine learning rate.

Simplified on purpose: documents are laid end to end and cut into blocks, so a block may begin inside a document and see
the one before it; ``<|bos|>`` is the only sign of a new beginning. One pass over the text, no dropout; float32 weights, bfloat16 products.
"""

import math
import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from assets.build_starter.tokenizer import CONTEXT

BATCH_TOKENS = 2048
STAGES = ((128, 0.8), (512, 0.2))
"""Length of the blocks and share of the text that is read in them: short blocks are cheaper, long ones come last."""
PEAK_LEARNING_RATE = 3e-3
WARMUP_FRACTION = 0.03
WEIGHT_DECAY = 0.1
MAX_GRAD_NORM = 1.0


def fresh_model(tokenizer: PreTrainedTokenizerFast, seed: int) -> LlamaForCausalLM:
    """A fresh model of about 1.5 million parameters. Every linear layer's output size divides by 64, for NF4 on the CPU."""
    torch.manual_seed(seed)
    special: dict[str, Any] = {
        name: getattr(tokenizer, name) for name in ("pad_token_id", "bos_token_id", "eos_token_id")
    }
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=6,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        **special,
    )
    return LlamaForCausalLM(config)


def pack(documents: Sequence[Sequence[int]]) -> list[Tensor]:
    """Lay token lists end to end and cut them into batches, stage after stage.

    Returns:
        Batches (rows, length) of BATCH_TOKENS token ids each; a rest that does not fill one is dropped.
    """
    flat = torch.tensor([token for document in documents for token in document])
    batches = list(flat[: len(flat) // BATCH_TOKENS * BATCH_TOKENS].split(BATCH_TOKENS))
    return [batch.view(-1, _length_at(step, len(batches))) for step, batch in enumerate(batches)]


def _length_at(step: int, num_steps: int) -> int:
    """Length of the blocks at a step."""
    begun = 0.0
    for length, share in STAGES:
        begun += share
        if step < round(begun * num_steps):
            return length
    return STAGES[-1][0]


def learning_rate(step: int, num_steps: int) -> float:
    """Linear warm-up, then a cosine down to a fiftieth of the peak."""
    warmup = max(1, round(WARMUP_FRACTION * num_steps))
    if step < warmup:
        return PEAK_LEARNING_RATE * (step + 1) / warmup
    progress = (step - warmup) / max(1, num_steps - warmup)
    return PEAK_LEARNING_RATE * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress)))


def pretrain(model: LlamaForCausalLM, batches: Sequence[Tensor], log_every: int = 100) -> float:
    """One pass over the batches (rows, length) in order; returns the mean loss of the last 100 steps, in nats per token."""
    decayed = [p for p in model.parameters() if p.ndim >= 2]
    plain = [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": decayed, "weight_decay": WEIGHT_DECAY}, {"params": plain, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=PEAK_LEARNING_RATE, betas=(0.9, 0.95), fused=True)
    num_steps = len(batches)
    losses: list[float] = []
    start = time.monotonic()
    model.train()
    for step, batch in enumerate(batches):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, num_steps)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = model(input_ids=batch, labels=batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), MAX_GRAD_NORM)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.item())
        if (step + 1) % log_every == 0 or step + 1 == num_steps:
            recent = sum(losses[-100:]) / len(losses[-100:])
            rate = (step + 1) * batch.numel() / (time.monotonic() - start)
            print(f"step {step + 1}/{num_steps}  loss {recent:.3f} nats  {rate:,.0f} tokens/s", flush=True)
    return sum(losses[-100:]) / len(losses[-100:])
