"""When things go wrong: each fault of the table in studio/README.md, what the person is told and what is kept.

Real child processes, a real SQLite file, real files; what a fault is made of, where the real one cannot be had everywhere
(as root, without a GPU), is said in `worker_faults`.
"""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from modules.config import SFTConfig
from studio import workspace
from studio.database import connection
from studio.errors import WorkspaceError
from studio.models import checkpoints
from studio.preferences import prompts
from studio.preferences.prompts import NewPrompt
from studio.runs import launcher, metrics, prepare, processes, runs
from studio.workspace import Workspace
from tests.support import stored, warm
from tests.support.waiting import PATIENCE_S, until
from tests.support.waiting import for_run as wait
from ui.pages.runs import listing
from ui.pages.runs import page as runs_page

pytestmark = pytest.mark.timeout(900)
ROOT = Path(__file__).parent.parent
TINY = {"lora_rank": 2, "batch_size": 4, "micro_batch_size": 4, "max_length": 64, "eval_samples": 0}
LONG = SFTConfig(**TINY, epochs=500, save_every=2, eval_every=10**6)


@pytest.fixture(autouse=True)
def quick_starts():
    with warm.starts():
        yield


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    """The workspace of `worker_faults`, at the place it was moved to, and what happened -> the run's name."""
    folder = tmp_path_factory.mktemp("faults") / "workspace"
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(ROOT / "tests" / "worker_faults.py"), str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    ws = Workspace.open(folder.with_name("workspace-moved"))
    return ws, json.loads((ws.root / "names.json").read_text())


def told(broken, what):
    """The failed run's sentence, as the page's list and head show it too."""
    ws, names = broken
    run = stored.read(ws, runs.get, names[what])
    assert run.state == "failed"
    return run.message


NEVER_SAVED = "It had not saved anything yet: start it again on the Train page"


@pytest.mark.parametrize(
    ("what", "phase", "advice", "kept"),
    [
        ("memory: loading", "loading the model", "choose nf4 or a smaller base model", NEVER_SAVED),
        ("memory: sft step", "computing a training step", "lower micro_batch_size", "Resume continues from RUN@2"),
        ("memory: reward step", "computing a training step", "turn on gradient_checkpointing", NEVER_SAVED),
        ("memory: rollout", "sampling responses", "lower rollout_batch_size or max_new_tokens", NEVER_SAVED),
        ("memory: scoring", "scoring responses", "lower micro_batch_size", NEVER_SAVED),
        ("memory: update", "updating policy and value", "lower micro_batch_size", "Resume continues from RUN@1"),
        ("memory: evaluation", "evaluating", "lower micro_batch_size", "Resume continues from RUN@2"),
        ("memory: saving", "saving a checkpoint", "Close other programs", NEVER_SAVED),
    ],
)
def test_memory_that_runs_out_is_said_with_its_phase_what_to_turn_and_what_is_kept(broken, what, phase, advice, kept):
    said = told(broken, what)
    assert said.startswith(f"Out of memory while {phase}. ")
    assert advice in said
    assert kept.replace("RUN", broken[1][what]) in said


def test_a_gpu_whose_memory_another_program_took_is_said(broken):
    assert told(broken, "memory: gpu").startswith("Out of GPU memory while loading the model. Close other programs")


@pytest.mark.parametrize(
    ("what", "cause"),
    [
        ("disk: full", "The disk is full: free some space."),
        ("disk: file size", "A file would become larger than the disk or a limit"),
        ("disk: read-only", "The disk is read-only: make it writable again"),
    ],
)
def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before_whole(broken, what, cause):
    ws, names = broken
    said = told(broken, what)
    assert said.startswith(cause)
    assert "It happened while saving a checkpoint." in said
    left = [path.name for path in (runs.folder(ws, names[what]) / "checkpoints").iterdir()]
    assert f"Resume continues from {names[what]}@2" in said
    assert left == ["step-000002"], "no half of another one"


@pytest.mark.parametrize(
    ("what", "file"),
    [
        ("damage: flipped weights", "policy/adapter_model.safetensors"),
        ("damage: cut weights", "policy/adapter_model.safetensors"),
        ("damage: cut state", "state.safetensors"),
        ("damage: empty numbers", "state.json"),
    ],
)
def test_a_checkpoint_with_one_wrong_bit_is_refused_by_name(broken, what, file):
    said = told(broken, what)
    assert f"is damaged: {file} is not what was saved. Put back a copy of it, or choose another checkpoint." in said


def test_a_workspace_goes_on_at_another_path(broken):
    ws, names = broken
    before = str(ws.root).removesuffix("-moved") + "/"
    assert (
        stored.read(ws, runs.get, names["moved: ppo"]).state
        == stored.read(ws, runs.get, names["moved: resumed"]).state
        == "finished"
    )
    assert stored.read(ws, checkpoints.parents, names["moved: ppo"])["sft"] == "sft-1@4"
    assert [
        step
        for step, _ in stored.read(
            ws, metrics.curve, stored.read(ws, runs.get, names["moved: resumed"]).id, "train/loss"
        )
    ] == [3, 4]
    with ws.read() as db:
        kept = [str(row["folder"]) for row in db.query("SELECT folder FROM checkpoints")]
        kept += [str(row["config"]) for row in db.query("SELECT config FROM runs")]
    kept += [path.read_text() for path in ws.runs.glob("*/config.json")]
    assert [text for text in kept if before in text] == []


# The database.


@pytest.fixture
def ws(tmp_path):
    made = Workspace.open(tmp_path / "workspace")
    for i in range(8):
        stored.written(
            made, prompts.add_demonstration, [{"role": "user", "content": f"What is {i} plus 1?"}], f"It is {i + 1}."
        )
    yield made
    for run in stored.read(made, runs.list_all):
        launcher.kill(made, run.name)


@contextmanager
def held(ws, seconds=None):
    """Another program holds the database, for that long or for the whole block."""
    other = sqlite3.connect(ws.database, check_same_thread=False, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    release = threading.Timer(seconds, other.rollback) if seconds else None
    if release:
        release.start()
    try:
        yield
    finally:
        if release:
            release.join()
        else:
            other.rollback()
        other.close()


def add(ws, text):
    with ws.write() as db:
        prompts.add_prompt(db, NewPrompt([{"role": "user", "content": text}], split="train"))


def test_a_database_that_another_program_keeps_is_said_and_nothing_is_half_written(ws, monkeypatch):
    monkeypatch.setattr(connection, "BUSY_TIMEOUT_S", 0.2)
    with held(ws):
        with pytest.raises(WorkspaceError, match=r"studio\.db is held by another program .*Close that program"):
            add(ws, "Held?")
        assert stored.read(ws, runs.list_all) == [], "it can still be read"
    add(ws, "Held?")
    with ws.read() as db:
        assert next(db.query("SELECT count(*) AS n FROM prompts WHERE messages LIKE '%Held?%'"))["n"] == 1


def test_a_database_that_is_held_for_a_while_delays_and_no_more(ws):
    with held(ws, seconds=1.0):
        began = time.monotonic()
        add(ws, "Delayed?")
        assert time.monotonic() - began > 0.8


@pytest.mark.slow
def test_a_database_that_is_held_for_30_s_delays_the_page_and_for_50_s_a_run(ws):
    with held(ws, seconds=30.0):
        add(ws, "Delayed?")
    run = launcher.start(ws, runs.create(ws, LONG))
    wait(ws, run.name, lambda r: r.progress > 0)
    with held(ws, seconds=50.0):
        time.sleep(50.0)
    before = stored.read(ws, runs.get, run.name).progress
    wait(ws, run.name, lambda r: r.progress > before)


@pytest.mark.parametrize(
    ("pragma", "sentence"),
    [
        ("PRAGMA query_only = ON", "cannot be written: its disk or its folder is read-only"),
        ("PRAGMA max_page_count = 1", "cannot be written: the disk is full. Free some space"),
    ],
)
def test_a_database_that_cannot_be_written_is_said_and_what_is_there_is_shown(ws, monkeypatch, pragma, sentence):
    run = runs.create(ws, LONG)
    stored.written(ws, runs.begin, run.id, "cpu")
    connect = connection.connect

    def limited(*place):
        db = connect(*place)
        db.execute(pragma)
        return db

    monkeypatch.setattr(launcher, "ADOPTION_S", 0.0)  # it has no process, so it is to be found lost
    monkeypatch.setattr(connection, "connect", limited)
    with pytest.raises(WorkspaceError, match=sentence):
        add(ws, "Too much. " * 100_000)
    if "query_only" in pragma:
        assert launcher.reap(ws) == []
        assert run.name in str(runs_page._refresh(ws, run.name, ""))
    monkeypatch.setattr(connection, "connect", connect)
    assert launcher.reap(ws) == [run.name]


# Processes.


def test_a_worker_that_hangs_is_said_and_kill_now_ends_it_also_after_a_jump_of_the_clock(ws, monkeypatch):
    run = launcher.start(ws, runs.create(ws, LONG))
    run = wait(ws, run.name, lambda r: any(c.run_id == r.id for c in stored.read(ws, checkpoints.list_all)))
    assert launcher.trouble(run) == ""
    for days in (1, -1):  # the clock is set forward, then back: who lives, lives
        with monkeypatch.context() as patch:
            patch.setattr(workspace, "datetime", shifted(days))
            patch.setattr(launcher, "datetime", shifted(days))
            assert launcher.reap(ws) == []
            assert stored.read(ws, runs.get, run.name).state == "running"
    os.kill(run.pid, signal.SIGSTOP)
    monkeypatch.setattr(launcher, "SILENT_S", 0.5)
    until(lambda: launcher.trouble(stored.read(ws, runs.get, run.name)))
    said = launcher.trouble(stored.read(ws, runs.get, run.name))
    assert "its process is suspended, or waits for a disk or a driver" in said
    assert "Kill now ends it; what is saved stays." in said
    assert said in stored.read(ws, runs_page._head, stored.read(ws, runs.get, run.name))
    killed = launcher.kill(ws, run.name)
    assert processes.family(runs.claim(ws, run)) == set()
    assert killed.message.startswith(f"Killed: its process is gone. Resume continues from {run.name}@")


def test_a_dead_run_is_found_lost_also_after_a_jump_of_the_clock(ws, monkeypatch):
    children = [subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) for _ in range(2)]
    for days, child in zip((1, -1), children, strict=True):
        run = runs.create(ws, LONG)
        stored.written(ws, runs.set_process, run.id, child.pid, processes.birth(child.pid))
        stored.written(ws, runs.begin, run.id, "cpu")
        child.kill()
        child.communicate()
        with monkeypatch.context() as patch:
            patch.setattr(workspace, "datetime", shifted(days))
            patch.setattr(launcher, "datetime", shifted(days))
            assert launcher.reap(ws) == [run.name]


def shifted(days):
    """A clock that was set."""

    class Clock(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.now(tz or UTC) + timedelta(days=days)

    return Clock


def test_everything_killed_then_started_keeps_all_and_names_the_next_step(ws):
    first, second = (launcher.start(ws, runs.create(ws, LONG)) for _ in range(2))
    wait(ws, first.name, lambda r: any(c.run_id == r.id for c in stored.read(ws, checkpoints.list_all)))
    assert stored.read(ws, runs.get, second.name).is_waiting_here, "it is a row, and no process"
    os.killpg(stored.read(ws, runs.get, first.name).pid, signal.SIGKILL)
    last = stored.read(ws, checkpoints.last, first.name).name
    code = "from studio.cli import main; raise SystemExit(main())"
    command = [sys.executable, "-c", code, "runs", "--workspace", str(ws.root)]
    deadline = time.monotonic() + PATIENCE_S
    while launcher.is_alive(stored.read(ws, runs.get, first.name)):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": str(ROOT)}
    )
    assert done.returncode == 0, done.stderr
    assert stored.read(ws, runs.get, first.name).state == "lost"
    assert f"Resume continues from {last}; what came after it is lost." in stored.read(ws, runs.get, first.name).message
    wait(ws, second.name, lambda r: r.state == "running")
    launcher.kill(ws, second.name)
    listed = listing.draw(stored.read(ws, runs.list_all), {}, {})
    assert f"Resume continues from {last}" in listed
    assert "is-told" in listed, "such a sentence is not clipped in the list"
    again = launcher.start(ws, runs.resume(ws, first.name))
    assert stored.read(ws, checkpoints.name_of, again.resumed_from) == last
    wait(ws, again.name, lambda r: r.state == "running")


# Two at once.


def test_two_servers_on_one_workspace_make_runs_of_different_names(ws):
    code = (
        "import sys; from modules.config import SFTConfig; from studio.runs import runs; from studio.workspace import Workspace\n"
        "ws = Workspace.open(sys.argv[1])\n"
        "for _ in range(6): print(runs.create(ws, SFTConfig()).name)"
    )
    command = [sys.executable, "-c", code, str(ws.root)]
    both = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)})
        for _ in range(2)
    ]
    names = [name for child in both for name in child.communicate()[0].split()]
    assert sorted(names, key=lambda name: int(name[4:])) == [f"sft-{n}" for n in range(1, 13)]
    assert all((runs.folder(ws, name) / "config.json").is_file() for name in names)


def test_a_double_click_starts_one_run(ws, monkeypatch):
    monkeypatch.setattr(launcher, "start", lambda ws, run: run)
    with ThreadPoolExecutor(4) as pool:
        started = list(pool.map(lambda _: launcher.start_once(ws, prepare.resolve(ws, LONG)), range(4)))
    assert len(stored.read(ws, runs.list_all)) == 1
    assert sorted(is_new for _, is_new in started) == [False, False, False, True]
    monkeypatch.setattr(launcher, "DOUBLE_CLICK_S", 0.0)
    assert launcher.start_once(ws, prepare.resolve(ws, LONG))[1], "later it is meant"
