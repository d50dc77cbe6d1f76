"""Reports a Lightning run to the workbench: a logger into SQLite, and a callback that saves, samples and stops.

Only the worker imports this. A stop is a column that is polled after each step (PPO: iteration), because Lightning does
not honour a signal handler; stopping means: finish the step, save, end.
"""

import json
import time
from argparse import Namespace
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, cast

import lightning.pytorch as L
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only

from modules.config import PPOConfig, TrainConfig
from modules.config.milestones import Milestone
from modules.model import checkpoint
from modules.ppo import PPOModule
from modules.runtime.distributed import gather_shares
from modules.sft import SFTModule
from studio.files import folders
from studio.models import checkpoints, retention
from studio.runs import metrics as run_metrics
from studio.runs import queue, rollouts, runs, signals, steering
from studio.runs.rollouts import NewRollout, Tokens
from studio.runs.runs import Run
from studio.workspace import Workspace

PAUSE_POLL_S = 0.5
NUM_SAMPLES = 8
"""Texts kept of each evaluation."""


class SQLiteLogger(Logger):
    """Writes what a LightningModule logs into the `metrics` table, at the module's own step."""

    def __init__(self, ws: Workspace, run: Run) -> None:
        super().__init__()
        self._ws, self._run = ws, run

    @property
    def name(self) -> str:
        """The run's stage."""
        return self._run.stage

    @property
    def version(self) -> str:
        """The run's name."""
        return self._run.name

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Do nothing: the config is in the run's row already."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Store the values of one step; Lightning's own epoch counter is left out."""
        named = {name: value for name, value in metrics.items() if "/" in name}
        if named:
            with self._ws.write() as db:
                run_metrics.add(db, self._run.id, int(metrics.get("step", step or 0)), named)


class StudioCallback(Callback):
    """Reports progress, writes samples, saves checkpoints atomically and honours a requested stop."""

    def __init__(self, ws: Workspace, run: Run, *, total: int, save_every: int, eval_every: int, unit: str) -> None:
        """Plan `total` steps, each `eval_every`-th measured (0: none is); `unit` names a step for people."""
        self._ws, self._run = ws, run
        self._total, self._save_every, self._eval_every, self.unit = total, save_every, eval_every, unit
        with ws.read() as db:
            self._saved = {c.step: c.name for c in checkpoints.list_all(db, run.stage) if c.run_id == run.id}
        self._known_tokens: set[int] = set()
        self._config = run.config
        """With what was changed while the run went on."""
        self.is_stopped = False
        self.checkpoint_name = ""

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Install our signal handlers again, which Lightning has replaced."""
        signals.keep()

    def on_validation_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        """As before training."""
        signals.keep()

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Store PPO's samples; report; save when it is time; stop when asked."""
        step = pl_module.step_index
        if isinstance(pl_module, PPOModule):
            self._write_rollouts(pl_module, _rollouts_of_all(trainer, pl_module, self._run.config))
        text = f"{self.unit} {step} of {self._total}"
        with self._ws.write() as db:
            runs.beat(db, self._run.id, min(1.0, step / self._total), text)
        if obey(trainer, lambda: self._requested(pl_module)):
            self.is_stopped = True
        elif not self._eval_every or step % self._eval_every:
            self._save_when_due(pl_module)

    def on_validation_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Write the texts of an evaluation of PPO or SFT, always for the same prompts; save the measured step."""
        is_best = False
        if isinstance(pl_module, PPOModule):
            self._write_samples(pl_module)
            best = pl_module.selection.best
            is_best = best is not None and best.step == pl_module.step_index
        if isinstance(pl_module, SFTModule):
            rows = [sample._asdict() for sample in pl_module.latest_eval_samples]
            with self._ws.write() as db:
                run_metrics.add_samples(db, self._run.id, pl_module.step_index, rows)
        if is_best:
            self.save(pl_module, is_chosen=True)
        else:
            self._save_when_due(pl_module)

    def has_saved(self, step: int) -> bool:
        """Return whether the run has a checkpoint of this step."""
        return step in self._saved

    def save(self, module: Any, *, is_chosen: bool = False) -> None:
        """Save the module's state as a checkpoint: complete under a temporary name, then renamed, then recorded.

        A step that is measured is saved after its measurement, so that a resumed run need not repeat it.
        """
        step = module.step_index
        if step in self._saved:
            self.checkpoint_name = self._saved[step]
            return
        folder = runs.folder(self._ws, self._run.name) / "checkpoints" / f"step-{step:06d}"
        config = self._config.model_dump(mode="json")
        folder = folders.write(folder, lambda path: checkpoint.save(path, module, stage=self._run.stage, config=config))
        newest: dict[str, float] = {}
        if module.evaluated_at == step:  # figures of an earlier step would be taken for those of this one
            with self._ws.read() as db:
                newest = {k: v for k, v in run_metrics.latest(db, self._run.id).items() if k.startswith("eval/")}
        if milestone := _milestone(module):
            newest |= {checkpoints.SAVED_AT_KL: milestone.value, "objective/kl": milestone.kl}
        with self._ws.write() as db:
            self.checkpoint_name = checkpoints.add(
                db,
                self._run.id,
                step,
                folder,
                base_model=module.backbone.base_model,
                base_fingerprint=module.backbone.fingerprint,
                metrics=newest,
                is_chosen=is_chosen,
            )
        self._saved[step] = self.checkpoint_name
        self._make_room()

    def _make_room(self) -> None:
        """Delete older checkpoints, where the config keeps only so many."""
        config = self._run.config
        assert isinstance(config, TrainConfig)
        if config.keep_checkpoints and (gone := retention.apply(self._ws, self._run.id, config.keep_checkpoints)):
            print(f"Deleted {', '.join(gone)} (keep_checkpoints {config.keep_checkpoints}).", flush=True)

    def _requested(self, module: Any) -> "Request":
        """Return what the person asked for; report a pause and save before it, unless the step must be measured first."""
        step = module.step_index
        with self._ws.read() as db:
            asked = queue.requested(db, self._run.id) if step < self._total else ""
        if asked == "pause":
            if not self._eval_every or step % self._eval_every:
                self.save(module)
            said = f"paused after {self.unit} {step} of {self._total}; its memory stays in use"
            with self._ws.write() as db:
                runs.beat(db, self._run.id, text=said, paused=True)
            return Request(asked)
        return Request(asked, self._take_settings(step))

    def _take_settings(self, step: int) -> dict[str, float]:
        """Return the settings that change after this step, and store that they were taken."""
        with self._ws.read() as db:
            if step >= self._total or not steering.is_pending(db, self._run.id, step):
                return {}
        with self._ws.write() as db:
            found = steering.take(db, self._run.id, step)
        print(f"From {self.unit} {step + 1} on: {steering.said(found, self._config)}.", flush=True)
        self._config = self._config.model_copy(update=found)
        return found

    def _save_when_due(self, module: Any) -> None:
        is_due = module.step_index % self._save_every == 0 or _milestone(module) is not None
        if is_due and 0 < module.step_index < self._total:
            self.save(module)

    def _write_rollouts(self, module: PPOModule, new: list[NewRollout]) -> None:
        """Store the iteration's responses as texts, figures and numbers per token; remove older iterations."""
        if not new:
            return
        config = self._run.config
        assert isinstance(config, PPOConfig)
        unknown = {
            id_ for each in new for id_ in (*each.tokens.prompt_ids, *each.tokens.response_ids)
        } - self._known_tokens
        texts = {token: module.backbone.chat.token_text(token) for token in unknown}
        with self._ws.write() as db:
            rollouts.add(db, self._run.id, module.step_index, new, keep=config.keep_rollouts, token_texts=texts)
        self._known_tokens |= unknown

    def _write_samples(self, module: PPOModule) -> None:
        rows = [
            {
                "prompt": s.prompt_text,
                "response": s.response_text,
                "score": s.score,
                "kl": s.kl,
                "end_reason": s.end_reason,
                "components": json.dumps(s.components) if s.components else None,
            }
            for s in module.latest_eval_samples[:NUM_SAMPLES]
        ]
        with self._ws.write() as db:
            run_metrics.add_samples(db, self._run.id, module.step_index, rows)


class Companion(Callback):
    """The callback of the other processes of a run: hand over their samples, stop when the first process does."""

    def __init__(self, config: Any) -> None:
        self._config = config

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Leave the signals to the first process again."""
        signals.keep()

    def on_validation_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        """As before training."""
        signals.keep()

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Send this process's responses to the first one, and receive the request that it has read."""
        if isinstance(pl_module, PPOModule):
            _rollouts_of_all(trainer, pl_module, self._config)
        obey(trainer, Request)


def _milestone(module: Any) -> Milestone | None:
    """Return the KL of `save_at_kl` that a PPO run has just reached; None where it has not, or where nothing has one."""
    return module.milestones.latest if isinstance(module, PPOModule) else None


class Request(NamedTuple):
    """What a person asked of a run between two steps."""

    word: str = ""
    settings: dict[str, float] | None = None
    """Other values of settings of PPO."""


def obey(trainer: L.Trainer, requested: Callable[[], Request]) -> bool:
    """Wait while the first process is paused, change settings, end the fit if it must stop; all processes call this after each step."""
    while (asked := trainer.strategy.broadcast(requested())).word == "pause":
        time.sleep(PAUSE_POLL_S)
    if asked.settings:
        cast(PPOModule, trainer.lightning_module).steer(**asked.settings)
    if asked.word == "stop":
        trainer.should_stop = True
    return asked.word == "stop"


def _rollouts_of_all(trainer: L.Trainer, module: PPOModule, config: Any) -> list[NewRollout]:
    """Return the iteration's responses of all processes, in the order of their prompts; empty if none are kept."""
    if not config.keep_rollouts or module.latest is None:
        return []
    row_of = trainer.datamodule.row_of  # type: ignore[attr-defined]  # the PPODataModule
    answers, experience = module.latest
    rollout, chat = answers.rollout, module.backbone.chat
    columns = [experience.logprobs, experience.ref_logprobs, experience.values, experience.advantages]
    per_token = zip(*(column.tolist() for column in [*columns, experience.returns]), strict=True)
    figures = (experience.scores, experience.shaped_scores, experience.kl_per_response)
    per_response = zip(*(column.tolist() for column in figures), answers.components_by_row(), strict=True)
    own = []
    for prompt, response, reason, numbers, (score, shaped, kl, components) in zip(
        rollout.prompts, rollout.responses, rollout.end_reasons, per_token, per_response, strict=True
    ):
        tokens = Tokens(prompt, response, *(column[: len(response)] for column in numbers))
        prompt_id = row_of[tuple(prompt)]["prompt_id"]
        own.append(NewRollout(prompt_id, chat.decode(response), score, shaped, components, kl, reason, tokens))
    return gather_shares(own)
