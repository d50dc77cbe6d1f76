"""Runs the whole loop on the starter kit, with a scripted rater instead of a person: ``rlhf-studio demo``.

    SFT -> each round: sample pairs -> rate -> reward model on all ratings so far -> PPO -> judge against SFT
        -> at the end: a gold reward model from votes of its own -> evaluate

It uses only what a person could use: runs in child processes, and pairs rated one by one on stored showings in shuffled
order. The judged pairs are ratings too, of test prompts, which no stage trains on.
"""

import json
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modules.config import EvaluateConfig, PPOConfig, RewardConfig, SampleConfig, SFTConfig, StageConfig
from studio.datasets import starter
from studio.demo import evaluated, report
from studio.demo import figures as demo_figures
from studio.demo import progress as demo_progress
from studio.demo.figures import Figures
from studio.demo.progress import Progress
from studio.demo.scripted_rater import ScriptedRater
from studio.errors import ConfigError, WorkspaceError
from studio.files import folders
from studio.models import checkpoints
from studio.models.checkpoints import SAVED_AT_KL
from studio.preferences import comparisons, prompts, ratings
from studio.runs import launcher, runs
from studio.workspace import Workspace, now

RATER = "scripted"
GOLD_RATER = "scripted-gold"
"""Whose votes the gold reward model learns from, and nothing else."""
NEUTRAL = "story"
MARKER = "demo.json"
MADE_HERE = (
    "studio.db",
    "studio.db-wal",
    "studio.db-shm",
    "lanes",
    "runs",
    "exports",
    "report.json",
    "report.html",
)


@dataclass(frozen=True)
class Recipe:
    """The settings of every run of a demo; seeds and checkpoints are filled in as it goes."""

    sft: SFTConfig
    sample: SampleConfig
    reward: RewardConfig
    ppo: PPOConfig
    judge: SampleConfig
    gold: SampleConfig
    """The pairs whose votes teach the gold reward model."""
    suites: EvaluateConfig
    """What the last policy changed elsewhere."""
    best_of: EvaluateConfig
    """What the policies earned for their KL."""
    error_rate: float


RECIPE = Recipe(
    sft=SFTConfig(learning_rate=5e-4, epochs=3, batch_size=32, micro_batch_size=32, eval_every=12),
    sample=SampleConfig(num_prompts=2000, responses_per_prompt=3, exclude_categories=NEUTRAL, batch_size=200),
    reward=RewardConfig(
        learning_rate=2e-3, epochs=2, batch_size=32, micro_batch_size=32, offtopic_share=1.0, eval_every=60
    ),
    ppo=PPOConfig(
        learning_rate=1e-3,
        value_learning_rate=2e-3,
        value_warmup=2,
        iterations=60,
        epochs=1,
        kl_coef=0.12,
        eval_every=20,
        exclude_categories=NEUTRAL,
        save_every=1000,
        save_at_kl="1, 2, 3, 4, 6, 10",
    ),
    judge=SampleConfig(num_prompts=200, split="test", exclude_categories=NEUTRAL, batch_size=200, temperature=0.7),
    gold=SampleConfig(num_prompts=600, responses_per_prompt=4, exclude_categories=NEUTRAL, batch_size=200),
    suites=EvaluateConfig(suites="grammar, facts, stories, held_out, caution"),
    best_of=EvaluateConfig(best_of=8, limit=40),
    error_rate=0.1,
)
"""The demo's settings: sizes for two rounds in a few minutes on 2 CPU cores."""


@dataclass
class _Demo:
    """A running demo."""

    ws: Workspace
    seed: int
    recipe: Recipe
    rater: ScriptedRater
    progress: Progress
    stages: list[dict[str, Any]] = field(default_factory=list)

    def run(self, config: StageConfig, purpose: str, **facts: Any) -> str:
        """Run a stage in its child process until it has finished; returns the run's name."""
        started = time.monotonic()
        run = demo_progress.follow(self.ws, config.model_copy(update={"seed": self.seed} | facts), self.progress)
        self.stages.append(
            {
                "run": run.name,
                "stage": run.stage,
                "purpose": purpose,
                "seconds": round(time.monotonic() - started, 1),
                "config": run.config.model_dump(),
            }
        )
        return run.name


def run(root: str | Path, seed: int = 0, rounds: int = 2, recipe: Recipe = RECIPE) -> Figures:
    """Run the loop in its own workspace and write report.json and report.html into it; returns the report.

    Args:
        root: a new or empty folder, or that of an earlier demo of the same seed, which is then made again.
        seed: the seed of every run and of the rater.
        rounds: how often pairs are sampled, rated, and trained on.
        recipe: other settings than the demo's own.

    Raises:
        StudioError: the folder holds something else, or a run did not finish.
    """
    if seed < 0 or rounds < 1:
        raise ConfigError(
            f"A demo of {rounds} rounds with seed {seed} cannot be: take 1 round or more and a seed from 0."
        )
    started = time.monotonic()
    ws = _new_workspace(Path(root), seed)
    with ws.write() as db:
        starter.load(db)
    expected = demo_progress.EXPECTED_S["sft"] + rounds * (
        3 * demo_progress.EXPECTED_S["sample"] + demo_progress.EXPECTED_S["reward"] + demo_progress.EXPECTED_S["ppo"]
    )
    expected += sum(demo_progress.EXPECTED_S[stage] for stage in ("sample", "reward", "evaluate", "evaluate"))
    with demo_progress.progress(expected) as progress:
        demo = _Demo(ws, seed, recipe, ScriptedRater(recipe.error_rate, seed), progress)
        sft = demo.run(recipe.sft, "learned from the demonstrations")
        done: list[Figures] = []
        for _ in range(rounds):
            done.append(_round(demo, sft, done))
        found = _evaluate(demo, sft, [each["runs"] for each in done])
    facts = {
        "seconds": round(time.monotonic() - started, 1),
        "seed": seed,
        "finished_at": now(),
        "rounds": done,
        "evaluation": found,
        "rater": {"name": RATER, "error_rate": recipe.error_rate},
        "stages": demo.stages,
        "command": f"rlhf-studio demo --workspace DIR --seed {seed} --rounds {rounds}",
        "machine": demo_figures.machine(),
        "versions": demo_figures.versions(),
    }
    report.write(ws, facts)
    return facts


def _round(demo: _Demo, sft: str, done: list[Figures]) -> Figures:
    """Sample, rate, train the reward model on all ratings, improve the policy, judge it; returns the round's figures."""
    ws, recipe, number = demo.ws, demo.recipe, len(done) + 1
    start = done[-1]["runs"]["ppo"] if done else sft
    sample = demo.run(
        recipe.sample, f"pairs from {start}, put up for rating", checkpoint=start, seed=demo.seed + 1000 * number
    )
    num_rated = rate_open_pairs(ws, demo.rater)
    num_ratings = num_rated + (done[-1]["ratings"] if done else 0)
    reward = demo.run(recipe.reward, f"learned the preference from {num_ratings} ratings", sft_checkpoint=sft)
    ppo = demo.run(
        recipe.ppo,
        f"PPO from {start} against {reward}",
        sft_checkpoint=sft,
        reward_checkpoint=reward,
        policy_checkpoint=start,
    )
    judges = [
        demo.run(
            recipe.judge,
            f"test prompts answered by {ppo} and {sft} at temperature {temperature:g}",
            checkpoint=ppo,
            opponent=sft,
            temperature=temperature,
        )
        for temperature in (recipe.judge.temperature, recipe.ppo.temperature)
    ]
    rate_open_pairs(ws, demo.rater)
    names = {
        "sft": sft,
        "sample": sample,
        "reward": reward,
        "ppo": ppo,
        "judge": judges[0],
        "judge_as_trained": judges[1],
    }
    with ws.read() as db:
        figures = demo_figures.of_round(db, names, before=done[0] if done else None)
    demo.progress.say(
        f"round {number}: win rate {figures['win_rate']['value']:.2f}, reward-model accuracy "
        f"{figures['reward']['accuracy']:.2f}, tax {100 * figures['alignment_tax']['change']:+.1f} %"
    )
    return {"round": number, "pairs": num_rated, "ratings": num_ratings} | figures


def _gold(demo: _Demo, sft: str, ppo: str) -> dict[str, str]:
    """Train a reward model on votes that no other one has seen, on answers of the last policy and of SFT; returns its runs."""
    sample = demo.run(
        demo.recipe.gold,
        f"pairs of {ppo} and {sft} for the gold reward model",
        checkpoint=ppo,
        opponent=sft,
        seed=demo.seed + 500,
    )
    num_rated = rate_open_pairs(demo.ws, ScriptedRater(demo.recipe.error_rate, demo.seed + 1), GOLD_RATER)
    reward = demo.run(
        demo.recipe.reward,
        f"the gold reward model, from {num_rated} votes of its own",
        sft_checkpoint=sft,
        raters=GOLD_RATER,
        seed=demo.seed + 1,  # begins elsewhere, too: two heads drawn alike err alike
    )
    return {"sample": sample, "reward": reward}


def _evaluate(demo: _Demo, sft: str, rounds: list[dict[str, str]]) -> Figures:
    """Measure SFT and the last policy on suites, and all kept policies by the last reward model and the gold one; returns the figures."""
    ws, last = demo.ws, rounds[-1]
    gold = _gold(demo, sft, last["ppo"])
    with ws.read() as db:
        names = {name: checkpoints.get(db, name).name for name in (sft, last["ppo"])}
    demo.run(
        demo.recipe.suites,
        f"{last['ppo']} and {sft} measured on suites",
        checkpoints=f"base, {names[sft]}, {names[last['ppo']]}",
        reward_checkpoint=last["reward"],
    )
    with ws.read() as db:
        kept = [
            checkpoint.name
            for checkpoint in reversed(checkpoints.list_all(db, "ppo"))
            if SAVED_AT_KL in checkpoint.metrics or checkpoint.name == names[last["ppo"]]
        ]
    demo.run(
        demo.recipe.best_of,
        f"best-of-n and policies at several KLs, scored by {last['reward']} and by {gold['reward']}",
        checkpoints=", ".join([names[sft], *kept]),
        reward_checkpoint=last["reward"],
        gold_checkpoint=gold["reward"],
    )
    with ws.read() as db:
        return evaluated.facts(db, sft, last["ppo"], RATER) | {"gold": gold}


def rate_open_pairs(ws: Workspace, rater: ScriptedRater, name: str = RATER) -> int:
    """Rate every pair that is still open under a name, one showing at a time, as a person would; returns how many there were."""
    with ws.read() as db:
        references = {row["id"]: row["reference"] for row in prompts.list_prompts(db)}
    count = 0
    while True:
        with ws.write() as db:
            showing = comparisons.next_showing(db, rater=name)
        if showing is None:
            return count
        prompt_text = showing.messages[-1]["content"]
        reference = references[showing.prompt_id]
        judgement = rater.rate(prompt_text, showing.category, reference, showing.left, showing.right)
        with ws.write() as db:
            ratings.record(db, showing.id, judgement.outcome, strength=judgement.strength)
        count += 1


def _new_workspace(root: Path, seed: int) -> Workspace:
    """Make an empty workspace; an earlier demo of the same seed is first moved into a folder `earlier-1` of it.

    Raises:
        WorkspaceError: the folder holds anything else, a person's ratings, or a run that is still going.
    """
    root = root.expanduser().resolve()
    marker = root / MARKER
    if root.exists() and not root.is_dir():
        raise WorkspaceError(f"{root} is a file. Name a folder for the demo.")
    if root.exists() and any(root.iterdir()):
        _check_is_earlier_demo(root, marker, seed)
        _put_aside(root, root / folders.free_name(root, "earlier", 1, set()))
    root.mkdir(parents=True, exist_ok=True)
    marker.write_text(json.dumps({"seed": seed}) + "\n", encoding="utf-8")
    return Workspace.open(root)


def _put_aside(root: Path, earlier: Path) -> None:
    """Move an earlier demo's files; if its database is lost, so is the record of who made them."""
    found = [root / name for name in MADE_HERE if os.path.lexists(root / name)]
    if found:
        earlier.mkdir()
    for path in found:
        path.rename(earlier / path.name)


def _check_is_earlier_demo(root: Path, marker: Path, seed: int) -> None:
    if not marker.is_file():
        raise WorkspaceError(f"The folder {root} is not empty and holds no demo. Choose a new or an empty folder.")
    earlier = json.loads(marker.read_text(encoding="utf-8")).get("seed")
    if earlier != seed:
        raise WorkspaceError(
            f"The folder {root} holds a demo of seed {earlier}. Choose another folder for seed {seed}."
        )
    if not (root / "studio.db").exists():
        return
    ws = Workspace.open(root)
    launcher.reap(ws)
    with ws.read() as db:
        going = [*runs.list_all(db, state="running"), *runs.list_all(db, state="queued")]
        num_person = ratings.summary(db)["person"]
    if going:
        raise WorkspaceError(
            f"Run {going[0].name} in {root} is still going. Wait for it, stop it, or choose another folder."
        )
    if num_person:
        raise WorkspaceError(
            f"The demo in {root} holds {num_person} ratings by a person, which a new demo would put aside. Choose another folder."
        )


def main(root: str | Path, seed: int, rounds: int) -> int:
    """Run ``rlhf-studio demo``, and print the result and the report's path; returns the exit code."""
    facts = run(root, seed, rounds)
    win = facts["rounds"][-1]["win_rate"]
    print(
        f"Win rate against SFT {win['value']:.3f} ({win['low']:.3f} to {win['high']:.3f}, n = {win['n']}), "
        f"in {facts['seconds']:.0f} s."
    )
    print(f"Report: {Path(root).expanduser().resolve() / 'report.html'}")
    return 0
