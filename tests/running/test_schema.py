"""What older workspaces told by the words of a text is told by columns, and they open with everything in them."""

import sqlite3
from contextlib import closing

import pytest

from studio.database.schema import processes
from studio.runs import queue, runs
from studio.workspace import Workspace
from tests.support import stored

ROWS = {
    "paused": {"state": "running", "pause_requested": 1, "progress_text": "paused after step 3 of 9; its memory stays in use", "heartbeat_at": "t"},
    "pausing": {"state": "running", "pause_requested": 1, "progress_text": "step 3 of 9"},
    "faulty": {"state": "stopped", "message": "Paused: the loss is nan. The state before that step is saved."},
    "stopped": {"state": "stopped", "message": "Stopped and saved as sft-1@3."},
    "awaited": {"state": "queued", "heartbeat_at": "2026-11-01T10:00:00.000+00:00", "progress_text": "waiting for torchrun or SLURM"},
    "waiting": {"state": "queued", "pid": 4711, "pid_started": 5.0, "heartbeat_at": "2026-11-01T10:00:00.000+00:00"},
    "made": {"state": "queued"},
}  # fmt: skip


@pytest.fixture
def old(tmp_path):
    """A workspace as the version before left it: the same tables without the new columns."""
    ws = Workspace.open(tmp_path)
    columns = [words.split("ADD COLUMN ")[1].split()[0] for words in processes.STATEMENTS if "ADD COLUMN" in words]
    with closing(sqlite3.connect(ws.database)) as db, db:
        for column in columns:
            db.execute(f"ALTER TABLE runs DROP COLUMN {column}")
        db.execute("DELETE FROM _sqlite_migrations WHERE name LIKE 'm010%'")
        for name, row in ROWS.items():
            given = {"name": name, "stage": "sft", "config": "{}", "revision": "x", "created_at": "t"} | row
            marks = ", ".join("?" * len(given))
            db.execute(f"INSERT INTO runs ({', '.join(given)}) VALUES ({marks})", list(given.values()))
    db.close()
    return ws


def test_what_texts_told_of_runs_is_in_columns_after_the_migration(old):
    ws = Workspace.open(old.root)
    found = {run.name: run for run in stored.read(ws, runs.list_all)}
    assert {name for name, run in found.items() if run.is_paused} == {"paused"}
    assert {name for name, run in found.items() if run.is_fault} == {"faulty"}
    assert {name for name, run in found.items() if run.is_awaited} == {"awaited"}
    assert {run.name for run in stored.read(ws, queue.waiting)} == {"waiting", "made"}
    assert [name for name, run in found.items() if run.is_waiting_here] == [], (
        "nothing of an old version begins by itself"
    )
    assert {name: run.message for name, run in found.items() if run.message} == {
        name: row["message"] for name, row in ROWS.items() if "message" in row
    }
