"""The queue and its controls: order, devices, both stops, pauses, branches; with real workers and a stand-in for the GPUs' driver."""

import json
import os
import subprocess
import sys

import pytest

from modules.config import PPOConfig, SampleConfig, SFTConfig
from studio.errors import ConfigError, RunError
from studio.models import checkpoints
from studio.preferences import prompts
from studio.runs import devices, gpus, launcher, marks, metrics, processes, queue, runs, turns
from studio.worker.borrowed_gpu import borrowed
from studio.workspace import Workspace
from tests.support import driver, stored, waiting, warm

pytestmark = pytest.mark.timeout(900)
TINY = {"lora_rank": 2, "batch_size": 4, "micro_batch_size": 4, "max_length": 64, "eval_samples": 0}
LONG = SFTConfig(**TINY, epochs=500, save_every=2, eval_every=10**6)


@pytest.fixture(autouse=True)
def quick_starts():
    with warm.starts():
        yield


@pytest.fixture
def ws(tmp_path):
    workspace = Workspace.open(tmp_path / "workspace")
    for i in range(8):
        stored.written(
            workspace,
            prompts.add_demonstration,
            [{"role": "user", "content": f"What is {i} plus 1?"}],
            f"It is {i + 1}.",
        )
    yield workspace
    for run in stored.read(workspace, runs.list_all):
        launcher.kill(workspace, run.name)


@pytest.fixture
def two_gpus(monkeypatch):
    """A driver that knows two GPUs."""
    return driver.use(monkeypatch, driver.Driver(driver.SMALL, driver.LARGE))


def marked(run):
    """The environment that a run's processes have."""
    return os.environ | {marks.VARIABLE: run.mark}


def wait(ws, name, condition):
    return waiting.for_run(ws, name, condition, reaps=True)


# Order and devices, without workers.


def test_a_waiting_run_is_moved_and_others_keep_their_order(ws):
    names = [runs.create(ws, LONG).name for _ in range(4)]
    stored.written(ws, queue.shift, names[3], -1)
    assert [run.name for run in stored.read(ws, queue.waiting)] == [names[0], names[1], names[3], names[2]]
    stored.written(ws, queue.shift, names[2], -99)
    stored.written(ws, queue.shift, names[0], 99)
    stored.written(ws, queue.shift, names[0], 1)
    assert [run.name for run in stored.read(ws, queue.waiting)] == [names[2], names[1], names[3], names[0]]
    new = runs.create(ws, LONG).name
    assert [run.name for run in stored.read(ws, queue.waiting)][-1] == new
    stored.written(ws, runs.move, stored.read(ws, runs.get, new).id, "running")
    with pytest.raises(RunError, match=f"Run {new} is not waiting in the queue"):
        stored.written(ws, queue.shift, new, -1)


def test_a_held_run_lets_others_pass_and_keeps_its_place(ws):
    first, second = runs.create(ws, LONG), runs.create(ws, LONG)
    assert [run.id for run in stored.read(ws, queue.ahead_of, second.id)] == [first.id]
    stored.written(ws, queue.pause, first.name)
    assert stored.read(ws, queue.ahead_of, second.id) == []
    assert not stored.written(ws, runs.begin, first.id, "cpu")
    stored.written(ws, queue.go_on, first.name)
    assert [run.id for run in stored.read(ws, queue.ahead_of, second.id)] == [first.id]
    stored.written(ws, runs.move, second.id, "running")
    stored.written(ws, runs.request_stop, second.name)
    with pytest.raises(RunError, match="is stopping and cannot go on"):
        stored.written(ws, queue.go_on, second.name)
    stored.written(ws, runs.move, first.id, "stopped")
    with pytest.raises(RunError, match="is stopped and cannot be paused"):
        stored.written(ws, queue.pause, first.name)
    with pytest.raises(RunError, match="There is no run named 'sft-99'"):
        stored.written(ws, queue.shift, "sft-99", 1)


def taken(ws, config, ahead=()):
    with devices.taken(ws, config, {card for other in ahead for card in devices.cards(other)}) as mine:
        return mine


def test_each_gpu_is_a_device_and_a_run_goes_where_nothing_before_it_wants_to_go(ws, two_gpus):
    on_cpu, on_0, on_1, on_any = (
        SFTConfig(device="cpu"),
        SFTConfig(gpu=0),
        SFTConfig(gpu=1),
        SampleConfig(),
    )
    both = PPOConfig(devices=2)
    assert [taken(ws, c) for c in (on_cpu, on_0, on_1, on_any, both)] == [
        ("cpu",),
        ("gpu0",),
        ("gpu1",),
        ("gpu0",),
        ("gpu0", "gpu1"),
    ]
    with devices.taken(ws, on_0, []):
        assert [taken(ws, c) for c in (on_0, on_any, on_1, both)] == [(), ("gpu1",), ("gpu1",), ()]
        assert taken(ws, on_1, ahead=[both]) == (), "or two GPUs would never be free together"
        assert taken(ws, on_cpu, ahead=[both, on_any]) == ("cpu",)
    assert taken(ws, on_any, ahead=[on_0]) == ("gpu1",)
    assert taken(ws, both, ahead=[on_1]) == ()
    assert taken(ws, both) == ("gpu0", "gpu1"), "what was not enough was given back"
    assert gpus.visible(("gpu1",)) == "1"


def test_a_gpu_is_one_device_for_all_workspaces_and_whatever_number_a_shell_gives_it(ws, two_gpus, tmp_path):
    other = Workspace.open(tmp_path / "other")
    with devices.taken(ws, SFTConfig(gpu=1), []) as mine:
        assert mine == ("gpu1",)
        assert taken(other, SFTConfig(gpu=1)) == ()
        assert taken(other, SFTConfig()) == ("gpu0",)
        for names in ("1", "GPU-b", "GPU-b,GPU-a"):
            with gpus.seen_as({"CUDA_VISIBLE_DEVICES": names}):
                assert taken(ws, SFTConfig(gpu=0)) == (), names
        with gpus.seen_as({"CUDA_VISIBLE_DEVICES": "GPU-b,GPU-a"}):
            assert taken(other, SFTConfig()) == ("gpu1",)
    assert taken(other, SFTConfig(gpu=1)) == ("gpu1",)
    with devices.taken(ws, SFTConfig(device="cpu"), []) as mine:
        assert mine == taken(other, SFTConfig(device="cpu")) == ("cpu",), "the CPU is shared"


def test_a_run_claims_the_card_that_its_own_shell_gives_a_number(ws, two_gpus):
    run = runs.hand_over(ws, runs.create(ws, SFTConfig(gpu=0)), json.dumps({"CUDA_VISIBLE_DEVICES": "1"}))
    claimed = queue.claimed([run])
    with devices.taken(ws, SFTConfig(gpu=0), claimed) as zero, devices.taken(ws, SFTConfig(gpu=1), claimed) as one:
        assert (zero, one) == (("gpu0",), ())
    with gpus.seen_as({"CUDA_VISIBLE_DEVICES": "1,0"}), devices.taken(ws, SampleConfig(), claimed) as mine:
        assert mine == ("gpu1",), "its first GPU is the card that the run waits for"


def test_what_waits_for_a_gpu_of_another_workspace_is_told_which(ws, two_gpus, tmp_path):
    other = Workspace.open(tmp_path / "hiking")
    run = runs.create(ws, SFTConfig(gpu=1))
    place = "1 of 1 in the queue"
    assert stored.read(ws, queue.places) == {run.name: place}
    with devices.taken(other, SFTConfig(gpu=1), []):
        assert stored.read(ws, queue.places) == {run.name: f"{place}, GPU 1 is in use by the workspace hiking"}
        with pytest.raises(RunError, match="the workspace hiking works on GPU 1: try again"), borrowed(ws, gpu=1):
            pass
    with devices.taken(ws, SFTConfig(gpu=1), []):
        assert stored.read(ws, queue.places) == {run.name: place}, "its own work is named by the run"
    stored.written(ws, queue.pause, run.name)
    assert stored.read(ws, queue.places) == {run.name: f"{place}, held"}


def test_a_run_whose_gpu_was_lost_waits_and_says_so_and_keeps_no_other_run_from_its_turn(ws, monkeypatch):
    driver.use(monkeypatch, driver.Driver(driver.SMALL))
    run = runs.hand_over(ws, runs.create(ws, SFTConfig()))
    with ws.write() as db:
        db.execute("UPDATE runs SET config = ? WHERE id = ?", [SFTConfig(gpu=1).model_dump_json(), run.id])
    lost = stored.read(ws, runs.get, run.name)
    assert taken(ws, lost.config) == ()
    (said,) = stored.read(ws, queue.places).values()
    assert said == "1 of 1 in the queue, GPU 1 is not there: cancel it, or bring that GPU back"
    with devices.taken(ws, SFTConfig(), queue.claimed([lost])) as mine:
        assert mine == ("gpu0",)
    assert turns.look(ws) == []


def test_a_gpu_can_be_held_where_the_home_cannot_be_written(ws, two_gpus, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    with devices.taken(ws, SFTConfig(gpu=0), []) as mine:
        assert mine == ("gpu0",)
        assert taken(ws, SFTConfig(gpu=0)) == ()


def test_a_gpu_that_another_program_uses_is_the_last_choice_and_is_named(ws, two_gpus):
    two_gpus.hold("GPU-a", 4711, "/usr/bin/blender", 18000)
    assert taken(ws, SFTConfig()) == ("gpu1",)
    assert taken(ws, SFTConfig(gpu=0)) == ("gpu0",)
    assert gpus.others({1}) == (
        "Other programs hold GPU memory: 18,000 MiB of GPU 0 by process 4711 (blender). End them, or choose another GPU with gpu."
    )
    assert gpus.others({4711}) == ""


def test_a_gpu_that_is_not_there_is_refused(ws, two_gpus, monkeypatch):
    for config, sentence in (
        (SFTConfig(gpu=2), r"gpu is 2, but this machine has 2 \(0 to 1\)"),
        (SFTConfig(gpu=0, devices=2), "gpu chooses one GPU, but devices is 2"),
        (SFTConfig(gpu=0, device="cpu"), "the run is to use the CPU: set gpu to -1"),
    ):
        with pytest.raises(ConfigError, match=sentence):
            runs.create(ws, config)
    assert stored.read(ws, runs.list_all) == []
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert gpus.count() == 1
    assert gpus.visible(("gpu0",)) == "1"


# Ends, verified.


def test_kill_says_so_only_when_the_gpu_memory_is_free(ws, two_gpus, monkeypatch):
    run = runs.hand_over(ws, runs.create(ws, SFTConfig()))
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, env=marked(run))
    stored.written(ws, runs.set_process, run.id, child.pid, processes.birth(child.pid))
    assert stored.written(ws, runs.begin, run.id, "gpu0")
    two_gpus.hold("GPU-a", child.pid, "python", 900)
    monkeypatch.setattr(launcher, "KILL_TIMEOUT_S", 0.3)
    with pytest.raises(RunError, match=f"process {child.pid} still works or holds GPU memory"):
        launcher.kill(ws, run.name)
    child.communicate()
    assert stored.read(ws, runs.get, run.id).state == "running"
    two_gpus.release()
    killed = launcher.kill(ws, run.name)
    assert killed.message.startswith("Killed: no process was left and their GPU memory is free.")


def test_an_ended_run_is_ending_until_nothing_is_left_of_it(ws, monkeypatch):
    code = "import subprocess, sys; subprocess.Popen(['sleep', '60'])"
    run = runs.hand_over(ws, runs.create(ws, SFTConfig()))
    leader = subprocess.Popen([sys.executable, "-c", code], start_new_session=True, env=marked(run))
    stored.written(ws, runs.set_process, run.id, leader.pid, processes.birth(leader.pid))
    stored.written(ws, runs.begin, run.id, "cpu")
    stored.written(ws, runs.move, run.id, "finished", "Saved.")
    leader.wait()
    launcher.reap(ws)
    assert stored.read(ws, runs.get, run.id).shown_state == "ending"
    assert len(processes.family(runs.claim(ws, run))) == 1
    monkeypatch.setattr(launcher, "ENDING_S", 0.0)
    launcher.reap(ws)
    assert stored.read(ws, runs.get, run.id).shown_state == "finished"
    assert processes.family(runs.claim(ws, run)) == set()


# Real workers.


def test_the_queue_follows_its_order_a_pause_holds_a_run_and_a_branch_leaves_from_any_checkpoint(ws):
    first = launcher.start(ws, runs.create(ws, LONG)).name
    wait(ws, first, lambda r: any(c.step == 4 for c in stored.read(ws, checkpoints.list_all)))
    second, third = (launcher.start(ws, runs.create(ws, LONG)).name for _ in range(2))
    stored.written(ws, queue.shift, third, -1)
    stored.written(ws, queue.pause, first)
    paused = wait(ws, first, lambda r: r.progress_text.startswith("paused after step"))
    step = stored.read(ws, checkpoints.last, first).step
    assert paused.progress_text.startswith(f"paused after step {step} of"), "a pause saves"
    beats = set()
    wait(ws, first, lambda r: len(beats.add(r.heartbeat_at) or beats) > 2)  # it lives, and takes no step
    assert stored.read(ws, metrics.curve, paused.id, "train/loss")[-1][0] in (step - 1, step)
    branch = launcher.start(ws, runs.resume(ws, f"{first}@2"))
    assert stored.read(ws, checkpoints.name_of, branch.resumed_from) == f"{first}@2"
    with pytest.raises(RunError, match=f"Run {first} is running; only an ended run can be resumed"):
        runs.resume(ws, first)
    stored.written(ws, runs.request_stop, second)
    wait(ws, second, lambda r: r.state == "stopped")
    stored.written(ws, queue.go_on, first)
    wait(ws, first, lambda r: len(stored.read(ws, metrics.curve, r.id, "train/loss")) > step + 1)
    stored.written(ws, runs.request_stop, first)
    stopped = wait(ws, first, lambda r: r.is_ended and not r.is_ending)
    assert "Stopped and saved as" in stopped.message
    assert processes.family(runs.claim(ws, stopped)) == set()
    assert [n for n, _ in stored.read(ws, metrics.curve, stopped.id, "train/loss")] == list(
        range(1, stored.read(ws, checkpoints.last, first).step + 1)
    )
    wait(ws, third, lambda r: r.state == "running")
    launcher.kill(ws, third)
    wait(ws, branch.name, lambda r: len(stored.read(ws, metrics.curve, r.id, "train/loss")) >= 2)
    again, before = (dict(stored.read(ws, metrics.curve, r.id, "train/loss")) for r in (branch, stopped))
    assert min(again) == 3
    assert again[3] == before[3], "it goes on as its parent did"
