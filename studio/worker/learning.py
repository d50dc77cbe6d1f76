"""Runs the curve stage: reward models on nested parts of the labels, each measured on the same held-out votes. Loads torch.

The base model is loaded once. For each reward model the adapter is read again from the SFT checkpoint and the head is drawn again;
of the reward model nothing is kept but where it was right. It depends on its size and its seed alone, and is stored as soon as it
is measured, so a run that was interrupted and resumed ends with the results of one that was left alone.
"""

import logging
import random
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import torch
from lightning.pytorch.callbacks import Callback

from modules.agreement import decided
from modules.config import CurveConfig, RewardConfig
from modules.data.datamodules import RewardDataModule
from modules.data.stages import Rows, reward_data
from modules.model.backbone import Backbone
from modules.reward import RewardModule
from studio.insights import learning_curves
from studio.models import checkpoints
from studio.preferences import arms
from studio.reproduction import measured
from studio.runs import label_curve, runs, signals
from studio.runs.runs import Run
from studio.worker import heed
from studio.workspace import Workspace

Row = Mapping[str, Any]
Waiting = tuple[str, int, int]
"""Arm (empty where all labels are one curve), number of labels and seed of a reward model that is still to be trained."""
ELSEWHERE = {"seed", "device", "gpu", "snapshot", "eval_every", "save_every", "keep_checkpoints", "trackers"}
"""Settings that say where and when, that the rows tell, or that each reward model has its own of."""
MEASURING = 0.3
"""Work of measuring a held-out vote, next to that of training on a label once."""


def work(
    ws: Workspace, run: Run, config: CurveConfig, build: Callable[[RewardConfig, Rows], tuple[Any, RewardDataModule]]
) -> tuple[str, str]:
    """Train and measure what is not measured yet; returns the state the run ends in and a plain sentence.

    Args:
        ws: The workspace.
        run: The run.
        config: Its config.
        build: Loads the base model with the role ``reward`` for a reward model's settings and rows.
    """
    frozen, is_again = label_curve.thaw(runs.read_rows(ws, run.name, label_curve.PART)), measured.is_again(ws, run)
    with ws.read() as db:  # of a run that came as a bundle it may be called otherwise here
        settings = frozen.model_copy(update={"sft_checkpoint": checkpoints.parents_of_run(db, run.id)["sft"]})
    rows = {
        "train": runs.read_rows(ws, run.name, "train"),
        "validation": label_curve.decided(runs.read_rows(ws, run.name, "validation")),
    }
    plain = settings.model_copy(update={"offtopic_share": 0.0})
    module, data = build(plain, lambda part: rows.get(part, []))
    labels = [pair.row for pair in data.rows]
    held_out = [pair.row for pair in data.validation_rows]
    label_curve.check(config, labels, held_out)  # some may be too long
    parts, sizes = label_curve.parts(config, labels), config.sizes(label_curve.num_common(config, labels))
    curves: dict[str, int] = {}
    done: dict[str, set[tuple[int, int]]] = {arm: set() for arm in parts}
    if not is_again:
        prompts = [row["prompt_id"] for row in held_out]
        with ws.write() as db:
            described = describe(settings) | {"base": module.backbone.fingerprint}
            curves = learning_curves.keep_all(db, described, parts, held_out, prompts)
            done = {arm: learning_curves.done(db, curve) for arm, curve in curves.items()}
    waiting = [
        (arm, size, seed) for seed in config.seeds for size in sizes for arm in parts if (size, seed) not in done[arm]
    ]
    steps = _Steps(ws, run, settings, waiting, len(held_out))
    with ws.read() as db:
        source = checkpoints.get(db, settings.sft_checkpoint).folder / "policy"
    _be_quiet()
    try:
        for arm, size, seed in waiting:
            steps.begin(arm, size, seed)
            part = settings.model_copy(update={"seed": seed})
            hits = _hits(module.backbone, source, part, nested(parts[arm], size, seed), data, steps)
            print(
                f"{_words(arm, size, seed)}: right on {sum(hits):,} of {len(hits):,} held-out votes",
                flush=True,
            )
            if is_again:
                right = "".join("01"[bool(hit)] for hit in hits)
                measured.note(ws, run, [measured.hits(arm, size, seed, right)])
            else:
                with ws.write() as db:
                    learning_curves.add(db, run.id, curves[arm], size, seed, hits)
            steps.end()
    except heed.Stopped:
        return (
            "stopped",
            f"Stopped after {steps.num_done:,} of {len(waiting):,} reward models; what is measured stays. Resume trains the others.",
        )
    new = f"{len(waiting):,} reward models trained on" if waiting else "Everything was measured already:"
    what = "whether choosing pairs saves labels" if config.arms else "what more labels would bring"
    return "finished", (
        f"{new} {sizes[0]:,} to {sizes[-1]:,} labels and measured on {len(held_out):,} held-out votes. See {what} on the page "
        "Insights, or with: rlhf-studio insights"
    )


def _words(arm: str, size: int, seed: int) -> str:
    return f"{size:,} labels{f' {arms.WORDS[arm]}' if arm else ''}, seed {seed}"


def describe(settings: RewardConfig) -> dict[str, Any]:
    """Return the settings that decide what a reward model learns, so that a curve is known again.

    Those at their default are left out, so that a setting which a later version adds makes no other curve.
    """
    return settings.model_dump(exclude=ELSEWHERE, exclude_defaults=True)


def nested(labels: Sequence[Row], size: int, seed: int) -> list[Row]:
    """Return so many labels, prompt by prompt in an order drawn by the seed: those of a smaller size are among them.

    The last prompt may come in part. The pairs of a ranking count as one label together.
    """
    by_prompt: dict[Any, list[Row]] = {}
    for row in labels:
        by_prompt.setdefault(row["prompt_id"], []).append(row)
    drawn = list(by_prompt.values())
    random.Random(seed).shuffle(drawn)
    found: list[Row] = []
    num = 0.0
    for row in (row for group in drawn for row in group):
        if num > size - 1e-6:
            break
        found.append(row)
        num += row["weight"]
    return found


def _hits(
    backbone: Backbone, source: Path, settings: RewardConfig, labels: list[Row], data: RewardDataModule, steps: "_Steps"
) -> list[bool]:
    """Train a reward model on the labels; return of each held-out vote of `data` whether it is right. Equal scores are not."""
    torch.manual_seed(settings.seed)
    backbone.begin_again("reward", source)
    own = reward_data(settings, lambda part: labels if part == "train" else [], backbone.chat)
    module = RewardModule.from_config(settings, backbone, num_steps=own.num_steps)
    trainer = L.Trainer(
        max_epochs=1,
        accelerator=backbone.device.type,
        devices=1,
        logger=False,
        callbacks=[_Report(steps, own.num_steps)],
        log_every_n_steps=1,
        num_sanity_val_steps=0,
        inference_mode=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, train_dataloaders=own.train_dataloader())
    trainer.validate(module, dataloaders=data.val_dataloader(), verbose=False)
    assert module.judged is not None
    _, hits = decided(module.judged.chosen - module.judged.rejected, module.judged.target_p)
    return (hits > 0.5).tolist()


class _Steps:
    """Counts the work of all reward models that are still to be trained, and reports it."""

    def __init__(
        self, ws: Workspace, run: Run, settings: RewardConfig, waiting: Sequence[Waiting], num_held_out: int
    ) -> None:
        self._ws, self._run, self._num, self._left = ws, run, len(waiting), list(waiting)
        self._epochs, self._measuring = settings.epochs, MEASURING * num_held_out
        self._total = sum(map(self._work, waiting))
        self._before = 0.0
        self.num_done = 0

    def begin(self, arm: str, size: int, seed: int) -> None:
        """Begin the next reward model."""
        self._now = (arm, size, seed)
        self.report(0.0)

    def report(self, share: float) -> None:
        """Report how much of the reward model is done.

        Raises:
            Stopped: a stop was asked for.
        """
        work = self._before + share * self._work(self._now)
        text = f"reward model {self.num_done + 1} of {self._num}: {_words(*self._now)}"
        heed.beat(self._ws, self._run, work / self._total, text)

    def end(self) -> None:
        """Count the reward model as done."""
        self._before += self._work(self._now)
        self.num_done += 1

    def _work(self, waiting: Waiting) -> float:
        return waiting[1] * self._epochs + self._measuring


class _Report(Callback):
    """Reports each step of a reward model, and each batch that it is measured on."""

    def __init__(self, steps: _Steps, num_steps: int) -> None:
        self._steps, self._num_steps = steps, num_steps

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Install our signal handlers again, which Lightning has replaced."""
        signals.keep()

    def on_validation_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        """As before training."""
        signals.keep()

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Report; the measuring is still to come."""
        self._steps.report(pl_module.step_index / (self._num_steps + 1))

    def on_validation_batch_end(self, *args: Any, **kwargs: Any) -> None:
        """Heed a stop."""
        self._steps.report(self._num_steps / (self._num_steps + 1))


def _be_quiet() -> None:
    """Let Lightning say nothing of each of its many fits."""
    warnings.filterwarnings("ignore", ".*treespec, LeafSpec.*")
    warnings.filterwarnings("ignore", ".*validation_step.*")
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
