"""The memory estimate next to the measured peak: ``python -m tests.benchmarks.fit [NAME | FOLDER ...]`` prints a Markdown table.

Each line is the median of fresh child processes, one at a time (`studio.worker.probe.measure` on a workspace made for each), with
the least and the most, since the C library's heap lies differently each time; random Llamas of two
sizes stand next to the starter kit's model, and next to any model whose FOLDER is given. Names choose lines:
``python -m tests.benchmarks.fit starter 20M-ppo``. Measured on a CPU is the growth of the process's own memory (VmHWM less
what it held with the libraries loaded, less mapped files but for the weights in use), so the C library's heap is in it.
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

MODELS = {"20M": (384, 1024, 8, 6, 8192), "100M": (768, 2048, 10, 12, 18432)}
"""Name to hidden size, inner size, layers, heads, vocabulary of a random Llama."""
LENGTH = 160
NUM_TIMES = 5
COMMON: dict[str, Any] = {"device": "cpu", "batch_size": 8, "micro_batch_size": 8, "max_length": LENGTH}
METHODS: list[dict[str, Any]] = [{}, {"method": "full"}, {"quantisation": "nf4"}]
STAGES = ("sft", "reward", "ppo")
LINES: list[tuple[str, str, dict[str, Any]]] = [
    *(("starter", stage, method) for stage in STAGES for method in METHODS),
    *(("20M", stage, method) for stage in STAGES for method in METHODS),
    ("20M", "sft", {"micro_batch_size": 2}),
    ("20M", "sft", {"max_length": 480}),
    ("20M", "sft", {"gradient_checkpointing": True}),
    ("20M", "sft", {"precision": "bf16"}),
    ("20M", "reward", {"micro_batch_size": 2, "max_length": 480}),
    ("20M", "ppo", {"micro_batch_size": 2}),
    ("20M", "ppo", {"batch_size": 32, "max_length": 320}),
    ("starter", "sft", {"micro_batch_size": 2}),
    ("starter", "reward", {"micro_batch_size": 2}),
    ("20M", "sft", {"micro_batch_size": 2, "quantisation": "nf4"}),
    ("20M", "sft", {"micro_batch_size": 4, "method": "full", "max_length": 320}),
    ("100M", "sft", {"micro_batch_size": 4}),
    *(("100M", "sft", method) for method in METHODS),
    ("100M", "reward", {}),
    *(("100M", "ppo", method) for method in METHODS),
]


def main(wanted: list[str]) -> None:
    """Print the table."""
    given = [Path(name).resolve() for name in wanted if Path(name).is_dir()]
    names = {name for name in wanted if not Path(name).is_dir()}
    lines = [(str(path), stage, method) for path in given for stage in STAGES for method in METHODS[:2]]
    print("| model | stage | settings | estimate, MiB | measured, MiB | least to most | estimate / measured |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for model, stage, settings in [*lines, *LINES]:
            if wanted and Path(model) not in given and not names & {model, stage, f"{model}-{stage}"}:
                continue
            print(_line(Path(folder), model, stage, settings), flush=True)


def _line(folder: Path, model: str, stage: str, settings: dict[str, Any]) -> str:
    if model in MODELS:
        base = _model(folder / model, *MODELS[model])
    else:
        base = STARTER / "model" if model == "starter" else Path(model)
        model = base.name if model != "starter" else model
    config = _config(stage, settings)
    said = ", ".join(f"{k}={v}" for k, v in settings.items()) or "fp32, LoRA"
    request = {"base": str(base), "stage": stage, "settings": settings}
    answers = [_ask(request | {"folder": tempfile.mkdtemp(dir=folder)}) for _ in range(NUM_TIMES)]
    if failed := [answer for answer in answers if isinstance(answer, str)]:
        return f"| {model} | {stage} | {said} | | failed | | {failed[0]} |"
    found = sorted((answer for answer in answers if not isinstance(answer, str)), key=lambda each: each["peak"])
    least, middle, most = (found[n]["peak"] for n in (0, NUM_TIMES // 2, -1))
    sizes = read_sizes(base)
    expected = estimate(config, sizes, worst_load(config, sizes, int(found[0]["longest"])), is_cpu=True)
    ratio = expected.total / middle
    parts = " ".join(f"{k}:{v / 2**20:.0f}" for k, v in expected.parts.items() if v)
    print(f"{model} {stage} {said}: {expected.phase} {parts} phases {dict(expected.phases)}", file=sys.stderr)
    return (
        f"| {model} | {stage} | {said} | {expected.total / 2**20:,.0f} | {middle / 2**20:,.0f} |"
        f" {least / 2**20:,.0f} to {most / 2**20:,.0f} | {ratio:.2f} |"
    )


def _ask(request: dict[str, Any]) -> dict[str, float] | str:
    """What a child process measured, or the last line of what it complained of."""
    child = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.fit_child"],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        check=False,
    )
    return child.stderr.strip().splitlines()[-1] if child.returncode else json.loads(child.stdout.splitlines()[-1])


def _config(stage: str, settings: dict[str, Any]) -> TrainConfig:
    values = COMMON | settings
    match stage:
        case "sft":
            return SFTConfig(**values)
        case "reward":
            return RewardConfig(**values)
        case _:
            length = values["max_length"]
            return PPOConfig(**values, minibatch_size=8, max_prompt_length=length, max_new_tokens=length * 2 // 5)


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
