"""Counts instead of clocks: what would cost time on a GPU, counted without one on the device of `tests.support.pretend`.

    python -m tests.benchmarks.counts [--layers 24] [--json]

Random weights of a narrow model, since none of the counts depends on the width: kernels, places where the host waits for the
device, switches of roles, bytes that the backward pass keeps.
"""

import argparse
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from modules import losses
from modules.data.sequences import by_length, pad_rows
from modules.model import backbone as backbones
from modules.model.backbone import Backbone
from modules.model.generate import Rollout, generate
from modules.model.roles import LoraRoles
from modules.ppo import PPOModule
from modules.rl.experience import gather_experience
from modules.rl.step_metrics import StepSums
from modules.rl.update import Surrogate
from tests.benchmarks.workload import Shape, write_model
from tests.support import pretend

NARROW = Shape(hidden=64, layers=24, heads=4, kv_heads=2, intermediate=128, vocab=4096)
WIDE = Shape(hidden=512, layers=2, heads=8, kv_heads=2, intermediate=1408, vocab=4096)
LARGE_VOCAB_ROWS = 2**24 // 152_000
"""Rows of a chunk of logits at a vocabulary of 152,000."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=NARROW.layers)
    parser.add_argument("--json", action="store_true", help="print one JSON object in place of a table")
    arguments = parser.parse_args()
    found = measure(arguments.layers)
    if arguments.json:
        print(json.dumps(found))
        return
    print("| count | |\n|---|---|")
    for name, number in found.items():
        print(f"| {name} | {number:,.1f} |")


def measure(layers: int) -> dict[str, float]:
    """Count everything on models of this many layers."""
    pretend.device()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        narrow = write_model(Path(folder) / "narrow", replace(NARROW, layers=layers))
        wide = write_model(Path(folder) / "wide", WIDE)
        found = rollout(narrow) | update(narrow) | distilled(narrow) | kept_bytes(wide)
    return found | passes()


def rollout(folder: Path) -> dict[str, float]:
    """Count per step of sampling, which draws one token of each response, and for switching roles."""
    found: dict[str, float] = {}
    with _on_device() as device:
        backbone = _four_roles(folder)
        backbone.chat.stop_ids = frozenset()
        for name, weights in (("base", "adapter"), ("policy", "adapter"), ("policy", "merged")):
            counts = []
            for num_tokens in (24, 56):
                device.counts.clear()
                generate(backbone, name, [[5] * 8] * 8, max_new_tokens=num_tokens, weights=weights)
                counts.append(Counter(device.counts))
            for kind in ("kernels", "waits"):
                found[f"rollout, {name} by {weights}: {kind} a step"] = (counts[1][kind] - counts[0][kind]) / 32
        found["switch of a role: Python calls"] = _python_calls(lambda: _switch(backbone)) / 2
    return found


def update(folder: Path) -> dict[str, float]:
    """Count per response judged and per optimizer step of PPO: 8 responses of 12 tokens, minibatches of 4."""
    with _on_device() as device, _switches() as switches:
        backbone = _four_roles(folder)
        module = PPOModule(backbone, minibatch_size=4, micro_batch_size=4, epochs=1, value_warmup=0)
        responses = Rollout([[5] * 8] * 8, [[6] * 11 + [2]] * 8, [True] * 8)
        scores = torch.zeros(8).to(backbone.device)
        device.counts.clear()
        experience = gather_experience(
            backbone,
            responses,
            module.objective,
            scores=scores,
            center=0.0,
            kl_coef=0.1,
            temperature=1.0,
            micro_batch_size=4,
        )
        found = {f"experience: {kind} a response": device.counts[kind] / 8 for kind in ("kernels", "waits")}
        device.counts.clear()
        switches.clear()
        with mock.patch("modules.ppo.take_step", _take_step):
            module._update_in_epochs(experience, 8, None, StepSums(backbone.device))
        found |= {f"optimizer step: {kind}": device.counts[kind] / 2 for kind in ("kernels", "waits")}
        return found | {"optimizer step: switches of roles": switches["switches"] / 2}


def distilled(folder: Path) -> dict[str, float]:
    """Count the switches that ptx_target=reference adds to an optimizer step: 32 demonstrations of 200 taught tokens."""
    with _on_device(), _switches() as switches:
        backbone = _four_roles(folder)
        rows = pad_rows([[5] * 240] * 32, [[False] * 40 + [True] * 200] * 32, 1).to(backbone.device)
        switches.clear()
        surrogate = Surrogate(ptx_coef=1.0, ptx_target="reference", micro_batch_size=8)
        with mock.patch.object(losses, "CHUNK_ELEMENTS", backbone.vocab_size * LARGE_VOCAB_ROWS):
            surrogate._ptx_backward(backbone, rows, StepSums(backbone.device))
    return {"ptx_target=reference, vocabulary 152k: switches an optimizer step": switches["switches"]}


def kept_bytes(folder: Path) -> dict[str, float]:
    """Count KiB that a bfloat16 base with adapters keeps of a token and layer (hidden size 512, inner 1408)."""
    with _on_device():
        backbone = _four_roles(folder)
        backbone.train()
        ids = torch.randint(6, 96, (4, 128)).to(backbone.device)
        with pretend.saved_bytes(backbone.parameters()) as found, backbone.role("policy"):
            backbone.hidden(ids)
    return {"kept for the backward, KiB a token and layer": found["bytes"] / ids.numel() / WIDE.layers / 1024}


def passes() -> dict[str, float]:
    """Count forward passes of 32 texts of 50 to 768 tokens, 32 of which would fit at once."""
    generator = torch.Generator().manual_seed(0)
    draws = [torch.randint(50, 769, (32,), generator=generator) for _ in range(20)]
    with pretend.Pretend():
        cuts = [len(list(by_length(lengths.to(pretend.device()), 32))) for lengths in draws]
    return {"forward passes of 32 texts": sum(cuts) / len(cuts)}


def _four_roles(folder: Path) -> Backbone:
    torch.manual_seed(0)
    backbone = Backbone.load(str(folder), precision="bf16", lora_rank=16)
    backbone.add_role("reference")
    backbone.add_role("policy", copy_of="reference", trainable=True)
    backbone.add_role("reward", head=True)
    backbone.add_role("value", copy_of="reward", trainable=True, head=True)
    return backbone


def _switch(backbone: Backbone) -> None:
    for name in ("policy", "value"):
        with backbone.role(name):
            pass


def _take_step(module: Any) -> None:
    module.optimizer.step()
    module.optimizer.zero_grad(set_to_none=True)


@contextmanager
def _on_device() -> Iterator[pretend.Pretend]:
    with pretend.Pretend() as device, mock.patch.object(backbones, "pick_device", return_value=pretend.device()):
        yield device


@contextmanager
def _switches() -> Iterator[Counter[str]]:
    """Count activations of roles that change something."""
    found: Counter[str] = Counter()
    plain = LoraRoles.activate

    def counted(self: LoraRoles, name: str) -> Any:
        found["switches"] += 1
        return plain(self, name)

    with mock.patch.object(LoraRoles, "activate", counted):
        yield found


def _python_calls(work: Callable[[], object]) -> int:
    """Count the calls of functions, Python's and C's."""
    found = 0

    def count(frame: Any, event: str, argument: Any) -> None:
        nonlocal found
        found += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(None)
    return found


if __name__ == "__main__":
    main()
