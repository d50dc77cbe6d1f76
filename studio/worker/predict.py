"""The process that predicts votes: ``python -m studio.worker.predict``, a JSON request on stdin. Loads torch; never imported.

It scores unjudged comparisons with the newest reward model, those shown soonest first, and writes after each batch, so
that a prediction is there before its pair is shown. The resident process does the same by `batches`. It takes a GPU as a run does, and only one that no run waits for;
of several such processes, one works.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from modules.data.sequences import by_length, pad_rows
from modules.errors import DataError
from modules.model import checkpoint
from modules.model.backbone import Backbone
from studio import redaction
from studio.annotation import predictions
from studio.errors import CheckpointError
from studio.models import base_models, checkpoints
from studio.worker import child
from studio.worker.borrowed_gpu import borrowed
from studio.workspace import Workspace

BATCH = 32
"""Comparisons scored together; the newest votes are checked before each batch."""
BUSY = "Another process is already predicting."


def reply(request: dict[str, Any]) -> str:
    """Predict until nothing waits; say what was predicted. Fields: the workspace's `root`; `is_patient` waits for a GPU."""
    ws = Workspace.open(request["root"])
    with ws.read() as db:
        reward = checkpoints.newest(db, "reward")
    if reward is None:
        raise CheckpointError("There is no reward model yet. Train one first.")
    with alone(ws) as is_mine:
        if not is_mine:
            return BUSY
        num, num_unfit = 0, 0
        with ws.read() as db:
            waiting = predictions.pending(db, reward.id, 1)
        if waiting:
            with borrowed(ws, is_patient=request["is_patient"]):
                *_, (num, num_unfit) = [(0, 0), *batches(ws, reward.id, load(reward.folder))]
    return told(reward.name, num, num_unfit)


@contextmanager
def alone(ws: Workspace) -> Iterator[bool]:
    """Yield whether no other process is predicting; none begins to for the length of the block."""
    try:
        lock = FileLock(ws.root / "predictions.lock").acquire(blocking=False)
    except Timeout:
        yield False
        return
    with lock:
        yield True


def told(name: str, num: int, num_unfit: int) -> str:
    """Say what a reward model predicted."""
    unfit = f" {num_unfit} comparisons were too long for the model." if num_unfit else ""
    return f"{name} predicted {num} comparisons.{unfit}"


def batches(ws: Workspace, checkpoint_id: int, backbone: Backbone) -> Iterator[tuple[int, int]]:
    """Predict a batch at a time until nothing waits; yields how many were predicted so far, and how many the model cannot read."""
    num, unfit = 0, set()
    while True:
        with ws.read() as db:
            pending = predictions.pending(db, checkpoint_id, BATCH + len(unfit))
        waiting = [row for row in pending if row["id"] not in unfit]
        if not waiting:
            return
        encoded = {row["id"]: ids for row in waiting if (ids := encode(backbone, row))}
        unfit |= {row["id"] for row in waiting} - encoded.keys()
        scores = iter(score(backbone, [ids for rows in encoded.values() for ids in rows]))
        found = [(key, [next(scores) for _ in rows]) for key, rows in encoded.items()]
        with ws.write() as db:
            num += predictions.add(db, checkpoint_id, found)
        yield num, len(unfit)


def load(folder: Path) -> Backbone:
    """Return a backbone with the checkpoint's role ``reward``."""
    meta = checkpoint.load_meta(folder)
    backbone = Backbone.load(
        base_models.resolve(meta.base_model),
        method=meta.method,
        quantisation=meta.quantisation,
        chat_template=meta.chat_template,
    )
    backbone.add_role("reward", source=folder / "reward", head=True)
    return backbone


@torch.no_grad()
def score(backbone: Backbone, rows: Sequence[list[int]]) -> list[list[float]]:
    """Return the score of each row of ids (prompt + response) by each member of the ensemble."""
    if not rows:
        return []
    padded = pad_rows(rows, [[True] * len(row) for row in rows], backbone.chat.pad_id).to(backbone.device)
    scores: list[list[float]] = [[] for _ in rows]
    with backbone.role("reward"):
        for part in by_length(padded.lengths, BATCH):
            cut = padded.rows(part)
            for index, members in zip(
                part.tolist(), backbone.member_scores(cut.ids, cut.lengths).tolist(), strict=True
            ):
                scores[index] = members
    return scores


def encode(backbone: Backbone, row: dict[str, Any]) -> list[list[int]] | None:
    """Return prompt + response of each slot as ids; None where one does not fit. Fields: messages, responses, end_reasons."""
    try:
        found = [
            [*prompt.ids, *opening, *response]
            for text, end in zip(row["responses"], row["end_reasons"], strict=True)
            for prompt, opening, response in [backbone.chat.encode_answer(row["messages"], text, end)]
        ]
    except DataError:
        return None
    return found if max(map(len, found)) <= backbone.context_length else None


if __name__ == "__main__":
    redaction.hide_in_output()
    sys.exit(child.answer(reply))
