"""A real run's curves as TensorBoard, W&B (offline) and trackio read them from their own folders."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from modules.config import SFTConfig
from studio.preferences import prompts
from studio.runs import launcher, metrics, runs
from studio.workspace import Workspace
from tests.support import stored
from tests.support.waiting import for_run as wait

pytestmark = [pytest.mark.peer, pytest.mark.timeout(900)]


def test_three_trackers_hold_the_losses_of_the_run(tmp_path, monkeypatch):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    pytest.importorskip("wandb")
    pytest.importorskip("trackio")
    monkeypatch.setenv("TRACKIO_SERVER_URL", "http://127.0.0.1:9")  # never asked
    monkeypatch.setenv("WANDB_MODE", "online")
    ws = Workspace.open(tmp_path / "studio")
    for i in range(12):
        stored.written(ws, prompts.add_demonstration, [{"role": "user", "content": f"What is {i}?"}], f"It is {i}.")
    tiny = {"lora_rank": 4, "batch_size": 4, "micro_batch_size": 4, "max_length": 128}
    config = SFTConfig(**tiny, epochs=2, trackers="tensorboard,wandb,trackio")
    run = wait(ws, launcher.start(ws, runs.create(ws, config)).name, lambda run: run.is_ended)
    assert run.state == "finished", run.message
    losses = dict(stored.read(ws, metrics.curve, run.id, "train/loss"))
    folder = runs.folder(ws, run.name) / "trackers"
    events = accumulator.EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    assert {event.step: event.value for event in events.Scalars("train/loss")} == pytest.approx(losses, rel=1e-6)
    (offline,) = (folder / "wandb" / "wandb").glob("offline-run-*")
    assert [path.suffix for path in offline.glob("*.wandb")] == [".wandb"]
    assert next(offline.glob("*.wandb")).stat().st_size > 1000
    stored_in = list(Path(folder / "trackio").rglob("*.db"))
    assert sum(_rows(path) for path in stored_in) >= len(losses)
    assert not os.environ.get("WANDB_API_KEY")


def _rows(path):
    with closing(sqlite3.connect(path)) as db, db:
        names = [
            name
            for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE '%metrics%'")
        ]
        return sum(db.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in names)
