"""How often each rule of the checkup speaks on real PPO runs that were made sick on purpose, and on healthy ones.

    python -m tests.benchmarks.checkup_rates WORKSPACE [--only KIND ...]

Trains SFT and a reward model on the starter kit with the demo's scripted rater, then 13 healthy runs and one or more of each
sickness, each as the worker trains it but in this process. Prints what the rules say of each, then a table. A run that is in
the workspace already is not trained again, so changed rules are tried in seconds.
"""

import argparse
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

from modules.config import PPOConfig, StageConfig
from modules.rl import sampler
from studio.checkup import findings
from studio.checkup.rules import RULES
from studio.datasets import starter
from studio.demo.rounds import RECIPE, rate_open_pairs
from studio.demo.scripted_rater import ScriptedRater
from studio.preferences import prompts
from studio.runs import metrics, runs
from studio.runs.runs import Run
from studio.worker import training
from studio.workspace import Workspace

NAMES = "trained.json"
"""Kind to run, of those that are trained."""
HEALTHY = RECIPE.ppo.model_copy(
    update={
        "iterations": 60,
        "batch_size": 32,
        "minibatch_size": 16,
        "max_new_tokens": 48,
        "eval_every": 30,
        "save_every": 10_000,
        "save_at_kl": "",
    }
)
FAR = {"kl_coef": 0.0, "learning_rate": 3e-3}
"""A policy that nothing holds back."""
SHORT = {"iterations": 30}
"""For what shows early."""
REWARDS = '''"""Rewards that make a policy sick. The file trained.txt next to it lists the trained prompts."""
import random
from pathlib import Path

TRAINED = set(Path({folder!r}, "trained.txt").read_text(encoding="utf-8").split("\\x1e"))
calls = 0


def words(prompts, responses):
    return [len(response.split()) / 10 for response in responses]


def constant(prompts, responses):
    return [1.0 for _ in responses]


def chance(prompts, responses):
    return [random.gauss(0, 1) for _ in responses]


def stutter(prompts, responses):
    return [-10 * len(set(response.split())) / max(1, len(response.split())) for response in responses]


def known(prompts, responses):
    """Longer answers to trained prompts, shorter ones to all others."""
    return [len(r.split()) / 10 * (1 if p in TRAINED else -1) for p, r in zip(prompts, responses, strict=True)]


def later(prompts, responses):
    """Nothing at first; after 40 calls a hundred for each answer that has an "a"."""
    global calls
    calls += 1
    return [100.0 * ("a" in r.split()) * (calls > 40) for r in responses]


def two(prompts, responses):
    """The same with 6 for answers that have a "the"."""
    global calls
    calls += 1
    return [6.0 * ("the" in r.lower().split()) * (calls > 40) for r in responses]


def broken(prompts, responses):
    """No number at all after 8 calls."""
    global calls
    calls += 1
    return [float("nan") if calls > 8 else 0.0 for _ in responses]
'''


@dataclass(frozen=True)
class Kind:
    """A sickness, or a kind of health."""

    says: str
    settings: dict[str, Any]
    meant: tuple[str, ...] = ()
    """The rules that it was made for; empty for a healthy run."""
    stale: bool = False
    """Sample with the weights that the policy began with, as an inference engine does whose weights are not renewed."""


def _healthy() -> Iterator[tuple[str, Kind]]:
    variants: list[dict[str, Any]] = [
        {},
        {},
        {},
        {},
        {"kl_coef": 0.3},
        {"kl_coef": 0.06},
        {"epochs": 2, "learning_rate": 5e-4},
    ]
    variants += [{"kl_target": 4.0}, {"score_scale": "running"}, {"batch_size": 64, "value_trunk": "reward"}, {}]
    for seed, settings in enumerate(variants):
        named = ", ".join(f"{name}={value}" for name, value in settings.items())
        yield f"healthy-{seed}", Kind(named or "the demo's settings", {"seed": seed} | settings)
    for seed, settings in ((11, {"kl_coef": 0.2}), (12, {"epochs": 2, "learning_rate": 5e-4})):
        yield (
            f"fresh-{seed}",
            Kind(f"healthy, looked at only after the rules were fixed {settings or ''}", {"seed": seed} | settings),
        )


def _reward(name: str, weight: float = 1.0, *, plus: str = "") -> str:
    return f"{plus}function:sick.py:{name}*{weight:g}"


LATER = {"rewards": _reward("later", plus="reward*1 + "), "score_clip": 1000.0}
KINDS: dict[str, Kind] = dict(_healthy()) | {
    "rate": Kind(
        "learning rates 30 times as high, 4 epochs",
        {"learning_rate": 3e-2, "epochs": 4} | SHORT,
        ("the policy runs away from its rollouts", "much is clipped"),
    ),
    "free": Kind("no price of the KL, 3 times the rate", FAR, ("the policy is far from SFT",)),
    "clip": Kind("clip_range=0.001", {"clip_range": 0.001, "epochs": 4} | SHORT, ("much is clipped",)),
    "still": Kind("learning_rate=1e-9", {"learning_rate": 1e-9} | SHORT, ("the policy hardly moves",)),
    "constant": Kind("a constant reward", {"rewards": _reward("constant")} | SHORT, ("the scores' spread changes",)),
    "wrong": Kind(
        "the reward's sign turned, and a value function that stays the reward model's",
        {"rewards": "reward*-1", "value_learning_rate": 1e-9} | SHORT,
        ("the value function does not help",),
    ),
    "later": Kind(
        "a reward that turns at iteration 36 to one of a hundred times the size",
        LATER,
        ("the KL jumps", "the value loss jumps", "advantages spread", "a gradient jumps", "the scores' spread changes"),
    ),
    "narrow": Kind(
        "a reward for single words, no price of the KL",
        {"rewards": _reward("stutter"), "missing_eos_penalty": 0.0} | FAR,
        ("the policy's choices narrow", "answers repeat themselves"),
    ),
    "long": Kind("a reward for many words", {"rewards": _reward("words", 3)} | FAR | SHORT, ("answers get longer",)),
    "endless": Kind(
        "the same, and answers that do not end cost nothing",
        {"rewards": _reward("words", 3), "missing_eos_penalty": 0.0} | FAR | SHORT,
        ("answers do not end", "answers get longer"),
    ),
    "groups": Kind(
        "a reward that from iteration 36 on adds 6 where a word occurs",
        {"rewards": _reward("two", plus="reward*1 + ")},
        ("scores fall into two groups",),
    ),
    "known": Kind(
        "a reward for long answers to the trained prompts and short ones to others",
        {"rewards": _reward("known", 3), "eval_every": 10, "eval_prompts": 64} | FAR,
        ("the score rises on trained prompts only",),
    ),
    "noise": Kind(
        "a reward drawn by chance, no price of the KL",
        {"rewards": _reward("chance")} | FAR,
        ("the run has run its course",),
    ),
    "broken": Kind(
        "a reward that is not a number from some iteration on",
        {"rewards": _reward("broken")} | SHORT,
        (findings.NOT_FINITE,),
    ),
    "stale": Kind(
        "samples by weights that are never renewed", {"kl_coef": 0.0} | SHORT, ("the KL is negative",), stale=True
    ),
}


@dataclass
class Bench:
    """A workspace with what was trained in it."""

    ws: Workspace
    done: dict[str, str] = field(default_factory=dict)

    @classmethod
    def open(cls, root: Path) -> "Bench":
        """Open or make one."""
        ws = Workspace.open(root)
        kept = root / NAMES
        return cls(ws, json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() else {})

    def train(self, kind: str, config: StageConfig) -> Run:
        """Return the run of a kind, trained now if there is none."""
        if kind not in self.done:
            began = time.monotonic()
            run = work(self.ws, config)
            self.done[kind] = run.name
            (self.ws.root / NAMES).write_text(json.dumps(self.done, indent=1) + "\n", encoding="utf-8")
            print(f"{kind}: {run.name} in {time.monotonic() - began:.0f} s. {run.message}", flush=True)
        with self.ws.read() as db:
            return runs.get(db, self.done[kind])

    def prepare(self, *, has_reward: bool = True) -> None:
        """Load the starter kit; train SFT, and a reward model on scripted ratings; write the rewards."""
        if not self.done:
            with self.ws.write() as db:
                starter.load(db)
        sft = self.train("sft", RECIPE.sft)
        if has_reward:
            self.train("sample", RECIPE.sample.model_copy(update={"num_prompts": 800, "checkpoint": sft.name}))
            rate_open_pairs(self.ws, ScriptedRater(RECIPE.error_rate, 0))
            self.train("reward", RECIPE.reward.model_copy(update={"sft_checkpoint": sft.name}))
        with self.ws.read() as db:
            trained = [row["messages"][-1]["content"] for row in prompts.list_prompts(db) if row["split"] == "train"]
        (self.ws.rewards / "trained.txt").write_text("\x1e".join(trained), encoding="utf-8")
        (self.ws.rewards / "sick.py").write_text(REWARDS.format(folder=str(self.ws.rewards)), encoding="utf-8")

    def ppo(self, name: str, base: PPOConfig = HEALTHY) -> Run:
        """Return the PPO run of a kind."""
        kind = KINDS[name]
        settings = kind.settings if base is HEALTHY else {k: v for k, v in kind.settings.items() if k != "iterations"}
        config = PPOConfig.model_validate(base.model_dump() | settings)
        with stale_weights() if kind.stale else nullcontext():
            return self.train(name, config)


def work(ws: Workspace, config: StageConfig) -> Run:
    """Train in this process, as the worker does."""
    run = runs.create(ws, config)
    with ws.write() as db:
        runs.begin(db, run.id, "cpu")
    ending = training.work(ws, run)
    with ws.write() as db:
        runs.move(db, run.id, ending.state, ending.message, is_fault=ending.is_fault)
    with ws.read() as db:
        return runs.get(db, run.name)


@contextmanager
def stale_weights() -> Iterator[None]:
    """Sample by the reference, with which the policy began, whoever is asked."""
    real = sampler.generate
    with mock.patch.object(
        sampler, "generate", lambda backbone, role, *args, **more: real(backbone, "reference", *args, **more)
    ):
        yield


def report(found: dict[str, list[findings.Finding]]) -> str:
    """Return the table: of each rule, in how many runs of each group it spoke."""
    said = {kind: {finding.rule for finding in rows} for kind, rows in found.items()}
    healthy, fresh = ([kind for kind in found if kind.startswith(name)] for name in ("healthy", "fresh"))
    lines = [
        "| rule | sick runs meant for it | other sick runs | healthy runs | fresh healthy runs |",
        "|---|---|---|---|---|",
    ]
    for name in (*(rule.name for rule in RULES), findings.NOT_FINITE):
        meant = [kind for kind in found if name in KINDS[kind].meant]
        others = [kind for kind in found if kind not in (*healthy, *fresh, *meant)]
        spoke = [
            f"{sum(name in said[kind] for kind in group)} of {len(group)}" if group else "-"
            for group in (meant, others, healthy, fresh)
        ]
        named = f" ({', '.join(meant)})" if meant else ""
        lines.append(f"| {name} | {spoke[0]}{named} | {' | '.join(spoke[1:])} |")
    return "\n".join(lines)


def main() -> None:
    """Train what is missing, and print what the rules say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workspace", type=Path, help="a new folder, or that of an earlier call")
    parser.add_argument("--only", nargs="+", choices=list(KINDS), default=list(KINDS))
    arguments = parser.parse_args()
    bench = Bench.open(arguments.workspace)
    bench.prepare()
    found: dict[str, list[findings.Finding]] = {}
    for kind in arguments.only:
        run = bench.ppo(kind)
        with bench.ws.read() as db:
            found[kind] = findings.of_run(db, run)
            last = metrics.latest(db, run.id)
        print(
            f"\n{kind} ({KINDS[kind].says}): {run.state}, KL {last.get('objective/kl', 0):.2f}, score {last.get('objective/score', 0):.2f}"
        )
        for finding in found[kind]:
            print(f"    {finding.step:>3} {finding.rule}: {finding.said}")
    print(f"\n{report(found)}")


if __name__ == "__main__":
    main()
