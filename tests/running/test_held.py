"""A workspace under a run that works: its folder is moved, its database goes away and comes back."""

import os
import threading
import time

import pytest

from modules.config import SFTConfig
from studio.cli import follow
from studio.errors import WorkspaceError
from studio.models import checkpoints
from studio.preferences import prompts
from studio.runs import held, launcher, metrics, runs
from studio.workspace import Workspace
from tests.support import stored, waiting, warm

pytestmark = pytest.mark.timeout(900)
LONG = SFTConfig(lora_rank=2, batch_size=4, micro_batch_size=4, max_length=64, eval_samples=0, epochs=500, save_every=2, eval_every=10**6)  # fmt: skip


@pytest.fixture(autouse=True)
def quick_starts():
    with warm.starts():
        yield


@pytest.fixture
def ws(tmp_path):
    made = Workspace.open(tmp_path / "workspace")
    for i in range(8):
        stored.written(
            made, prompts.add_demonstration, [{"role": "user", "content": f"What is {i} plus 1?"}], f"It is {i + 1}."
        )
    return made


def wait(ws, name, until, timeout_s=100):
    deadline = time.monotonic() + timeout_s
    while not until(run := stored.read(ws, runs.get, name)):
        assert not run.is_ended, f"{run.message}\n{runs.tail_log(ws, name)}"
        assert time.monotonic() < deadline, f"{run}\n{runs.tail_log(ws, name)}"
        time.sleep(0.05)
    return run


def test_a_held_workspace_is_found_where_it_was_moved(ws):
    holding = held.hold(ws)
    moved = Workspace(ws.root.rename(ws.root.with_name("moved")))
    run = runs.create(holding, SFTConfig())
    assert (runs.folder(moved, run.name) / "config.json").is_file()
    assert [each.name for each in stored.read(moved, runs.list_all)] == [run.name]
    assert not ws.root.exists(), "nothing is made at the old place"


def test_a_database_that_is_away_for_a_while_is_waited_for_and_one_that_stays_away_is_said(ws, capsys):
    holding = held.hold(ws, patience_s=20.0)
    aside = ws.root / "aside.db"
    ws.database.rename(aside)
    back = threading.Timer(1.0, lambda: aside.rename(ws.database))
    back.start()
    assert stored.read(holding, runs.list_all) == []
    back.join()
    assert capsys.readouterr().err == f"studio.db is gone from {ws.root}: waiting until it is put back.\n"
    ws.database.rename(aside)
    with pytest.raises(WorkspaceError, match=r"studio\.db"):
        stored.read(held.hold(ws), runs.list_all)
    assert not ws.database.exists(), "no empty one is made in its place"


def test_a_run_goes_on_and_saves_where_its_workspace_was_moved_and_when_its_database_was_away(ws, capsys):
    run = launcher.start(ws, runs.create(ws, LONG))
    wait(ws, run.name, lambda r: len(stored.read(ws, metrics.curve, r.id, "train/loss")) >= 3)
    codes = []
    following = threading.Thread(target=lambda: codes.append(follow.follow(ws, run, None)))
    following.start()
    waiting.until(lambda: f"{run.name}: " in capsys.readouterr().err, "the follower at the terminal")
    moved = Workspace(ws.root.rename(ws.root.with_name("moved")))
    try:
        at = stored.read(moved, runs.get, run.name).progress
        wait(moved, run.name, lambda r: r.progress > at)
        parts = list(moved.root.glob("studio.db*"))
        for path in parts:
            path.rename(path.with_name(f"away-{path.name}"))
        log = runs.folder(moved, run.name) / "log.txt"
        waiting.until(lambda: "studio.db is gone from" in log.read_text(), "the run to notice")
        for path in parts:
            path.with_name(f"away-{path.name}").rename(path)
        at = stored.read(moved, runs.get, run.name).progress
        wait(moved, run.name, lambda r: r.progress > at)
        saved = stored.read(moved, checkpoints.last, run.name)
        wait(moved, run.name, lambda r: stored.read(moved, checkpoints.last, r.name).step > saved.step)
        assert stored.read(moved, checkpoints.last, run.name).folder.is_relative_to(moved.root)
        stored.written(moved, runs.request_stop, run.name)
        following.join(100)
        assert codes == [0], "who follows it at the terminal follows it there"
        assert stored.read(moved, runs.get, run.name).state == "stopped"
        assert not os.path.exists(ws.root)
    finally:
        launcher.kill(moved, run.name)
