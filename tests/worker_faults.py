"""Workers on a machine that fails them in a chosen phase: ``python tests/worker_faults.py WORKSPACE``.

As in `faulty_worker`, each run is a real child process that does what `studio.worker` does. Memory runs out by a real limit
(RLIMIT_AS) that the test sets in that phase, and by an allocation that asks for more. Writes ``names.json``, then moves the
whole workspace to WORKSPACE-moved and works on there.
"""

import json
import os
import resource
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import modules.ppo
import modules.reward
import modules.rl.sampler
import modules.sft
import studio.worker.training
from modules.config import PPOConfig, RewardConfig, SampleConfig, SFTConfig
from modules.model import checkpoint
from studio.models import checkpoints
from studio.preferences import comparisons, prompts, ratings
from studio.runs import runs
from studio.workspace import Workspace
from tests.faulty_worker import TINY, fresh, work
from tests.support import stored, warm

SMALL = TINY | {"epochs": 1, "eval_every": 2}
SFT = SFTConfig(**SMALL, save_every=2)
REWARD = RewardConfig(**SMALL)
PPO = PPOConfig(
    **TINY,
    iterations=2,
    eval_every=1,
    eval_prompts=2,
    minibatch_size=8,
    epochs=1,
    max_new_tokens=4,
    value_warmup=1,
    save_every=1,
)


def exhaust(*_: Any, **__: Any) -> Any:
    """Ask for 4 GiB where 64 MiB more are allowed."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (64 << 20), resource.RLIM_INFINITY))
    try:
        torch.empty(1 << 30)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def taken_gpu(*_: Any, **__: Any) -> Any:
    """What torch raises where another program holds the GPU's memory; there is no GPU here."""
    raise torch.OutOfMemoryError(
        "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 23.6 GiB."
    )


def at(module: Any, name: str, happens: Callable[..., Any], call: int = 1, within: str = "main") -> Callable[[], None]:
    """From its n-th call within another function on, this happens instead of the function of that name."""

    def apply() -> None:
        real, calls = getattr(module, name), []

        def failing(*args: Any, **options: Any) -> Any:
            if within in {frame.name for frame in traceback.extract_stack()}:
                calls.append(1)
            return (happens if len(calls) >= call else real)(*args, **options)

        setattr(module, name, failing)

    return apply


def full_disk(file: Path, content: object) -> None:
    """A file that a real full device stands for."""
    file.symlink_to("/dev/full")
    file.write_text(json.dumps(content), encoding="utf-8")


def small_files(tensors: Any, file: Path, **options: Any) -> None:
    """A real limit on the size of a file, met by safetensors' own writer."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
    try:
        REAL_SAVE(tensors, file, **options)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def read_only(*_: Any, **__: Any) -> None:
    raise OSError(30, "Read-only file system")


REAL_SAVE = checkpoint.save_file


def spoil(ws: Workspace, name: str, file: str, change: Callable[[bytes], bytes]) -> str:
    """A resume from a checkpoint in which a file was changed; the file is put back afterwards."""
    path = stored.read(ws, checkpoints.last, name).folder / file
    whole = path.read_bytes()
    path.write_bytes(change(whole))
    try:
        return work(ws, runs.resume(ws, name), lambda: None)
    finally:
        path.write_bytes(whole)


def flip(content: bytes) -> bytes:
    return content[:-9] + bytes([content[-9] ^ 1]) + content[-8:]


def main(root: str) -> None:
    warm.load()
    ws = Workspace.open(root)
    for i in range(32):
        stored.written(
            ws, prompts.add_demonstration, [{"role": "user", "content": f"What is {i} plus 1?"}], f"It is {i + 1}."
        )
    sft = fresh(ws, SFT)
    fresh(ws, SampleConfig(num_prompts=16, max_new_tokens=8, temperature=1.3))
    while showing := stored.written(ws, comparisons.next_showing):
        stored.written(
            ws, ratings.record, showing.id, "left" if len(showing.left) < len(showing.right) else "right", strength=2
        )
    fresh(ws, REWARD)
    made = {
        "memory: loading": fresh(ws, SFT, at(studio.worker.training.Backbone, "load", exhaust)),
        "memory: sft step": fresh(ws, SFT, at(modules.sft, "take_step", exhaust, call=3)),
        "memory: reward step": fresh(ws, REWARD, at(modules.reward, "take_step", exhaust)),
        "memory: rollout": fresh(ws, PPO, at(modules.rl.sampler, "generate", exhaust, call=2, within="training_step")),
        "memory: scoring": fresh(ws, PPO, at(modules.ppo, "reward_scores", exhaust, call=2, within="training_step")),
        "memory: update": fresh(ws, PPO, at(modules.ppo, "take_step", exhaust, call=2)),
        "memory: evaluation": fresh(ws, SFT, at(modules.sft, "generate", exhaust, call=2)),
        "memory: saving": fresh(ws, SFT, at(checkpoint, "save_file", exhaust)),
        "memory: gpu": fresh(ws, SFT, at(studio.worker.training.Backbone, "load", taken_gpu)),
        "disk: full": fresh(ws, SFT, at(checkpoint, "_write_json", full_disk, call=3)),
        "disk: file size": fresh(ws, SFT, at(checkpoint, "save_file", small_files, call=2)),
        "disk: read-only": fresh(ws, SFT, at(checkpoint, "save_file", read_only, call=2)),
        "damage: flipped weights": spoil(ws, f"{sft}@2", "policy/adapter_model.safetensors", flip),
        "damage: cut weights": spoil(ws, f"{sft}@2", "policy/adapter_model.safetensors", lambda whole: whole[:500]),
        "damage: cut state": spoil(ws, f"{sft}@2", "state.safetensors", lambda whole: whole[: len(whole) // 2]),
        "damage: empty numbers": spoil(ws, f"{sft}@2", "state.json", lambda whole: b""),
    }
    moved = ws.root.with_name(ws.root.name + "-moved")
    os.rename(ws.root, moved)
    ws = Workspace.open(moved)
    made["moved: ppo"] = fresh(ws, PPO)
    made["moved: resumed"] = work(ws, runs.resume(ws, f"{sft}@2"), lambda: None)
    (ws.root / "names.json").write_text(json.dumps(made))


if __name__ == "__main__":
    main(sys.argv[1])
