"""Which judgement an event lets count again is told by a column; workspaces and archives of before it lose nothing."""

import json
import sqlite3

import pytest

from studio.datasets import archive
from studio.preferences import ratings
from studio.workspace import Workspace
from tests.support import earlier, stored

EVENTS = (
    (1, "a", 1, "left", None),
    (2, "b", 2, "right", None),
    (3, "c", 1, "tie", 1),  # 1 corrected
    (4, "d", 1, "undo", 3),
    (5, "again-d", 1, "left", 4),  # 1 counts again
    (6, "e", 1, "both_bad", 5),  # corrected once more
    (7, "f", 1, "undo", 6),
    (8, "again-f", 1, "left", 7),  # what 5 had restored counts again
)
"""Id, uuid, showing (and comparison), outcome, supersedes: as the version before the column wrote them."""
RESTORES = {5: 1, 8: 5}


@pytest.fixture
def before(tmp_path):
    """A workspace of the version before the column, in a folder of its own."""
    root = tmp_path / "before"
    with earlier.written(root, "m012_restored_judgements") as db:
        for n in (1, 2):
            comparison_id, pair = earlier.pair(db, n)
            db.execute(
                "INSERT INTO showings (id, comparison_id, left_response_id, right_response_id, seed, rater, created_at)"
                " VALUES (?, ?, ?, ?, 7, 'person', '2026-01-01T00:00:00.000+00:00')",
                [n, comparison_id, *pair],
            )
        for event_id, uuid, showing_id, outcome, supersedes in EVENTS:
            db.execute(
                "INSERT INTO rating_events (id, uuid, comparison_id, showing_id, outcome, rater, supersedes, created_at)"
                " VALUES (?, ?, ?, ?, ?, 'person', ?, '2026-01-01T00:00:00.000+00:00')",
                [event_id, uuid, showing_id, showing_id, outcome, supersedes],
            )
    return root


def restores(ws):
    return {
        event["id"]: event["restores"]
        for event in stored.read(ws, ratings.list_events)
        if event["restores"] is not None
    }


def check_undo_goes_on_in_the_order_of_giving(ws):
    taken = [stored.undone(ws) for _ in range(3)]
    assert [each and (each.showing_id, each.outcome) for each in taken] == [(2, "right"), (1, "left"), None]


def test_a_workspace_of_before_the_column_opens_with_it_filled_and_every_event_as_it_was(before):
    ws = Workspace.open(before)
    assert restores(ws) == RESTORES
    assert [
        (e["id"], e["uuid"], e["showing_id"], e["outcome"], e["supersedes"])
        for e in stored.read(ws, ratings.list_events)
    ] == list(EVENTS)
    with pytest.raises(sqlite3.IntegrityError, match="append-only"), ws.write() as db:
        db.execute("UPDATE rating_events SET restores = 1 WHERE id = 3")
    check_undo_goes_on_in_the_order_of_giving(ws)


def test_an_archive_carries_the_column_and_one_of_before_it_gets_it_filled(before, tmp_path):
    path = archive.write(Workspace.open(before)).path
    same = Workspace.open(tmp_path / "same")
    archive.read(same, path)
    assert restores(same) == RESTORES
    assert archive.write(same).path.read_bytes() == path.read_bytes()
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    head = {name: lines[0][name] for name in ("format", "migrations", "rows")}
    head["migrations"] = [name for name in head["migrations"] if not name.startswith("m012")]
    rows = [{name: value for name, value in row.items() if name != "restores"} for row in lines[1:]]
    older = tmp_path / "older.jsonl"
    older.write_text("".join(json.dumps(line) + "\n" for line in (head, *rows)), encoding="utf-8")
    read = Workspace.open(tmp_path / "read")
    archive.read(read, older)
    assert restores(read) == RESTORES
    check_undo_goes_on_in_the_order_of_giving(read)


def test_no_event_restores_itself_or_a_later_one(before):
    ws = Workspace.open(before)
    row = "INSERT INTO rating_events (id, uuid, comparison_id, outcome, rater, created_at, restores) VALUES (90, 'x', 1, 'tie', 'p', 'n', 90)"
    with pytest.raises(sqlite3.IntegrityError, match="CHECK"), ws.write() as db:
        db.execute(row)
