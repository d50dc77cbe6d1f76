"""Backups of the database: whole while somebody writes, never over another file, restored, rotated; and copies that lack something."""

import os
import re
import shutil
import signal
import sqlite3
import threading
import time
from contextlib import closing
from datetime import timedelta

import pytest

from studio import doctor
from studio.cli import main
from studio.database import connection, copying, migrations, rotation
from studio.database import wal as cut
from studio.errors import WorkspaceError
from studio.preferences import comparisons, prompts, ratings
from studio.preferences.prompts import NewPrompt
from studio.recovery import backups, daily
from studio.workspace import Workspace
from tests.live_server import LiveServer
from tests.support import stored
from tests.support.waiting import PATIENCE_S
from ui.pages.home import page as home


def add_pairs(ws, count, start=0):
    with ws.write() as db:
        for number in range(start, start + count):
            prompt_id = prompts.add_prompt(db, NewPrompt([{"role": "user", "content": f"Question {number}"}]))
            pair = [prompts.add_response(db, prompt_id, f"{side} {number}", "import") for side in ("one", "two")]
            comparisons.add_comparison(db, prompt_id, (pair[0], pair[1]))


def rate(ws, count):
    for _ in range(count):
        stored.written(ws, ratings.record, stored.written(ws, comparisons.next_showing).id, "left")


@pytest.fixture
def ws(tmp_path):
    ws = Workspace.open(tmp_path / "workspace")
    add_pairs(ws, 12)
    rate(ws, 5)
    return ws


def command(ws, *words):
    return main([*words, "--workspace", str(ws.root)])


def count(path):
    with closing(sqlite3.connect(path)) as db:
        return db.execute("SELECT count(*) FROM rating_events").fetchone()[0]


def verdict(ws):
    """What the doctor says of the database, without a look at torch."""
    checks = doctor._workspace(ws.root)
    return next((c for c in checks if c.name == "database"), checks[-1])


def test_a_backup_has_every_rating_also_those_that_are_only_in_the_wal(ws, tmp_path, capsys):
    with ws.kept_open():
        rate(ws, 3)
        target = tmp_path / "elsewhere" / "my backup.db"
        assert command(ws, "backup", str(target)) == 0
    assert str(target) in capsys.readouterr().out
    assert count(target) == 8
    assert sorted(path.name for path in target.parent.iterdir()) == [target.name], "one file, and nothing half written"
    assert backups.last(ws).path == target


def test_a_backup_that_is_made_while_somebody_writes_is_of_one_moment(ws, tmp_path):
    add_pairs(ws, 60, start=100)
    end = threading.Event()
    failed = []

    def write():
        while not end.is_set() and (showing := stored.written(ws, comparisons.next_showing)):
            try:
                stored.written(ws, ratings.record, showing.id, "tie")
            except Exception as error:
                failed.append(error)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for number in range(3):
            made = backups.make(ws, tmp_path / f"{number}.db").path
            with closing(sqlite3.connect(made)) as db:
                assert db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
                query = "SELECT (SELECT count(*) FROM rating_events), (SELECT sum(number) FROM rating_tallies)"
                assert len(set(db.execute(query).fetchone())) == 1
    finally:
        end.set()
        writer.join()
    assert failed == []


def test_a_backup_is_never_written_over_a_file_unless_it_is_forced(ws, tmp_path, capsys):
    target = tmp_path / "precious.db"
    target.write_text("precious")
    assert command(ws, "backup", str(target)) == 1
    assert "There is a file" in capsys.readouterr().err
    assert target.read_text() == "precious"
    assert command(ws, "backup", str(target), "--force") == 0
    assert count(target) == 5
    for name in ("studio.db", "studio.db-wal", "."):
        assert command(ws, "backup", str(ws.root / name), "--force") == 1
    assert count(ws.database) == 5


def test_a_backup_that_has_no_room_is_a_sentence_and_leaves_nothing(ws, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(copying.shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(WorkspaceError, match="could not be written: it needs .* MiB"):
        backups.make(ws, tmp_path / "backup.db")
    assert not list(tmp_path.glob("*backup*"))


def test_only_the_last_seven_automatic_backups_stay_and_those_by_hand_do(ws):
    by_hand = backups.make(ws).path
    made = [backups.make_daily(ws).path for _ in range(9)]
    assert rotation.automatic(ws.backups) == made[2:]
    assert by_hand.exists()


def test_a_server_backs_up_once_a_day_and_only_what_changed(ws):
    assert daily.is_due(ws)
    made = backups.make_daily(ws).path
    assert not daily.is_due(ws)
    old = time.time() - timedelta(days=2).total_seconds()
    os.utime(made, (old, old))
    assert daily.is_due(ws)
    for path in ws.root.glob("studio.db*"):
        os.utime(path, (old - 1, old - 1))
    assert not daily.is_due(ws)


def test_what_was_rated_is_in_the_file_itself_once_the_server_is_idle_and_when_it_stops(ws, tmp_path, monkeypatch):
    monkeypatch.setattr(daily, "LOOK_S", 0.02)

    def in_the_file_alone():
        return count(shutil.copy(ws.database, tmp_path / f"{time.monotonic_ns()}.db"))

    with ws.kept_open():
        with daily.kept(ws):
            rate(ws, 2)
            deadline = time.monotonic() + 30
            while in_the_file_alone() != 7:
                assert time.monotonic() < deadline
                time.sleep(0.05)
            while not rotation.automatic(ws.backups):
                assert time.monotonic() < deadline
                time.sleep(0.05)
            monkeypatch.setattr(daily, "LOOK_S", 1000)
            rate(ws, 2)
        assert in_the_file_alone() == 9
    assert not any(thread.name == "backups" for thread in threading.enumerate())


def test_a_server_that_is_asked_to_end_by_a_signal_leaves_every_rating_in_the_file_itself(ws, tmp_path):
    server = LiveServer(ws, tmp_path / "log.txt").wait()
    try:
        with ws.kept_open():  # another program has it open, so that the last to close it is not the server
            rate(ws, 2)
            server.process.send_signal(signal.SIGTERM)
            assert server.process.wait(PATIENCE_S) == 0, server.said
            assert "Traceback" not in server.said
            assert count(shutil.copy(ws.database, tmp_path / "copy.db")) == 7
    finally:
        server.stop()


def test_a_restored_backup_has_what_it_had_and_what_was_there_is_set_aside(ws, tmp_path, capsys):
    backup = backups.make(ws, tmp_path / "backup.db").path
    rate(ws, 4)
    assert command(ws, "restore", str(backup)) == 0
    said = capsys.readouterr().out
    assert "12 prompts, 5 ratings, 0 runs" in said
    assert stored.read(ws, ratings.summary)["rated"] == 5
    aside = next(ws.backups.glob("replaced-*"))
    assert count(aside / "studio.db") == 9
    assert verdict(ws).level == "ok"


def test_a_lost_database_is_restored_from_its_backup(ws, capsys):
    backup = backups.make_daily(ws).path
    ws.database.unlink()
    assert command(ws, "restore", str(backup)) == 0
    assert stored.read(ws, ratings.summary)["rated"] == 5


def test_what_is_no_backup_is_refused_and_the_database_stays(ws, tmp_path, capsys):
    broken = tmp_path / "broken.db"
    broken.write_bytes(ws.database.read_bytes()[:9000] + b"\xff" * 20_000)
    foreign = tmp_path / "foreign.db"
    with closing(sqlite3.connect(foreign)) as db:
        db.execute("CREATE TABLE t (x)")
        db.commit()
    text = tmp_path / "text.db"
    text.write_text("no database at all" * 100)
    for path in (broken, foreign, text, tmp_path / "missing.db", ws.database):
        assert command(ws, "restore", str(path)) == 1
        assert "Traceback" not in capsys.readouterr().err
    assert stored.read(ws, ratings.summary)["rated"] == 5
    assert not list(ws.root.glob(".restored*"))


def test_a_database_is_backed_up_before_a_migration_changes_it(tmp_path):
    path = tmp_path / "old" / "studio.db"
    path.parent.mkdir()
    with closing(connection.connect(path, may_create=True)) as db:
        db.enable_wal()
        migrations.ALL.apply(db, stop_before="m005_sessions")
    ws = Workspace.open(path.parent)
    (backup,) = ws.backups.iterdir()
    assert backup.name.startswith("before-m005-")
    with closing(sqlite3.connect(backup)) as db:
        tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master")}
    assert "open_showings" in tables
    assert "sessions" not in tables
    Workspace.open(path.parent)
    assert len(list(ws.backups.iterdir())) == 1, "only where something changes"


# Copies that lack something.


@pytest.mark.parametrize("left_out", [("-wal",), ("-wal", "-shm")])
def test_a_copy_without_its_wal_is_not_called_sound(ws, tmp_path, left_out):
    with ws.kept_open():
        rate(ws, 3)
        copied = Workspace(tmp_path / "copy")
        shutil.copytree(ws.root, copied.root)
    for suffix in left_out:
        copied.database.with_name(f"studio.db{suffix}").unlink()
    said = verdict(copied)
    assert said.level == "problem"
    assert "without its studio.db-wal" in said.line or "was cut or left out" in said.line
    assert "put back studio.db together with its studio.db-wal" in said.line


def test_a_copy_with_a_cut_wal_is_told_by_its_shm_also_where_others_wrote(ws, tmp_path):
    with closing(sqlite3.connect(ws.database)) as other:
        other.execute("PRAGMA wal_autocheckpoint = 0")
        for number in range(50):
            other.execute("INSERT INTO drafts VALUES (?, ?)", [f"d{number}", "x" * 500])
            other.commit()
        copied = Workspace(tmp_path / "copy")
        shutil.copytree(ws.root, copied.root)
        assert cut.num_lost_pages(ws.database) == 0, "the one in use is whole"
    wal = copied.database.with_name("studio.db-wal")
    os.truncate(wal, wal.stat().st_size // 2)
    assert "studio.db-wal held: it was cut" in verdict(copied).line


def test_a_whole_copy_and_a_workspace_at_work_are_sound(ws, tmp_path):
    with ws.kept_open():
        rate(ws, 3)
        shutil.copytree(ws.root, tmp_path / "copy")
        assert verdict(ws).level == "ok"
    said = verdict(Workspace(tmp_path / "copy"))
    assert said.level == "ok"
    assert "8 ratings, the newest of 20" in said.text


def test_what_an_older_copy_lacks_is_told_also_when_more_than_that_was_written_since(ws, tmp_path, capsys):
    older = backups.make(ws, tmp_path / "older.db").path
    add_pairs(ws, 3, 20)
    add_pairs(ws, 3, 30)
    for path in ws.root.glob("studio.db-*"):
        if path.name != "studio.db-mark":
            path.unlink()
    shutil.copy(older, ws.database)
    lacks = re.search(r"lacks (\d+) writes", verdict(ws).text)
    assert lacks is not None
    for _ in range(2):  # at last more writes than are missing
        for number in range(4):
            add_pairs(ws, 1, 40 + number)
        assert lacks[0] in verdict(ws).text
    assert main(["runs", "--workspace", str(ws.root)]) == 0
    assert lacks[0] in capsys.readouterr().err
    assert lacks[0] in home.first(ws)
    assert all(check.level != "problem" for check in doctor._workspace(ws.root, is_repairing=True))
    assert verdict(ws).level == "ok"


def test_an_older_database_that_was_put_back_by_hand_is_told_until_it_is_accepted(ws, tmp_path):
    older = backups.make(ws, tmp_path / "older.db").path
    rate(ws, 2)
    for path in ws.root.glob("studio.db-*"):
        if path.name != "studio.db-mark":
            path.unlink()
    shutil.copy(older, ws.database)
    assert "an older copy" in verdict(ws).text
    assert all(check.level != "problem" for check in doctor._workspace(ws.root, is_repairing=True))
    assert verdict(ws).level == "ok"
