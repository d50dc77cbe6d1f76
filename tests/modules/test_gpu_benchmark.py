"""The command for a bare GPU machine, with tiny shapes on the CPU: its steps work, and a failing one does not stop the others."""

import argparse
import json
import math
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks import gpu, gpu_steps
from tests.benchmarks.gpu_steps import STEPS, Place


def place(folder: Path) -> Place:
    return Place("cpu", folder, is_tiny=True)


def test_the_stages_check_finds_frozen_roles_unchanged_and_a_resume_equal(tmp_path: Path) -> None:
    found = STEPS["stages_bf16"](place(tmp_path))
    assert found["frozen_unchanged"] is True
    assert found["resumed_equal"] is True
    assert math.isfinite(found["ppo"]["objective/score"])


@pytest.mark.slow
def test_the_stages_check_runs_in_4_bits_too(tmp_path: Path) -> None:
    assert STEPS["stages_nf4"](place(tmp_path))["resumed_equal"] is True


def test_sampling_is_compared_with_itself_on_a_cpu(tmp_path: Path) -> None:
    assert STEPS["sampling"](place(tmp_path)) == {
        "equal_to_the_cpu": 1.0,
        "recorded_equal_to_plain": 1.0,
        "merged_equal_to_adapter": 1.0,
    }


@pytest.mark.filterwarnings("ignore:You defined a `validation_step`")
def test_figures_of_a_random_model_are_numbers_above_0(tmp_path: Path) -> None:
    for name in ("rollout_0.5B_none", "iteration_8B_nf4", "training_0.5B_none"):
        found = STEPS[name](place(tmp_path))
        numbers = [value for value in found.values() if not isinstance(value, str)]
        assert len(numbers) >= 4, name
        assert all(value > 0 for value in numbers), found


def test_each_result_is_written_at_once_and_a_step_that_fails_or_hangs_is_a_line_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(command: list[str], **options: Any) -> Any:
        name = command[command.index("tests.benchmarks.gpu_steps") + 1]
        if name == "sampling":
            raise subprocess.TimeoutExpired(command, options["timeout"])
        code = int(name == "stages_nf4")
        return argparse.Namespace(returncode=code, stdout='{"card": "none"}\n', stderr="Traceback\nMemoryError: all")

    monkeypatch.setattr(gpu.subprocess, "run", run)
    steps = ["machine", "stages_nf4", "sampling"]
    arguments = ["gpu", "--out", str(tmp_path / "out"), "--device", "cpu", "--steps", *steps]
    monkeypatch.setattr("sys.argv", arguments)
    gpu.main()
    lines = [json.loads(line) for line in (tmp_path / "out" / "results.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == steps
    assert lines[0]["card"] == "none"
    assert lines[1]["error"] == "MemoryError: all"
    assert "took more than" in lines[2]["error"]


def test_the_steps_begin_with_the_checks_and_end_with_the_demo() -> None:
    assert list(gpu_steps.STEPS)[:4] == ["machine", "stages_bf16", "stages_nf4", "sampling"]
    assert list(gpu_steps.STEPS)[-1] == "demo"
