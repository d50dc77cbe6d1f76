"""Signals to a worker: those that ask for an end are a stop that saves, a terminal that closes is none; however it was started."""

import os
import signal
import subprocess
import sys
import time

import pytest

from modules.config import SFTConfig
from studio import children
from studio.models import checkpoints
from studio.preferences import prompts
from studio.runs import launcher, metrics, runs
from studio.workspace import Workspace
from tests.support import stored

pytestmark = pytest.mark.timeout(900)
LONG = SFTConfig(lora_rank=2, batch_size=4, micro_batch_size=4, max_length=64, eval_samples=0, epochs=500, save_every=10**6, eval_every=10**6)  # fmt: skip


@pytest.fixture(scope="module")
def ws(tmp_path_factory):
    made = Workspace.open(tmp_path_factory.mktemp("signals") / "workspace")
    for i in range(8):
        stored.written(
            made, prompts.add_demonstration, [{"role": "user", "content": f"What is {i} plus 1?"}], f"It is {i + 1}."
        )
    yield made
    for run in stored.read(made, runs.list_all):
        launcher.kill(made, run.name)


def wait(ws, name, until, timeout_s=100):
    deadline = time.monotonic() + timeout_s
    while not until(run := stored.read(ws, runs.get, name)):
        assert run.state not in ("failed", "lost"), f"{run.message}\n{runs.tail_log(ws, name)}"
        assert time.monotonic() < deadline, f"{run}\n{runs.tail_log(ws, name)}"
        launcher.reap(ws)
        time.sleep(0.05)
    return run


@pytest.mark.parametrize(
    "sent", [("SIGTERM",), ("SIGUSR1",), ("SIGHUP", "SIGINT", "SIGINT")], ids=["term", "usr1", "hup-int-int"]
)
def test_a_worker_that_is_asked_to_end_by_a_signal_finishes_its_step_saves_and_is_stopped(ws, sent):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as of a job in the background, which the worker inherits
    try:
        run = launcher.start(ws, runs.create(ws, LONG))
    finally:
        signal.signal(signal.SIGINT, before)
    run = wait(ws, run.name, lambda r: r.progress > 0)
    assert run.pid is not None
    for name in sent:
        os.kill(run.pid, getattr(signal, name))
        if name == "SIGHUP":
            step = stored.read(ws, runs.get, run.name).progress
            wait(ws, run.name, lambda r, step=step: r.progress > step)
    run = wait(ws, run.name, lambda r: r.is_ended and not r.is_ending)
    assert run.state == "stopped"
    assert run.message.startswith("Stopped and saved as ")
    assert run.message.endswith(f"{sent[-1]} asked for it.")
    assert (
        stored.read(ws, checkpoints.last, run.name).step == stored.read(ws, metrics.curve, run.id, "train/loss")[-1][0]
    )


def test_a_command_in_the_background_takes_ctrl_c_though_the_shell_has_it_ignored(ws):
    code = "import signal, os, sys; signal.signal(signal.SIGINT, signal.SIG_IGN); os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
    script = "import sys; from studio.cli import main; sys.exit(main())"
    runs.create(ws, LONG)
    child = subprocess.Popen(
        [sys.executable, "-c", code, "-c", script, "runs", "--watch", "--workspace", str(ws.root)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": str(children.CODE)},
    )  # fmt: skip
    assert child.stdout is not None
    child.stdout.readline()
    child.send_signal(signal.SIGINT)
    child.communicate(timeout=30)
    assert child.returncode in (0, 130)
