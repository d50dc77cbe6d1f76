"""Only what is proven to be a run's own is ever killed: a number, a group or a row prove nothing."""

import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from modules.config import SFTConfig
from studio.cli import main
from studio.errors import RunError
from studio.preferences import prompts
from studio.runs import launcher, marks, processes, runs
from studio.workspace import Workspace
from tests.support import stored

SLEEP = [sys.executable, "-c", "import sys; print('ready', flush=True); sys.stdin.read()"]


@pytest.fixture
def ws(tmp_path):
    made = Workspace.open(tmp_path / "workspace")
    stored.written(made, prompts.add_demonstration, [{"role": "user", "content": "Why?"}], "So.")
    return made


@pytest.fixture
def begin():
    """Starts processes, and ends those that the test has left."""
    started = []

    def start(command=SLEEP, mark="", **options):
        env = {**os.environ, **({marks.VARIABLE: mark} if mark else {})}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        child = subprocess.Popen(command, env=env, text=True, **pipes | {"start_new_session": True} | options)
        started.append(child)
        assert child.stdout is not None
        child.stdout.readline()
        return child

    yield start
    for child in started:
        child.kill()
        child.communicate()


def at_work(ws, pid=None, born=None, **values):
    """A running run, as its row says."""
    run = runs.hand_over(ws, runs.create(ws, SFTConfig()))
    stored.written(ws, runs.begin, run.id, "cpu")
    if pid:
        stored.written(ws, runs.set_process, run.id, pid, processes.birth(pid) if born is None else born)
    with ws.write() as db:
        db.table("runs").update(run.id, {"state": "running"} | values)
    return stored.read(ws, runs.get, run.id)


def orphans(tmp_path, mark=""):
    """A process whose group's leader is gone, as of a daemon; returns (leader's number, the process)."""
    code = (
        "import subprocess, sys, os; child = subprocess.Popen(['sleep', '300']);"
        "open(sys.argv[1], 'w').write(str(child.pid))"
    )
    env = os.environ | ({marks.VARIABLE: mark} if mark else {})
    leader = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "pid")], start_new_session=True, env=env)
    leader.wait()
    return leader.pid, int((tmp_path / "pid").read_text())


def is_alive(pid):
    return processes.is_alive(pid, processes.birth(pid)) if Path(f"/proc/{pid}").exists() else False


def wait_for(until, timeout_s=20):
    deadline = time.monotonic() + timeout_s
    while not until():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("state", ["running", "lost", "finished", "queued"])
@pytest.mark.parametrize("boot", ["of this boot", "of a boot before"])
def test_a_member_of_a_group_whose_number_an_old_run_had_is_never_killed(ws, tmp_path, monkeypatch, state, boot):
    monkeypatch.setattr(launcher, "ENDING_S", 0.0)
    leader, member = orphans(tmp_path)
    try:
        values = {"ended_at": "2026-11-01T10:00:00.000+00:00", "gone_at": None} if state in ("lost", "finished") else {}
        values |= {"boot": "another"} if boot == "of a boot before" else {}
        run = at_work(ws, os.getpid(), 12345.0, state=state, heartbeat_at="2026-11-01T10:00:00.000+00:00")
        with ws.write() as db:
            db.table("runs").update(run.id, {"pid": leader} | values)
        launcher.reap(ws)
        if not stored.read(ws, runs.get, run.id).is_ended:
            launcher.kill(ws, run.name)
        assert is_alive(member)
        assert stored.read(ws, runs.get, run.id).is_ended
    finally:
        os.kill(member, 9)


@pytest.mark.parametrize("state", ["lost", "failed", "running"])
def test_a_row_that_names_a_strangers_number_and_birth_kills_nothing(ws, begin, monkeypatch, state):
    monkeypatch.setattr(launcher, "ENDING_S", 0.0)
    stranger = begin()
    ended = {"ended_at": "2026-11-01T10:00:00.000+00:00", "gone_at": None} if state != "running" else {}
    run = at_work(ws, stranger.pid, state=state, **ended)
    launcher.reap(ws)
    if state == "running":
        with pytest.raises(
            RunError, match=f"Process {stranger.pid} is recorded as working on {run.name}, but shows no sign"
        ):
            launcher.kill(ws, run.name)
    assert stranger.poll() is None
    assert (stored.read(ws, runs.get, run.id).gone_at is None) == (state == "running")


def test_another_runs_process_with_the_same_number_is_not_killed_either(ws, begin):
    other = runs.hand_over(ws, runs.create(ws, SFTConfig()))
    child = begin(mark=other.mark)
    run = at_work(ws, child.pid)
    with pytest.raises(RunError, match="shows no sign of it, so it is left alone"):
        launcher.kill(ws, run.name)
    assert child.poll() is None


def test_a_process_that_is_just_ending_shows_nothing_and_is_waited_for(ws, begin, monkeypatch):
    run = at_work(ws)
    child = begin(mark=run.mark)
    stored.written(ws, runs.set_process, run.id, child.pid, processes.birth(child.pid))
    claim = runs.claim(ws, stored.read(ws, runs.get, run.id))
    monkeypatch.setattr(psutil.Process, "environ", lambda self: {})
    monkeypatch.setattr(psutil.Process, "cmdline", lambda self: [])
    polls = []

    def gone_after_two(seconds):
        polls.append(seconds)
        if len(polls) == 2:
            child.kill()
            child.wait()

    monkeypatch.setattr(processes.time, "sleep", gone_after_two)
    assert not processes.unproven(claim)
    assert len(polls) == 2
    monkeypatch.setattr(processes, "LEAVING_S", -1.0)
    stranger = begin()
    assert processes.unproven(replace(claim, pid=stranger.pid, born=processes.birth(stranger.pid))), "it never ends"


def test_members_that_carry_the_mark_are_killed_also_when_their_leader_is_gone_or_they_have_left_its_group(
    ws, tmp_path
):
    run = at_work(ws)
    leader, member = orphans(tmp_path, run.mark)
    stored.written(ws, runs.set_process, run.id, leader, 1.0)
    killed = launcher.kill(ws, run.name)
    wait_for(lambda: not is_alive(member))
    assert killed.state == "stopped"


def test_what_a_run_started_without_its_mark_is_killed_and_another_run_that_it_started_is_not(ws, begin, tmp_path):
    other = runs.hand_over(ws, runs.create(ws, SFTConfig()))
    code = (
        "import os, subprocess, sys; a = subprocess.Popen(['sleep', '300'], stdout=-3, env={'PATH': os.environ['PATH']});"
        f"b = subprocess.Popen(['sleep', '300'], stdout=-3, env=os.environ | {{'{marks.VARIABLE}': sys.argv[1]}});"
        "print(a.pid, b.pid, flush=True); sys.stdin.read()"
    )
    run = at_work(ws)
    child = subprocess.Popen(
        [sys.executable, "-c", code, other.mark], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env=os.environ | {marks.VARIABLE: run.mark}, start_new_session=True,
    )  # fmt: skip
    assert child.stdout is not None
    own, others = map(int, child.stdout.readline().split())
    try:
        stored.written(ws, runs.set_process, run.id, child.pid, processes.birth(child.pid))
        wait_for(lambda: marks.of(processes.psutil.Process(others)) == other.mark)
        launcher.kill(ws, run.name)
        assert not is_alive(own)
        assert is_alive(others)
    finally:
        child.kill()
        child.communicate()
        os.kill(others, 9)


def test_a_worker_that_torchrun_started_is_known_by_its_command_line(ws, tmp_path, begin):
    run = runs.create(ws, SFTConfig())
    (tmp_path / "studio").mkdir()
    (tmp_path / "studio" / "__init__.py").touch()
    (tmp_path / "studio" / "worker.py").write_text("import sys; print('ready', flush=True); sys.stdin.read()")
    environment = {"cwd": tmp_path, "command": [sys.executable, "-m", "studio.worker", str(ws.root), run.name]}
    child = begin(environment["command"], cwd=environment["cwd"])
    elsewhere = begin([*environment["command"][:-2], str(tmp_path), run.name], cwd=environment["cwd"])
    for process, is_ours in ((child, True), (elsewhere, False)):
        stored.written(ws, runs.set_process, run.id, process.pid, processes.birth(process.pid))
        found = processes.family(runs.claim(ws, stored.read(ws, runs.get, run.id)))
        assert {each.pid for each in found} == ({process.pid} if is_ours else set())


def test_a_copy_of_a_workspace_says_whose_the_run_is_and_cannot_kill_it(ws, begin, tmp_path, capsys):
    run = at_work(ws)
    child = begin(mark=run.mark, cwd=runs.folder(ws, run.name))
    stored.written(ws, runs.set_process, run.id, child.pid, processes.birth(child.pid))
    copy = Workspace(shutil.copytree(ws.root, tmp_path / "copy"))
    with pytest.raises(RunError, match=f"is a copy of {ws.root}: {run.name} belongs to that one and continues there"):
        launcher.kill(copy, run.name)
    assert main(["runs", "stop", run.name, "--now", "--workspace", str(copy.root)]) == 0
    assert f"is a copy of {ws.root}" in capsys.readouterr().out
    assert stored.read(copy, runs.get, run.name).state == "lost"
    assert child.poll() is None
    assert launcher.reap(ws) == []
    assert stored.read(ws, runs.get, run.name).state == "running"
    assert launcher.kill(ws, run.name).state == "stopped"


def test_a_copy_tells_it_also_of_a_run_of_a_version_before_the_marks(ws, begin, tmp_path):
    fake = tmp_path / "code" / "studio"
    fake.mkdir(parents=True)
    (fake / "__init__.py").touch()
    (fake / "worker.py").write_text("import sys; print('ready', flush=True); sys.stdin.read()")
    run = at_work(ws, mark="", boot="")
    child = begin([sys.executable, "-m", "studio.worker", str(ws.root), run.name], cwd=fake.parent)
    stored.written(ws, runs.set_process, run.id, child.pid, processes.birth(child.pid))
    copy = Workspace(shutil.copytree(ws.root, tmp_path / "copy"))
    assert launcher.reap(ws) == []
    assert launcher.reap(copy) == [run.name]
    assert stored.read(copy, runs.get, run.name).message.startswith(
        f"This workspace is a copy of {ws.root}: {run.name} belongs to"
    )
    assert child.poll() is None
    assert launcher.kill(ws, run.name).state == "stopped"


def test_a_workspace_that_was_moved_keeps_its_running_run(ws, begin):
    run = at_work(ws)
    child = begin(mark=run.mark)
    stored.written(ws, runs.set_process, run.id, child.pid, processes.birth(child.pid))
    moved = Workspace(ws.root.rename(ws.root.with_name("moved")))
    assert launcher.reap(moved) == []
    assert launcher.kill(moved, run.name).state == "stopped"
    child.wait(10)


def test_a_waiting_run_of_a_copy_is_not_started_in_the_copy(ws, tmp_path):
    run = runs.hand_over(ws, runs.create(ws, SFTConfig()))
    copy = Workspace(shutil.copytree(ws.root, tmp_path / "copy"))
    assert launcher.reap(copy) == [run.name]
    assert "Resume puts it into the queue again" in stored.read(copy, runs.get, run.name).message
    assert stored.read(ws, runs.get, run.name).is_waiting_here


def test_a_run_on_another_machine_that_shares_the_folder_is_not_called_lost_while_it_shows_life(ws):
    run = at_work(ws, os.getpid(), 1.0)
    with ws.write() as db:
        db.table("runs").update(run.id, {"boot": "of a compute node"})
    assert launcher.reap(ws) == []
    with ws.write() as db:
        db.table("runs").update(run.id, {"heartbeat_at": "2026-11-01T10:00:00.000+00:00"})
    assert launcher.reap(ws) == [run.name]
