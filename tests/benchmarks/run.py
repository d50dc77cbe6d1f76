"""One command that measures the three stages, and a peer next to them, and prints a table of ratios.

    python -m tests.benchmarks.run --peer-python PATH
    python -m tests.benchmarks.run --shapes 0.5B 8B --precisions bf16 --quantisations none nf4 --methods lora

The peer's script (``tests/peer/trl_work.py``; another by ``--peer-script``) is called as ``PYTHON SCRIPT ppo|reward|sft [--lora]``
and prints one line of JSON with ``response_tokens_per_s``, ``pairs_per_s`` or ``real_tokens_per_s``, and ``peak_rss_mib``. Each stage
runs in a process of its own, so that its peak memory is its own, and directly before or after the peer's, so that both meet the
same machine.
"""

import argparse
import json
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch

from tests.benchmarks import memory, workload
from tests.benchmarks.stage import STAGES, UNITS

ROOT = Path(__file__).parent.parent.parent
SCRIPT = ROOT / "tests/peer/trl_work.py"
_PEER_RATES = {"ppo": "response_tokens_per_s", "reward": "pairs_per_s", "sft": "real_tokens_per_s"}
_PEER_CODE = """
import json, resource, runpy, sys
script, stage, lora, sizes = sys.argv[1], sys.argv[2], sys.argv[3] == "lora", json.loads(sys.argv[4])
names = runpy.run_path(script, run_name="peer")
names[stage].__globals__.update(sizes)
figures = names[stage](lora)
figures["peak_rss_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
print(json.dumps(figures))
"""


@dataclass(frozen=True)
class Case:
    """One row of the table."""

    stage: str
    method: str
    precision: str
    quantisation: str
    shape: str
    value_trunk: str = "own"

    @property
    def has_peer(self) -> bool:
        """Whether the peer's script does this work; in float32 only, with which a bf16 run here is compared too."""
        return self.shape == "small" and self.quantisation == "none"

    def __str__(self) -> str:
        words = [self.stage, self.method, self.precision] + [self.quantisation] * (self.quantisation != "none")
        return " ".join(words + ["value on the reward trunk"] * (self.value_trunk == "reward"))


@dataclass(frozen=True)
class Peer:
    """Another trainer's Python and script."""

    python: Path
    script: Path

    def measure(self, case: Case, is_quick: bool) -> dict[str, float]:
        """The peer's figures for a case."""
        command = [self.python, self.script, case.stage, *["--lora"] * (case.method == "lora")]
        if is_quick:
            sizes = {
                "PAIRS": workload.QUICK.pairs,
                "DOCS": workload.QUICK.documents,
                "ITERATIONS": workload.QUICK.iterations,
            }
            command = [self.python, "-c", _PEER_CODE, self.script, case.stage, case.method, json.dumps(sizes)]
        found = _last_json(command)
        return {"rate": found[_PEER_RATES[case.stage]], "peak_mib": found["peak_rss_mib"]}


def ours(case: Case, folder: Path, work: workload.Work) -> dict[str, float]:
    """Our figures for a case."""
    options = {"--method": case.method, "--precision": case.precision, "--quantisation": case.quantisation}
    options["--value-trunk"] = case.value_trunk
    arguments = [word for pair in options.items() for word in pair]
    module = [sys.executable, "-m", "tests.benchmarks.stage", case.stage, folder]
    return _last_json([*module, *arguments, "--work", json.dumps(asdict(work))])


def table(
    cases: list[Case], folder: Path, work: workload.Work, *, peer: Peer | None, rounds: int, is_quick: bool
) -> Iterator[str]:
    """The lines of a Markdown table, each as soon as it is measured; medians over the rounds."""
    yield "| stage | unit | here | peer | ratio | MiB here | MiB peer | ratio |"
    yield "|---|---|---|---|---|---|---|---|"
    known: dict[tuple[str, str], list[dict[str, float]]] = {}
    for case in cases:
        mine: list[dict[str, float]] = []
        theirs = known.setdefault((case.stage, case.method), []) if case.has_peer else []
        for _ in range(rounds):
            mine.append(ours(case, folder, work))
            if peer is not None and case.has_peer and len(theirs) < rounds:
                theirs.append(peer.measure(case, is_quick))
        rate, peak = (median(found[key] for found in mine) for key in ("rate", "peak_mib"))
        cells = [str(case), UNITS[case.stage], f"{rate:,.1f}"]
        if theirs:
            peer_rate, peer_peak = (median(found[key] for found in theirs) for key in ("rate", "peak_mib"))
            cells += [f"{peer_rate:,.1f}", f"**{rate / peer_rate:.2f}**", f"{peak:,.0f}", f"{peer_peak:,.0f}"]
            cells += [f"**{peak / peer_peak:.2f}**"]
        else:
            cells += ["", "", f"{peak:,.0f}", "", ""]
        yield f"| {' | '.join(cells)} |"


def main() -> None:
    """Measure what the arguments say."""
    args = _arguments()
    peer = Peer(args.peer_python, args.peer_script) if args.peer_python else None
    work = workload.QUICK if args.quick else workload.WORK
    print(_machine(), flush=True)
    for name in args.memory_shapes:
        print(f"\nWeights held, shape {name}\n", flush=True)
        with tempfile.TemporaryDirectory() as scratch:
            folder = workload.write_model(Path(scratch), workload.SHAPES[name])
            for line in memory.table(folder, ["none", "nf4"], "fp32" if name == "small" else "bf16"):
                print(line, flush=True)
    for name in args.shapes:
        if name != "small" and not torch.cuda.is_available():
            print(f"\nShape {name}: not yet measured (it needs a CUDA device, and there is none here).")
            continue
        with tempfile.TemporaryDirectory() as scratch:
            device = "cuda" if torch.cuda.is_available() else "cpu"
            folder = workload.write_model(Path(scratch), workload.SHAPES[name], device)
            torch.cuda.empty_cache()
            cases = [
                Case(stage, method, precision, quantisation, name, trunk)
                for stage in args.stages
                for method in args.methods
                for precision in args.precisions
                for quantisation in args.quantisations
                for trunk in (["own", "reward"] if stage == "ppo" and method == "lora" else ["own"])
                if method == "lora" or quantisation == "none"
            ]
            print(f"\nShape {name}\n", flush=True)
            for line in table(cases, folder, work, peer=peer, rounds=args.rounds, is_quick=args.quick):
                print(line, flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer-python", type=Path, help="a Python that has the peer installed")
    parser.add_argument("--peer-script", type=Path, default=SCRIPT, help="the script that does the peer's work")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES))
    parser.add_argument("--methods", nargs="+", choices=["lora", "full"], default=["lora", "full"])
    parser.add_argument("--precisions", nargs="+", choices=["fp32", "bf16"], default=["fp32"])
    parser.add_argument("--quantisations", nargs="+", choices=["none", "nf4"], default=["none"])
    parser.add_argument("--shapes", nargs="+", choices=workload.SHAPES, default=["small"])
    parser.add_argument(
        "--memory-shapes",
        nargs="*",
        choices=workload.SHAPES,
        default=["small"],
        help="shapes whose held weights are counted",
    )
    parser.add_argument(
        "--rounds", type=int, default=1, help="times that each case is measured, here and there in turn"
    )
    parser.add_argument("--quick", action="store_true", help="the same steps, but fewer of them, here and there")
    return parser.parse_args()


def _last_json(command: list[Any]) -> dict[str, float]:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command[:4]))} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def _machine() -> str:
    if torch.cuda.is_available():
        return f"{torch.cuda.get_device_name()}, torch {torch.__version__}"
    return f"{torch.get_num_threads()} threads on {platform.machine()}, torch {torch.__version__}"


if __name__ == "__main__":
    main()
