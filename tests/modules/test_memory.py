"""The memory estimate against bytes that are counted, and against what must rise and fall."""

import json
import struct
from pathlib import Path

import pytest

from assets import STARTER
from modules.config import PPOConfig, RewardConfig, SFTConfig
from modules.errors import BaseModelError
from modules.memory import advice, estimate, read_sizes, worst_load
from tests.benchmarks import memory as counted

MODEL = STARTER / "model"


@pytest.fixture(scope="module")
def sizes():
    return read_sizes(MODEL)


def of(config, sizes):
    return estimate(config, sizes, worst_load(config, sizes), is_cpu=True)


def test_all_weights_of_the_file_are_counted(sizes):
    header = MODEL / "model.safetensors"
    size = header.stat().st_size - 8 - struct.unpack("<Q", header.read_bytes()[:8])[0]
    assert 4 * (sizes.in_linear + sizes.others) == size
    assert sizes.hidden == 128
    assert sizes.layers == 6
    assert sizes.is_gated


@pytest.mark.parametrize("quantisation", ["none", "nf4"])
def test_weights_and_adapters_are_those_that_a_backbone_holds(sizes, quantisation):
    parts = of(PPOConfig(quantisation=quantisation, device="cpu"), sizes).parts
    held = counted.held_bytes(counted.four_roles(MODEL, quantisation, "fp32"))
    assert parts["weights"] + parts["adapters"] == pytest.approx(held, rel=0.02)


def test_full_training_holds_sixteen_bytes_a_weight(sizes):
    parts = of(SFTConfig(method="full", device="cpu"), sizes).parts
    weights = sizes.in_linear + sizes.others
    assert parts["weights"] + parts["gradients"] + parts["optimizer"] == 16 * weights


def test_what_saves_memory_is_estimated_to_save_some(sizes):
    for base in (SFTConfig(), RewardConfig(), PPOConfig(method="full")):
        whole = of(base, sizes).total
        assert of(base.model_copy(update={"micro_batch_size": 1}), sizes).total < whole
        assert of(base.model_copy(update={"gradient_checkpointing": True}), sizes).total < whole
    assert of(SFTConfig(quantisation="nf4"), sizes).parts["weights"] < of(SFTConfig(), sizes).parts["weights"]


def test_on_a_gpu_the_allocator_holds_a_tenth_of_what_comes_and_goes_and_nothing_of_what_stays(sizes):
    config = SFTConfig(precision="bf16")
    found = estimate(config, sizes, worst_load(config, sizes), is_cpu=False, gpu_bytes=24 * 10**9)
    moving = sum(found.parts[name] for name in ("activations", "logits", "workspace"))
    assert found.parts["heap"] == pytest.approx(0.1 * moving, rel=1e-6)
    assert found.parts["weights"] > 0


@pytest.mark.parametrize("stage", ["sft", "reward", "ppo"])
def test_the_benchmark_of_the_estimate_settles_what_a_checkpoint_would(stage):
    """Else its child processes refuse to load the model of the later stages."""
    from tests.benchmarks import fit_child

    config = fit_child.config_of({"stage": stage, "settings": {"method": "full"}, "base": "starter"})
    assert (config.method, config.quantisation, config.lora_rank) == ("full", "none", 16)


def test_twice_the_cache_for_twice_the_responses(sizes):
    few, many = (
        estimate(c, sizes, worst_load(c, sizes), is_cpu=True)
        for c in (PPOConfig(rollout_batch_size=32, micro_batch_size=1), PPOConfig(micro_batch_size=1))
    )
    assert (few.phase, many.phase) == ("rollout", "rollout")
    assert many.parts["kv cache"] == 2 * few.parts["kv cache"]


def test_advice_names_what_takes_most_first(sizes):
    config = SFTConfig(method="full", micro_batch_size=1, gradient_checkpointing=True, max_length=16)
    assert advice(config, of(config, sizes))[0].startswith("Choose method lora")
    config = SFTConfig(quantisation="nf4", micro_batch_size=16)
    assert advice(config, of(config, sizes))[0].startswith("Lower micro_batch_size")


def test_a_folder_that_cannot_be_read_is_an_error_in_words(tmp_path: Path):
    (tmp_path / "config.json").write_text(json.dumps({"hidden_size": 3}), encoding="utf-8")
    with pytest.raises(BaseModelError, match="cannot be read"):
        read_sizes(tmp_path)
