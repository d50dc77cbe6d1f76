"""Measures one stage in this process and prints one line of JSON; `tests.benchmarks.run` starts it.

Each stage is run as in a notebook: a backbone with its roles, a data module, a module, a plain Lightning Trainer.
"""

import argparse
import json
import logging
import resource
import statistics
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import torch

from modules.data.datamodules import Batches, PPOBatch, RewardDataModule, SFTDataModule
from modules.model.backbone import Backbone
from modules.ppo import PPOModule
from modules.reward import RewardModule
from modules.sft import SFTModule
from tests.benchmarks import workload
from tests.benchmarks.workload import Work


class StepClock(L.Callback):
    """Seconds of each training step."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._started = 0.0

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._started = _now()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.seconds.append(_now() - self._started)


def ppo(backbone: Backbone, work: Work, value_trunk: str = "own") -> dict[str, float]:
    """Iterations of sampling, scoring and updates; the first is warm-up."""
    backbone.add_role("reference")
    backbone.add_role("policy", copy_of="reference", trainable=True)
    backbone.add_role("reward", head=True)
    if value_trunk == "reward":
        backbone.add_role("value", trunk_of="reward", trainable=True, head=True)
    else:
        backbone.add_role("value", copy_of="reward", trainable=True, head=True)
    module = PPOModule(
        backbone,
        max_new_tokens=work.response,
        minibatch_size=work.batch,
        micro_batch_size=work.micro_batch,
        rollout_batch_size=work.batch,
        epochs=work.epochs,
        value_warmup=0,
        center_scores=False,
    )
    batches = workload.prompts(work)[: work.iterations]
    tokens: list[int] = []

    class Count(L.Callback):
        def on_train_batch_end(
            self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
        ) -> None:
            tokens.append(int(trainer.callback_metrics["rollout/response_tokens"] * len(batch.prompts)))

    clock = _fit(module, Batches([[i] for i in range(len(batches))], lambda i: PPOBatch(batches[i[0]], None)), Count())
    seconds = statistics.median(clock.seconds[1:])
    return {"seconds_per_step": seconds, "rate": statistics.mean(tokens[1:]) / seconds}


def reward(backbone: Backbone, work: Work) -> dict[str, float]:
    """One epoch over pairs."""
    backbone.add_role("reward", trainable=True, head=True)
    data = RewardDataModule(
        workload.comparisons(work), [], backbone.chat, batch_size=work.rows_per_step, max_length=work.max_length
    )
    module = RewardModule(backbone, num_steps=data.num_steps, micro_batch_size=work.rows_per_step)
    clock = _fit(module, data.train_dataloader())
    return _rate(clock, [len(rows) for rows in data.plan])


def sft(backbone: Backbone, work: Work) -> dict[str, float]:
    """One epoch over demonstrations."""
    backbone.add_role("policy", trainable=True)
    data = SFTDataModule(
        workload.demonstrations(work), [], backbone.chat, batch_size=work.rows_per_step, max_length=work.max_length
    )
    module = SFTModule(backbone, num_steps=data.num_steps, micro_batch_size=work.rows_per_step)
    clock = _fit(module, data.train_dataloader())
    return _rate(clock, [sum(len(data.rows[i].ids) for i in rows) for rows in data.plan])


def _fit(module: L.LightningModule, batches: Batches[Any], *callbacks: L.Callback) -> StepClock:
    clock = StepClock()
    L.Trainer(
        max_epochs=1,
        accelerator="cuda" if torch.cuda.is_available() else "cpu",
        devices=1,
        logger=False,
        callbacks=[clock, *callbacks],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    ).fit(module, batches)
    return clock


def _rate(clock: StepClock, units: list[int]) -> dict[str, float]:
    """Units a second over all steps but the first; a median would flatter batches that differ in length."""
    seconds = clock.seconds[1:]
    return {"seconds_per_step": statistics.mean(seconds), "rate": sum(units[1:]) / sum(seconds)}


def _now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


STAGES = {"ppo": ppo, "reward": reward, "sft": sft}
UNITS = {"ppo": "response tokens/s", "reward": "pairs/s", "sft": "real tokens/s"}


def peak_mib() -> int:
    """Greatest memory held so far: the GPU's where there is one, else the process's."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() // 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (2**10 if sys.platform != "darwin" else 2**20)


def main() -> None:
    """Measure what the arguments say."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("folder", type=Path, help="a model that workload.write_model wrote")
    parser.add_argument("--method", choices=["lora", "full"], default="lora")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--quantisation", choices=["none", "nf4"], default="none")
    parser.add_argument("--value-trunk", choices=["own", "reward"], default="own", help="of PPO")
    parser.add_argument("--work", type=json.loads, default={}, help="fields of workload.Work as JSON")
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.manual_seed(0)
    backbone = Backbone.load(
        str(args.folder), method=args.method, precision=args.precision, quantisation=args.quantisation
    )
    options = {"value_trunk": args.value_trunk} if args.stage == "ppo" else {}
    figures = STAGES[args.stage](backbone, Work(**args.work), **options)
    print(json.dumps(figures | {"peak_mib": peak_mib()}))


if __name__ == "__main__":
    main()
