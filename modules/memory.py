"""Estimates the memory of a run by arithmetic alone: no torch, so the page may import it.

Sizes come from the model's ``config.json`` and the headers of its safetensors files. What is counted is what the trainers
here hold at their peak; the libraries themselves (about 0.7 GiB of RAM, or a CUDA context) come on top. Each phase of a
run is counted separately, and the estimate is the largest. `tests/benchmarks/fit.py` compares it with measured peaks.
"""

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modules.config import DPOConfig, PPOConfig, RewardConfig, SFTConfig, TrainConfig, VotesConfig, settle
from modules.errors import BaseModelError

CHUNK_ELEMENTS = 2**24
"""Logits computed at a time on a CPU, as in `modules.losses`."""
NF4_BYTES = 0.516
"""Bytes of a 4-bit weight with its share of doubly quantised scales."""
HEAP, HEAP_NF4 = 0.4, 0.85
"""Share of activations and logits that the C library's heap keeps as freed blocks on a CPU. Measured, not derived.
A second micro-batch finds the heap in pieces, and twice as much is kept; with NF4, whose layers spell out their weights
between activations that stay, it lies in pieces from the start."""
LARGEST_IN_HEAP = 32 * 2**20
"""From this many bytes glibc returns a freed block at once (DEFAULT_MMAP_THRESHOLD_MAX): large logits leave nothing."""
GPU_SLACK = 0.1
"""Share of what comes and goes in a step that the GPU's allocator holds beyond it: rounded blocks, and free pieces too small
for the next. Assumed for expandable segments, not measured: there has been no GPU."""
SMALL, SMALL_OF_PPO = 8 * 2**20, 24 * 2**20
"""Bytes of small things in a step or iteration (loop, threads, compiled kernels), measured on the smallest models."""
PARTS = ("weights", "adapters", "gradients", "optimizer", "activations", "logits", "kv cache", "workspace", "heap")
"""Parts of an estimate, in the order in which they are drawn."""


@dataclass(frozen=True)
class Sizes:
    """A model in numbers."""

    hidden: int
    inner: int
    layers: int
    query: int
    """Width of all query heads."""
    key_value: int
    """Width of all key (or value) heads."""
    vocab: int
    linear: tuple[tuple[int, int], ...]
    """(out, in) of every linear layer that may be adapted."""
    others: int
    """Weights outside these layers: embeddings, output layer, norms."""
    is_gated: bool
    """True if the inner layer has a gate (SwiGLU)."""
    positions: int

    @property
    def in_linear(self) -> int:
        """Weights of the linear layers."""
        return sum(out * width for out, width in self.linear)

    @property
    def largest(self) -> int:
        """Weights of the largest linear layer."""
        return max((out * width for out, width in self.linear), default=0)


@dataclass(frozen=True)
class Load:
    """Contents of one forward pass of a run."""

    rows: int
    """Texts in a micro-batch."""
    length: int
    """Tokens of the longest."""
    taught: int
    """Tokens of a text that logits are needed for."""


@dataclass(frozen=True)
class Estimate:
    """Bytes at the peak of the phase that takes most."""

    phase: str
    """update or rollout."""
    parts: Mapping[str, int]
    """Name of `PARTS` to bytes."""
    phases: Mapping[str, int]
    """Phase to its bytes."""

    @property
    def total(self) -> int:
        """Bytes."""
        return sum(self.parts.values())


def chunk_factor(gpu_bytes: int) -> int:
    """Return how many times as many logits a GPU computes at a time as a CPU: 64 MiB of them for each whole 8 GB, at most 512 MiB.

    Args:
        gpu_bytes: The GPU's memory; 0 for a CPU.
    """
    return min(8, max(1, gpu_bytes // (8 * 10**9)))


def merges_by_itself(num_weights: int, gpu_bytes: int) -> bool:
    """Return whether ``rollout_weights=auto`` makes a copy of 16 bits: where it takes at most a quarter of the GPU's memory.

    It is compared with the whole memory, not with what is free, so that a resumed run decides alike.
    """
    return 4 * 2 * num_weights <= gpu_bytes


def read_sizes(folder: Path) -> Sizes:
    """Read the sizes of a model folder.

    Raises:
        BaseModelError: its files cannot be read.
    """
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        shapes = {name: shape for file in sorted(folder.glob("*.safetensors")) for name, shape in _header(file).items()}
        return _sizes(config, shapes)
    except (OSError, ValueError, struct.error) as error:
        raise BaseModelError(f"The size of the model in {folder} cannot be read: {error}.") from error


def _sizes(config: dict[str, Any], shapes: dict[str, Any]) -> Sizes:
    config = config.get("text_config") or config
    hidden = _first(config, "hidden_size", "n_embd")
    heads = _first(config, "num_attention_heads", "n_head")
    head = config.get("head_dim") or hidden // heads
    linear = {name: shape for name, shape in shapes.items() if len(shape) == 2 and not _is_embedding(name)}
    everything = sum(_count(shape) for shape in shapes.values())
    return Sizes(
        hidden=hidden,
        inner=_first(config, "intermediate_size", "n_inner", default=4 * hidden),
        layers=_first(config, "num_hidden_layers", "n_layer"),
        query=heads * head,
        key_value=(config.get("num_key_value_heads") or heads) * head,
        vocab=_first(config, "vocab_size"),
        linear=tuple((shape[0], shape[1]) for shape in linear.values()),
        others=everything - sum(_count(shape) for shape in linear.values()),
        is_gated=any("gate" in name for name in linear),
        positions=_first(config, "max_position_embeddings", "n_positions", default=2**31),
    )


def estimate(
    config: TrainConfig, sizes: Sizes, load: Load, *, is_cpu: bool, has_bf16: bool = True, gpu_bytes: int = 0
) -> Estimate:
    """Estimate the memory of a run at its peak.

    Args:
        config: Of a stage that trains; what it leaves to its checkpoint counts as SFT's defaults.
        sizes: Of its base model.
        load: Of its largest micro-batch; see `worst_load`.
        is_cpu: True if it computes on the CPU.
        has_bf16: True if precision auto means bf16 on the GPU.
        gpu_bytes: The GPU's memory; 0 where it is not known.
    """
    config = settle(config)
    number = _number(config, is_cpu, has_bf16)
    fixed = _fixed(config, sizes, number)
    update = fixed | _training(config, sizes, load, number, is_cpu, gpu_bytes)
    phases = {"update": update}
    if isinstance(config, PPOConfig):
        phases["rollout"] = fixed | _rollout(config, sizes, load, number, gpu_bytes)
    for name, parts in phases.items():
        parts["heap"] = _heap(config, parts, is_update=name == "update") if is_cpu else _slack(parts)
    totals = {name: sum(parts.values()) for name, parts in phases.items()}
    peak = max(totals, key=lambda name: totals[name])
    return Estimate(
        peak, {name: int(phases[peak].get(name, 0)) for name in PARTS}, {n: int(t) for n, t in totals.items()}
    )


def worst_load(config: TrainConfig, sizes: Sizes, longest: int = 0) -> Load:
    """Return the largest micro-batch that settings allow; with the `longest` text known, that of the data."""
    rows = min(config.micro_batch_size, config.batch_size)
    if isinstance(config, PPOConfig):
        length = longest or config.max_prompt_length + config.max_new_tokens
        return Load(min(rows, config.minibatch_size), min(length, sizes.positions), config.max_new_tokens)
    length = min(longest or config.max_length, sizes.positions)
    if isinstance(config, VotesConfig):
        return Load(2 * rows, length, length if isinstance(config, DPOConfig) else 0)
    assert isinstance(config, SFTConfig)
    return Load(rows, config.max_length if config.packing else length, length)


def advice(config: TrainConfig, found: Estimate) -> list[str]:
    """Advise which settings make a run take less, what helps most first."""
    config, size = settle(config), found.parts
    tips = {
        "Choose method lora: gradients and optimizer are then those of the adapters only.": (
            size["gradients"] + size["optimizer"] if config.method == "full" else 0
        ),
        "Choose quantisation nf4: the frozen base then takes an eighth of fp32, a quarter of bf16.": (
            size["weights"] if config.method == "lora" and config.quantisation == "none" else 0
        ),
        "Lower micro_batch_size: nothing in the result changes.": (
            size["activations"] + size["logits"] if config.micro_batch_size > 1 else 0
        ),
        "Turn on gradient_checkpointing: about a third slower.": 0
        if config.gradient_checkpointing
        else size["activations"] * 0.8,
        "Lower rollout_batch_size: nothing in the result changes.": size["kv cache"],
    }
    return [tip for tip, gain in sorted(tips.items(), key=lambda item: -item[1]) if gain > 0.1 * found.total]


def _heap(config: TrainConfig, parts: Mapping[str, float], *, is_update: bool) -> float:
    """Return the bytes of freed blocks that the heap of the C library keeps."""
    batch = config.minibatch_size if isinstance(config, PPOConfig) else config.batch_size
    share = HEAP * (2 if is_update and config.micro_batch_size < batch else 1)
    block = parts["logits"] / _copies(config)
    kept = parts["activations"] + (parts["logits"] if block < LARGEST_IN_HEAP else 0)
    return kept * (HEAP_NF4 if config.quantisation == "nf4" else share)


def _slack(parts: Mapping[str, float]) -> float:
    """Return the bytes that the GPU's allocator holds without use."""
    return GPU_SLACK * sum(parts.get(name, 0) for name in ("activations", "logits", "kv cache", "workspace"))


def _copies(config: TrainConfig) -> int:
    """Count the tensors of the size of a chunk of logits that are held at once."""
    return 4 if isinstance(config, PPOConfig) else 3


def _number(config: TrainConfig, is_cpu: bool, has_bf16: bool) -> int:
    """Return the bytes of a number of the frozen base in computation."""
    precision = config.precision
    if precision == "auto":
        precision = "bf16" if has_bf16 and not is_cpu else "fp32"
    return 2 if precision == "bf16" else 4


def _fixed(config: TrainConfig, sizes: Sizes, number: int) -> dict[str, float]:
    """Count what is held throughout: weights, adapters and heads, moments of Adam."""
    trained = 2 if isinstance(config, PPOConfig) else 1
    frozen = 2 if isinstance(config, PPOConfig) else 1 if isinstance(config, DPOConfig) else 0
    whole = sizes.in_linear + sizes.others
    if config.method == "full":
        weights = whole * (4 * trained + number * frozen)
        return {"weights": weights, "optimizer": 8 * whole * trained, "gradients": 4 * whole * trained}
    linear = NF4_BYTES if config.quantisation == "nf4" else number
    adapter = config.lora_rank * sum(out + width for out, width in _adapted(config, sizes))
    extra = 1 if isinstance(config, RewardConfig) and config.keep_best else 0
    return {
        "weights": linear * sizes.in_linear + number * sizes.others,
        "adapters": 4 * adapter * (trained + frozen + extra),
        "optimizer": 8 * adapter * trained,
        "gradients": 4 * adapter * trained,
    }


def _adapted(config: TrainConfig, sizes: Sizes) -> list[tuple[int, int]]:
    if config.lora_targets == "all-linear":
        return list(sizes.linear)
    return [shape for shape in sizes.linear if sizes.inner not in shape]


def _training(
    config: TrainConfig, sizes: Sizes, load: Load, number: int, is_cpu: bool, gpu_bytes: int
) -> dict[str, float]:
    """Forward and backward of one micro-batch."""
    tokens = load.rows * load.length
    layer = _saved_per_token(config, sizes, number)
    passing = _passing_per_token(sizes, number)
    if config.gradient_checkpointing:
        activations = tokens * (sizes.layers * sizes.hidden * _stream(config, number) + layer + passing)
    else:
        activations = tokens * (sizes.layers * layer + passing)
    chunk = min(load.rows * load.taught * sizes.vocab, max(CHUNK_ELEMENTS * chunk_factor(gpu_bytes), sizes.vocab))
    workspace = 4 * sizes.largest * (2 if is_cpu or config.quantisation == "nf4" else 1)
    workspace += SMALL_OF_PPO if isinstance(config, PPOConfig) else SMALL
    if config.method == "full" and number == 2:
        workspace += 2 * (sizes.in_linear + sizes.others)  # autocast's copies of the weights, held by the graph
    return {
        "activations": activations,
        "logits": _copies(config) * 4 * chunk if load.taught else 0,
        "workspace": workspace,
    }


def _stream(config: TrainConfig, number: int) -> int:
    """Return the bytes of a number of the residual stream: in full it is float32."""
    return 4 if config.method == "full" else number


def _saved_per_token(config: TrainConfig, sizes: Sizes, number: int) -> float:
    """Count the bytes that one layer keeps of one token for the backward pass, tensor by tensor on a Llama."""
    hidden, query, inner = sizes.hidden, sizes.query, sizes.inner
    # Queries, keys, values and what attention returns, which is also the input of the output projection.
    attention = number * (2 * query + 2 * sizes.key_value)
    activated = number * (3 if sizes.is_gated else 2) * inner
    if config.method == "full":
        # Two norms keep their float32 input and output; linear layers keep their input, under autocast a copy each.
        norms, inputs = 4 * 4 * hidden, 4 * (2 * hidden + inner) if number == 4 else 2 * (5 * hidden + inner)
    elif number == 2:
        # Adapters multiply in 16 bits: layers that share an input keep it once, and each its product with the inner rank.
        norms, inputs = 4 * 2 * hidden, 2 * (2 * hidden + inner) + 2 * 7 * config.lora_rank
    else:
        norms, inputs = 4 * 2 * hidden, 4 * (2 * hidden + inner)
    return norms + inputs + attention + activated


def _passing_per_token(sizes: Sizes, number: int) -> float:
    """Count the bytes of one token that only the running layer holds: gradients of its inner values."""
    return 4 * (3 * sizes.inner + 4 * sizes.hidden)


def _rollout(config: PPOConfig, sizes: Sizes, load: Load, number: int, gpu_bytes: int) -> dict[str, float]:
    """Count sampling with a cache of fixed length; where the adapter is merged, with a copy of the linear layers."""
    prompt = max(1, load.length - config.max_new_tokens)
    rows = min(config.batch_size, config.rollout_batch_size)
    cache = rows * (prompt + config.max_new_tokens) * 2 * sizes.key_value * sizes.layers * number
    draws = rows * sizes.vocab * 28
    prefill = rows * prompt * number * (3 * sizes.inner + 4 * sizes.hidden)
    copy = number * sizes.in_linear if _is_merged(config, sizes, number, gpu_bytes) else 0
    return {
        "kv cache": cache,
        "activations": prefill,
        "logits": draws,
        "workspace": copy + 4 * sizes.largest,
        "gradients": 0,
    }


def _is_merged(config: PPOConfig, sizes: Sizes, number: int, gpu_bytes: int) -> bool:
    """Return whether a copy of the policy's linear layers samples."""
    if config.method == "full" or config.rollout_weights != "auto":
        return config.method == "lora" and config.rollout_weights == "merged"
    is_exact = config.quantisation == "none" and number == 4
    return is_exact or merges_by_itself(sizes.in_linear, gpu_bytes)


def _header(file: Path) -> dict[str, list[int]]:
    with file.open("rb") as stream:
        (length,) = struct.unpack("<Q", stream.read(8))
        header = json.loads(stream.read(length))
    return {name: entry["shape"] for name, entry in header.items() if name != "__metadata__"}


def _is_embedding(name: str) -> bool:
    return any(part in name for part in ("embed", "wte", "wpe", "lm_head", "embed_out"))


def _count(shape: list[int]) -> int:
    number = 1
    for size in shape:
        number *= size
    return number


def _first(config: Mapping[str, Any], *names: str, default: int | None = None) -> int:
    for name in names:
        if config.get(name) is not None:
            return int(config[name])
    if default is None:
        raise ValueError(f"config.json names no {names[0]}")
    return default
