"""What belongs to a trained model, read from the files of its checkpoint."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modules.config import FRESH
from studio.errors import CheckpointError
from studio.models import checkpoints
from studio.models.checkpoints import Checkpoint
from studio.workspace import Workspace


@dataclass(frozen=True)
class Traits:
    """How a checkpoint was trained, as far as another run must do the same."""

    name: str
    base_model: str
    fingerprint: str
    method: str
    quantisation: str
    chat_template: str
    precision: str
    """As its run's config named it; ``auto`` where it left it to the hardware."""
    lora_rank: int
    lora_alpha: float
    lora_targets: str
    """As the SFT run at the root of its lineage named them, or the layers themselves; empty with method full."""
    layers: frozenset[str]
    """The layers that its adapter lies on, as its file names them."""
    is_complete: bool
    """Whether its files are there to say all this; without them it is SFT's defaults, and the worker will refuse it."""

    def settings(self) -> dict[str, Any]:
        """Config fields that belong to the model, with this one's values."""
        return {name: getattr(self, name) for name in FRESH}


def read(ws: Workspace, found: Checkpoint) -> Traits:
    """Return the traits of a checkpoint; what its files do not say is taken to be the default of SFT.

    Raises:
        CheckpointError: a file of it is no JSON.
    """
    meta = _read_json(found, found.folder / "meta.json")
    method = meta.get("method", FRESH["method"])
    adapter = _adapter(found, meta) if method == "lora" else {}
    layers = _layers(adapter)
    named = _named_targets(ws, found) or ",".join(sorted(layers)) or FRESH["lora_targets"]
    return Traits(
        name=found.name,
        base_model=found.base_model,
        fingerprint=found.base_fingerprint,
        method=method,
        quantisation=meta.get("quantisation", FRESH["quantisation"]),
        chat_template=meta.get("chat_template", ""),
        precision=meta.get("config", {}).get("precision", "auto"),
        lora_rank=int(adapter.get("r", FRESH["lora_rank"])) if method == "lora" else 0,
        lora_alpha=float(adapter.get("lora_alpha", FRESH["lora_alpha"])) if method == "lora" else 0.0,
        lora_targets=named if method == "lora" else "",
        layers=layers,
        is_complete=bool(meta) and (method != "lora" or bool(adapter)),
    )


def _adapter(found: Checkpoint, meta: dict[str, Any]) -> dict[str, Any]:
    """Return the adapter's config of the role that the checkpoint is about."""
    roles = meta.get("roles", [])
    role = next((role for role in ("policy", "reward") if role in roles), "policy")
    return _read_json(found, found.folder / role / "adapter_config.json")


def _layers(adapter: dict[str, Any]) -> frozenset[str]:
    """Return the last part of each layer's name; none where they are given by a pattern."""
    targets = adapter.get("target_modules")
    return frozenset(str(name).rsplit(".", 1)[-1] for name in targets) if isinstance(targets, list) else frozenset()


def _named_targets(ws: Workspace, found: Checkpoint) -> str:
    """The setting of the SFT run that made the adapter; later runs go on training the same layers. Empty if it is gone."""
    try:
        while found.stage != "sft":
            parents = checkpoints.parents(ws, found.name)
            found = checkpoints.get(ws, parents.get("policy") or parents["sft"])
        return str(_read_json(found, found.folder / "meta.json").get("config", {}).get("lora_targets", ""))
    except (CheckpointError, KeyError):
        return ""


def _read_json(found: Checkpoint, file: Path) -> dict[str, Any]:
    """Return a file's object; empty where there is no such file, of which the worker speaks."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"Checkpoint {found.name} is damaged: its {file.name} cannot be read. Put back a copy of it, or choose another checkpoint."
        ) from error
    if not isinstance(content, dict):
        raise CheckpointError(f"Checkpoint {found.name} is damaged: its {file.name} holds no object. Choose another.")
    return content
