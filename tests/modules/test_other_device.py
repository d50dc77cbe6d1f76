"""All stages on a device other than the CPU, without one: what is made on the wrong device fails, and costs are bounded."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

ROOT = Path(__file__).parents[2]
QUICK, ALL = ["sft", "reward", "ppo"], ["packed", "ppo_with_all"]


def child(*arguments: str) -> Any:
    """Run a module in a process of its own, since torch takes a backend only before the first backward pass."""
    found = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stderr[-4000:]
    return json.loads(found.stdout.splitlines()[-1])


def assert_same_run(found: dict[str, Any]) -> None:
    """The run kept to its device, gave the CPU's numbers, and came back from its files."""
    assert found["pretend"]["devices"] == ["pretend"]
    assert found["pretend"]["is_equal"]
    assert found["cpu"]["is_equal"]
    there, here = found["pretend"]["metrics"], found["cpu"]["metrics"]
    assert len(there) == len(here) > 2
    for one, other in zip(there, here, strict=True):
        numbers = [
            {k: v for k, v in row.items() if not k.startswith("time/") and "per_s" not in k} for row in (one, other)
        ]
        assert numbers[0] == pytest.approx(numbers[1], rel=1e-3, abs=1e-4)


@pytest.fixture(scope="module")
def stages(tiny: Path) -> Any:
    return child("tests.support.pretend_stages", str(tiny), *QUICK)


@pytest.mark.parametrize("stage", QUICK)
def test_a_stage_measures_trains_saves_and_resumes_on_another_device_as_on_the_cpu(stages: Any, stage: str) -> None:
    assert_same_run(stages[stage])


BOUNDS = {
    "rollout, base by adapter: waits a step": 0.1,  # a look at every sixteenth token
    "rollout, policy by adapter: waits a step": 0.1,
    "rollout, policy by merged: waits a step": 0.1,
    "switch of a role: Python calls": 60,  # 38,506 when peft switched 24 layers
    "experience: waits a response": 3.2,
    "optimizer step: waits": 16,
    "optimizer step: switches of roles": 2,
    "ptx_target=reference, vocabulary 152k: switches an optimizer step": 9,  # to the policy, and there and back 4 times
    "kept for the backward, KiB a token and layer": 20.0,  # 32.7 with float32 copies of the inputs
    "forward passes of 32 texts": 2,
}


@pytest.fixture(scope="module")
def counts() -> Any:
    """The counts with two layers; with 24 they are in `benchmarks/README.md`."""
    return child("tests.benchmarks.counts", "--layers", "2", "--json")


@pytest.mark.parametrize("name", BOUNDS)
def test_what_costs_time_on_a_gpu_stays_within_its_bound(counts: Any, name: str) -> None:
    assert counts[name] <= BOUNDS[name]


def test_merged_weights_cost_no_kernel_more_than_the_base_and_an_adapter_four_a_layer(counts: Any) -> None:
    base, adapter, merged = (
        counts[f"rollout, {role}: kernels a step"]
        for role in ("base by adapter", "policy by adapter", "policy by merged")
    )
    linear_layers = 2 * 7
    assert merged == base
    assert adapter - base <= 4 * linear_layers
    assert base <= 2 * 42 + 40


@pytest.mark.slow
def test_every_other_setting_keeps_to_its_device_too(tiny: Path) -> None:
    for found in child("tests.support.pretend_stages", str(tiny), *ALL).values():
        assert_same_run(found)


MIXES = """
import torch
from tests.support.pretend import DeviceMixed, Pretend, device
with Pretend() as found:
    there = torch.ones(3, device=device())
    assert (there + torch.tensor(2.0)).tolist() == [3.0, 3.0, 3.0], "single numbers of the CPU may meet it, as on CUDA"
    assert found.counts["waits"] == 1
    assert there[there > 0].shape == (3,)
    assert found.counts["waits"] == 2, "what a mask leaves must be known to the host"
    for wrong in (lambda: there + torch.ones(3), lambda: there[torch.tensor([0, 1])], lambda: torch.stack([there, torch.ones(3)])):
        try:
            wrong()
        except DeviceMixed:
            continue
        raise SystemExit("a mix of devices was let through")
print("true")
"""


def test_the_pretended_device_refuses_a_mix_and_counts_waits(tmp_path: Path) -> None:
    (tmp_path / "mixes.py").write_text(MIXES)
    found = subprocess.run(
        [sys.executable, "-W", "ignore", tmp_path / "mixes.py"],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.stdout == "true\n", found.stdout + found.stderr[-4000:]


def test_fake_cuda_multiplies_hidden_states_in_16_bits_into_float32_logits() -> None:
    """The branch that only a GPU takes, with tensors that have shapes, formats and a device but no numbers."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    from modules.model.loading.output import _wide_product

    with FakeTensorMode(), torch.no_grad():
        states = torch.empty(3, 8, dtype=torch.bfloat16, device="cuda")
        logits = _wide_product(states, torch.empty(20, 8, dtype=torch.bfloat16, device="cuda"))
    assert (logits.dtype, logits.shape, logits.device.type) == (torch.float32, (3, 20), "cuda")
