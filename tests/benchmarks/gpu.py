"""Everything that a bare machine with a GPU can tell in some minutes, what matters most first.

    python -m tests.benchmarks.gpu --minutes 8 --out DIR [--wheels FOLDER]

Needs a CUDA torch and Python 3.11 or newer, no network, no browser; FOLDER holds wheels of what is missing. Each step is a process
of its own, and its result a line of DIR/results.jsonl at once, so that a run that is cut off still tells. `--device cpu --tiny` does
the same with tiny shapes, in which the figures mean nothing.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.benchmarks import gpu_steps

SHARE = 0.5
"""Part of the remaining time that one step may take; the last one may take all."""


def main() -> None:
    """Run the steps in order until the time is up."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--wheels", type=Path)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--steps", nargs="+", default=list(gpu_steps.STEPS), help="names of gpu_steps.STEPS")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    if arguments.wheels:
        _install(arguments.wheels)
    end = time.monotonic() + 60 * arguments.minutes
    for name in arguments.steps:
        left = end - time.monotonic()
        is_last = name == arguments.steps[-1]
        line = _run(name, arguments, left if is_last else SHARE * left) if left > 1 else {"error": "no time was left"}
        with (arguments.out / "results.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": name} | line) + "\n")
        print(json.dumps({"step": name} | line), flush=True)


def _install(wheels: Path) -> None:
    """Install what is missing; never torch, whose build belongs to the machine."""
    names = "transformers lightning peft bitsandbytes safetensors tokenizers pydantic sqlite-utils psutil accelerate"
    command = [sys.executable, "-m", "pip", "install", "--no-index", "--find-links", str(wheels), *names.split()]
    subprocess.run(command, check=True)


def _run(name: str, arguments: argparse.Namespace, limit_s: float) -> dict[str, Any]:
    """Run one step in a process of its own; returns its figures, or what went wrong."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.benchmarks.gpu_steps", name, arguments.device]
    command += [str(arguments.out / "work"), *(["--tiny"] if arguments.tiny else [])]
    start = time.monotonic()
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=limit_s, check=False)
    except subprocess.TimeoutExpired:
        return {"error": f"took more than {limit_s:.0f} s"}
    seconds = round(time.monotonic() - start, 1)
    (arguments.out / f"{name}.log").write_text(found.stdout + found.stderr, encoding="utf-8")
    if found.returncode:
        return {"error": (found.stderr.strip().splitlines() or ["no word"])[-1], "seconds": seconds}
    return json.loads(found.stdout.splitlines()[-1]) | {"seconds": seconds}


if __name__ == "__main__":
    main()
