"""Reads the traits of a trained model from the files of its checkpoint."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlite_utils import Database

from modules.config import FRESH
from studio.errors import CheckpointError
from studio.models import checkpoints
from studio.models.checkpoints import Checkpoint


@dataclass(frozen=True)
class Traits:
    """The training settings of a checkpoint that another run must share."""

    name: str
    base_model: str
    fingerprint: str
    method: str
    quantisation: str
    chat_template: str
    precision: str
    """As named in its run's config; ``auto`` where the hardware decided."""
    lora_rank: int
    lora_alpha: float
    lora_targets: str
    """As named in the SFT run at the root of its lineage, or the layers themselves; empty with method full."""
    layers: frozenset[str]
    """The layers of its adapter, as named in its file."""
    is_complete: bool
    """True if its files say all this; without them, these are SFT's defaults, and the worker will refuse it."""

    def settings(self) -> dict[str, Any]:
        """Return the config fields of the model, with this one's values."""
        return {name: getattr(self, name) for name in FRESH}


def read(db: Database, found: Checkpoint) -> Traits:
    """Return the traits of a checkpoint; where its files say nothing, the default of SFT.

    Raises:
        CheckpointError: a file of it is not JSON.
    """
    meta = _read_json(found, found.folder / "meta.json")
    method = meta.get("method", FRESH["method"])
    adapter = _adapter(found, meta) if method == "lora" else {}
    layers = _layers(adapter)
    named = _named_targets(db, found) or ",".join(sorted(layers)) or FRESH["lora_targets"]
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


def votes_half(found: Checkpoint) -> str:
    """Return which half of the votes a reward model learned from: first, second, or all.

    Raises:
        CheckpointError: a file of it is not JSON.
    """
    return str(config_of(found).get("votes_half", "all"))


def config_of(found: Checkpoint) -> dict[str, Any]:
    """Return the settings of the run that saved a checkpoint; empty where its files do not say.

    Raises:
        CheckpointError: a file of it is not JSON.
    """
    config = _read_json(found, found.folder / "meta.json").get("config", {})
    return config if isinstance(config, dict) else {}


def _adapter(found: Checkpoint, meta: dict[str, Any]) -> dict[str, Any]:
    """Return the config of the main role's adapter."""
    roles = meta.get("roles", [])
    role = next((role for role in ("policy", "reward") if role in roles), "policy")
    return _read_json(found, found.folder / role / "adapter_config.json")


def _layers(adapter: dict[str, Any]) -> frozenset[str]:
    """Return the last part of each layer's name; empty where a pattern gives them."""
    targets = adapter.get("target_modules")
    return frozenset(str(name).rsplit(".", 1)[-1] for name in targets) if isinstance(targets, list) else frozenset()


def _named_targets(db: Database, found: Checkpoint) -> str:
    """Return the setting of the SFT run that made the adapter, whose layers later runs train too; empty if gone."""
    try:
        while found.stage != "sft":
            parents = checkpoints.parents(db, found.name)
            found = checkpoints.get(db, parents.get("policy") or parents["sft"])
        return str(_read_json(found, found.folder / "meta.json").get("config", {}).get("lora_targets", ""))
    except (CheckpointError, KeyError):
        return ""


def _read_json(found: Checkpoint, file: Path) -> dict[str, Any]:
    """Return a file's JSON object; empty where the file is missing, which the worker reports."""
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
