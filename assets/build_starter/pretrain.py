"""Train the starter model from scratch: a small Llama, packed sequences, AdamW and a cosine learning rate.

Simplified on purpose: documents are laid end to end and cut into blocks, so a block may begin inside a document and see
the one before it; ``<|bos|>`` is the only sign of a new beginning. One pass over the text, no dropout; float32 weights, bfloat16 products.
"""

import math
import time
from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from assets.build_starter.tokenizer import CONTEXT

BATCH_SIZE = 16
BLOCK = 256
PEAK_LEARNING_RATE = 4e-3
WARMUP_FRACTION = 0.03
WEIGHT_DECAY = 0.1
MAX_GRAD_NORM = 1.0


def build_model(tokenizer: PreTrainedTokenizerFast, seed: int) -> LlamaForCausalLM:
    """A fresh model of about 1.5 million parameters. Every linear layer's output size divides by 64, for NF4 on the CPU."""
    torch.manual_seed(seed)
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
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    return LlamaForCausalLM(config)


def pack(documents: Sequence[Sequence[int]], length: int = BLOCK) -> Tensor:
    """Lay token lists end to end and cut them into blocks.

    Returns:
        (num_blocks, length) token ids; the rest that does not fill a block is dropped.
    """
    flat = torch.tensor([token for document in documents for token in document])
    num_blocks = len(flat) // length
    return flat[: num_blocks * length].view(num_blocks, length)


def learning_rate(step: int, num_steps: int) -> float:
    """Linear warm-up, then a cosine down to a fiftieth of the peak."""
    warmup = max(1, round(WARMUP_FRACTION * num_steps))
    if step < warmup:
        return PEAK_LEARNING_RATE * (step + 1) / warmup
    progress = (step - warmup) / max(1, num_steps - warmup)
    return PEAK_LEARNING_RATE * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress)))


def pretrain(model: LlamaForCausalLM, blocks: Tensor, log_every: int = 100) -> float:
    """One pass over ``blocks`` (num_blocks, length) in the given order; returns the mean loss of the last 50 steps, in nats."""
    decayed = [p for p in model.parameters() if p.ndim >= 2]
    plain = [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": decayed, "weight_decay": WEIGHT_DECAY}, {"params": plain, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=PEAK_LEARNING_RATE, betas=(0.9, 0.95), fused=True)
    num_steps = len(blocks) // BATCH_SIZE
    losses: list[float] = []
    start = time.monotonic()
    model.train()
    for step in range(num_steps):
        batch = blocks[step * BATCH_SIZE : (step + 1) * BATCH_SIZE]
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
            recent = sum(losses[-50:]) / len(losses[-50:])
            rate = (step + 1) * batch.numel() / (time.monotonic() - start)
            print(f"step {step + 1}/{num_steps}  loss {recent:.3f} nats  {rate:,.0f} tokens/s", flush=True)
    return sum(losses[-50:]) / len(losses[-50:])
