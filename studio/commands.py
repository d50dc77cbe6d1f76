"""Builds command lines for people to copy, valid in the shell that started the studio."""

import os
import shlex
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from modules.config import STAGES, StageConfig
from studio.workspace import Workspace


def program() -> str:
    """Return the name of ``rlhf-studio`` where the shell finds it, else its path, such as `.venv/bin/rlhf-studio`."""
    found, own = shutil.which("rlhf-studio"), Path(sys.executable).parent / "rlhf-studio"
    if not own.exists() or (found and Path(found).resolve() == own.resolve()):
        return "rlhf-studio"
    relative = os.path.relpath(own)
    return str(own) if relative.startswith("..") else relative


def changed(config: StageConfig) -> dict[str, object]:
    """Return the fields that differ from their defaults, which a command line must name."""
    fields = type(config).model_fields
    return {name: getattr(config, name) for name in fields if getattr(config, name) != fields[name].default}


def of_config(ws: Workspace, config: StageConfig) -> str:
    """Return the command that starts a run with this config, one setting a line."""
    stage = next(name for name, cls in STAGES.items() if isinstance(config, cls))
    settings = [f"--set {shlex.quote(f'{name}={_plain(value)}')}" for name, value in changed(config).items()]
    return " \\\n    ".join([f"{program()} {stage} --workspace {shlex.quote(str(ws.root))}", *settings])


def of_run(ws: Workspace, stage: str, config: Path, other: Mapping[str, str]) -> str:
    """Return the command that starts a run with the settings of a run's config.json but for some `other` ones."""
    settings = [word for name, value in other.items() for word in ("--set", f"{name}={value}")]
    return shlex.join([program(), stage, "--workspace", str(ws.root), "--config", str(config), *settings])


def _plain(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
