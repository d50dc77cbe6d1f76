"""The probe: the largest micro-batch that fits, how long the run takes, and out of memory as a sentence."""

import importlib
import sys
import threading
import time
from types import SimpleNamespace

import psutil
import pytest

from modules.config import PPOConfig, SFTConfig
from studio.errors import RunError
from studio.runs import memory_fit, preview
from studio.runs.memory_fit import Place
from studio.workspace import Workspace

GIB = 2**30


@pytest.fixture
def ws(tmp_path):
    return Workspace.open(tmp_path / "studio")


@pytest.fixture
def machine(monkeypatch):
    """A machine with so much memory free, on which a run takes 1 GiB and half a GiB for each text; returns what was tried."""

    def make(free_gib, limit=10**6):
        tried = []

        def measure(ws, config, turn):
            size = config.micro_batch_size
            tried.append(size)
            if size > limit:
                raise RunError("It does not fit: out of memory.")
            return {"peak": (1 + size / 2) * GIB, "libraries": GIB / 2, "seconds_per_step": 2.0, "num_steps": 30.0}

        monkeypatch.setattr(memory_fit, "_probe_once", measure)
        monkeypatch.setattr(memory_fit, "place_of", lambda config: Place("RAM", 64 * GIB, int(free_gib * GIB), True))
        return tried

    return make


@pytest.mark.parametrize(("free_gib", "largest"), [(5, 4), (7, 8), (12, 16), (60, 32)])
def test_the_largest_micro_batch_that_fits_is_found_by_doubling(ws, machine, free_gib, largest):
    tried = machine(free_gib)
    found = memory_fit.probe(ws, SFTConfig(micro_batch_size=2, batch_size=32))
    assert found.largest == largest
    assert found.peak == 2 * GIB
    assert found.micro_batch_size == 2
    assert found.seconds == 60.0
    assert max(tried) <= 2 * largest


def test_out_of_memory_at_a_larger_size_leaves_what_was_found(ws, machine):
    machine(60, limit=4)
    assert memory_fit.probe(ws, SFTConfig(micro_batch_size=2, batch_size=32)).largest == 4
    assert memory_fit.probe(ws, PPOConfig(micro_batch_size=1, minibatch_size=2)).largest == 2


def test_out_of_memory_at_once_is_a_sentence(ws, machine, tmp_path, monkeypatch):
    machine(60, limit=1)
    with pytest.raises(RunError, match="does not fit: out of memory"):
        memory_fit.probe(ws, SFTConfig(micro_batch_size=2, batch_size=32))
    killed = tmp_path / "python"
    killed.write_text("#!/bin/sh\nkill -9 $$\n")
    killed.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(killed))
    with pytest.raises(RunError, match="the system ended its process for lack of memory"):
        preview.ask(ws, "studio.worker.probe", {}, 10)


# From the press to the end: what is shown as measuring can be stopped, and no process is left.


@pytest.fixture
def children(ws, tmp_path, monkeypatch):
    """Children that would measure for ever; gives those of this process that live."""
    endless = tmp_path / "python"
    endless.write_text("#!/bin/sh\nexec sleep 1000\n")
    endless.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(endless))
    monkeypatch.setattr(memory_fit, "place_of", lambda config: Place("RAM", 64 * GIB, 60 * GIB, True))
    before = {child.pid for child in psutil.Process().children()}
    yield lambda: [child for child in psutil.Process().children() if child.pid not in before]
    memory_fit.stop_probe(ws)


class Measuring(threading.Thread):
    """A measurement in a thread of its own, as the page has it; `error` is how it ended."""

    def __init__(self, ws, number=0):
        super().__init__()
        self.ws, self.number, self.error = ws, number, None
        self.start()

    def run(self):
        try:
            memory_fit.probe(self.ws, SFTConfig(), self.number)
        except RunError as error:
            self.error = error


def wait_for(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_what_was_stopped_before_it_began_starts_no_process(ws, children):
    number = memory_fit.ask(ws, "sft")
    assert memory_fit.measured_stage(ws) == "sft"
    assert memory_fit.stop_probe(ws)
    assert memory_fit.measured_stage(ws) == ""
    assert not memory_fit.stop_probe(ws)
    with pytest.raises(memory_fit.Stopped):
        memory_fit.probe(ws, SFTConfig(), number)
    assert children() == []


def test_a_stop_returns_when_the_process_is_gone_and_nothing_is_left_of_it(ws, children):
    measuring = Measuring(ws, memory_fit.ask(ws, "sft"))
    wait_for(children)
    assert memory_fit.stop_probe(ws)
    assert children() == [], "not even a zombie"
    measuring.join(10)
    assert isinstance(measuring.error, memory_fit.Stopped)
    assert memory_fit.measured_stage(ws) == ""


def test_of_two_presses_the_newest_is_measured_whichever_comes_to_it_first(ws, children):
    first, second = memory_fit.ask(ws, "sft"), memory_fit.ask(ws, "reward")
    with pytest.raises(memory_fit.Stopped):
        memory_fit.probe(ws, SFTConfig(), first)
    assert memory_fit.measured_stage(ws) == "reward"
    newest = Measuring(ws, second)
    wait_for(children)
    assert len(children()) == 1
    third = Measuring(ws)  # without a press: the terminal
    newest.join(30)
    assert isinstance(newest.error, memory_fit.Stopped)
    wait_for(lambda: len(children()) == 1)
    assert memory_fit.stop_probe(ws)
    third.join(30)
    assert children() == []


def test_a_press_whose_page_was_closed_before_it_began_is_forgotten(ws, children, monkeypatch):
    memory_fit.ask(ws, "sft")
    assert memory_fit.measured_stage(ws) == "sft"
    monkeypatch.setattr(memory_fit, "BEGIN_S", 0.0)
    assert memory_fit.measured_stage(ws) == ""
    assert not memory_fit.stop_probe(ws)


def test_a_press_on_settings_that_are_wrong_is_taken_back(ws, children):
    number = memory_fit.ask(ws, "sft")
    memory_fit.give_up(ws, number + 1)
    assert memory_fit.measured_stage(ws) == "sft", "somebody else's"
    memory_fit.give_up(ws, number)
    assert memory_fit.measured_stage(ws) == ""


def test_the_time_is_that_of_texts_of_the_mean_length_though_the_longest_are_measured():
    probe = importlib.import_module("studio.worker.probe")
    data = SimpleNamespace(rows=[SimpleNamespace(ids=range(size)) for size in (10, 40, 20, 30)])
    longest, share = probe._take_longest(data, SFTConfig(batch_size=2))
    assert (longest, data.plan) == (40, [[1, 3], [1, 3]])
    assert share == pytest.approx(25 / 35)


def test_no_measurement_outlives_the_studio(ws, children, monkeypatch):
    measuring = Measuring(ws)
    wait_for(children)
    memory_fit._stop_all()
    assert children() == []
    measuring.join(10)
    probe = importlib.import_module("studio.worker.probe")
    monkeypatch.setattr(probe, "PARENT_POLL_S", 0.0)
    monkeypatch.setattr(probe.os, "_exit", lambda code: sys.exit(code))
    parents = iter([7, 7, 1])  # a studio that was killed leaves its children to the first process
    monkeypatch.setattr(probe.os, "getppid", lambda: next(parents))
    with pytest.raises(SystemExit):
        probe._end_with(7)
