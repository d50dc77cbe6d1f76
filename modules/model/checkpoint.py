"""Saving and restoring a run: plain files, no pickles.

    FOLDER/
    |-- meta.json            what it is: stage, step, base model and its fingerprint, settings, config
    |-- policy/ ...          one folder per trained role: a peft adapter (or, with full, a model) and head.safetensors;
    |                        where PPO averages its policy, policy/ is the average and raw_policy/ what trains on
    |-- state.safetensors    optimizer moments and random number generators
    `-- state.json           counters, KL coefficient, score centre

`save` writes into a folder that the caller made; making that atomic (temporary name, fsync, rename) is the caller's job.
"""

import json
import random
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors.torch import load_file, save_file
from torch import Tensor

from modules.errors import CheckpointError
from modules.model.backbone import Backbone

FORMAT_VERSION = 1


class Restorable(Protocol):
    """The part of the three LightningModules that is saved."""

    backbone: Backbone
    optimizer: torch.optim.Optimizer
    saved_roles: tuple[str, ...] | Mapping[str, str]
    """Roles, each in a folder of its name; or folder to role."""
    step_index: int

    def state(self) -> dict[str, Any]:
        """Return counters and coefficients as JSON values."""
        ...

    def load_state(self, state: dict[str, Any]) -> None:
        """Take over what `state` returned."""
        ...


class CheckpointMeta(BaseModel):
    """``meta.json``."""

    model_config = ConfigDict(frozen=True)

    format_version: int = FORMAT_VERSION
    stage: str
    step: int
    base_model: str
    base_fingerprint: str
    method: str
    quantisation: str
    chat_template: str
    roles: tuple[str, ...]
    config: dict[str, Any]
    checksums: dict[str, int] = {}
    """File to CRC-32, of every file but this one; empty in checkpoints of earlier versions."""


def save(folder: Path, module: Restorable, *, stage: str, config: dict[str, Any]) -> CheckpointMeta:
    """Write a module's trained roles and everything needed to continue.

    Args:
        folder: Exists and is empty.
        module: The trainer.
        stage: ``sft``, ``reward`` or ``ppo``.
        config: The run's config as JSON values.
    """
    backbone = module.backbone
    meta = CheckpointMeta(
        stage=stage,
        step=module.step_index,
        base_model=backbone.base_model,
        base_fingerprint=backbone.fingerprint,
        method=backbone.method,
        quantisation=backbone.quantisation,
        chat_template=backbone.chat.template,
        roles=tuple(_folders(module)),
        config=config,
    )
    for name, role in _folders(module).items():
        backbone.save_role(role, folder / name)
    rng_tensors, rng_numbers = _rng_state()
    save_file(_optimizer_tensors(module.optimizer) | rng_tensors, folder / "state.safetensors")
    _write_json(folder / "state.json", {"module": module.state(), "rng": rng_numbers})
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    meta = meta.model_copy(update={"checksums": {str(path.relative_to(folder)): _checksum(path) for path in files}})
    _write_json(folder / "meta.json", meta.model_dump(mode="json"))
    return meta


def load_meta(folder: Path) -> CheckpointMeta:
    """Read what a checkpoint is, and check that the weights of its roles are those that were saved.

    Raises:
        CheckpointError: It is not a checkpoint, is damaged, or has a newer format.
    """
    file = folder / "meta.json"
    if not file.is_file():
        raise CheckpointError(
            f"The folder {folder} is not a checkpoint, or is incomplete: it has no meta.json. Choose another."
        )
    try:
        meta = CheckpointMeta.model_validate_json(file.read_text(encoding="utf-8"))
    except ValidationError as error:
        raise CheckpointError(
            f"The file {file} is damaged ({error.error_count()} errors): choose another checkpoint."
        ) from error
    if meta.format_version > FORMAT_VERSION:
        raise CheckpointError(
            f"The checkpoint {folder} has format {meta.format_version}, but this version reads up to {FORMAT_VERSION}: update RLHF Studio."
        )
    _check_files(folder, {name: given for name, given in meta.checksums.items() if "/" in name})
    return meta


def check_base(meta: CheckpointMeta, backbone: Backbone, name: str) -> None:
    """Refuse a checkpoint whose weights belong to another base model or another kind of training.

    Raises:
        CheckpointError: The weights belong to another.
    """
    if meta.base_fingerprint != backbone.fingerprint:
        raise CheckpointError(
            f"The checkpoint {name} was trained on the base model {meta.base_model} (fingerprint {meta.base_fingerprint}), but this "
            f"run uses {backbone.base_model} (fingerprint {backbone.fingerprint}): choose checkpoints of one base model and tokenizer."
        )
    for setting in ("method", "quantisation"):
        theirs, ours = getattr(meta, setting), getattr(backbone, setting)
        if theirs != ours:
            raise CheckpointError(
                f"The checkpoint {name} was trained with {setting} {theirs}, but this run uses {ours}: set {setting} to {theirs}."
            )
    if meta.chat_template != backbone.chat.template:
        raise CheckpointError(
            f"The checkpoint {name} was trained with the chat template {meta.chat_template}, but this run uses "
            f"{backbone.chat.template}: choose checkpoints of one chat template."
        )


def restore(module: Restorable, folder: Path) -> CheckpointMeta:
    """Resume a run where `save` left it: weights, optimizer, counters and random numbers.

    The module was built as for a fresh run, from the same config, or one in which settings of the steps to come differ.

    Returns:
        What the checkpoint is.

    Raises:
        CheckpointError: It is damaged or incomplete.
    """
    meta = load_meta(folder)
    _check_files(folder, {name: given for name, given in meta.checksums.items() if "/" not in name})
    for name, role in _folders(module).items():
        module.backbone.load_role(role, folder / name)
    tensors, numbers = (
        load_file(folder / "state.safetensors"),
        json.loads((folder / "state.json").read_text(encoding="utf-8")),
    )
    _load_optimizer(module.optimizer, tensors)
    module.load_state(numbers["module"])
    _set_rng_state(tensors, numbers["rng"])
    return meta


def _check_files(folder: Path, checksums: Mapping[str, int]) -> None:
    """Refuse a folder in which a file is missing, cut off or otherwise not what was written."""
    for name, given in checksums.items():
        if not (folder / name).is_file():
            raise CheckpointError(f"The checkpoint {folder} is incomplete: it has no {name}. Choose another.")
        if _checksum(folder / name) != given:
            raise CheckpointError(
                f"The checkpoint {folder} is damaged: {name} is not what was saved. Put back a copy of it, or choose another checkpoint."
            )


def _checksum(file: Path) -> int:
    value = 0
    with file.open("rb") as content:
        while piece := content.read(1 << 22):
            value = zlib.crc32(piece, value)
    return value


def _folders(module: Restorable) -> Mapping[str, str]:
    """Return folder to role."""
    saved = module.saved_roles
    return saved if isinstance(saved, Mapping) else {role: role for role in saved}


def _write_json(file: Path, content: object) -> None:
    file.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def _optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    state = optimizer.state_dict()["state"]
    return {
        f"optimizer.{index}.{key}": torch.as_tensor(value).detach().cpu().contiguous()
        for index, values in state.items()
        for key, value in values.items()
    }


def _load_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimizer."):
            _, index, key = name.split(".")
            state.setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _rng_state() -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the states of all generators: tensors, and the rest as JSON values."""
    kind, keys, position, has_gauss, gauss = np.random.get_state()
    version, internal, next_gauss = random.getstate()
    tensors = {"rng.torch": torch.get_rng_state(), "rng.numpy": torch.from_numpy(np.asarray(keys, dtype=np.int64))}
    if torch.cuda.is_available():
        tensors |= {f"rng.cuda.{i}": state for i, state in enumerate(torch.cuda.get_rng_state_all())}
    numpy_rest = [str(kind), int(position), int(has_gauss), float(gauss)]
    return tensors, {"numpy": numpy_rest, "python": [version, list(internal), next_gauss]}


def _set_rng_state(tensors: dict[str, Tensor], numbers: dict[str, Any]) -> None:
    torch.set_rng_state(tensors["rng.torch"])
    kind, position, has_gauss, gauss = numbers["numpy"]
    np.random.set_state((kind, tensors["rng.numpy"].numpy().astype(np.uint32), position, has_gauss, gauss))
    version, internal, next_gauss = numbers["python"]
    random.setstate((version, tuple(internal), next_gauss))
    devices = [tensors[name] for name in sorted(tensors) if name.startswith("rng.cuda.")]
    if devices and torch.cuda.device_count() == len(devices):
        torch.cuda.set_rng_state_all(devices)
