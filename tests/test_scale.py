"""What is exported or frozen is read row by row: ten times the ratings take no more memory."""

import tracemalloc

import pytest

from studio.annotation import history
from studio.database import connection
from studio.datasets import archive, exporting
from studio.exchange import ratings_out
from studio.preferences import text_search
from studio.workspace import Workspace
from tests.support import stored
from tests.support.many import fill

SOME, MANY = 300, 3000
BOUND = 1.6 * 2**20
"""Bytes of Python's own that a job may take; the rows of the many alone are 5 MiB."""
JOBS = {
    "export ratings": lambda ws: exporting.export_ratings(ws),
    "export ratings as TRL": lambda ws: ratings_out.export(ws, "trl"),
    "export demonstrations": exporting.export_demonstrations,
    "freeze a snapshot": stored.freeze,
    "write an archive": archive.write,
}


@pytest.fixture(scope="module")
def workspaces(tmp_path_factory):
    made = []
    for number in (SOME, MANY):
        ws = Workspace.open(tmp_path_factory.mktemp("scale") / str(number))
        fill(ws, number)
        made.append(ws)
    return made


def peak(job, ws):
    tracemalloc.start()
    try:
        job(ws)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


class Steps:
    """Counts the steps of SQLite's machine that a job takes, in thousands."""

    def __init__(self, monkeypatch):
        self.count, connect = 0, connection.connect

        def counted(*place, **options):
            db = connect(*place, **options)
            db.conn.set_progress_handler(self._step, 1000)
            return db

        monkeypatch.setattr(connection, "connect", counted)

    def _step(self):
        self.count += 1
        return 0

    def of(self, job):
        self.count = 0
        job()
        return self.count


@pytest.mark.parametrize("piece", ["zzzz", "Question 77:", "window", "Über alles"])
def test_a_search_reads_no_more_for_ten_times_as_many_texts(workspaces, monkeypatch, piece):
    steps, wanted = Steps(monkeypatch), history.Filter(search=piece)
    monkeypatch.setattr(text_search, "FEW", 100)
    few, many = (
        steps.of(lambda ws=ws: (stored.read(ws, history.find, wanted), stored.read(ws, history.count, wanted, 50)))
        for ws in workspaces
    )
    assert many <= 2 * few + 20, f"{few},000 steps, then {many},000"


@pytest.mark.parametrize("name", JOBS)
def test_a_job_over_all_ratings_takes_no_more_memory_for_ten_times_as_many(workspaces, name):
    few, many = workspaces
    JOBS[name](few)  # what is loaded and compiled once
    first, second = peak(JOBS[name], few), peak(JOBS[name], many)
    assert second < first + BOUND, f"{first / 2**20:.1f} MiB, then {second / 2**20:.1f} MiB"


def test_the_rows_of_a_snapshot_are_hashed_as_one_text(workspaces):
    """The same as before it was read row by row: a workspace of before freezes no second snapshot."""
    import hashlib
    import json

    ws = workspaces[0]
    frozen = stored.freeze(ws)
    with ws.read() as db:
        columns = ("chosen_id", "rejected_id", "target_p", "margin", "weight")
        rows = [
            {name: row[name] for name in columns}
            for row in db.query("SELECT * FROM snapshot_rows WHERE snapshot_id = ? ORDER BY position", [frozen.id])
        ]
    text = json.dumps([json.loads(frozen.recipe), rows])
    assert hashlib.sha256(text.encode()).hexdigest() == frozen.sha256
    assert frozen.row_count == len(rows)


def test_nothing_to_export_leaves_the_file_of_before(tmp_path):
    ws = Workspace.open(tmp_path)
    kept = ws.exports / "ratings.jsonl"
    kept.write_text("of before\n")
    with pytest.raises(Exception, match="no comparisons to export"):
        exporting.export_ratings(ws)
    assert kept.read_text() == "of before\n"
    assert connection.quick_check(ws.database) == "ok"
