"""The work that is measured: models with random weights, and prompts, pairs and demonstrations of random words.

The shape ``small`` with `WORK` is the work that the peer's script does: same model, lengths, batches, epochs and optimizer
steps.
"""

import random
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

_TEMPLATE = "{% for m in messages %}{{ m['content'] }} {% if m['role'] == 'assistant' %}t2 {% endif %}{% endfor %}"  # prompt + completion + end
_WORDS = 4096


@dataclass(frozen=True)
class Shape:
    """A Llama's size."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    intermediate: int
    vocab: int


SHAPES = {
    "small": Shape(256, 6, 4, 4, 768, 4096),
    "0.5B": Shape(896, 24, 14, 2, 4864, 151_936),
    "1.5B": Shape(1536, 28, 12, 2, 8960, 151_936),
    "3B": Shape(3072, 28, 24, 8, 8192, 128_256),
    "8B": Shape(4096, 32, 32, 8, 14_336, 128_256),
}
"""``small`` is the peer's; the others have the sizes of well-known models."""


@dataclass(frozen=True)
class Work:
    """How much there is to do; lengths in tokens."""

    prompt: int = 24
    response: int = 64
    batch: int = 32
    micro_batch: int = 8
    iterations: int = 5
    epochs: int = 4
    pairs: int = 256
    documents: int = 512
    rows_per_step: int = 16
    max_length: int = 512


WORK = Work()
QUICK = replace(WORK, iterations=3, pairs=64, documents=128)
"""The same steps, fewer of them."""


def write_model(folder: Path, shape: Shape, device: str = "cpu") -> Path:
    """A folder with random weights and a tokenizer of the words t0, t1, ... (t1 pads, t2 ends, t3 begins)."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=shape.vocab,
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        max_position_embeddings=1024,
        pad_token_id=1,
        eos_token_id=2,
        bos_token_id=3,
        tie_word_embeddings=False,
    )
    with torch.device(device):
        model = LlamaForCausalLM(config)
    if shape is not SHAPES["small"]:
        torch.nn.Module.to(model, torch.bfloat16)
    model.save_pretrained(folder)
    core = Tokenizer(WordLevel({f"t{i}": i for i in range(_WORDS)}, unk_token="t0"))
    core.pre_tokenizer = WhitespaceSplit()
    PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="t1", eos_token="t2", bos_token="t3", chat_template=_TEMPLATE
    ).save_pretrained(folder)
    return folder


def prompts(work: Work) -> list[list[list[int]]]:
    """Prompt ids for each iteration."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(4, _WORDS, (work.iterations + 1, work.batch, work.prompt), generator=generator)
    return ids.tolist()


def comparisons(work: Work) -> list[dict[str, Any]]:
    """Pairs of log-normal lengths, each of a prompt of its own."""
    rng = random.Random(0)
    sizes = zip(*(_lengths(rng, work.pairs, 48) for _ in range(3)), strict=True)
    return [
        _row(i, rng, prompt)
        | {
            "chosen": _words(rng, chosen),
            "rejected": _words(rng, rejected),
            "target_p": 1.0,
            "margin": 0.0,
            "weight": 1.0,
        }
        for i, (prompt, chosen, rejected) in enumerate(sizes)
    ]


def demonstrations(work: Work) -> list[dict[str, Any]]:
    """Prompts with completions of log-normal lengths."""
    rng = random.Random(0)
    sizes = zip(_lengths(rng, work.documents, 48), _lengths(rng, work.documents, 96), strict=True)
    rows = []
    for i, (prompt, completion) in enumerate(sizes):
        row = _row(i, rng, prompt)
        rows.append(row | {"messages": [*row["messages"], {"role": "assistant", "content": _words(rng, completion)}]})
    return rows


def _row(index: int, rng: random.Random, prompt: int) -> dict[str, Any]:
    user = {"role": "user", "content": _words(rng, prompt)}
    return {"prompt_id": f"p{index}", "category": "benchmark", "messages": [user]}


def _words(rng: random.Random, count: int) -> str:
    return " ".join(f"t{rng.randrange(4, _WORDS)}" for _ in range(count))


def _lengths(rng: random.Random, count: int, median: int) -> list[int]:
    """Log-normal, as chat data has them: capped at six times the median."""
    return [max(4, min(6 * median, int(median * rng.lognormvariate(0, 0.6)))) for _ in range(count)]
