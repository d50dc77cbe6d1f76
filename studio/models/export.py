"""Exports a checkpoint as a folder that plain peft and transformers open, with a model card.

It is written under a temporary name and then renamed.
"""

import json
import shlex
import shutil
from pathlib import Path
from typing import Any

from studio import children
from studio.children import ChildError, check_device
from studio.errors import CheckpointError
from studio.files import whole
from studio.models import base_models, checkpoints
from studio.models.checkpoints import Checkpoint
from studio.models.model_card import model_card
from studio.workspace import Workspace


def export_checkpoint(ws: Workspace, name: str, is_merged: bool = False, device: str = "auto") -> Path:
    """Copy a checkpoint with a model card to `exports/` and return the folder.

    Args:
        ws: the workspace.
        name: a checkpoint, or a run for its newest one.
        is_merged: merge the adapter into the base model (a child process; needs memory for the whole model), giving a
            plain transformers folder. A 4-bit base is dequantised first; the card states the largest change of a logit.
        device: where to merge: auto takes a GPU that no run uses, cpu takes none.

    Raises:
        CheckpointError: there is no such checkpoint, or it cannot be merged.
        WorkspaceError: the folder cannot be written.
    """
    with ws.read() as db:
        found = checkpoints.get(db, name)
        parents = checkpoints.parents(db, found.name)
    meta = _read_meta(found)
    target = ws.exports / (f"{found.name}-merged" if is_merged else found.name)

    with whole.exported(target) as folder:
        folder.mkdir(parents=True)
        figures = None
        if is_merged:
            figures = _merge(ws, found.folder, folder, check_device(device))
        else:
            _copy_roles(found.folder, folder, meta)
        card = model_card(found, parents, meta, figures)
        (folder / "README.md").write_text(card, encoding="utf-8")
    return target


def serving(path: Path, name: str) -> str:
    """Return the lines that serve an exported model by other programs, where they are installed.

    Args:
        path: a merged model's folder, or a GGUF file.
        name: the checkpoint's.
    """
    called = name.replace("@", "-")
    if path.suffix == ".gguf":
        lines = [
            f"printf 'FROM %s\\n' {shlex.quote(str(path))} > Modelfile && ollama create {called} -f Modelfile && ollama run {called}"
        ]
    else:
        folder = shlex.quote(str(path))
        lines = [f"vllm serve {folder} --served-model-name {called}", f"transformers serve {folder}"]
        lines.append(f"rlhf-studio export model {name} --gguf    # for Ollama and llama.cpp")
    return "\n".join(["Other programs serve it by:", *(f"    {line}" for line in lines)])


def _read_meta(found: Checkpoint) -> dict[str, Any]:
    """Return the checkpoint's meta.json, with the base model's name as plain peft finds it: a folder or a hub id."""
    try:
        meta = json.loads((found.folder / "meta.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"Checkpoint {found.name} is damaged: its meta.json cannot be read. Choose another."
        ) from error
    return meta | {"base_model": base_models.resolve(found.base_model)}


def _copy_roles(source: Path, folder: Path, meta: dict[str, Any]) -> None:
    """Copy the role folders without the optimizer's state; write into each adapter where its base model is."""
    for role in meta["roles"]:
        shutil.copytree(source / role, folder / role)
        adapter = folder / role / "adapter_config.json"
        if adapter.exists():
            content = json.loads(adapter.read_text(encoding="utf-8")) | {"base_model_name_or_path": meta["base_model"]}
            adapter.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _merge(ws: Workspace, source: Path, folder: Path, device: str) -> dict[str, Any]:
    """Merge in a child process, so that its memory is freed and no torch is loaded here."""
    try:
        return children.ask("studio.worker.merge", None, str(source), str(folder), str(ws.root), device)
    except ChildError as error:
        raise CheckpointError(f"The checkpoint could not be merged: {error}") from error
