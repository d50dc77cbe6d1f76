"""What a worker does: build a stage from its config and frozen rows, run it, save it. Loads torch; only the worker imports it.

Each stage is built as in a notebook: a `Backbone` with its roles, a data module, a LightningModule, a plain `Trainer`.
"""

from pathlib import Path
from typing import Any

import lightning.pytorch as L

from modules import checkpoint
from modules.backbone import Backbone
from modules.config import PPOConfig, RewardConfig, SampleConfig, SFTConfig, TrainConfig, categories
from modules.data import PPODataModule, RewardDataModule, SFTDataModule
from modules.ppo import PPOModule
from modules.reward import RewardModule
from modules.sft import SFTModule
from studio import base_models, checkpoints, runs, sampling
from studio.callbacks import SQLiteLogger, StudioCallback
from studio.checkpoints import Checkpoint
from studio.runs import Run
from studio.workspace import Workspace

UNITS = {"sft": "step", "reward": "step", "ppo": "iteration"}


def work(ws: Workspace, run: Run) -> tuple[str, str]:
    """Do the run's stage to its end; returns the state it ends in and one plain sentence.

    Raises:
        StudioError: what went wrong, for the person.
    """
    L.seed_everything(run.config.seed, verbose=False)
    match run.config:
        case SFTConfig():
            return _train(ws, run, run.config, *_sft(ws, run, run.config))
        case RewardConfig():
            return _train(ws, run, run.config, *_reward(ws, run, run.config))
        case PPOConfig():
            return _train(ws, run, run.config, *_ppo(ws, run, run.config))
        case SampleConfig():
            return sampling.work(ws, run, run.config)
    raise TypeError(f"no stage for {type(run.config).__name__}")


def load_backbone(config: TrainConfig, base_model: str, chat_template: str) -> Backbone:
    """The base model of a run, without any role yet; checkpoints name it as the config did."""
    backbone = Backbone.load(
        base_models.resolve(base_model),
        method=config.method,
        quantisation=config.quantisation,
        precision=config.precision,
        device=config.device,
        lora_rank=config.lora_rank,
        lora_alpha=config.lora_alpha,
        lora_dropout=config.lora_dropout,
        lora_targets=config.lora_targets,
        gradient_checkpointing=config.gradient_checkpointing,
        chat_template=chat_template,
    )
    backbone.base_model = base_model
    return backbone


def _sft(ws: Workspace, run: Run, config: SFTConfig) -> tuple[SFTModule, SFTDataModule]:
    backbone = load_backbone(config, config.base_model, config.chat_template)
    backbone.add_role("policy", trainable=True)
    data = SFTDataModule(
        runs.read_rows(ws, run.name, "train"),
        runs.read_rows(ws, run.name, "validation"),
        backbone.chat,
        batch_size=config.batch_size,
        epochs=config.epochs,
        max_length=config.max_length,
        seed=config.seed,
    )
    prompts = data.sample_prompts(config.eval_samples)
    return SFTModule.from_config(config, backbone, num_steps=data.num_steps, sample_prompts=prompts), data


def _reward(ws: Workspace, run: Run, config: RewardConfig) -> tuple[RewardModule, RewardDataModule]:
    sft = checkpoints.get(ws, config.sft_checkpoint)
    backbone = _backbone_of(config, sft)
    backbone.add_role("reward", source=sft.folder / "policy", trainable=True, head=True)
    data = RewardDataModule(
        runs.read_rows(ws, run.name, "train"),
        runs.read_rows(ws, run.name, "validation"),
        backbone.chat,
        batch_size=config.batch_size,
        epochs=config.epochs,
        max_length=config.max_length,
        seed=config.seed,
    )
    return RewardModule.from_config(config, backbone, num_steps=data.num_steps), data


def _ppo(ws: Workspace, run: Run, config: PPOConfig) -> tuple[PPOModule, PPODataModule]:
    sft = checkpoints.get(ws, config.sft_checkpoint)
    reward = checkpoints.get(ws, config.reward_checkpoint)
    policy = checkpoints.get(ws, config.policy_checkpoint)
    backbone = _backbone_of(config, sft, reward, policy)
    backbone.add_role("reference", source=sft.folder / "policy")
    backbone.add_role("policy", source=policy.folder / "policy", trainable=True)
    backbone.add_role("reward", source=reward.folder / "reward", head=True)
    backbone.add_role("value", copy_of="reward", trainable=True, head=True)
    data = PPODataModule(
        runs.read_rows(ws, run.name, "train"),
        runs.read_rows(ws, run.name, "validation"),
        backbone.chat,
        demonstrations=runs.read_rows(ws, run.name, "ptx"),
        validation_demonstrations=runs.read_rows(ws, run.name, "demonstrations"),
        excluded=categories(config.exclude_categories),
        ptx_per_iteration=config.minibatch_size if config.ptx_coef > 0 else 0,
        batch_size=config.batch_size,
        iterations=config.iterations,
        max_prompt_length=config.max_prompt_length,
        max_length=config.max_length,
        eval_prompts=config.eval_prompts,
        seed=config.seed,
    )
    return PPOModule.from_config(config, backbone), data


def _backbone_of(config: TrainConfig, first: Checkpoint, *others: Checkpoint) -> Backbone:
    """The base that all these checkpoints belong to, with the chat template of the first."""
    backbone = load_backbone(config, first.base_model, checkpoint.load_meta(first.folder).chat_template)
    for found in (first, *others):
        checkpoint.check_base(checkpoint.load_meta(found.folder), backbone, found.name)
    return backbone


def _train(ws: Workspace, run: Run, config: Any, module: Any, data: Any) -> tuple[str, str]:
    """Fit the module: evaluated before the first and after the last step, saved at the end whatever the end was."""
    if run.resumed_from is not None:
        checkpoint.restore(module, _resume_folder(ws, run))
        data.start_step = module.step_index
    callback = StudioCallback(ws, run, total=data.num_steps, save_every=config.save_every, unit=UNITS[run.stage])
    trainer = L.Trainer(
        max_epochs=1,
        accelerator=module.backbone.device.type,
        devices=1,
        logger=SQLiteLogger(ws, run),
        callbacks=[callback],
        log_every_n_steps=1,
        val_check_interval=config.eval_every,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        inference_mode=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    has_held_out = len(data.val_dataloader()) > 0
    if has_held_out and module.step_index == 0:
        runs.beat(ws, run.id, 0.0, "measuring before the first step")
        trainer.validate(module, datamodule=data, verbose=False)
    trainer.fit(module, datamodule=data)
    if has_held_out and module.evaluated_at != module.step_index:
        runs.beat(ws, run.id, text="measuring after the last step")
        trainer.validate(module, datamodule=data, verbose=False)
    callback.save(module)
    return _last_word(callback, module.step_index, data)


def _last_word(callback: StudioCallback, step: int, data: Any) -> tuple[str, str]:
    dropped = "".join(f" {count} rows were left out: {reason}." for reason, count in sorted(data.dropped.items()))
    if callback.is_stopped:
        return "stopped", f"Stopped and saved as {callback.checkpoint_name}; resume continues from there.{dropped}"
    return "finished", f"Saved as {callback.checkpoint_name} after {step} steps.{dropped}"


def _resume_folder(ws: Workspace, run: Run) -> Path:
    return next(c for c in checkpoints.list_all(ws) if c.id == run.resumed_from).folder
