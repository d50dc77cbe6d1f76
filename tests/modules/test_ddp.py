"""Two processes on the CPU do what one does: Lightning's own ``strategy="ddp"``, without any help from a launcher."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import END, Memory, comparison, conversation, prompt, scramble, trainer
from safetensors.torch import load_file, save_file

from modules.backbone import Backbone
from modules.data import PPODataModule, RewardDataModule, SFTDataModule
from modules.ppo import PPOModule
from modules.reward import RewardModule
from modules.sft import SFTModule

TWO: dict[str, Any] = {"strategy": "ddp", "devices": 2}


def run(tiny: str, out: Path, stage: str, **options: Any) -> None:
    """Train a little; the first process writes the weights of all, and the metrics."""
    torch.manual_seed(0)
    backbone = Backbone.load(tiny, device="cpu", lora_rank=4)
    module, data, role = {"sft": sft, "reward": reward, "ppo": ppo}[stage](backbone)
    memory = Memory()
    trainer(memory, **options).fit(module, datamodule=data)
    rank = int(os.environ.get("LOCAL_RANK", "0"))
    save_file({k: v.detach() for k, v in backbone.role_parameters(role).items()}, out / f"{rank}.safetensors")
    if rank == 0:
        rows = [[step, {k: v for k, v in metrics.items() if "/" in k}] for step, metrics in memory.rows]
        (out / "metrics.json").write_text(json.dumps(rows))


def sft(backbone: Backbone) -> tuple[Any, Any, str]:
    backbone.add_role("policy", trainable=True)
    scramble(backbone, "policy")
    rows = [conversation(i, response_words=1 + (i * 5) % 11) for i in range(24)]
    data = SFTDataModule(rows[:16], rows[16:], backbone.chat, batch_size=8)
    return SFTModule(backbone, num_steps=2, learning_rate=1e-3, micro_batch_size=3), data, "policy"


def reward(backbone: Backbone) -> tuple[Any, Any, str]:
    backbone.add_role("reward", trainable=True, head=True)
    scramble(backbone, "reward")
    rows = [comparison(i, weight=1.0 + i % 3) for i in range(24)]
    data = RewardDataModule(rows[:16], rows[16:], backbone.chat, batch_size=8)
    return RewardModule(backbone, num_steps=2, learning_rate=1e-3), data, "reward"


def ppo(backbone: Backbone) -> tuple[Any, Any, str]:
    backbone.chat.stop_ids = frozenset({END, *range(12, 96, 12)})
    backbone.add_role("reference")
    backbone.add_role("policy", copy_of="reference", trainable=True)
    backbone.add_role("reward", head=True)
    backbone.add_role("value", copy_of="reward", trainable=True, head=True)
    data = PPODataModule(
        [prompt(i) for i in range(8)], [prompt(i) for i in range(9, 13)], backbone.chat, batch_size=8, iterations=2
    )
    return PPOModule(backbone, minibatch_size=4, max_new_tokens=6, value_warmup=0, epochs=2), data, "policy"


def two_processes(tiny: Path, out: Path, stage: str) -> None:
    folder = Path(__file__).parent
    environment = os.environ | {"PYTHONPATH": str(folder.parent.parent), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, str(tiny), str(out), stage]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.parametrize("stage", ["sft", "reward"])
def test_two_processes_take_the_steps_of_one_though_their_shares_differ_in_tokens(
    tiny: Path, tmp_path: Path, stage: str
) -> None:
    (one := tmp_path / "one").mkdir()
    (two := tmp_path / "two").mkdir()
    run(str(tiny), one, stage, val_check_interval=2)
    two_processes(tiny, two, stage)
    alone, first, second = (load_file(f) for f in (one / "0.safetensors", two / "0.safetensors", two / "1.safetensors"))
    for name, tensor in alone.items():
        assert torch.equal(first[name], second[name]), "the processes have drifted apart"
        assert torch.allclose(first[name], tensor, atol=2e-5), name
    expected, found = (json.loads((folder / "metrics.json").read_text()) for folder in (one, two))
    for (step, metrics), (other_step, other) in zip(expected, found, strict=True):
        assert step == other_step
        kept = {name: value for name, value in metrics.items() if "per_s" not in name}
        assert {name: other[name] for name in kept} == pytest.approx(kept, rel=1e-3, abs=1e-5)


def test_two_processes_share_an_iteration_of_ppo_and_stay_equal(tiny: Path, tmp_path: Path) -> None:
    two_processes(tiny, tmp_path, "ppo")
    first, second = load_file(tmp_path / "0.safetensors"), load_file(tmp_path / "1.safetensors")
    assert all(torch.equal(first[name], second[name]) for name in first)
    steps = [
        step for step, metrics in json.loads((tmp_path / "metrics.json").read_text()) if "objective/score" in metrics
    ]
    assert steps == [1, 2]


if __name__ == "__main__":
    run(sys.argv[1], Path(sys.argv[2]), sys.argv[3], val_check_interval=2, **TWO)
