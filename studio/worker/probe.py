"""Measures memory and time of real optimizer steps without creating a run: ``python -m studio.worker.probe``.

It builds what the run would build, takes the longest texts, takes two optimizer steps (the first makes Adam's moments)
and reports the peak memory and the time. On a CPU the peak is that of the process less the libraries; pages of the
model's file, which loading leaves in memory and the kernel can reclaim, are not counted.
"""

import os
import sys
import threading
import time
import traceback
from pathlib import Path
from statistics import fmean
from typing import Any

import lightning.pytorch as L
import torch

from modules.config import STAGES, PPOConfig, TrainConfig, VotesConfig
from modules.data.datamodules import PPODataModule
from studio.errors import RunError
from studio.runs import prepare
from studio.worker import child, training
from studio.worker.borrowed_gpu import borrowed
from studio.workspace import Workspace

PARENT_POLL_S = 1.0


def reply(request: dict[str, Any]) -> dict[str, float]:
    """Return what real steps of a run take; see `studio.runs.memory_fit` for the request's fields."""
    threading.Thread(target=_end_with, args=[os.getppid()], daemon=True).start()
    ws = Workspace.open(request["root"])
    prepared = prepare.resolve(ws, STAGES[request["stage"]].model_validate(request["config"]))
    config = prepared.config
    assert isinstance(config, TrainConfig)
    with borrowed(ws, config.device, config.gpu):
        try:
            return measure(ws, config, prepared.rows)
        except (MemoryError, torch.OutOfMemoryError) as error:
            traceback.print_exc()
            first = (str(error).splitlines() or ["no more"])[0]
            raise RunError(f"It does not fit: out of memory ({first}).") from error


def _end_with(parent: int) -> None:
    """Exit when the studio that asked is gone: nobody would read the answer."""
    while os.getppid() == parent:
        time.sleep(PARENT_POLL_S)
    os._exit(1)


def measure(ws: Workspace, config: TrainConfig, rows: dict[str, list[Any]]) -> dict[str, float]:
    """Return bytes (peak, libraries), seconds a step (PPO: iteration), steps, and tokens of the longest text.

    The memory is that of the longest texts. The seconds are for texts of the mean length; for PPO, for responses that none of
    which ends early, so that a run takes less.
    """
    libraries, private = _resident("VmRSS"), _resident("RssAnon")
    L.seed_everything(config.seed, verbose=False)
    tried = config.model_copy(update={"value_warmup": 0, "epochs": 2}) if isinstance(config, PPOConfig) else config
    module, data = training.build(ws, tried, lambda part: rows.get(part, []))
    num_steps = data.num_steps
    longest, share = _take_longest(data, config)
    device = module.backbone.device
    _reset_peak(device)
    seconds = _step(module, data, device)
    peak = torch.cuda.max_memory_allocated() if device.type == "cuda" else _peak(module, private)
    if isinstance(config, PPOConfig):
        update = module.trainer.logged_metrics.get("time/update_s", 0.0)
        seconds += float(update) * (config.epochs - 2) / 2
    return {
        "peak": float(peak),
        "libraries": float(libraries),
        "seconds_per_step": seconds * share,
        "num_steps": float(num_steps),
        "longest": float(longest),
    }


def _take_longest(data: Any, config: TrainConfig) -> tuple[int, float]:
    """Make a data module hand out its longest texts, as often as needed; returns the tokens of the longest, and the share of
    the tokens handed out that as many texts of the mean length have."""
    if isinstance(data, PPODataModule):
        assert isinstance(config, PPOConfig)
        data.prompts = sorted(data.prompts, key=len, reverse=True)[: config.batch_size]
        data.iterations = 1
        return len(data.prompts[0]) + config.max_new_tokens, 1.0
    if isinstance(config, VotesConfig):
        sizes = [len(pair.prompt) + max(len(pair.chosen), len(pair.rejected)) for pair in data.rows]
    else:
        sizes = [len(row.ids) for row in data.rows]
    longest = sorted(range(len(sizes)), key=lambda i: -sizes[i])[: config.batch_size]
    data.plan = [longest, longest]
    return sizes[longest[0]], fmean(sizes) / fmean(sizes[place] for place in longest)


def _step(module: Any, data: Any, device: torch.device) -> float:
    """Take two steps (of PPO one iteration, without early ends); returns the seconds of the last."""
    if isinstance(data, PPODataModule):
        module.backbone.chat.stop_ids = frozenset()
    trainer = L.Trainer(
        max_epochs=1,
        accelerator=device.type,
        devices=1,
        logger=False,
        limit_val_batches=0,
        num_sanity_val_steps=0,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    times = _Times()
    trainer.callbacks.append(times)  # type: ignore[attr-defined]  # a list
    trainer.fit(module, train_dataloaders=data.train_dataloader())
    return times.seconds


class _Times(L.Callback):
    """Seconds of the last step."""

    seconds = 0.0
    _start = 0.0

    def on_train_batch_start(self, *args: Any, **kwargs: Any) -> None:
        """Note the start."""
        self._start = time.monotonic()

    def on_train_batch_end(self, *args: Any, **kwargs: Any) -> None:
        """Note the end."""
        self.seconds = time.monotonic() - self._start


def _reset_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    else:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _peak(module: Any, private: int) -> int:
    """Return the run's own peak bytes; of mapped files only the weights count, since other pages can be reclaimed."""
    return _resident("VmHWM") - _resident("RssFile") - _resident("RssShmem") - private + _mapped_weights(module)


def _mapped_weights(module: Any) -> int:
    """Return the bytes of weights that are still mapped from their safetensors file."""
    ranges = []
    for line in Path("/proc/self/maps").read_text(encoding="utf-8").splitlines():
        if line.endswith(".safetensors"):
            start, _, end = line.split()[0].partition("-")
            ranges.append((int(start, 16), int(end, 16)))
    weights = {p.data_ptr(): p.numel() * p.element_size() for p in module.backbone.parameters()}
    return sum(size for where, size in weights.items() if any(start <= where < end for start, end in ranges))


def _resident(field: str) -> int:
    """Return the bytes of this process: VmRSS now, VmHWM at its peak."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise ValueError(f"/proc has no {field}")


if __name__ == "__main__":
    sys.exit(child.answer(reply))
