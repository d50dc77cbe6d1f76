"""Items a second of the likelihood scorer and of lm-evaluation-harness 0.4.13, on the same items of the same model, in turns.

    python -m tests.benchmarks.likelihood PYTHON SUITE:FILE ... [--model FOLDER] [--rounds 3] [--batch 32] [--threads 1]

PYTHON is one of an environment that has lm_eval; `tests/peer/lm_eval_decisions.py` is run by it. Suites are named as in
`rlhf-studio evaluate`. Both score all items of a suite with a model that is loaded already: from texts to decisions, with the same
number of threads; with one, seconds of CPU are no longer where others use the cores too. Prints medians of the rounds.
"""

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import torch

from assets import STARTER
from modules.evaluation import items
from modules.evaluation.likelihood import log_likelihoods, measuring
from modules.model.backbone import Backbone
from modules.model.roles import BASE
from studio.evaluation import suites
from studio.evaluation.suites import Suite
from studio.workspace import Workspace
from tests.support import stored

SCRIPT = Path(__file__).parents[1] / "peer" / "lm_eval_decisions.py"


class Spent(NamedTuple):
    """What a suite took, and how many of its items were decided rightly."""

    cpu_s: float
    wall_s: float
    accuracy: float


def ours(backbone: Backbone, suite: Suite) -> Spent:
    """Score a suite here."""
    cpu, wall, num_right = time.process_time(), time.perf_counter(), 0.0
    encoded = [items.requests(suite.kind, item, backbone.chat, False, backbone.context_length) for item in suite.items]
    with measuring(backbone, BASE):
        values = iter(log_likelihoods(backbone, [part for item in encoded for text in item for part in text]))
    for item, texts in zip(suite.items, encoded, strict=True):
        logprobs = [sum(next(values) for _ in text) for text in texts]
        num_right += items.scores(suite.kind, item, logprobs, [1] * len(texts))["acc"]
    return Spent(time.process_time() - cpu, time.perf_counter() - wall, num_right / len(suite.items))


def theirs(python: str, folder: str, suite: Suite, batch: int, threads: int) -> Spent:
    """Score a suite by lm_eval, in a process of its own; only the scoring counts."""
    with tempfile.TemporaryDirectory() as place:
        given, answers = Path(place) / "suites.json", Path(place) / "answers.json"
        given.write_text(json.dumps({suite.name: (suite.kind, suite.items)}))
        environment = os.environ | {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
        command = [python, SCRIPT, folder, given, answers, str(batch)]
        subprocess.run(command, check=True, capture_output=True, env=environment)
        said = json.loads(answers.read_text())
    return Spent(said["cpu_s"], said["wall_s"], statistics.fmean(item["acc"] for item in said[suite.name]))


def main() -> None:
    """Score in turns, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("python")
    parser.add_argument("suites", nargs="+", metavar="SUITE:FILE")
    parser.add_argument("--model", default=str(STARTER / "model"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=32, help="lm_eval's batch size")
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    with tempfile.TemporaryDirectory() as place:
        found = stored.read(
            Workspace.open(Path(place) / "studio"),
            suites.find,
            Workspace.open(Path(place) / "studio").evaluations,
            ", ".join(asked.suites),
        )
    backbone = Backbone.load(asked.model, device="cpu")
    for suite in found:
        rounds = [
            (ours(backbone, suite), theirs(asked.python, asked.model, suite, asked.batch, asked.threads))
            for _ in range(asked.rounds)
        ]
        assert all(here.accuracy == there.accuracy for here, there in rounds), "the same decisions"
        number, said = len(suite.items), []
        for clock in ("cpu_s", "wall_s"):
            here, there = (statistics.median(getattr(side[at], clock) for side in rounds) for at in (0, 1))
            said.append(
                f"{clock} {here:.1f} to {there:.1f}, {number / here:.0f} to {number / there:.0f} items a second, {there / here:.2f}"
            )
        print(
            f"{suite.name}: {number} items, accuracy {rounds[0][0].accuracy:.3f}; {'; '.join(said)} times", flush=True
        )


if __name__ == "__main__":
    main()
