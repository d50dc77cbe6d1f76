"""Child process: the three stages on the device of `pretend` and on the CPU, each from its first measurement to a resume.

    python -m tests.support.pretend_stages FOLDER STAGE ...

FOLDER holds the tiny model. Prints one JSON object: stage to the logged metrics on both devices, the devices of its tensors, and whether a resume gives them back.
"""

import json
import sys
import tempfile
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from modules.data.datamodules import PPODataModule, RewardDataModule, SFTDataModule
from modules.model import backbone as backbones
from modules.model import checkpoint
from modules.model.backbone import Backbone
from modules.ppo import PPOModule
from modules.reward import RewardModule
from modules.rl.experience import score_texts
from modules.sft import SFTModule
from tests.modules import conftest as tiny
from tests.support import pretend


def main(folder: Path, stages: list[str]) -> None:
    warnings.simplefilter("ignore")
    pretend.device()
    torch.set_num_threads(1)
    found: dict[str, Any] = {}
    for stage in stages:
        found[stage] = {"pretend": run(folder, stage, "pretend"), "cpu": run(folder, stage, "cpu")}
    print(json.dumps(found))


def run(folder: Path, stage: str, kind: str) -> dict[str, Any]:
    """Measure, train, measure, save, resume; returns the metrics and the devices that tensors were found on."""
    device = pretend.device() if kind == "pretend" else torch.device("cpu")
    with (
        pretend.Pretend() if kind == "pretend" else nullcontext(),
        mock.patch.object(backbones, "pick_device", return_value=device),
    ):
        module, data = STAGES[stage](folder)
        memory = tiny.Memory()
        trainer = tiny.trainer(memory)
        trainer.validate(module, datamodule=data, verbose=False)
        trainer.fit(module, datamodule=data)
        trainer.validate(module, datamodule=data, verbose=False)
        saved = Path(tempfile.mkdtemp(dir=folder.parent))
        checkpoint.save(saved, module, stage=stage, config={})
        again, _ = STAGES[stage](folder)
        checkpoint.restore(again, saved)
        is_equal = all(torch.equal(a.cpu(), b.cpu()) for a, b in zip(_tensors(module), _tensors(again), strict=True))
        if isinstance(module, RewardModule):
            memory.log_metrics(module.finish(data.reference_answers()))
            messages = [{"role": "user", "content": "w1 w2"}]
            memory.log_metrics({"scores": sum(score_texts(module.backbone, [(messages, "w3 w4"), (messages, "w5")]))})
        return {
            "metrics": [metrics for _, metrics in memory.rows],
            "devices": sorted({tensor.device.type for tensor in _tensors(again)}),
            "is_equal": is_equal,
        }


def _tensors(module: Any) -> list[torch.Tensor]:
    trained = [parameter for group in module.optimizer.param_groups for parameter in group["params"]]
    states = [module.optimizer.state[parameter] for parameter in trained]
    moments = [state[name] for state in states if state for name in ("exp_avg", "exp_avg_sq")]
    return [*module.parameters(), *module.buffers(), *moments]


def sft(folder: Path) -> tuple[SFTModule, SFTDataModule]:
    backbone = _load(folder)
    backbone.add_role("policy", trainable=True)
    rows = [tiny.conversation(i) for i in range(4)], [tiny.conversation(i) for i in range(100, 102)]
    data = SFTDataModule(*rows, backbone.chat, batch_size=2, epochs=1)
    return SFTModule(backbone, num_steps=data.num_steps, micro_batch_size=1, sample_prompts=[[5, 6, 7]]), data


def packed(folder: Path) -> tuple[SFTModule, SFTDataModule]:
    module, data = sft(folder)
    return SFTModule(module.backbone, num_steps=data.num_steps, pack_length=64), data


def reward(folder: Path) -> tuple[RewardModule, RewardDataModule]:
    backbone = _load(folder)
    backbone.add_role("reward", trainable=True, head=True, members=2)
    rows = [tiny.comparison(i) for i in range(4)], [tiny.comparison(i) for i in range(100, 103)]
    data = RewardDataModule(*rows, backbone.chat, batch_size=2, ensemble=2)
    return RewardModule(backbone, num_steps=data.num_steps, keep_best=True), data


def ppo(folder: Path) -> tuple[PPOModule, PPODataModule]:
    return _ppo(folder, value_warmup=0, ptx_coef=0.5, ptx_target="reference", ema_decay=0.9, approx_kl_limit=10.0)


def ppo_with_all(folder: Path) -> tuple[PPOModule, PPODataModule]:
    """Every other switch of PPO."""
    return _ppo(
        folder,
        trunk_of="reward",
        value_warmup=1,
        ptx_coef=0.5,
        entropy_coef=0.01,
        score_scale="running",
        bootstrap_unfinished=True,
        kl_target=6.0,
        kl_estimator="k3",
        missing_eos="score",
    )


def _ppo(folder: Path, trunk_of: str | None = None, **settings: Any) -> tuple[PPOModule, PPODataModule]:
    backbone = _load(folder)
    backbone.add_role("reference")
    backbone.add_role("policy", copy_of="reference", trainable=True)
    backbone.add_role("reward", head=True)
    backbone.add_role("value", trunk_of=trunk_of, copy_of=None if trunk_of else "reward", trainable=True, head=True)
    data = PPODataModule(
        [tiny.prompt(i) for i in range(4)],
        [tiny.prompt(i) for i in range(100, 102)],
        backbone.chat,
        demonstrations=[tiny.conversation(i) for i in range(4)],
        validation_demonstrations=[tiny.conversation(i) for i in range(200, 202)],
        ptx_per_iteration=2,
        batch_size=4,
        iterations=1 + settings["value_warmup"],
        eval_prompts=2,
    )
    return PPOModule(backbone, max_new_tokens=6, minibatch_size=2, micro_batch_size=2, epochs=1, **settings), data


def _load(folder: Path) -> Backbone:
    torch.manual_seed(0)
    return Backbone.load(str(folder), lora_rank=4, lora_alpha=8.0)


STAGES: dict[str, Callable[[Path], tuple[Any, Any]]] = {
    "sft": sft,
    "packed": packed,
    "reward": reward,
    "ppo": ppo,
    "ppo_with_all": ppo_with_all,
}

if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
