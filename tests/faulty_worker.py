"""Workers in which something goes wrong at a chosen point: ``python tests/faulty_worker.py WORKSPACE``.

Every run is a real child process of its own (forked, so that torch is loaded once) that does what `studio.worker` does.
Those that are to die kill themselves with SIGKILL. Writes ``names.json``: what happened -> the names of its runs.
"""

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import modules.model.generate
import modules.ppo
import modules.reward
import modules.rl.sampler
import modules.sft
from modules.config import PPOConfig, RewardConfig, SampleConfig, SFTConfig, StageConfig
from modules.model import checkpoint
from studio.models import checkpoints
from studio.preferences import comparisons, prompts, ratings
from studio.runs import launcher, runs
from studio.worker import __main__ as worker
from studio.workspace import Workspace
from tests.support import stored, warm

TINY: dict[str, Any] = {"lora_rank": 2, "batch_size": 8, "micro_batch_size": 8, "max_length": 128}
SFT = SFTConfig(**TINY, epochs=2)
REWARD = RewardConfig(**TINY, epochs=3)
PPO = PPOConfig(
    **TINY,
    iterations=5,
    save_every=2,
    eval_every=3,
    eval_prompts=4,
    minibatch_size=4,
    epochs=2,
    max_new_tokens=6,
    value_warmup=1,
    learning_rate=1e-3,
    kl_target=0.1,
    kl_budget=5.0,
    score_scale="running",
    ema_decay=0.9,
    ptx_coef=0.1,
    save_at_kl="1, 0.3, 0.5",
    seed=5,
)
FATAL_ITERATION = 5
FATAL_CHECKPOINT = 4


def die(*args: Any, **options: Any) -> Any:
    os.kill(os.getpid(), signal.SIGKILL)


def killed_in_rollout() -> None:
    """At the third token of an iteration's responses."""
    generate, choose = modules.rl.sampler.generate, modules.model.generate._Draws.choose
    calls = {"training rollouts": 0, "tokens": 0}

    def counted(backbone: Any, role: str, *args: Any, **options: Any) -> Any:
        calls["training rollouts"] += role == "policy"
        calls["tokens"] = 0
        return generate(backbone, role, *args, **options)

    def fatal(self: Any, logits: Any, noise: Any) -> Any:
        calls["tokens"] += 1
        is_time = calls["training rollouts"] == FATAL_ITERATION and calls["tokens"] == 3
        return die() if is_time else choose(self, logits, noise)

    modules.rl.sampler.generate, modules.model.generate._Draws.choose = counted, fatal


def killed_in_mid_epoch() -> None:
    """After the third of an iteration's four optimizer steps."""
    take_step, calls = modules.ppo.take_step, []

    def counted(module: Any) -> None:
        take_step(module)
        calls.append(module.step_index)
        if calls.count(FATAL_ITERATION - 1) == 3:
            die()

    modules.ppo.take_step = counted


def killed_in_a_checkpoint() -> None:
    """When the weights are written and the state is not."""
    save_file = checkpoint.save_file

    def fatal(tensors: Any, file: Path, **options: Any) -> None:
        if f"step-{FATAL_CHECKPOINT:06d}" in str(file):
            assert list(file.parent.glob("policy/*.safetensors"))
            file.write_bytes(b"half of")
            die()
        save_file(tensors, file, **options)

    checkpoint.save_file = fatal


def killed_before_the_row() -> None:
    """When a checkpoint lies complete on the disk and the database does not know it."""
    add = checkpoints.add

    def fatal(ws: Any, run_id: int, step: int, *args: Any, **options: Any) -> str:
        return die() if step == FATAL_CHECKPOINT else add(ws, run_id, step, *args, **options)

    checkpoints.add = fatal


def nan_in(module: Any, name: str, call: int) -> Callable[[], None]:
    """The function of that name returns NaN at its n-th call."""

    def apply() -> None:
        real, calls = getattr(module, name), []

        def spoilt(*args: Any, **options: Any) -> Any:
            calls.append(1)
            found = real(*args, **options)
            return found * torch.nan if len(calls) == call else found

        setattr(module, name, spoilt)

    return apply


def nan_score() -> None:
    """In the fourth iteration: after the start's evaluation, the centring, three iterations and their evaluation."""
    nan_in(modules.ppo.PPOModule, "_score", 7)()


def work(ws: Workspace, run: runs.Run, fault: Callable[[], None]) -> str:
    """Do a run in a child process; returns its name."""
    pid = os.fork()
    if not pid:
        torch.set_num_threads(1)
        fault()
        os._exit(worker.main(str(ws.root), run.name))
    os.waitpid(pid, 0)
    launcher.reap(ws)
    return run.name


def fresh(ws: Workspace, config: StageConfig, fault: Callable[[], None] = lambda: None) -> str:
    return work(ws, runs.create(ws, config), fault)


def main(root: str) -> None:
    warm.load()
    ws = Workspace.open(root)
    for i in range(24):
        stored.written(
            ws, prompts.add_demonstration, [{"role": "user", "content": f"What is {i} plus 1?"}], f"It is {i + 1}."
        )
    fresh(ws, SFT)
    fresh(ws, SampleConfig(num_prompts=16, max_new_tokens=12, temperature=1.3))
    while showing := stored.written(ws, comparisons.next_showing):
        stored.written(
            ws, ratings.record, showing.id, "left" if len(showing.left) < len(showing.right) else "right", strength=2
        )
    fresh(ws, REWARD)
    names = {"whole": [fresh(ws, PPO)]}
    for fault in (killed_in_rollout, killed_in_mid_epoch, killed_in_a_checkpoint, killed_before_the_row):
        killed = fresh(ws, PPO, fault)
        names[fault.__name__] = [killed, work(ws, runs.resume(ws, killed), lambda: None)]
    far = fresh(ws, PPO.model_copy(update={"save_at_kl": "0.4, 0.75", "save_every": 100, "eval_every": 100}))
    names["milestones"] = [far, work(ws, runs.resume(ws, f"{far}@3"), lambda: None)]
    names["nan ppo"] = [fresh(ws, PPO, nan_score)]
    names["nan sft"] = [fresh(ws, SFT, nan_in(modules.sft, "negative_logprobs", 4))]
    names["nan reward"] = [fresh(ws, REWARD, nan_in(modules.reward, "bradley_terry_loss", 2))]
    (ws.root / "names.json").write_text(json.dumps(names))


if __name__ == "__main__":
    main(sys.argv[1])
