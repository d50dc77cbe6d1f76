"""The steps of `tests.benchmarks.gpu`: checks on the starter model, then figures of random models of well-known sizes."""

import argparse
import json
import math
import shutil
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import torch

from assets import STARTER
from modules import memory
from modules.config import PPOConfig
from modules.data.datamodules import PPOBatch, PPODataModule, RewardDataModule, SFTDataModule
from modules.model import checkpoint, generate
from modules.model.backbone import Backbone
from modules.ppo import PPOModule
from modules.reward import RewardModule
from modules.runtime.devices import gpu_bytes
from modules.sft import SFTModule
from tests.benchmarks import stage, workload
from tests.benchmarks.workload import SHAPES, Shape, Work


@dataclass(frozen=True)
class Place:
    """Where a step computes."""

    device: str
    work: Path
    is_tiny: bool

    def load(self, folder: Path, **options: Any) -> Backbone:
        """Return a backbone on the device, seeded."""
        torch.manual_seed(0)
        return Backbone.load(str(folder), device=self.device, **options)


def machine(place: Place) -> dict[str, Any]:
    """Name the card, and measure at how many bytes a second it copies."""
    if place.device == "cpu":
        return {"card": "none", "torch": torch.__version__, "bandwidth_gb_s": _bandwidth("cpu")}
    found = torch.cuda.get_device_properties(0)
    return {
        "card": found.name,
        "gib": found.total_memory / 2**30,
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "bandwidth_gb_s": _bandwidth("cuda"),
    }


def stages(place: Place, precision: str, quantisation: str) -> dict[str, Any]:
    """Take the three stages end to end on the starter model: losses finite, the frozen untouched, a resume equal bit for bit."""
    options = {"precision": precision, "quantisation": quantisation}
    model = STARTER / "model"
    found: dict[str, Any] = {}
    backbone = place.load(model, **options)
    backbone.add_role("policy", trainable=True)
    rows = [_demonstration(i) for i in range(16)]
    data: Any = SFTDataModule(rows, rows[:4], backbone.chat, batch_size=8, epochs=1)
    module: Any = SFTModule(backbone, num_steps=data.num_steps, sample_prompts=[data.rows[0].ids[:4]])
    found["sft"] = _fit(module, data)
    checkpoint.save(_new(place.work / "sft"), module, stage="sft", config={})
    backbone = place.load(model, **options)
    backbone.add_role("reward", source=place.work / "sft" / "policy", trainable=True, head=True, members=2)
    pairs = [_comparison(i) for i in range(16)]
    data = RewardDataModule(pairs, [], backbone.chat, batch_size=8, ensemble=2)
    module = RewardModule(backbone, num_steps=data.num_steps)
    found["reward"] = _fit(module, data)
    module.finish(data.reference_answers())
    checkpoint.save(_new(place.work / "reward"), module, stage="reward", config={})

    def build(iterations: int) -> tuple[PPOModule, PPODataModule]:
        backbone = place.load(model, **options)
        backbone.add_role("reference", source=place.work / "sft" / "policy")
        backbone.add_role("policy", source=place.work / "sft" / "policy", trainable=True)
        backbone.add_role("reward", source=place.work / "reward" / "reward", head=True)
        backbone.add_role("value", copy_of="reward", trainable=True, head=True)
        prompts = [row | {"messages": row["messages"][:1]} for row in rows]
        data = PPODataModule(prompts, [], backbone.chat, batch_size=8, iterations=iterations)
        return PPOModule(backbone, max_new_tokens=16, minibatch_size=4, value_warmup=0, epochs=1), data

    module, data = build(2)
    frozen = {name: p.clone() for name, p in module.named_parameters() if not p.requires_grad}
    found["ppo"] = _fit(module, data)
    after = dict(module.named_parameters())
    found["frozen_unchanged"] = all(torch.equal(after[name], was) for name, was in frozen.items())
    first, data = build(1)
    _fit(first, data)
    checkpoint.save(_new(place.work / "ppo"), first, stage="ppo", config={})
    second, data = build(2)
    checkpoint.restore(second, place.work / "ppo")
    data.start_step = second.step_index
    _fit(second, data)
    both = zip(module.parameters(), second.parameters(), strict=True)
    found["resumed_equal"] = all(torch.equal(one, other) for one, other in both)
    return found


def sampling(place: Place) -> dict[str, Any]:
    """Compare float32 responses with the CPU's, recorded steps with plain ones, and merged weights with adapters."""
    prompts = [[5 + i, 6, 7] for i in range(16)]

    def answers(device: str, **options: Any) -> list[list[int]]:
        backbone = Place(device, place.work, place.is_tiny).load(STARTER / "model", precision="fp32")
        backbone.add_role("policy")
        return generate.generate(backbone, "policy", prompts, max_new_tokens=64, seed=3, **options).responses

    here, there = answers("cpu"), answers(place.device)
    record, generate.recorder_of = generate.recorder_of, lambda device: None
    plain = answers(place.device)
    generate.recorder_of = record
    return {
        "equal_to_the_cpu": _share(here, there),
        "recorded_equal_to_plain": _share(plain, there),
        "merged_equal_to_adapter": _share(answers(place.device, weights="adapter"), there),
    }


def demo(place: Place) -> dict[str, Any]:
    """Run the whole loop with the scripted rater; the report is in the workspace."""
    if place.is_tiny:
        return {"skipped": "it takes minutes"}
    workspace = _new(place.work / "demo")
    command = [sys.executable, "-c", "import sys; from studio.cli import main; sys.exit(main())"]
    command += ["demo", "--workspace", str(workspace), "--seed", "0"]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    return {"last_words": found.stdout.strip().splitlines()[-8:]}


def rollout(place: Place, size: str, quantisation: str) -> dict[str, Any]:
    """Sample 64 responses of 512 tokens, next to the time in which the weights could be read once a token."""
    work = _work(place)
    backbone = _random_model(place, size, quantisation)
    backbone.add_role("policy", trainable=True)
    backbone.chat.stop_ids = frozenset()
    prompts = workload.prompts(work)[0]
    found: dict[str, Any] = {}
    for weights in ("merged", "adapter"):
        _forget_peak()
        seconds = _seconds(
            lambda weights=weights: generate.generate(
                backbone, "policy", prompts, max_new_tokens=work.response, batch_size=len(prompts), weights=weights
            )
        )
        found[f"{weights}_tokens_s"] = work.batch * work.response / seconds
        found[f"{weights}_peak_gib"] = _peak_gib()
    held = sum(p.numel() * p.element_size() for n, p in backbone.named_parameters() if "lora_" not in n)
    found["limit_tokens_s"] = work.batch * _bandwidth(place.device) * 1e9 / held
    return found


def iteration(place: Place, size: str, quantisation: str) -> dict[str, Any]:
    """Take one PPO iteration by phase, and compare its peak with the estimate."""
    work = _work(place)
    backbone = _random_model(place, size, quantisation)
    backbone.add_role("reference")
    backbone.add_role("policy", copy_of="reference", trainable=True)
    backbone.add_role("reward", head=True)
    backbone.add_role("value", copy_of="reward", trainable=True, head=True)
    config = PPOConfig(
        method="lora",
        quantisation=quantisation,
        precision="bf16",
        lora_rank=16,
        lora_alpha=32,
        lora_targets="all-linear",
        gradient_checkpointing=True,
        batch_size=work.batch,
        minibatch_size=work.batch,
        micro_batch_size=work.micro_batch,
        max_prompt_length=work.prompt,
        max_new_tokens=work.response,
        epochs=1,
        value_warmup=0,
        center_scores=False,
    )
    module = PPOModule.from_config(config, backbone)
    backbone.chat.stop_ids = frozenset()
    log: dict[str, Any] = {}
    module.log_dict = log.update
    module.train()
    _forget_peak()
    with _stepping():
        module.training_step(PPOBatch(workload.prompts(work)[0], None), 0)
    sizes = memory.read_sizes(_folder(place, size))
    load = memory.worst_load(config, sizes)
    total = gpu_bytes(backbone.device)
    guess = memory.estimate(config, sizes, load, is_cpu=place.device == "cpu", gpu_bytes=total)
    times = {name: log[name] for name in log if name.startswith("time/")}
    return times | {"peak_gib": _peak_gib(), "estimate_gib": guess.total / 2**30, "phase": guess.phase}


def training(place: Place, size: str, quantisation: str) -> dict[str, Any]:
    """Measure SFT and the reward model in tokens or pairs a second."""
    work = Work(pairs=8, documents=8, rows_per_step=4) if place.is_tiny else Work(pairs=64, documents=128)
    found: dict[str, Any] = {}
    for name in ("sft", "reward"):
        _forget_peak()
        backbone = _random_model(place, size, quantisation)
        found |= {f"{name}: {stage.UNITS[name]}": stage.STAGES[name](backbone, work)["rate"]}
        found[f"{name}_peak_gib"] = _peak_gib()
        del backbone
    return found


def _work(place: Place) -> Work:
    """Return the work of a rollout and an iteration: 64 responses of 512 tokens to prompts of 256."""
    if place.is_tiny:
        return Work(prompt=8, response=24, batch=4, micro_batch=2, iterations=1)
    return Work(prompt=256, response=512, batch=64, micro_batch=8, iterations=1)


def _random_model(place: Place, size: str, quantisation: str) -> Backbone:
    checkpointed = not place.is_tiny
    return place.load(
        _folder(place, size), precision="bf16", quantisation=quantisation, gradient_checkpointing=checkpointed
    )


def _folder(place: Place, size: str) -> Path:
    """Write a model of random weights once; in a tiny run all have one small shape."""
    folder = place.work / f"model-{size}"
    if not (folder / "config.json").exists():
        shape = Shape(64, 2, 4, 2, 128, 4096) if place.is_tiny else SHAPES[size]
        workload.write_model(_new(folder), shape, place.device)
    return folder


def _demonstration(number: int) -> dict[str, Any]:
    user = {"role": "user", "content": f"What is {number} plus 1?"}
    assistant = {"role": "assistant", "content": f"It is {number + 1}, or so they say."}
    return {"prompt_id": number, "category": "sums", "messages": [user, assistant]}


def _comparison(number: int) -> dict[str, Any]:
    row = _demonstration(number)
    sides = {"chosen": f"It is {number + 1}.", "rejected": "I do not know."}
    return row | {"messages": row["messages"][:1]} | sides | {"target_p": 1.0, "margin": 0.0, "weight": 1.0}


def _fit(module: Any, data: Any) -> dict[str, float]:
    """Fit, and return the metrics of the last step; they must be finite."""
    trainer = L.Trainer(
        max_epochs=1,
        accelerator=module.backbone.device.type,
        devices=1,
        logger=False,
        num_sanity_val_steps=0,
        limit_val_batches=0,
        inference_mode=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, datamodule=data)
    found = {name: float(value) for name, value in trainer.callback_metrics.items()}
    assert found, "nothing was logged"
    assert all(math.isfinite(value) for value in found.values()), found
    return found


def _stepping() -> Any:
    """Let a module step without a Trainer."""
    from unittest import mock

    def step(module: Any) -> None:
        module.optimizer.step()
        module.optimizer.zero_grad(set_to_none=True)

    return mock.patch("modules.ppo.take_step", step)


def _new(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _share(first: list[list[int]], second: list[list[int]]) -> float:
    return sum(one == other for one, other in zip(first, second, strict=True)) / len(first)


def _bandwidth(device: str) -> float:
    """Return the GB a second that a copy within the memory reads and writes."""
    block = torch.empty(2**28 if device == "cuda" else 2**24, dtype=torch.uint8, device=device)
    other = torch.empty_like(block)
    other.copy_(block)
    return 10 * 2 * block.numel() / _seconds(lambda: [other.copy_(block) for _ in range(10)]) / 1e9


def _seconds(work: Callable[[], object]) -> float:
    _wait()
    start = time.perf_counter()
    work()
    _wait()
    return time.perf_counter() - start


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _forget_peak() -> None:
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def _peak_gib() -> float:
    return stage.peak_mib() / 1024


STEPS: dict[str, Callable[[Place], dict[str, Any]]] = {
    "machine": machine,
    "stages_bf16": partial(stages, precision="bf16", quantisation="none"),
    "stages_nf4": partial(stages, precision="bf16", quantisation="nf4"),
    "sampling": sampling,
    **{
        f"{name}_{size}_{kind}": partial(step, size=size, quantisation=kind)
        for size, kind in (
            ("0.5B", "none"),
            ("8B", "nf4"),
            ("1.5B", "none"),
            ("3B", "nf4"),
            ("3B", "none"),
            ("1.5B", "nf4"),
        )
        for name, step in (("rollout", rollout), ("iteration", iteration), ("training", training))
    },
    "demo": demo,
}
"""In order of worth."""


def main() -> None:
    """Run one step and print its figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("step", choices=STEPS)
    parser.add_argument("device", choices=["cuda", "cpu"])
    parser.add_argument("work", type=Path)
    parser.add_argument("--tiny", action="store_true")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    if arguments.device == "cpu":
        torch.set_num_threads(1)
    arguments.work.mkdir(parents=True, exist_ok=True)
    print(json.dumps(STEPS[arguments.step](Place(arguments.device, arguments.work, arguments.tiny))))


if __name__ == "__main__":
    main()
