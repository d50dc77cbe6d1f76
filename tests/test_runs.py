"""Runs and checkpoints as rows and folders: legal moves, nothing half-written, the lost are found, the queue keeps order."""

import itertools
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest

from assets import STARTER
from modules.config import PPOConfig, RewardConfig, SampleConfig, SFTConfig
from studio.cli import main
from studio.database.schema import ratings
from studio.errors import BaseModelError, CheckpointError, ConfigError, DataError, RunError, WorkspaceError
from studio.models import checkpoints
from studio.preferences import prompts
from studio.runs import budgets, gpus, launcher, marks, memory_fit, metrics, prepare, processes, queue, runs
from studio.workspace import Workspace
from tests.support import stored

STATES = ("queued", "running", "finished", "stopped", "failed", "lost")
LEGAL = {("queued", end) for end in ("running", "stopped", "failed", "lost")} | {
    ("running", end) for end in ("finished", "stopped", "failed", "lost")
}


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    workspace = Workspace.open(tmp_path_factory.mktemp("template"))
    for number in range(6):
        stored.written(
            workspace,
            prompts.add_demonstration,
            [{"role": "user", "content": f"Question {number}"}],
            f"Answer {number}",
        )
    return workspace


@pytest.fixture
def ws(template, tmp_path):
    """A copy of the template: quicker than making each workspace."""
    return Workspace(shutil.copytree(template.root, tmp_path / "workspace"))


def run_in(ws, state):
    run = runs.create(ws, SFTConfig())
    for step in {"queued": (), "running": ("running",)}.get(state, ("running", state)):
        stored.written(ws, runs.move, run.id, step)
    return stored.read(ws, runs.get, run.id)


def add_checkpoint(ws, run, step=1, base="base", fingerprint="f", **choice):
    folder = runs.folder(ws, run.name) / "checkpoints" / f"step-{step}"
    folder.mkdir(parents=True)
    return stored.written(
        ws,
        checkpoints.add,
        run.id,
        step,
        folder,
        base_model=base,
        base_fingerprint=fingerprint,
        metrics={"eval/loss": 1.0},
        **choice,
    )


@pytest.fixture
def child():
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, start_new_session=True)
    yield process
    process.kill()
    process.communicate()


# States.


@pytest.mark.parametrize(("before", "after"), list(itertools.product(STATES, STATES)))
def test_a_run_moves_only_along_the_arrows(ws, before, after):
    run = run_in(ws, before)
    if (before, after) in LEGAL:
        stored.written(ws, runs.move, run.id, after, "A sentence.")
        moved = stored.read(ws, runs.get, run.id)
        assert (moved.state, moved.message) == (after, "A sentence.")
        assert (moved.ended_at is not None) == moved.is_ended
    else:
        with pytest.raises(RunError, match=f"is {before} and cannot become {after}"):
            stored.written(ws, runs.move, run.id, after)
        assert stored.read(ws, runs.get, run.id) == run


def test_runs_wait_for_those_before_them_and_begin_once(ws):
    first, second = runs.create(ws, SFTConfig()), runs.create(ws, SFTConfig())
    assert [run.id for run in stored.read(ws, queue.ahead_of, second.id)] == [first.id]
    assert stored.read(ws, queue.ahead_of, first.id) == []
    assert stored.written(ws, runs.begin, first.id, "cpu")
    assert not stored.written(ws, runs.begin, first.id, "cpu")
    assert stored.read(ws, queue.ahead_of, second.id) == []
    assert stored.written(ws, runs.begin, second.id, "cpu")
    assert [run.state for run in stored.read(ws, runs.list_all)] == ["running", "running"]


def test_a_cancelled_run_leaves_the_queue_to_the_next(ws):
    first, second = runs.create(ws, SFTConfig()), runs.create(ws, SFTConfig())
    assert stored.written(ws, runs.request_stop, first.name).state == "stopped"
    assert stored.read(ws, queue.ahead_of, second.id) == []


def test_a_stop_is_seen_at_the_next_heartbeat_and_an_ended_run_is_left_alone(ws):
    run = run_in(ws, "running")
    assert not stored.written(ws, runs.beat, run.id, 0.5, "step 1 of 2")
    stored.written(ws, runs.request_stop, run.name)
    assert stored.written(ws, runs.beat, run.id)
    assert (stored.read(ws, runs.get, run.id).progress, stored.read(ws, runs.get, run.id).progress_text) == (
        0.5,
        "step 1 of 2",
    )
    done = run_in(ws, "finished")
    assert stored.written(ws, runs.request_stop, done.name) == done


# The living, the dead and the strangers.


def test_reaping_marks_a_run_lost_whose_process_is_gone(ws, child):
    run = run_in(ws, "running")
    stored.written(ws, runs.set_process, run.id, child.pid, processes.birth(child.pid))
    assert launcher.reap(ws) == []
    child.kill()
    child.wait()
    assert launcher.reap(ws) == [run.name]
    assert stored.read(ws, runs.get, run.id).state == "lost"
    assert launcher.reap(ws) == []


def test_a_stranger_with_the_same_pid_is_not_taken_for_the_run(ws, child):
    run = run_in(ws, "running")
    stored.written(ws, runs.set_process, run.id, child.pid, psutil.Process(child.pid).create_time() - 100)
    assert not launcher.is_alive(stored.read(ws, runs.get, run.id))
    assert launcher.reap(ws) == [run.name]


def test_a_run_that_was_only_just_created_is_not_lost_yet(ws):
    run = runs.create(ws, SFTConfig())
    assert launcher.reap(ws) == []
    long_ago = (datetime.now(UTC) - timedelta(seconds=launcher.ADOPTION_S + 1)).isoformat()
    with ws.write() as db:
        db.table("runs").update(run.id, {"created_at": long_ago})
    assert launcher.reap(ws) == [run.name]


def test_kill_ends_the_whole_process_group_before_it_says_so(ws):
    code = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'input()'], stdin=subprocess.PIPE).wait()"
    run = runs.hand_over(ws, run_in(ws, "running"))
    leader = subprocess.Popen([sys.executable, "-c", code], env=os.environ | {marks.VARIABLE: run.mark})
    stored.written(ws, runs.set_process, run.id, leader.pid, psutil.Process(leader.pid).create_time())
    while not (members := psutil.Process(leader.pid).children()):
        pass
    killed = launcher.kill(ws, run.name)
    leader.wait()
    assert killed.state == "stopped"
    assert "its 2 processes are gone" in killed.message
    assert killed.gone_at is not None
    assert all(not child.is_running() or child.status() == psutil.STATUS_ZOMBIE for child in members)
    assert launcher.kill(ws, run.name) == killed


# Creating.


def test_a_new_run_has_its_config_and_frozen_rows_in_its_folder(ws):
    run = runs.create(ws, SFTConfig(seed=7))
    folder = runs.folder(ws, run.name)
    assert json.loads((folder / "config.json").read_text()) == run.config.model_dump()
    rows = runs.read_rows(ws, run.name, "train") + runs.read_rows(ws, run.name, "validation")
    assert len(rows) == 6
    stored.written(ws, prompts.add_demonstration, [{"role": "user", "content": "Later"}], "Answer")
    assert runs.read_rows(ws, run.name, "train") + runs.read_rows(ws, run.name, "validation") == rows
    assert runs.read_rows(ws, run.name, "nothing") == []


@pytest.mark.parametrize("broken", ["mkdir", "write_text"])
def test_nothing_is_left_of_a_run_whose_folder_cannot_be_written(ws, monkeypatch, broken):
    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, broken, fail)
        with pytest.raises(RunError, match=r"could not be written: No space left on device\. Free some space"):
            runs.create(ws, SFTConfig())
    assert stored.read(ws, runs.list_all) == []
    assert list(ws.runs.iterdir()) == []
    assert runs.create(ws, SFTConfig()).name == "sft-1"


def test_a_run_is_numbered_within_its_stage(ws):
    assert [runs.create(ws, SFTConfig()).name for _ in range(2)] == ["sft-1", "sft-2"]
    with pytest.raises(RunError, match="no run named 'sft-9'"):
        stored.read(ws, runs.get, "sft-9")


@pytest.mark.parametrize(
    ("config", "error", "sentence"),
    [
        (RewardConfig(), CheckpointError, "There is no checkpoint of SFT yet"),
        (PPOConfig(), CheckpointError, "There is no checkpoint of the reward model yet"),
        (SampleConfig(), CheckpointError, "There is no checkpoint of PPO, DPO or SFT yet"),
        (SampleConfig(checkpoint="sft-7"), CheckpointError, "There is no checkpoint named 'sft-7'"),
        (SFTConfig(base_model="no/such/folder"), BaseModelError, "is neither a folder nor a hub id"),
    ],
)
def test_a_run_that_lacks_something_is_refused_with_what_to_do_first(ws, config, error, sentence):
    with pytest.raises(error, match=sentence):
        runs.create(ws, config)
    assert stored.read(ws, runs.list_all) == []


def test_a_folder_that_is_no_model_is_refused_as_a_base_model(ws, tmp_path):
    (tmp_path / "notes").mkdir()
    with pytest.raises(BaseModelError, match=r"is not a Hugging Face model: it has no config\.json"):
        runs.create(ws, SFTConfig(base_model=str(tmp_path / "notes")))


def test_without_demonstrations_there_is_no_sft(tmp_path):
    with pytest.raises(DataError, match="There are no demonstrations to learn from"):
        runs.create(Workspace.open(tmp_path), SFTConfig())


def test_checkpoints_of_two_base_models_are_not_mixed(ws):
    one, other = run_in(ws, "finished"), run_in(ws, "finished")
    names = [add_checkpoint(ws, one), add_checkpoint(ws, other, base="other", fingerprint="g")]
    with pytest.raises(CheckpointError, match=r"belongs to the base model other, but sft-1@1 to base\. Choose"):
        runs.create(ws, SampleConfig(checkpoint=names[0], opponent=names[1]))


# Resuming and checkpoints.


def test_resume_makes_a_new_run_on_the_same_rows_from_the_newest_checkpoint(ws):
    run = run_in(ws, "stopped")
    add_checkpoint(ws, run, 10)
    newest = add_checkpoint(ws, run, 20)
    stored.written(ws, prompts.add_demonstration, [{"role": "user", "content": "Later"}], "Answer")
    resumed = runs.resume(ws, run.name)
    assert (resumed.name, resumed.state, resumed.config) == ("sft-2", "queued", run.config)
    assert resumed.resumed_from == stored.read(ws, checkpoints.get, newest).id
    assert runs.read_rows(ws, resumed.name, "train") == runs.read_rows(ws, run.name, "train")


def test_a_run_that_still_goes_or_has_no_checkpoint_is_not_resumed(ws):
    with pytest.raises(RunError, match="is running; only an ended run can be resumed"):
        runs.resume(ws, run_in(ws, "running").name)
    with pytest.raises(CheckpointError, match="Run sft-2 ended before its first checkpoint"):
        runs.resume(ws, run_in(ws, "failed").name)


def test_a_runs_name_means_its_newest_checkpoint(ws):
    run = run_in(ws, "finished")
    add_checkpoint(ws, run, 5)
    add_checkpoint(ws, run, 100)
    assert stored.read(ws, checkpoints.get, "sft-1").name == "sft-1@100"
    assert stored.read(ws, checkpoints.get, "sft-1@5").step == 5
    assert [c.name for c in stored.read(ws, checkpoints.list_all, "sft")] == ["sft-1@100", "sft-1@5"]
    assert [c.name for c in stored.read(ws, checkpoints.list_all, is_newest_of_run=True)] == ["sft-1@100"]


def test_a_checkpoint_whose_folder_is_gone_is_named(ws):
    run = run_in(ws, "finished")
    add_checkpoint(ws, run)
    stored.read(ws, checkpoints.get, run.name).folder.rmdir()
    with pytest.raises(
        CheckpointError, match=r"The folder of checkpoint sft-1@1 is gone \(runs/sft-1/checkpoints/step-1\)"
    ):
        stored.read(ws, checkpoints.get, run.name)


def test_a_long_curve_is_thinned_with_its_first_point_and_its_last_step_kept(ws):
    run = run_in(ws, "running")
    stored.written(ws, metrics.add, run.id, 1, {"train/loss": 1.0})
    with ws.write() as db:
        row = {"run_id": run.id, "name": "train/loss", "at": "now"}
        db.table("metrics").insert_all(row | {"step": step, "value": 1 / step} for step in range(2, 2000))
    stored.written(ws, metrics.add, run.id, 2000, {"train/loss": 1 / 2000})
    thinned = stored.read(ws, metrics.curve, run.id, "train/loss", max_points=100)
    assert 50 <= len(thinned) <= 100
    assert (thinned[0], thinned[-1][0]) == ((1, 1.0), 2000)
    assert thinned[-1][1] == pytest.approx(sum(1 / n for n in range(1969, 2001)) / 32, rel=0.03)
    assert stored.read(ws, metrics.latest, run.id) == {"train/loss": 1 / 2000}
    assert stored.read(ws, metrics.first, run.id) == {"train/loss": 1.0}


# The workspace.


def test_a_file_that_is_no_database_is_refused_and_left_as_it_is(tmp_path):
    (tmp_path / "studio.db").write_bytes(b"these are notes, not a database" * 40)
    with pytest.raises(WorkspaceError, match=r"studio\.db is damaged, not a usable database .* rescue NEW_FOLDER"):
        Workspace.open(tmp_path)
    assert (tmp_path / "studio.db").read_bytes().startswith(b"these are notes")


def test_a_new_workspace_is_opened_by_several_at_the_same_moment(tmp_path):
    barrier = threading.Barrier(4)

    def open_it(number):
        barrier.wait()
        return Workspace.open(tmp_path / "studio").root

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(open_it, range(4))) == {tmp_path / "studio"}


def test_a_schema_that_breaks_off_leaves_nothing_half_made(tmp_path, monkeypatch):
    def break_off(db):
        raise sqlite3.DatabaseError("the power failed")

    with monkeypatch.context() as patch:
        patch.setattr(ratings, "enrich", break_off)
        with pytest.raises(WorkspaceError, match="the power failed"):
            Workspace.open(tmp_path)
    with closing(sqlite3.connect(tmp_path / "studio.db")) as db, db:
        assert db.execute("SELECT name FROM sqlite_master").fetchall() == []
    Workspace.open(tmp_path)


def test_a_workspace_from_a_newer_version_is_refused(ws):
    with ws.write() as db:
        db.execute(
            "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES ('rlhf-studio', 'm099_future', 'now')"
        )
    with pytest.raises(WorkspaceError, match=r"newer version of RLHF Studio \(it has m099_future\)"):
        Workspace.open(ws.root)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_made_is_a_clear_sentence(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(WorkspaceError, match="cannot be created: Permission denied"):
        Workspace.open(tmp_path / "workspace")


def test_a_file_in_the_place_of_the_workspace_is_a_clear_sentence(tmp_path):
    (tmp_path / "workspace").write_text("")
    with pytest.raises(WorkspaceError, match="cannot be created"):
        Workspace.open(tmp_path / "workspace")


def test_a_relative_base_model_folder_becomes_absolute_for_the_worker(tmp_path, monkeypatch):
    workspace = Workspace.open(tmp_path / "workspace")
    stored.written(workspace, prompts.add_demonstration, [{"role": "user", "content": "hello 1"}], "Good day.")
    monkeypatch.chdir(STARTER)
    run = runs.create(workspace, SFTConfig(base_model="model"))
    assert run.config.base_model == str((STARTER / "model").resolve())


def test_a_finished_run_has_nothing_to_resume_but_from_an_earlier_checkpoint(ws):
    run = run_in(ws, "finished")
    early, late = add_checkpoint(ws, run, 10), add_checkpoint(ws, run, 30)
    for name in (run.name, late):
        with pytest.raises(RunError, match=f"is finished: all its steps are done at {late}"):
            runs.resume(ws, name)
    assert runs.resume(ws, early).resumed_from == stored.read(ws, checkpoints.get, early).id
    assert len(stored.read(ws, runs.list_all)) == 2


def test_a_checkpoint_that_lacks_a_file_is_refused_at_once(ws):
    name = add_checkpoint(ws, run_in(ws, "stopped"), 10)
    folder = stored.read(ws, checkpoints.get, name).folder
    (folder / "meta.json").write_text('{"checksums": {"policy/adapter_model.safetensors": 1}}')
    with pytest.raises(CheckpointError, match=f"{name} is incomplete: it has no policy/adapter_model.safetensors"):
        runs.resume(ws, name)


def test_a_gpu_that_nobody_knows_of_is_refused_before_the_start(ws, monkeypatch):
    monkeypatch.setattr(gpus, "may_be_there", lambda: False)
    for refuse in (launcher.start_once, memory_fit.fit):
        with pytest.raises(ConfigError, match="There is no GPU on this machine: set device to auto or cpu"):
            refuse(ws, prepare.resolve(ws, SFTConfig(device="cuda")))
    words = ["sft", "--set", "device=cuda", "--workspace", str(ws.root)]
    assert main([*words, "--detach"]) == 1
    assert stored.read(ws, runs.list_all) == []
    assert main([*words, "--queue"]) == 0, "torchrun or SLURM may start it where there is one"
    monkeypatch.setattr(gpus, "may_be_there", lambda: True)
    assert stored.read(ws, memory_fit.fit, prepare.resolve(ws, SFTConfig(device="cuda"))).needed > 0


@pytest.mark.parametrize("cut", [0, 5, 200, 5000])
def test_a_base_model_whose_weights_are_cut_off_is_refused_before_the_start(ws, tmp_path, cut):
    shutil.copytree(STARTER / "model", tmp_path / "cut")
    (weights,) = (tmp_path / "cut").glob("*.safetensors")
    assert runs.create(ws, SFTConfig(base_model=str(tmp_path / "cut"))).state == "queued"
    weights.write_bytes(weights.read_bytes()[:cut])
    with pytest.raises(BaseModelError, match=r"model\.safetensors is cut off or not a safetensors file"):
        runs.create(ws, SFTConfig(base_model=str(tmp_path / "cut")))


def test_an_empty_base_model_is_said(ws):
    with pytest.raises(BaseModelError, match="base_model is empty"):
        runs.create(ws, SFTConfig(base_model=""))


def test_a_run_hands_on_its_chosen_checkpoint_and_goes_on_from_its_last(ws):
    older, run = run_in(ws, "finished"), run_in(ws, "stopped")
    add_checkpoint(ws, older, 9)
    add_checkpoint(ws, run, 0, is_chosen=True)
    chosen = add_checkpoint(ws, run, 10, is_chosen=True)
    last = add_checkpoint(ws, run, 30)
    assert chosen == stored.read(ws, checkpoints.get, run.name).name == stored.read(ws, checkpoints.newest, "sft").name
    assert last == stored.read(ws, checkpoints.last, run.name).name
    assert runs.resume(ws, run.name).resumed_from == stored.read(ws, checkpoints.get, last).id
    assert [c.name for c in stored.read(ws, checkpoints.list_all) if c.is_chosen] == [chosen], "one of a run"
    handed_on = stored.read(ws, checkpoints.list_all, "sft", is_newest_of_run=True)
    assert [c.name for c in handed_on] == [chosen, f"{older.name}@9"]


@pytest.mark.parametrize(
    ("budget", "missing"),
    [({"kl_budget": 5.0}, "prompts"), ({"tax_budget": 0.05}, "prompts"), ({"tax_budget": 0.05}, "demonstrations")],
)
def test_a_budget_without_anything_to_measure_it_on_is_refused(budget, missing):
    has = {"has_prompts": missing != "prompts", "has_demonstrations": missing != "demonstrations"}
    with pytest.raises(DataError, match=f"held-out {missing}"):
        budgets.check(PPOConfig(**budget), **has)
    budgets.check(PPOConfig(), **has)
    budgets.check(PPOConfig(**budget), has_prompts=True, has_demonstrations=True)


@pytest.mark.parametrize("copied", [0, 5, 8])
def test_a_run_killed_again_before_its_own_first_save_goes_on_from_the_newest_state_never_from_a_copy_of_the_best(
    ws, copied
):
    first = run_in(ws, "stopped")
    began_at = add_checkpoint(ws, first, 8)
    again = runs.resume(ws, first.name)
    stored.written(ws, runs.begin, again.id, "cpu")
    add_checkpoint(ws, again, copied, is_chosen=True)  # what a resumed PPO run lays down before its first step
    stored.written(ws, runs.move, again.id, "lost")
    newest = began_at if copied < 8 else f"{again.name}@8"
    assert newest in stored.read(ws, launcher.next_step, stored.read(ws, runs.get, again.id))
    third = runs.resume(ws, again.name)
    assert stored.read(ws, checkpoints.name_of, third.resumed_from) == newest
    stored.written(ws, runs.begin, third.id, "cpu")
    stored.written(ws, runs.move, third.id, "lost")
    assert stored.read(ws, checkpoints.name_of, runs.resume(ws, third.name).resumed_from) == newest, (
        "also when it laid down nothing"
    )
    own = add_checkpoint(ws, again, 9)
    assert runs.resume(ws, again.name).resumed_from == stored.read(ws, checkpoints.get, own).id
    assert (
        runs.resume(ws, f"{again.name}@{copied}").resumed_from
        == stored.read(ws, checkpoints.get, f"{again.name}@{copied}").id
    )


def test_a_newest_state_whose_folder_is_gone_is_said_and_nothing_older_is_taken_in_silence(ws):
    run = run_in(ws, "lost")
    add_checkpoint(ws, run, 3)
    newest = add_checkpoint(ws, run, 7)
    stored.read(ws, checkpoints.get, newest).folder.rmdir()
    with pytest.raises(CheckpointError, match=f"The folder of checkpoint {newest} is gone"):
        runs.resume(ws, run.name)
    assert f"The folder of checkpoint {newest} is gone" in stored.read(ws, launcher.next_step, run)


@pytest.mark.parametrize("name", ["../../outside", "/etc", "..", "a/b", ""])
def test_a_run_whose_name_leads_out_of_the_workspace_has_no_folder(ws, name):
    with pytest.raises(RunError, match="leads out of the workspace"):
        runs.folder(ws, name)
