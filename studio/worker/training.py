"""Builds a stage from its config and frozen rows, runs it and saves it. Loads torch; only the worker imports it.

Each stage is built as in a notebook: a `Backbone` with its roles, a data module, a LightningModule, a plain `Trainer`.
"""

import os
import shutil
import traceback
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

import lightning.pytorch as L
import torch
from lightning.pytorch.callbacks import Callback

from modules.config import (
    CurveConfig,
    DPOConfig,
    EvaluateConfig,
    PPOConfig,
    RewardConfig,
    SampleConfig,
    SFTConfig,
    TrainConfig,
)
from modules.data.datamodules import PPODataModule, RewardDataModule, SFTDataModule
from modules.data.stages import Rows, check_dropped, dpo_data, num_given, ppo_data, reward_data, sft_data
from modules.dpo import DPOModule
from modules.errors import ConfigError
from modules.model import checkpoint
from modules.model.backbone import Backbone
from modules.model.loading import check_lengths
from modules.ppo import PPOModule
from modules.reward import RewardModule
from modules.rl.rewards import RewardMix, Texts, build_mix
from modules.runtime.distributed import SummedByHand
from modules.runtime.phases import Phase, during
from modules.sft import SFTModule
from studio.errors import NonFiniteError
from studio.evaluation import plan
from studio.files import folders
from studio.models import base_models, checkpoints
from studio.models.checkpoints import Checkpoint
from studio.reproduction import surroundings
from studio.runs import prepare, runs
from studio.runs.row import Ending
from studio.runs.runs import Run
from studio.worker import evaluating, learning, ranks, sampling, trackers
from studio.worker.callbacks import Companion, SQLiteLogger, StudioCallback
from studio.worker.suites import SuitesCallback
from studio.workspace import Workspace

UNITS = {"sft": "step", "reward": "step", "ppo": "iteration", "dpo": "step"}


def work(ws: Workspace, run: Run) -> Ending:
    """Run the stage to its end; returns the state it ends in and a plain sentence.

    Raises:
        StudioError: the stage failed; the message is for the person.
    """
    L.seed_everything(run.config.seed, verbose=False)
    os.environ.pop("PL_GLOBAL_SEED")  # or several devices would be seeded again at each fit, also after a resume
    if not isinstance(run.config, TrainConfig):
        has_gpu = run.config.device != "cpu" and torch.cuda.is_available()
        _write_down(ws, run, torch.device("cuda" if has_gpu else "cpu"))
    if isinstance(run.config, SampleConfig):
        return Ending(*sampling.work(ws, run, run.config))
    if isinstance(run.config, EvaluateConfig):
        return Ending(*evaluating.work(ws, run, run.config))
    if isinstance(run.config, CurveConfig):
        return Ending(*learning.work(ws, run, run.config, partial(build, ws)))
    assert isinstance(run.config, TrainConfig)
    return _train(ws, run, run.config, *build(ws, run.config, partial(runs.read_rows, ws, run.name)))


def load_backbone(config: TrainConfig, base_model: str, chat_template: str) -> Backbone:
    """Return the base model of a run, without any role yet; checkpoints name it as the config did.

    Only SFT makes adapters; the other stages take theirs from checkpoints, in the same shape.
    """
    _take_device(config)
    is_fresh = isinstance(config, SFTConfig)
    backbone = Backbone.load(
        base_models.resolve(base_model),
        method=config.method,
        quantisation=config.quantisation,
        precision=config.precision,
        device=config.device,
        lora_rank=config.lora_rank if is_fresh else None,
        lora_alpha=config.lora_alpha if is_fresh else None,
        lora_dropout=config.lora_dropout,
        lora_targets=config.lora_targets if is_fresh else None,
        gradient_checkpointing=config.gradient_checkpointing,
        chat_template=chat_template,
    )
    backbone.base_model = base_model
    return backbone


def _take_device(config: TrainConfig) -> None:
    """Make this process's GPU the default device."""
    if config.device == "cpu" or not torch.cuda.is_available():
        return
    if config.devices > torch.cuda.device_count():
        raise ConfigError(
            f"devices is {config.devices}, but this machine has {torch.cuda.device_count()} usable GPUs: choose fewer devices."
        )
    torch.cuda.set_device(ranks.local_rank())


@during(Phase.LOADING)
def build(ws: Workspace, config: TrainConfig, rows: Rows) -> tuple[Any, Any]:
    """Return a stage's module and data as in its run; `rows` gives the parts of its training data.

    Raises:
        StudioError: it cannot be built, or too many rows would be left out.
    """
    with ws.read() as db:
        began_from = prepare.parents_of(db, config)
    match config:
        case SFTConfig():
            return _sft(config, rows)
        case RewardConfig():
            return _reward(config, began_from["sft"], rows)
        case PPOConfig():
            return _ppo(config, began_from, rows)
        case DPOConfig():
            return _dpo(config, began_from["sft"], rows)
    raise TypeError(f"nothing is trained with {type(config).__name__}")


def _sft(config: SFTConfig, rows: Rows) -> tuple[SFTModule, SFTDataModule]:
    backbone = load_backbone(config, config.base_model, config.chat_template)
    backbone.add_role("policy", trainable=True)
    data = sft_data(config, rows, backbone.chat)
    _check_data(config, rows, data, backbone)
    prompts = data.sample_prompts(config.eval_samples)
    return SFTModule.from_config(config, backbone, num_steps=data.num_steps, sample_prompts=prompts), data


def _reward(config: RewardConfig, sft: Checkpoint, rows: Rows) -> tuple[RewardModule, RewardDataModule]:
    backbone = _backbone_of(config, sft)
    backbone.add_role("reward", source=sft.folder / "policy", trainable=True, head=True, members=config.ensemble)
    data = reward_data(config, rows, backbone.chat)
    _check_data(config, rows, data, backbone)
    return RewardModule.from_config(config, backbone, num_steps=data.num_steps), data


def _ppo(config: PPOConfig, began_from: Mapping[str, Checkpoint], rows: Rows) -> tuple[PPOModule, PPODataModule]:
    sft, policy, reward = began_from["sft"], began_from["policy"], began_from.get("reward")
    backbone = _backbone_of(config, sft, policy, *filter(None, [reward]))
    backbone.add_role("reference", source=sft.folder / "policy")
    backbone.add_role("policy", source=policy.folder / "policy", trainable=True)
    if reward:
        backbone.add_role("reward", source=reward.folder / "reward", head=True)
    trunk = "reward" if config.value_trunk == "reward" else None
    origin = None if trunk else "reward" if reward else "reference"
    backbone.add_role("value", trunk_of=trunk, copy_of=origin, trainable=True, head=True)
    data = ppo_data(config, rows, backbone.chat)
    _check_data(config, rows, data, backbone)
    return PPOModule.from_config(config, backbone, _mix(config, rows, backbone, data)), data


def _dpo(config: DPOConfig, sft: Checkpoint, rows: Rows) -> tuple[DPOModule, RewardDataModule]:
    backbone = _backbone_of(config, sft)
    backbone.add_role("reference", source=sft.folder / "policy")
    backbone.add_role("policy", source=sft.folder / "policy", trainable=True)
    data = dpo_data(config, rows, backbone.chat)
    _check_data(config, rows, data, backbone)
    return DPOModule.from_config(config, backbone, num_steps=data.num_steps), data


def _check_data(config: TrainConfig, rows: Rows, data: Any, backbone: Backbone) -> None:
    """Refuse data if too much of it is left out, or if some exceeds the model's positions."""
    check_dropped(config, data.dropped, num_given(config, rows))
    check_lengths(data, backbone.context_length, config.max_new_tokens if isinstance(config, PPOConfig) else 0)


def _mix(config: PPOConfig, rows: Rows, backbone: Backbone, data: PPODataModule) -> RewardMix | None:
    """Build the reward from `rewards`, functions from their frozen text; None for the reward checkpoint alone.

    The value function starts by predicting the role ``reward``'s share: its copied head is scaled by the weight, to 0
    where there is no such term.
    """
    if not config.reward_terms:
        return None
    backbone.scale_head("value", sum(term.weight for term in config.reward_terms if term.kind == "reward"))
    sources = {row["file"]: row["source"] for row in rows("rewards")}
    texts = Texts(backbone.chat, data.row_of)
    return build_mix(config.reward_terms, backbone, texts, sources, config.micro_batch_size, config.reward_pessimism)


def _backbone_of(config: TrainConfig, first: Checkpoint, *others: Checkpoint) -> Backbone:
    """Return the base of all these checkpoints, with the chat template of the first."""
    backbone = load_backbone(config, first.base_model, checkpoint.load_meta(first.folder).chat_template)
    for found in (first, *others):
        checkpoint.check_base(checkpoint.load_meta(found.folder), backbone, found.name)
    return backbone


def _train(ws: Workspace, run: Run, config: Any, module: Any, data: Any) -> Ending:
    """Fit the module: evaluate before the first and after the last step, save at the end however it ended."""
    if run.resumed_from is not None:
        _take_up(ws, run, module)
        data.start_step = module.step_index
        if module.step_index > data.num_steps:
            raise ConfigError(
                f"The checkpoint has {module.step_index} steps behind it, but these settings make only {data.num_steps}: resume it "
                "with more epochs."
            )
    has_held_out = len(data.val_dataloader()) > 0
    if ranks.rank() > 0:
        trainer = _trainer(config, module, [Companion(config)], logger=False)
        _fit(trainer, module, data, has_held_out, lambda text: None)
        return Ending("finished", "")
    _write_down(ws, run, module.backbone.device)
    callback = StudioCallback(
        ws,
        run,
        total=data.num_steps,
        save_every=config.save_every,
        eval_every=config.eval_every if has_held_out else 0,
        unit=UNITS[run.stage],
    )
    measured = plan.thaw(runs.read_rows(ws, run.name, plan.PART))
    callbacks = [SuitesCallback(ws, run, measured), callback]  # measured before it is saved
    loggers = [SQLiteLogger(ws, run), *trackers.loggers(run, runs.folder(ws, run.name))]
    trainer = _trainer(config, module, callbacks, logger=loggers)

    def say(text: str) -> None:
        with ws.write() as db:
            runs.beat(db, run.id, text=text)

    try:
        _fit(trainer, module, data, has_held_out, say)
    except NonFiniteError as error:
        half = "" if callback.has_saved(module.step_index) else _half(module)
        callback.save(module)  # the step that failed was not taken
        return Ending("stopped", _pause_word(callback, error) + half, is_fault=True)
    except Exception:
        _rescue(callback, module)
        raise
    callback.save(module)
    return Ending(*_last_word(callback, module, data))


def _write_down(ws: Workspace, run: Run, device: torch.device) -> None:
    """Write down what the run's numbers may depend on, for a bundle."""
    with suppress(OSError):  # a bundle then says that nothing was written down
        surroundings.write(runs.folder(ws, run.name), device=_device(device), threads=torch.get_num_threads())


def _device(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _trainer(config: Any, module: Any, callbacks: list[Callback], logger: Any) -> L.Trainer:
    is_parallel = config.strategy == "ddp" or ranks.size(config) > 1
    return L.Trainer(
        max_epochs=1,
        accelerator=module.backbone.device.type,
        devices=config.devices,
        num_nodes=config.num_nodes,
        strategy=SummedByHand() if is_parallel else "auto",
        logger=logger,
        callbacks=callbacks,
        log_every_n_steps=1,
        val_check_interval=config.eval_every,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        inference_mode=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def _fit(trainer: L.Trainer, module: Any, data: Any, has_held_out: bool, say: Callable[[str], object]) -> None:
    """Train to the end, measuring before the first and after the last step; all processes do the same.

    Raises:
        NonFiniteError: A step was not taken; the weights are as they were before it.
    """
    # Metrics are sums over processes already, and each process has the same ones.
    warnings.filterwarnings("ignore", ".*sync_dist=True.*")
    # The log is for the run, not for deprecations inside Lightning.
    warnings.filterwarnings("ignore", ".*treespec, LeafSpec.*")
    warnings.filterwarnings("ignore", "Total length of .* across ranks is zero.*")
    # Lightning counts batches from this process's first one; a resumed run is measured at the same steps as any other.
    trainer.fit_loop.epoch_loop.batch_progress.total.ready = module.step_index
    if has_held_out and module.step_index == 0 and module.evaluated_at < 0:
        say("measuring before the first step")
        trainer.validate(module, datamodule=data, verbose=False)
    trainer.fit(module, datamodule=data)
    if has_held_out and module.evaluated_at != module.step_index:
        say("measuring after the last step")
        trainer.validate(module, datamodule=data, verbose=False)
    if isinstance(module, RewardModule):
        say("setting the zero of the score")
        centre = module.finish(data.reference_answers())
        for logger in trainer.loggers:
            logger.log_metrics(centre, step=module.step_index)


def _rescue(callback: StudioCallback, module: Any) -> None:
    """Save the completed steps when something later fails: a measurement, the zero of the score, a later step.

    This may fail too, where memory or disk is the fault; the first failure is the one reported.
    """
    if module.step_index and not module.is_half_done:
        try:
            callback.save(module)
        except Exception:
            traceback.print_exc()


def _pause_word(callback: StudioCallback, error: NonFiniteError) -> str:
    return (
        f"Paused: {error} The state before that step is saved as {callback.checkpoint_name}: resume continues from there, with "
        "another setting if you like, such as a lower learning_rate; reward functions stay those that the run began with."
    )


def _half(module: Any) -> str:
    """Say which part of an iteration of PPO a state holds that is saved in the middle of it; empty for a whole one."""
    taken, planned = module.half_iteration if isinstance(module, PPOModule) else (0, 0)
    if not taken:
        return ""
    return (
        f" It is not a whole iteration: {taken} of the {planned} optimizer steps of iteration {module.step_index + 1} are in it, and "
        "resume repeats that iteration."
    )


@during(Phase.TAKING_UP)
def _take_up(ws: Workspace, run: Run, module: Any) -> None:
    """Restore the checkpoint that a run resumes from; copy the best one before it as this run's own."""
    with ws.read() as db:
        origin = next(c for c in checkpoints.list_all(db) if c.id == run.resumed_from)
    before = checkpoint.restore(module, origin.folder)
    if isinstance(module, PPOModule) and before.config.get("kl_coef") != module.config.kl_coef:
        module.kl_controller.coef = (
            module.config.kl_coef
        )  # chosen again; otherwise it goes on from where it was steered to
    if not isinstance(module, PPOModule) or module.selection.best is None:
        return
    with ws.read() as db:
        best = checkpoints.get(db, f"{origin.run_name}@{module.selection.best.step}")
    folder = runs.folder(ws, run.name) / "checkpoints" / best.folder.name
    folder = folders.write(folder, lambda path: shutil.copytree(best.folder, path, dirs_exist_ok=True))
    with ws.write() as db:
        checkpoints.add(
            db,
            run.id,
            best.step,
            folder,
            base_model=best.base_model,
            base_fingerprint=best.base_fingerprint,
            metrics=best.metrics,
            is_chosen=True,
        )


def _last_word(callback: StudioCallback, module: Any, data: Any) -> tuple[str, str]:
    said = [f"{count} rows were left out: {reason}." for reason, count in sorted(data.dropped.items())]
    if isinstance(module, PPOModule) and module.selection.is_on:
        said.insert(0, module.selection.sentence())
    if isinstance(module, PPOModule) and 0 < module.step_index <= module.config.value_warmup:
        said.append(
            f"The policy is still unchanged: the first {module.config.value_warmup} iterations (value_warmup) train the value function only."
        )
    if isinstance(module, RewardModule) and module.keep_best and not module.best:
        said.append("keep_best had no held-out comparisons to choose by, so the last weights are kept.")
    rest = "".join(f" {sentence}" for sentence in said)
    if callback.is_stopped:
        return "stopped", f"Stopped and saved as {callback.checkpoint_name}; resume continues from there.{rest}"
    return "finished", f"Saved as {callback.checkpoint_name} after {_count(module.step_index, callback.unit)}.{rest}"


def _count(number: int, unit: str) -> str:
    return f"{number:,} {unit}{'' if number == 1 else 's'}"
