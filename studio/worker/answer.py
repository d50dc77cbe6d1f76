"""The process behind "try a prompt": ``python -m studio.worker.answer``, a JSON request on stdin, a JSON answer on stdout."""

import sys
from pathlib import Path
from typing import Any

from modules.model import checkpoint
from modules.model.backbone import Backbone
from modules.model.generate import Rollout, generate
from studio.models import base_models
from studio.worker import child
from studio.worker.borrowed_gpu import borrowed
from studio.worker.sampling import role_of
from studio.workspace import Workspace


def reply(request: dict[str, Any]) -> dict[str, str]:
    """Map each checkpoint to its answer, on a GPU that no run uses (fields: `studio.models.prompting`)."""
    with borrowed(Workspace.existing(request["root"]), request["device"]):
        return _answers(request)


def _answers(request: dict[str, Any]) -> dict[str, str]:
    """Map each checkpoint to its answer."""
    folders = {name: Path(folder) for name, folder in request["folders"].items()}
    meta = checkpoint.load_meta(next(iter(folders.values())))
    backbone = Backbone.load(
        base_models.resolve(meta.base_model),
        method=meta.method,
        quantisation=meta.quantisation,
        precision=request["precision"],
        chat_template=meta.chat_template,
    )
    prompt = backbone.chat.encode_prompt(request["messages"]).ids
    answers = {}
    for name, folder in folders.items():
        checkpoint.check_base(checkpoint.load_meta(folder), backbone, name)
        backbone.add_role(role_of(name), source=folder / "policy")
        rollout = generate(
            backbone,
            role_of(name),
            [prompt],
            max_new_tokens=request["max_new_tokens"],
            temperature=request["temperature"],
            seed=request["seed"],
        )
        answers[name] = backbone.chat.decode(rollout.responses[0]).strip() + _end(backbone, rollout, request)
    return answers


def _end(backbone: Backbone, rollout: Rollout, request: dict[str, Any]) -> str:
    """Return the note on an answer that was cut because the model has no more positions."""
    is_cut = not rollout.finished[0] and len(rollout.responses[0]) < request["max_new_tokens"]
    return f"\n\n[Cut off here: the model has no more than {backbone.context_length} positions.]" if is_cut else ""


if __name__ == "__main__":
    sys.exit(child.answer(reply))
