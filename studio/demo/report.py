"""Writes report.html: a demo's results on one self-contained page (no script, font or picture from outside).

The figures come from report.json (`studio.demo.rounds` makes it), the curves, pairs and lineage from the workspace.
"""

import json
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from sqlite_utils import Database

from studio.demo import evaluated
from studio.files import whole
from studio.models import checkpoints
from studio.plots import Interval, Node, Point, Series, family_tree, interval_chart, line_chart
from studio.preferences import ratings
from studio.runs import metrics, runs
from studio.workspace import Workspace

Facts = dict[str, Any]
PAIRS_PER_CATEGORY = 2
TREE_TONES = {"sft": 4, "sample": 2, "reward": 3, "ppo": 1, "evaluate": 2}


def write(ws: Workspace, facts: Facts) -> tuple[Path, Path]:
    """Write report.json and report.html into the workspace, each complete or not at all; returns their paths."""
    paths = ws.root / "report.json", ws.root / "report.html"
    with ws.read() as db:
        texts = json.dumps(facts, indent=2, ensure_ascii=False) + "\n", render(db, facts)
    for path, text in zip(paths, texts, strict=True):
        whole.write_text(path, text)
    return paths


def render(db: Database, facts: Facts) -> str:
    """Return the page as text. Every text in it is escaped."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    judge = facts["rounds"][-1]["runs"]["judge"]
    trained = _supervised(db, facts), _reinforced(db, facts)
    evaluation = evaluated.sections(db, facts.get("evaluation"), facts["rater"]["name"])
    pairs, config, lineage = _pairs(db, judge), runs.get(db, judge).config, _lineage(db, facts)
    return environment.get_template("report.html.jinja").render(
        facts=facts,
        summary=_summary(facts),
        heads=_heads(facts),
        sections=[
            _judged(facts),
            *evaluation,
            *trained,
        ],
        pairs=pairs,
        temperature=getattr(config, "temperature", 1.0),
        lineage=lineage,
        notes=_notes(facts),
    )


def _summary(facts: Facts) -> str:
    rounds, num_ratings = len(facts["rounds"]), facts["rounds"][-1]["ratings"]
    return (
        f"{rounds} round{'s' * (rounds > 1)} of the loop on the starter kit, seed {facts['seed']}: SFT, sampled pairs, "
        f"{num_ratings} ratings by the scripted rater instead of a person, reward model, PPO. "
        f"Finished {facts['finished_at'][:16].replace('T', ' ')} UTC."
    )


def _heads(facts: Facts) -> list[dict[str, str]]:
    """Return the headline figures of the last round, each with its interval or its two ends."""
    last = facts["rounds"][-1]
    win, accuracy, ppo, tax = (last[key] for key in ("win_rate", "reward", "ppo", "alignment_tax"))
    minutes, seconds = divmod(round(facts["seconds"]), 60)
    return [
        {
            "label": "Win rate against SFT",
            "value": f"{100 * win['value']:.0f} %",
            "note": f"{_between(win['low'], win['high'])}, n = {win['n']}, at temperature {win['temperature']:g}; half would be no better",
        },
        {
            "label": "Reward model",
            "value": f"{100 * accuracy['accuracy']:.0f} %",
            "note": f"accuracy, {_between(accuracy['low'], accuracy['high'])}, n = {accuracy['n']} held-out pairs",
        },
        {
            "label": "Held-out score",
            "value": f"{ppo['score_after'] - ppo['score_before']:+.2f}",
            "note": f"from {ppo['score_before']:.2f} to {ppo['score_after']:.2f} at a KL of {ppo['kl']:.1f} nats from SFT",
        },
        {
            "label": "Alignment tax",
            "value": f"{100 * tax['change']:+.1f} %",
            "note": f"loss on stories from {tax['before']:.3f} to {tax['after']:.3f} nats a token",
        },
        {
            "label": "Time",
            "value": f"{minutes} min {seconds:02d} s",
            "note": f"{len(facts['stages'])} runs on {facts['machine']}",
        },
    ]


def _judged(facts: Facts) -> dict[str, Any]:
    rounds = list(enumerate(facts["rounds"], start=1))
    wins = [Interval(f"Round {i}", r["win_rate"]["value"], r["win_rate"]["low"], r["win_rate"]["high"], r["win_rate"]["n"], i)
            for i, r in rounds]  # fmt: skip
    accuracies = [
        Interval(f"Round {i}", r["reward"]["accuracy"], r["reward"]["low"], r["reward"]["high"], r["reward"]["n"], i)
        for i, r in rounds
    ]
    return {
        "title": "What was measured on held-out prompts",
        "text": "Each dot is an estimate, each bar its 95 % interval (Wilson).",
        "plots": [
            _plot(
                "Win rate of the policy against SFT, by round",
                interval_chart(wins, title="Win rate by round", reference_text="no better than SFT"),
                f"Test prompts, answered at temperature {rounds[-1][1]['win_rate']['temperature']:g}, judged in shuffled order; a tie counts as half a win.",
            ),
            _plot(
                "Reward-model accuracy, by round",
                interval_chart(accuracies, title="Reward-model accuracy by round", reference_text="guessing"),
                "Share of held-out comparisons (validation prompts, ties left out) that the reward model orders as the rater did.",
            ),
        ],
    }


def _supervised(db: Database, facts: Facts) -> dict[str, Any]:
    sft = facts["rounds"][0]["runs"]["sft"]
    losses = [Series("train", _curve(db, sft, "train/loss"), 1), Series("held-out", _curve(db, sft, "eval/loss"), 2)]
    names = [r["runs"]["reward"] for r in facts["rounds"]]
    return {
        "title": "Supervised fine-tuning and reward model",
        "text": "Losses are means per token (SFT) and per comparison (reward model), in nats; ln 2 = 0.693 is guessing.",
        "plots": [
            _plot(
                "SFT loss",
                line_chart(losses, title="SFT loss by step", x_label="optimizer step", y_label="nats per token"),
                "Demonstrations seen in training, and held-out ones.",
            ),
            _plot(
                "Reward-model loss",
                line_chart(
                    _each_round(db, names, "train/loss"), title="Reward-model loss by step", x_label="optimizer step",
                    y_label="nats per comparison",
                ),
                "Training comparisons; round 2 starts again from the SFT checkpoint, with the ratings of both rounds.",
            ),
            _plot(
                "Reward-model accuracy while training",
                line_chart(
                    _each_round(db, names, "eval/accuracy"), title="Held-out accuracy by step",
                    x_label="optimizer step", y_label="held-out accuracy", is_percent=True,
                ),
                "Held-out comparisons, measured while training.",
            ),
        ],
    }  # fmt: skip


def _reinforced(db: Database, facts: Facts) -> dict[str, Any]:
    names = [r["runs"]["ppo"] for r in facts["rounds"]]
    tax = [
        Series("stories", _relative(_joined(db, names, "eval/tax_loss")), 3),
        Series("all tasks", _relative(_joined(db, names, "eval/demonstration_loss")), 4, is_dashed=True),
    ]

    def over_iterations(metric: str, y_label: str) -> Markup:
        series, marks = _one_after_another(db, names, metric)
        return line_chart(series, title=metric, x_label="PPO iteration", y_label=y_label, marks=marks)

    return {
        "title": "PPO",
        "text": "Scores of the two rounds come from two reward models, so their levels cannot be compared; their rises can "
        "be read. The KL is the divergence from the SFT policy per response.",
        "plots": [
            _plot(
                "Score against KL",
                line_chart(
                    [_against(db, name, index) for index, name in enumerate(names, start=1)],
                    title="Held-out score against KL", x_label="KL from SFT, nats per response", y_label="held-out score",
                ),
                "What the score costs in divergence: held-out prompts, from the first evaluation to the last.",
            ),
            _plot("Score", over_iterations("objective/score", "score of the rollouts"), "Mean over each iteration's rollouts."),
            _plot("KL", over_iterations("objective/kl", "nats per response"), "Mean over each iteration's rollouts."),
            _plot("Response length", over_iterations("rollout/response_tokens", "tokens"), "Mean length of the rollouts."),
            _plot(
                "Alignment tax",
                line_chart(
                    tax, title="Alignment tax", x_label="PPO iteration", y_label="change of loss since SFT", is_percent=True
                ),
                "Held-out demonstrations: stories, of which the preference does not speak, and those of all tasks.",
            ),
        ],
    }  # fmt: skip


def _pairs(db: Database, judge: str) -> list[dict[str, Any]]:
    """Return the first pairs of each category, in the order they were drawn."""
    words = {"policy": "after preferred", "opponent": "before preferred", "tie": "a tie"}
    kept: dict[str, list[dict[str, Any]]] = {}
    verdicts = ratings.verdicts(db, judge)
    for verdict in verdicts:
        of_category = kept.setdefault(verdict["category"], [])
        if len(of_category) < PAIRS_PER_CATEGORY:
            prompt = verdict["messages"][-1]["content"]
            of_category.append(verdict | {"prompt": prompt, "verdict": words[verdict["winner"]]})
    return [pair for pairs in kept.values() for pair in pairs]


def _lineage(db: Database, facts: Facts) -> Markup:
    nodes = [Node(s["run"], s["purpose"], TREE_TONES[s["stage"]]) for s in facts["stages"]]
    rated: list[str] = []
    edges = checkpoints.lineage(db)
    for one in facts["rounds"]:
        rated.append(one["runs"]["sample"])
        edges += [(sample, "ratings", one["runs"]["reward"]) for sample in rated]
    if gold := (facts.get("evaluation") or {}).get("gold"):
        edges.append((gold["sample"], "ratings", gold["reward"]))
    return family_tree(nodes, edges, title="Lineage of the runs")


def _notes(facts: Facts) -> list[str]:
    last, rater = facts["rounds"][-1], facts["rater"]
    win, as_trained = last["win_rate"], last["win_rate_as_trained"]
    return [
        f"The rater is a script, not a person. It prefers courteous, complete, correct answers that do not ramble, and it "
        f"errs on purpose in {100 * rater['error_rate']:.0f} % of its judgements, which keeps the win rate and the "
        "reward-model accuracy below 100 % even for perfect models.",
        f"The win rate rests on {win['n']} pairs ({win['wins']} wins, {win['ties']} ties, {win['losses']} losses) of test "
        f"prompts, which no stage trains on; {win['identical']} of the ties were identical answers. A tie counts as half a win, in the estimate and in Wilson's interval, which is "
        "then slightly wider than it need be. The order on the screen was drawn and stored before each judgement.",
        f"Both models answered at temperature {win['temperature']:g}. At {as_trained['temperature']:g}, as in PPO's rollouts, the win rate is "
        f"{100 * as_trained['value']:.0f} % ({_between(as_trained['low'], as_trained['high'])}, n = {as_trained['n']}).",
        "The interval covers the luck of the prompts and the samples, not that of the training: another seed gives another "
        f"policy. This is seed {facts['seed']}; look at several before you believe one.",
        "Reward-model accuracy is measured on comparisons of validation prompts only, those of all rounds so far.",
        f"The alignment tax is the relative change of the loss on {last['alignment_tax']['metric']} between the SFT policy "
        f"and the last policy; on all held-out demonstrations it is {100 * last['alignment_tax']['all_change']:+.1f} %.",
        "The starter model is very small and its language is that of a generator in this repository: the figures show that "
        "the loop works, not what it does to a large model.",
    ]


def _plot(title: str, svg: Markup, caption: str) -> dict[str, Any]:
    return {"title": title, "svg": svg, "caption": caption}


def _between(low: float, high: float) -> str:
    return f"{100 * low:.0f} to {100 * high:.0f} %"


def _curve(db: Database, run: str, metric: str) -> list[Point]:
    return [(float(step), value) for step, value in metrics.curve(db, runs.get(db, run).id, metric, max_points=120)]


def _each_round(db: Database, names: list[str], metric: str) -> list[Series]:
    return [Series(f"round {i}", _curve(db, name, metric), i) for i, name in enumerate(names, start=1)]


def _one_after_another(db: Database, names: list[str], metric: str) -> tuple[list[Series], list[float]]:
    """Return one series a round, placed end to end on the x axis, and the start of each later round."""
    series, marks, offset = [], [], 0.0
    for index, name in enumerate(names, start=1):
        points = [(x + offset, y) for x, y in _curve(db, name, metric)]
        series.append(Series(f"round {index}", points, index))
        if offset:
            marks.append(offset)
        offset = points[-1][0] if points else offset
    return series, marks


def _joined(db: Database, names: list[str], metric: str) -> list[Point]:
    """Return the rounds of one metric as one curve."""
    return [point for series in _one_after_another(db, names, metric)[0] for point in series.points]


def _relative(points: list[Point]) -> list[Point]:
    """Return each value as its relative change from the first."""
    return [(x, y / points[0][1] - 1) for x, y in points]


def _against(db: Database, name: str, index: int) -> Series:
    """Return held-out score over held-out KL, in the order of the evaluations."""
    kl = dict(_curve(db, name, "eval/kl"))
    points = [(kl[step], score) for step, score in _curve(db, name, "eval/score") if step in kl]
    return Series(f"round {index}", points, index)
