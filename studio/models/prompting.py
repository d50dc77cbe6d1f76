"""Asks checkpoints for an answer: the page's and the terminal's "try a prompt". The model runs in a child process."""

from collections.abc import Sequence

from studio import children
from studio.children import ChildError, check_device
from studio.errors import CheckpointError, RunError
from studio.models import base_models, checkpoints, parents
from studio.preferences.prompts import Messages, check_messages
from studio.workspace import Workspace

TIMEOUT_S = 600.0


def answer(
    ws: Workspace,
    messages: Messages,
    names: Sequence[str],
    *,
    temperature: float = 0.7,
    max_new_tokens: int = 128,
    seed: int = 0,
    device: str = "auto",
) -> dict[str, str]:
    """Return the answer of each named policy to the same prompt; takes as long as loading the model does.

    Args:
        ws: the workspace.
        messages: the prompt.
        names: the checkpoints' names.
        temperature, max_new_tokens, seed: of sampling.
        device: auto takes a GPU that no run uses; cpu takes none.

    Raises:
        DataError: the messages are empty or do not end with a user turn.
        CheckpointError: a checkpoint is missing or is not a policy.
        RunError: a run uses the GPU, or the child process failed; the message has its last line.
    """
    found = {name: checkpoints.get(ws, name) for name in names}
    for checkpoint in found.values():
        if checkpoint.stage not in checkpoints.POLICIES:
            raise CheckpointError(f"Checkpoint {checkpoint.name} is a {checkpoint.stage} model and gives no answers.")
    traits = [parents.read(ws, checkpoint) for checkpoint in found.values()]
    parents.check_alike(*traits)
    base_models.resolve(traits[0].base_model)
    request = {
        "messages": check_messages(messages, last="user"),
        "folders": {name: str(checkpoint.folder) for name, checkpoint in found.items()},
        "temperature": temperature,
        "max_new_tokens": max_new_tokens,
        "seed": seed,
        "root": str(ws.root),
        "device": check_device(device),
        "precision": traits[0].precision,
    }
    try:
        return children.ask("studio.worker.answer", request, cwd=ws.root, timeout_s=TIMEOUT_S)
    except ChildError as error:
        raise RunError(f"The model could not answer: {error}") from error
