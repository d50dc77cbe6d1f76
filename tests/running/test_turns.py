"""A waiting run is a row: it costs no process, begins when its device is free though nobody looks, and never twice."""

import json
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from modules.config import SFTConfig
from studio import children
from studio.errors import RunError
from studio.files import locks
from studio.preferences import prompts
from studio.runs import devices, gpus, launcher, marks, processes, queue, runs, turns
from studio.workspace import Workspace
from tests.support import driver, stored

pytestmark = pytest.mark.timeout(900)
LONG = SFTConfig(lora_rank=2, batch_size=4, micro_batch_size=4, max_length=64, eval_samples=0, epochs=500, save_every=2, eval_every=10**6)  # fmt: skip


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
    wait_for(lambda: not ours(made))


@pytest.fixture
def busy(ws):
    """The CPU is taken by something else; calling it lets go."""
    file = devices.lock_file(ws, devices.CPU)
    assert locks.try_lock(file)
    yield file.close
    file.close()


def ours(ws):
    """The processes that work for a workspace: workers and the waiter."""
    found = []
    for process in psutil.process_iter():
        try:
            words = process.cmdline()
        except psutil.Error:
            continue
        if str(ws.root) in words and any(word.startswith("studio.") for word in words):
            found.append(next(word for word in words if word.startswith("studio.")))
    processes.see_children()
    return sorted(found)


def wait_for(until, timeout_s=100):
    deadline = time.monotonic() + timeout_s
    while not until():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_many_waiting_runs_are_rows_and_one_waiter_that_ends_with_the_last_of_them(ws, busy):
    names = [launcher.start(ws, runs.create(ws, LONG)).name for _ in range(12)]
    assert [run.name for run in stored.read(ws, queue.waiting)] == names
    assert ours(ws) == ["studio.runs.waiter"]
    assert launcher.reap(ws) == []
    assert all(run.is_waiting_here and run.pid is None for run in stored.read(ws, runs.list_all))
    for name in names:
        assert stored.written(ws, runs.request_stop, name).message == "Cancelled before it started."
    wait_for(lambda: ours(ws) == [])


def test_a_waiting_run_begins_when_its_device_is_free_though_nobody_looks(ws, busy):
    first, second = (launcher.start(ws, runs.create(ws, LONG)).name for _ in range(2))
    stored.written(ws, queue.pause, first)
    busy()
    wait_for(lambda: stored.read(ws, runs.get, second).state == "running")
    assert stored.read(ws, runs.get, first).is_waiting_here, "a held run lets others pass"
    assert ours(ws) == ["studio.runs.waiter", "studio.worker"]
    stored.written(ws, queue.go_on, first)
    stored.written(ws, runs.request_stop, second)
    wait_for(lambda: stored.read(ws, runs.get, first).state == "running")
    assert stored.read(ws, runs.get, second).state == "stopped"
    wait_for(lambda: "studio.runs.waiter" not in ours(ws))


def test_several_that_look_at_once_start_a_run_once_and_the_device_is_its_own_from_the_first_moment(
    ws, busy, monkeypatch
):
    spawned, barrier = [], threading.Barrier(4)
    real = turns._spawn
    monkeypatch.setattr(turns, "_spawn", lambda ws, run, mine: (spawned.append(run.name), real(ws, run, mine)))
    monkeypatch.setattr(turns, "ensure_waiter", lambda ws: None)
    first, second = (launcher.start(ws, runs.create(ws, LONG)) for _ in range(2))
    busy()

    def look(_):
        barrier.wait()
        return launcher.reap(ws)

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(look, range(4))) == [[]] * 4
    assert spawned == [first.name]
    with devices.taken(ws, LONG, []) as mine:
        assert mine == (), "the worker has it before its first line"
    assert [run.name for run in stored.read(ws, queue.ahead_of, second.id)] == [first.name]


def test_a_run_that_is_held_or_cancelled_while_its_worker_starts_does_not_begin(ws, busy, monkeypatch):
    monkeypatch.setattr(turns, "ensure_waiter", lambda ws: None)
    held, cancelled = (launcher.start(ws, runs.create(ws, LONG)) for _ in range(2))
    for run in (held, cancelled):
        environment = os.environ | {"PYTHONPATH": str(children.CODE), marks.VARIABLE: run.mark}
        with devices.lock_file(ws, run.name) as lock:
            child = subprocess.Popen(
                [sys.executable, "-m", "studio.worker", str(ws.root), run.name],
                env=environment | {turns.DEVICES: json.dumps({"cpu": lock.fileno()})},
                pass_fds=(lock.fileno(),),
                stderr=subprocess.PIPE,
            )
            stored.written(ws, runs.set_process, run.id, child.pid, processes.birth(child.pid))
            if run is held:
                stored.written(ws, queue.pause, run.name)
            else:
                stored.written(ws, runs.request_stop, run.name)
            _, said = child.communicate(timeout=60)
            assert b"Traceback" not in said
    assert stored.read(ws, runs.get, held.id).is_waiting_here, "it keeps its place, as a row"
    assert stored.read(ws, runs.get, cancelled.id).message == "Cancelled before it started."


def test_a_worker_that_dies_while_it_starts_is_lost_and_not_started_for_ever(ws, busy, monkeypatch):
    monkeypatch.setattr(turns, "ensure_waiter", lambda ws: None)
    run = launcher.start(ws, runs.create(ws, LONG))
    stored.written(ws, runs.set_process, run.id, 2**22 - 3, 1.0)
    busy()
    assert launcher.reap(ws) == [run.name]
    assert "Resume puts it into the queue again." in stored.read(ws, runs.get, run.id).message
    assert ours(ws) == []


def test_only_a_worker_that_could_not_be_started_is_told_as_such(ws, monkeypatch):
    def look(_):
        stored.written(ws, runs.begin, run.id, devices.CPU)
        stored.written(ws, runs.set_process, run.id, 2**22 - 3, 1.0)
        stored.written(ws, runs.move, run.id, "failed", "The checkpoint is damaged.")

    run, unstarted = runs.create(ws, LONG), runs.create(ws, LONG)
    with monkeypatch.context() as quick:  # its own process fails before the starter looks again
        quick.setattr(launcher, "look", look)
        assert launcher.start(ws, run).message == "The checkpoint is damaged."
    with monkeypatch.context() as full:
        full.setattr(subprocess, "Popen", lambda *_, **__: (_ for _ in ()).throw(OSError(12, "Cannot allocate memory")))
        with pytest.raises(RunError, match=r"sft-2: The worker could not be started: Cannot allocate memory\."):
            launcher.start(ws, unstarted)


def test_the_settings_of_the_shell_go_with_the_run_and_its_secrets_do_not(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    monkeypatch.setenv("HF_HOME", "/data/hub")
    monkeypatch.setenv("HF_TOKEN", "hf_abcdefghijklmnopqrstuvwxyz")
    monkeypatch.setenv("HF_ENDPOINT", "https://me:secret-word@mirror.example")
    monkeypatch.setenv("EDITOR", "vi")
    found = json.loads(turns.settings())
    assert found["CUDA_VISIBLE_DEVICES"] == "1"
    assert found["HF_HOME"] == "/data/hub"
    assert not {"HF_TOKEN", "HF_ENDPOINT", "EDITOR"} & found.keys()


def test_a_run_from_a_shell_that_sees_another_gpu_waits_for_that_one(monkeypatch):
    driver.use(monkeypatch, driver.Driver(driver.SMALL, driver.LARGE))
    assert gpus.count() == 2
    with gpus.seen_as({"CUDA_VISIBLE_DEVICES": "1"}):
        assert (gpus.count(), gpus.visible(("gpu0",))) == (1, "1")
    assert gpus.count() == 2
