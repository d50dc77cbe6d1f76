"""Runs on two devices (processes on the CPU) through the real worker: one run to the studio, one writer, one end for both.

Lightning, torchrun and SLURM (its environment, without srun) each start the two processes once.
"""

import contextlib
import io
import os
import shlex
import signal
import socket
import subprocess
import sys
import time

import psutil
import pytest

from modules.config import PPOConfig, RewardConfig, SFTConfig
from studio import children, cli
from studio.errors import ConfigError
from studio.models import checkpoints
from studio.preferences import comparisons, prompts, ratings
from studio.runs import launcher, metrics, queue, rollouts, runs
from studio.runs.processes import family
from studio.worker import ranks
from studio.workspace import Workspace
from tests.support import stored, waiting, warm

pytestmark = pytest.mark.timeout(900)
TINY = {"device": "cpu", "lora_rank": 4, "batch_size": 8, "micro_batch_size": 8, "max_length": 128}
SHORT = {**TINY, "epochs": 1, "eval_every": 2}
ENVIRONMENT = {"PYTHONPATH": str(children.CODE), "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}


def wait(ws, name, condition):
    return waiting.for_run(ws, name, condition, may_fail=True)


def finished(ws, run):
    run = wait(ws, run.name, lambda r: r.is_ended)
    assert run.state == "finished", f"{run.message}\n{runs.tail_log(ws, run.name)}"
    return run


def processes(ws, run):
    """The living processes of the run."""
    return list(family(runs.claim(ws, stored.read(ws, runs.get, run.id))))


def none_left(ws, run):
    deadline = time.monotonic() + waiting.PATIENCE_S
    while processes(ws, run) and time.monotonic() < deadline:
        time.sleep(0.1)
    return not processes(ws, run)


def assert_each_metric_is_stored_once(ws, run):
    with ws.read() as db:
        rows = list(db.query("SELECT step, name, count(*) AS n FROM metrics WHERE run_id = ? GROUP BY 1, 2", [run.id]))
    assert rows
    assert {row["n"] for row in rows} == {1}


@pytest.fixture(scope="module")
def ws(tmp_path_factory):
    workspace = Workspace.open(tmp_path_factory.mktemp("workspace"))
    for i in range(28):
        stored.written(
            workspace,
            prompts.add_demonstration,
            [{"role": "user", "content": f"What is {i} plus 1?"}],
            f"It is {i + 1}.",
        )
    yield workspace
    for run in stored.read(workspace, runs.list_all):
        launcher.kill(workspace, run.name)


@pytest.fixture(scope="module")
def sft(ws):
    """Started by the very line that the command line prints."""
    settings = [part for key, value in (SHORT | {"devices": 2}).items() for part in ("--set", f"{key}={value}")]
    with contextlib.redirect_stdout(io.StringIO()) as output:
        assert cli.main(["sft", "--queue", "--workspace", str(ws.root), *settings]) == 0
    run = stored.read(ws, runs.list_all)[0]
    assert run.is_awaited
    assert launcher.reap(ws) == []
    line = next(line for line in output.getvalue().splitlines() if "torchrun --" in line)
    command = [sys.executable, "-m", "torch.distributed.run", *shlex.split(line)[1:]]
    done = subprocess.run(
        command, env=os.environ | ENVIRONMENT, capture_output=True, text=True, timeout=400, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return stored.read(ws, runs.get, run.id)


def test_a_run_under_torchrun_is_the_run_of_one_process_and_stored_once(ws, sft):
    assert sft.state == "finished", sft.message
    assert_each_metric_is_stored_once(ws, sft)
    assert [c.step for c in stored.read(ws, checkpoints.list_all) if c.run_id == sft.id] == [
        stored.read(ws, checkpoints.get, sft.name).step
    ]
    assert not (runs.folder(ws, sft.name) / ranks.COPY).exists()
    with warm.starts():
        alone = finished(ws, launcher.start(ws, runs.create(ws, SFTConfig(**SHORT))))
    for name in ("train/loss", "train/grad_norm", "eval/loss"):
        expected, found = stored.read(ws, metrics.curve, alone.id, name), stored.read(ws, metrics.curve, sft.id, name)
        assert [step for step, _ in found] == [step for step, _ in expected]
        assert [value for _, value in found] == pytest.approx([value for _, value in expected], rel=1e-4)


def under_slurm(ws, run):
    """Start one task for each device, as ``srun`` would; returns the exit codes."""
    stored.written(ws, queue.leave_to_others, run.id)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    slurm = {"NTASKS": 2, "NTASKS_PER_NODE": 2, "NNODES": 1, "NODEID": 0, "JOB_ID": 77, "JOB_NAME": "align"}
    environment = os.environ | ENVIRONMENT | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    environment |= {f"SLURM_{key}": str(value) for key, value in slurm.items()}
    tasks = [
        subprocess.Popen(
            [sys.executable, "-m", "studio.worker", str(ws.root), run.name],
            env=environment | {"SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank)},
        )
        for rank in (1, 0)
    ]
    return [task.wait(timeout=400) for task in tasks]


def test_a_reward_run_finishes_under_slurm_and_a_stop_ends_both_processes_of_ppo_after_one_iteration(ws, sft):
    add_ratings(ws)
    reward = runs.create(ws, RewardConfig(**SHORT, devices=2))
    assert under_slurm(ws, reward) == [0, 0]
    assert_each_metric_is_stored_once(ws, finished(ws, reward))
    few = {"minibatch_size": 8, "epochs": 1, "max_new_tokens": 8, "value_warmup": 1, "eval_every": 1}
    ppo = launcher.start(ws, runs.create(ws, PPOConfig(**TINY, **few, iterations=1000, devices=2)))
    wait(ws, ppo.name, lambda r: r.progress > 0 or r.is_ended)
    stored.written(ws, runs.request_stop, ppo.name)
    ppo = wait(ws, ppo.name, lambda r: r.is_ended)
    assert ppo.state == "stopped", f"{ppo.message}\n{runs.tail_log(ws, ppo.name)}"
    assert_each_metric_is_stored_once(ws, ppo)
    assert (
        stored.read(ws, checkpoints.get, ppo.name).step == stored.read(ws, metrics.curve, ppo.id, "objective/kl")[-1][0]
    )
    wanted = rollouts.Filter(min_iteration=1, max_iteration=1)
    assert stored.read(ws, rollouts.count, ppo.id, wanted) == ppo.config.batch_size, (
        "the responses of both processes are stored"
    )
    found = stored.read(ws, rollouts.find, ppo.id, wanted, limit=100)
    assert all(
        len(stored.read(ws, rollouts.tokens_of, r.id).response_ids)
        == len(stored.read(ws, rollouts.tokens_of, r.id).values)
        for r in found
    )
    scores = [value for step, value in stored.read(ws, metrics.curve, ppo.id, "objective/score") if step == 1]
    assert sum(r.score for r in found) / len(found) == pytest.approx(scores[0], abs=1e-4)
    with ws.read() as db:
        samples = [(r["step"], r["prompt"]) for r in db.query("SELECT * FROM samples WHERE run_id = ?", [ppo.id])]
    assert samples
    assert len(set(samples)) == len(samples)
    assert none_left(ws, ppo)


def add_ratings(ws):
    demonstrations = stored.read(ws, prompts.list_demonstrations)
    with ws.write() as db:
        for row in demonstrations:
            texts = (f"{row.response} Yes.", f"No. {row.response}")
            better, worse = (prompts.add_response(db, row.prompt_id, text, "import") for text in texts)
            comparisons.add_comparison(db, row.prompt_id, (better, worse))
    while showing := stored.written(ws, comparisons.next_showing):
        stored.written(ws, ratings.record, showing.id, "left" if showing.left.endswith("Yes.") else "right", strength=2)


def test_no_process_survives_the_other_and_the_run_says_what_happened(ws):
    long = SFTConfig(**TINY, epochs=1000, save_every=2, eval_every=5000, devices=2)
    # kill -9 of the first: the second ends by itself, and the run reads lost.
    with warm.starts():
        run = launcher.start(ws, runs.create(ws, long))
    wait(ws, run.name, lambda r: r.is_ended or any(c.run_id == r.id for c in stored.read(ws, checkpoints.list_all)))
    first = psutil.Process(run.pid)
    (second,) = (p for p in processes(ws, run) if p.pid != run.pid)
    assert not any(file.path.startswith(str(ws.database)) for file in second.open_files())
    first.kill()
    assert none_left(ws, run)
    assert launcher.reap(ws) == [run.name]
    # kill -9 of the second: the first says so and ends. It goes on from the last checkpoint, on two processes.
    with warm.starts():
        resumed = launcher.start(ws, runs.resume(ws, run.name))
    wait(ws, resumed.name, lambda r: r.is_ended or len(stored.read(ws, metrics.curve, r.id, "train/loss")) > 1)
    assert not stored.read(ws, runs.get, resumed.id).is_ended, runs.tail_log(ws, resumed.name)
    assert (
        stored.read(ws, metrics.curve, resumed.id, "train/loss")[0][0]
        == stored.read(ws, checkpoints.get, run.name).step + 1
    )
    (second,) = (p for p in processes(ws, resumed) if p.pid != resumed.pid)
    os.kill(second.pid, signal.SIGKILL)
    resumed = wait(ws, resumed.name, lambda r: r.is_ended or not launcher.is_alive(r))
    assert none_left(ws, resumed)
    assert resumed.state == "failed", runs.tail_log(ws, resumed.name)
    assert "process of the run" in resumed.message


def test_a_helper_of_a_library_that_ends_is_no_process_of_the_run_that_was_killed(ws, monkeypatch):
    monkeypatch.setattr(ranks, "_seen", set())
    run = runs.create(ws, SFTConfig(**TINY, devices=2))
    waits = [sys.executable, "-c", "input()", "studio.worker"]  # as a fork of this process, before it becomes another
    helper = subprocess.Popen(waits, stdin=subprocess.PIPE)
    other = subprocess.Popen(waits, stdin=subprocess.PIPE, env=os.environ | {"LOCAL_RANK": "1"})
    try:
        waiting.until(lambda: [p.pid for p in ranks._others()] == [other.pid])
        ranks._seen.update(ranks._others())
        helper.kill()
        waiting.until(lambda: psutil.Process(helper.pid).status() == psutil.STATUS_ZOMBIE)
        assert [p.pid for p in ranks._others()] == [other.pid]
        assert ranks._failure(ws, run) is None
        other.kill()
        waiting.until(lambda: psutil.Process(other.pid).status() == psutil.STATUS_ZOMBIE)
        assert "killed from outside" in (ranks._failure(ws, run) or "")
    finally:
        for child in (helper, other):
            child.kill()
            child.communicate()


def test_a_process_that_is_not_the_first_cannot_write(ws):
    with pytest.raises(AssertionError, match="only the first process"), ranks.ReadOnly(ws.root, "sft-1").write():
        pass


def test_what_several_devices_cannot_do_is_refused_with_the_reason(ws):
    with pytest.raises(ConfigError, match="called equally often by all processes"):
        runs.create(ws, SFTConfig(strategy="fsdp", devices=2))
    with pytest.raises(ConfigError, match="8 examples cannot be shared by devices x num_nodes = 9 processes"):
        runs.create(ws, SFTConfig(batch_size=8, devices=3, num_nodes=3))


def test_a_run_on_several_machines_is_not_started_on_this_one_alone(monkeypatch):
    with pytest.raises(ranks.RunError, match="make the run with --queue"):
        ranks.check(SFTConfig(num_nodes=2))
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(ranks.RunError, match="started 3 processes, but the run's devices x num_nodes is 2"):
        ranks.check(SFTConfig(devices=2))
