"""The probe: the largest micro-batch that fits, how long the run takes, and out of memory as a sentence."""

import sys

import pytest

from modules.config import PPOConfig, SFTConfig
from studio import fitting, previewing
from studio.errors import RunError
from studio.fitting import Place
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

        monkeypatch.setattr(fitting, "_probe_once", measure)
        monkeypatch.setattr(fitting, "place_of", lambda config: Place("RAM", 64 * GIB, int(free_gib * GIB), True))
        return tried

    return make


@pytest.mark.parametrize(("free_gib", "largest"), [(5, 4), (7, 8), (12, 16), (60, 32)])
def test_the_largest_micro_batch_that_fits_is_found_by_doubling(ws, machine, free_gib, largest):
    tried = machine(free_gib)
    found = fitting.probe(ws, SFTConfig(micro_batch_size=2, batch_size=32))
    assert found.largest == largest
    assert found.peak == 2 * GIB
    assert found.micro_batch_size == 2
    assert found.seconds == 60.0
    assert max(tried) <= 2 * largest


def test_out_of_memory_at_a_larger_size_leaves_what_was_found(ws, machine):
    machine(60, limit=4)
    assert fitting.probe(ws, SFTConfig(micro_batch_size=2, batch_size=32)).largest == 4
    assert fitting.probe(ws, PPOConfig(micro_batch_size=1, minibatch_size=2)).largest == 2


def test_out_of_memory_at_once_is_a_sentence(ws, machine, tmp_path, monkeypatch):
    machine(60, limit=1)
    with pytest.raises(RunError, match="does not fit: out of memory"):
        fitting.probe(ws, SFTConfig(micro_batch_size=2, batch_size=32))
    killed = tmp_path / "python"
    killed.write_text("#!/bin/sh\nkill -9 $$\n")
    killed.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(killed))
    with pytest.raises(RunError, match="the system ended its process for want of memory"):
        previewing.ask(ws, "studio.probe", {}, 10)
