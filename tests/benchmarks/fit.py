"""The memory estimate beside the measured peak: ``python -m tests.benchmarks.fit [NAME ...]`` prints a Markdown table.

Each line is a fresh child process, one at a time (`studio.probe.measure` on a workspace made for it); random Llamas of
some sizes stand beside the starter kit's model. Names choose lines: ``python -m tests.benchmarks.fit starter 60M``.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from assets import STARTER
from modules.config import PPOConfig, RewardConfig, SFTConfig, TrainConfig
from modules.memory import estimate, read_sizes, worst_load
from studio.workspace import Workspace

MODELS = {"60M": (512, 1376, 12, 8, 8192), "160M": (768, 2048, 16, 12, 16384), "300M": (1024, 2816, 20, 16, 16384)}
"""Name to hidden size, inner size, layers, heads, vocabulary of a random Llama."""
LENGTH = 160
COMMON: dict[str, Any] = {"device": "cpu", "batch_size": 8, "micro_batch_size": 8, "max_length": LENGTH}
LINES: list[tuple[str, str, dict[str, Any]]] = [
    ("starter", "sft", {}),
    ("starter", "reward", {}),
    ("starter", "ppo", {}),
    ("starter", "sft", {"method": "full"}),
    ("60M", "sft", {}),
    ("60M", "sft", {"method": "full"}),
    ("60M", "sft", {"gradient_checkpointing": True}),
    ("60M", "sft", {"precision": "bf16"}),
    ("60M", "sft", {"quantisation": "nf4"}),
    ("60M", "reward", {}),
    ("60M", "reward", {"method": "full"}),
    ("60M", "ppo", {}),
    ("60M", "ppo", {"method": "full"}),
    ("160M", "sft", {}),
    ("160M", "sft", {"method": "full", "precision": "bf16"}),
    ("160M", "sft", {"quantisation": "nf4"}),
    ("160M", "ppo", {}),
    ("300M", "sft", {}),
    ("300M", "sft", {"method": "full"}),
    ("300M", "ppo", {}),
]


def main(wanted: list[str]) -> None:
    """Print the table."""
    print("| model | stage | settings | estimate, MiB | measured, MiB | difference |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for model, stage, settings in LINES:
            if wanted and not set(wanted) & {model, stage, f"{model}-{stage}"}:
                continue
            print(_line(Path(folder), model, stage, settings), flush=True)


def _line(folder: Path, model: str, stage: str, settings: dict[str, Any]) -> str:
    base = STARTER / "model" if model == "starter" else _model(folder / model, *MODELS[model])
    config = _config(stage, settings)
    request = {"base": str(base), "stage": stage, "settings": settings, "folder": tempfile.mkdtemp(dir=folder)}
    child = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.fit_child"],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        check=False,
    )
    said = ", ".join(f"{k}={v}" for k, v in settings.items()) or "fp32, LoRA"
    if child.returncode:
        return f"| {model} | {stage} | {said} | | failed | {child.stderr.strip().splitlines()[-1]} |"
    found = json.loads(child.stdout.splitlines()[-1])
    sizes = read_sizes(base)
    expected = estimate(config, sizes, worst_load(config, sizes, int(found["longest"])), is_cpu=True)
    off = expected.total / found["peak"] - 1
    parts = " ".join(f"{k}:{v / 2**20:.0f}" for k, v in expected.parts.items() if v)
    print(f"{model} {stage} {said}: {expected.phase} {parts} phases {dict(expected.phases)}", file=sys.stderr)
    return f"| {model} | {stage} | {said} | {expected.total / 2**20:,.0f} | {found['peak'] / 2**20:,.0f} | {off:+.0%} |"


def _config(stage: str, settings: dict[str, Any]) -> TrainConfig:
    values = COMMON | settings
    match stage:
        case "sft":
            return SFTConfig(**values)
        case "reward":
            return RewardConfig(**values)
        case _:
            return PPOConfig(**values, minibatch_size=8, max_prompt_length=LENGTH, max_new_tokens=64)


def _model(folder: Path, hidden: int, inner: int, layers: int, heads: int, vocab: int) -> Path:
    """Write a random Llama with the starter kit's tokenizer, in a process of its own."""
    if not folder.exists():
        arguments = [str(folder), str(STARTER / "model"), *map(str, (hidden, inner, layers, heads, vocab))]
        subprocess.run([sys.executable, "-m", "tests.benchmarks.fit_child", *arguments], check=True)
    return folder


def new_workspace(folder: Path) -> Workspace:
    """A workspace to probe in."""
    return Workspace.open(folder)


if __name__ == "__main__":
    main(sys.argv[1:])
