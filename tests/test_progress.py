"""How a run is doing, in figures."""

import dataclasses
import os
from datetime import UTC, datetime, timedelta

import psutil
import pytest

from modules.config import PPOConfig, SFTConfig
from studio.cli import main
from studio.runs import gpus, launcher, metrics, processes, progress, queue, runs
from studio.workspace import Workspace
from tests.support import driver, stored
from tests.ui import filling


@pytest.fixture
def ws(tmp_path) -> Workspace:
    ws = Workspace.open(tmp_path / "studio")
    filling.add_texts(ws)
    return ws


def started_ago(run: runs.Run, seconds: float) -> runs.Run:
    return dataclasses.replace(run, started_at=(datetime.now(UTC) - timedelta(seconds=seconds)).isoformat())


def test_the_time_left_goes_on_at_the_pace_so_far(ws):
    run = started_ago(filling.add_run(ws, SFTConfig(), "running"), 400)
    found = stored.read(ws, progress.read, run)
    assert run.progress == 0.4
    assert found is not None
    assert found.left_s == pytest.approx(600, abs=5)
    assert found.words()[:2] == ["7 min so far", "about 10 min left"]


def test_before_its_first_step_a_run_says_when_that_came_in_the_last_run_of_its_stage(ws):
    before = filling.add_run(ws, SFTConfig())
    waiting = dataclasses.replace(started_ago(filling.add_run(ws, SFTConfig(), "running"), 5), progress=0.0)
    assert stored.read(ws, progress.first_step_after, waiting) is None, "the last one logged nothing"
    begun = datetime.now(UTC) - timedelta(hours=1)
    with ws.write() as db:
        db.execute("UPDATE runs SET started_at = ? WHERE id = ?", [begun.isoformat(), before.id])
        for step, seconds in ((1, 37), (2, 39)):
            at = (begun + timedelta(seconds=seconds)).isoformat()
            db.table("metrics").insert(
                {"run_id": before.id, "name": "train/loss", "step": step, "value": 1.0, "at": at}
            )
    assert stored.read(ws, progress.first_step_after, waiting) == pytest.approx(37)
    for other in (
        dataclasses.replace(waiting, progress=0.1),
        dataclasses.replace(waiting, pause_requested=True, paused_at="2026-01-01T00:00:00+00:00"),
        dataclasses.replace(waiting, stage="reward"),
    ):
        assert stored.read(ws, progress.first_step_after, other) is None


def log_steps(ws, run, first: int, seconds: list[float]) -> None:
    """One step after the other, each so many seconds after the one before."""
    at = datetime.now(UTC)
    with ws.write() as db:
        for step, taken in enumerate(seconds, start=first):
            at += timedelta(seconds=taken)
            row = {"run_id": run.id, "name": "train/loss", "step": step, "value": 1.0, "at": at.isoformat()}
            db.table("metrics").insert(row)


def test_the_time_left_is_that_of_the_last_steps_not_of_what_a_parent_did_nor_of_a_pause(ws):
    run = dataclasses.replace(
        started_ago(filling.add_run(ws, SFTConfig(), "running"), 20), progress=0.5, resumed_from=1
    )
    found = stored.read(ws, progress.read, run)
    assert found is not None
    assert found.left_s is None, "it has done nothing itself yet"
    log_steps(ws, run, 91, [0, 2, 2, 2, 900, 2, 2, 2, 2, 2])
    found = stored.read(ws, progress.read, run)
    assert found is not None
    assert found.left_s == pytest.approx(200), "100 steps of 2 s"


def test_a_paused_run_is_called_so_and_has_neither_pace_nor_time_left(ws):
    run = filling.add_run(ws, SFTConfig(), "running")
    stored.written(ws, runs.beat, run.id, text="paused after step 4 of 10; its memory stays in use", paused=True)
    stored.written(ws, metrics.add, run.id, 4, {"train/loss": 1.25, "train/tokens_per_s": 1500.0})
    found = stored.read(ws, progress.read, stored.written(ws, queue.pause, run.name))
    assert found is not None
    assert (found.left_s, found.tokens_per_s) == (None, None)
    assert stored.read(ws, runs.get, run.name).shown_state == "paused"
    assert stored.written(ws, queue.go_on, run.name).shown_state == "running"


def test_the_memory_of_a_run_is_told_whichever_way_its_birth_was_counted(ws):
    run = dataclasses.replace(filling.add_run(ws, SFTConfig(), "running"), pid=os.getpid())
    for born in (processes.birth(os.getpid()), psutil.Process().create_time()):
        found = stored.read(ws, progress.read, dataclasses.replace(run, pid_started=born))
        assert found is not None
        assert found.memory is not None
        assert found.memory > 2**25
        assert any(word.endswith("GiB of RAM") for word in found.words())
    stranger = stored.read(ws, progress.read, dataclasses.replace(run, pid_started=1.0))
    assert stranger is not None
    assert stranger.memory is None


def test_ppo_tells_its_speed_and_where_its_time_goes(ws):
    run = dataclasses.replace(filling.add_run(ws, SFTConfig(), "running"), config=PPOConfig(batch_size=10))
    values = {"time/rollout_s": 2.0, "time/score_s": 1.0, "time/update_s": 1.0, "rollout/response_tokens": 20.0}
    stored.written(ws, metrics.add, run.id, 1, values)
    found = stored.read(ws, progress.read, run)
    assert found is not None
    assert found.shares == {"rollout": 0.5, "scoring": 0.25, "update": 0.25}
    assert found.tokens_per_s == 10 * 20 / 4


def test_a_run_that_waits_has_no_figures_and_an_ended_one_no_time_left(ws):
    assert stored.read(ws, progress.read, filling.add_run(ws, SFTConfig(), "queued")) is None
    found = stored.read(ws, progress.read, filling.add_run(ws, SFTConfig()))
    assert found is not None
    assert found.left_s is None
    assert found.words()[0].startswith("took ")


def test_the_use_and_memory_of_a_runs_gpu_are_told(ws, monkeypatch):
    driver.use(monkeypatch, driver.Driver(driver.SMALL, driver.LARGE)).hold("GPU-b", os.getpid(), "python", 2048)
    run = filling.add_run(ws, SFTConfig(), "running")
    run = dataclasses.replace(run, pid=os.getpid(), pid_started=psutil.Process().create_time())
    found = stored.read(ws, progress.read, run)
    assert found is not None
    assert found.gpu == "GPU 1 73 % busy, 2.0 of 24 GiB"
    assert found.words()[-1] == found.gpu
    assert gpus.usage({1}) == ""


def test_the_terminals_list_shows_what_the_page_shows_of_a_run_at_work(ws, capsys, monkeypatch):
    run = filling.add_run(ws, SFTConfig(), "running", "step 4 of 10")
    stored.written(ws, metrics.add, run.id, 4, {"train/loss": 1.25, "train/tokens_per_s": 1500.0})
    monkeypatch.setattr(launcher, "reap", lambda ws: [])
    assert main(["runs", "--workspace", str(ws.root)]) == 0
    table, *now = capsys.readouterr().out.strip().split(f"\n{run.name}: ")
    assert "step 4 of 10" in table
    assert now[0].endswith("1,500 tokens/s")
    assert now[1] == "train/loss 1.25"
