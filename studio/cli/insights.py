"""``insights``: what the ratings tell, each figure with its interval and with how many votes are behind it."""

import argparse
import json
import math
from collections.abc import Sequence
from typing import Any

from studio.cli import arguments as takes
from studio.cli import follow
from studio.cli.printing import printable
from studio.cli.watch import Row, table
from studio.insights import report, votes
from studio.insights.consistency import Consistency
from studio.insights.estimates import Estimate
from studio.insights.habits import Habit
from studio.insights.learning_curves import Point
from studio.insights.predictions import Group, RewardModel, Stretch
from studio.insights.report import Insights
from studio.workspace import Workspace

ALL = "all"
HEAD = ("", "value", "95 % interval", "votes", "prompts")
NO_MORE = ("", "", "")


def add(commands: Any) -> None:
    """Add ``insights``."""
    summary = (
        "Show what the ratings tell: how good they are, and what reward models were worth on votes they predicted."
    )
    found = commands.add_parser("insights", help=summary, description=summary)
    found.add_argument("--rater", default="", metavar="NAME", help="whose judgements (default: everybody's)")
    found.add_argument(
        "--newest",
        type=takes.count,
        default=votes.NEWEST,
        metavar="N",
        help=f"read the newest N judgements (default: {votes.NEWEST:,})",
    )
    found.add_argument("--json", action="store_true", help="everything as one JSON object")
    found.set_defaults(action=_insights)


def _insights(arguments: argparse.Namespace) -> int:
    with Workspace.existing(arguments.workspace).read() as db:
        found = report.read(db, arguments.rater, arguments.newest)
    if arguments.json:
        print(json.dumps(found.as_dict(), indent=2))
        return 0
    if not found.num_read:
        print(f"Nothing is rated yet. Rate some pairs: {follow.command(arguments, 'rate')}")
        return 0
    steps = {name: follow.command(arguments, *words) for name, words in _STEPS.items()}
    parts = [
        _read(found),
        _consistency(found, steps),
        _models(found, steps),
        _disagreements(found, steps),
        _labels(found, steps),
        _choice(found, steps),
        _habits(found),
        _raters(found),
        _pace(found),
    ]
    print("\n\n".join(parts))
    return 0


_STEPS = {
    "session": ("session", "start"),
    "reward": ("reward",),
    "predict": ("session", "predict"),
    "disagreements": ("history", "disagreements"),
    "curve": ("curve",),
    "arms": ("curve", "--set", "arms=true"),
}


def _read(found: Insights) -> str:
    whose = f"of {printable(found.rater)}" if found.rater else "of all raters"
    part = "" if found.num_read == found.num_all else f", the newest of {found.num_all:,}"
    return f"{found.num_read:,} judgements {whose}{part}. Intervals take prompts, not votes, as independent."


def _consistency(found: Insights, steps: dict[str, str]) -> str:
    title = "Agreement with oneself, on what was shown twice"
    if not found.consistencies[0].agreement.num:
        return f"{title}\nNothing has been rated twice yet. Sessions show some pairs again: {steps['session']}"
    rows = [(*HEAD[:3], "repeats", "prompts"), *(row for each in found.consistencies for row in _consistent(each))]
    return (
        f"{title}\n{table(rows)}\nThe noise ceiling is an upper bound: a reward model can agree with at most so many decided votes. "
        "Pairs of mixed difficulty lower the truth; a remembered first answer raises the figure."
    )


def _consistent(each: Consistency) -> list[Row]:
    name = _rater(each.rater)
    return [
        _row(f"{name}: same judgement", each.agreement),
        _row("  sides as before", each.same_sides),
        _row("  sides swapped", each.swapped_sides),
        _row("  same winner, where decided", each.decided),
        _row("  noise ceiling, at most", each.ceiling),
    ]


def _models(found: Insights, steps: dict[str, str]) -> str:
    part = (
        f" (the newest {len(found.reward_models)} of {found.num_models})"
        if found.num_models > votes.MOST_MODELS
        else ""
    )
    title = f"Reward models, on votes that they predicted before{part}"
    if not found.reward_models:
        if not found.newest_model:
            return f"{title}\nThere is no reward model yet. Train one: {steps['reward']}"
        return (
            f"{title}\n{found.newest_model} has predicted none of these votes. Let it predict what is still to be rated, then rate: "
            f"{steps['predict']}"
        )
    ceiling = found.ceiling
    at_most = f"\nThe noise ceiling: at most {_percent(ceiling)} can be right." if ceiling.num else ""
    return f"{title}{at_most}\n" + "\n\n".join(_model(model) for model in found.reward_models)


def _model(model: RewardModel) -> str:
    loss = model.log_loss
    rows = [
        (model.name, *HEAD[1:], "said", "log-loss", "95 % interval"),
        (*_row("accuracy", model.accuracy), *NO_MORE),
        ("log-loss (guessing: 0.693)", *_cells(loss, "{:.3f}"), *NO_MORE),
        (*_row("prefers the longer answer", model.longer), *NO_MORE),
        (*_row("  the rater did, on these", model.rater_longer), *NO_MORE),
        *(_part(f"accuracy, {group.kind}: {printable(group.name)}", group) for group in model.groups),
        *(_part(f"accuracy, votes {each.first:,} to {each.last:,}", each) for each in model.over_time),
        *(
            (
                f"says {p.predicted:.0%}, is right in",
                f"{p.observed:.0%}",
                f"{p.low:.0%} to {p.high:.0%}",
                f"{p.num:,}",
                "",
                *NO_MORE,
            )
            for p in model.points
        ),
    ]
    verdict = "above" if model.calibration_error > model.calibration_noise else "within"
    return (
        f"{table(rows)}\nCalibration error {model.calibration_error:.3f}, {verdict} what chance gives a perfectly calibrated model "
        f"(95 % stay below {model.calibration_noise:.3f} at {model.accuracy.num:,} votes). Said: the mean probability that it gave to what it "
        "preferred; where it is calibrated, the accuracy is the same. In parts, log-loss is that of decided votes."
    )


def _part(name: str, part: Group | Stretch) -> Row:
    return (*_row(name, part.accuracy), f"{part.said:.0%}", *_cells(part.log_loss, "{:.3f}")[:2])


def _disagreements(found: Insights, steps: dict[str, str]) -> str:
    counted = found.disagreements
    title = f"Votes against a reward model that was sure of the other answer ({counted.sure:.0%} or more)"
    num = f"{'more than ' * counted.is_more}{counted.num_open:,}"
    still = f"{num} open; sessions show them again, unmarked. See them: {steps['disagreements']}"
    if not counted.slips.num:
        return f"{title}\nNone has been settled yet. {still}"
    rows = [
        HEAD,
        _row("my slip, now corrected", counted.slips),
        _row("the reward model's error", counted.model_errors),
        _row("the guideline does not say", counted.gaps),
    ]
    return f"{title}\n{table(rows)}\n{still}"


def _labels(found: Insights, steps: dict[str, str]) -> str:
    title = "How many more labels?"
    curve = found.curve
    if curve is None:
        return f"{title}\nNo learning curve has been measured yet. It trains reward models on growing parts of the ratings: {steps['curve']}"
    seeds = f"{curve.num_seeds:,} seed{'s' * (curve.num_seeds != 1)}"
    rows = [("labels", f"accuracy, mean of {seeds}", "lowest to highest")]
    rows += [(f"{p.size:,}", f"{p.accuracy:.1%}", f"{p.lowest:.1%} to {p.highest:.1%}") for p in curve.points]
    lines = [
        title,
        f"{curve.run}, {curve.snapshot}: reward models on {curve.num_held_out:,} held-out votes of {curve.num_prompts:,} prompts{_under(curve.ceiling)}.",
        *([table(rows)] if curve.points else []),
        *(gain.sentence for gain in curve.gains),
        *filter(None, [curve.unfinished]),
    ]
    return "\n".join(lines)


def _under(ceiling: Estimate) -> str:
    return (
        f", under the noise ceiling of at most {_percent(ceiling)}, from {ceiling.num:,} repeats" if ceiling.num else ""
    )


def _choice(found: Insights, steps: dict[str, str]) -> str:
    title = "Does choosing pairs save labels?"
    measured = found.active_choice
    if measured is None:
        return f"{title}\nNot measured yet. It trains reward models on chosen and on random labels of the same sessions: {steps['arms']}"
    rows = [("labels", "chosen actively", "lowest to highest", "drawn at random", "lowest to highest")]
    rows += [
        (f"{one.size:,}", *_accuracy(one), *_accuracy(other))
        for one, other in zip(measured.active, measured.random, strict=False)
    ]
    lines = [
        title,
        f"{measured.run}, {measured.snapshot}: reward models on {measured.num_held_out:,} held-out votes on pairs that were not "
        f"chosen, of {measured.num_prompts:,} prompts{_under(measured.ceiling)}.",
        *([table(rows)] if rows[1:] else []),
        *filter(
            None, [measured.sentence, f"Sessions whose choice is auto: {measured.consequence}", measured.unfinished]
        ),
        f"Measure it again: {steps['arms']}",
    ]
    return "\n".join(lines)


def _accuracy(point: Point) -> tuple[str, str]:
    return f"{point.accuracy:.1%}", f"{point.lowest:.1%} to {point.highest:.1%}"


def _habits(found: Insights) -> str:
    rows = [HEAD, *(row for each in found.habits for row in _habit(each))]
    return f"Habits, on decided votes\n{table(rows)}\nThe sides are drawn at random, so far from 50 % is a habit of the eye. A reward model sees each answer alone and has no side."


def _habit(each: Habit) -> list[Row]:
    name = _rater(each.rater)
    return [_row(f"{name}: left side", each.left), _row(f"{name}: longer answer", each.longer)]


def _raters(found: Insights) -> str:
    title = "Agreement between raters, beyond chance"
    if not found.agreement.kappas:
        return f"{title}\nNo pair of these was judged by two raters."
    rows = [
        (*HEAD[:3], "pairs", "prompts"),
        ("Krippendorff's alpha, all", *_cells(found.agreement.alpha, "{:.2f}")),
        *(
            (f"Cohen's kappa, {printable(k.one)} and {printable(k.other)}", *_cells(k.kappa, "{:.2f}"))
            for k in found.agreement.kappas
        ),
    ]
    return f"{title}\n{table(rows)}"


def _pace(found: Insights) -> str:
    title = "Pace, ties and skips"
    if not found.over_time:
        return f"{title}\nNone of these was judged in this studio."
    every = [found.all_time] if found.all_time and len(found.over_time) > 1 else []
    rows = [("judgements", "since", "votes an hour", "ties", "of votes", "skips")]
    rows += [
        (
            f"{block.first:,} to {block.last:,}",
            block.since[:16].replace("T", " "),
            "{} ({} to {})".format(*_shown(block.per_hour, "{:,.0f}")) if block.per_hour.num else "-",
            _percent(block.ties),
            f"{block.ties.num:,}",
            _percent(block.skips),
        )
        for block in [*every, *found.over_time]
    ]
    return f"{title}\n{table(rows)}"


def _rater(name: str) -> str:
    return printable(name) or ALL


def _row(name: str, found: Estimate) -> Row:
    return name, *_cells(found, "{:.0%}")


def _cells(found: Estimate, shape: str) -> Sequence[str]:
    if not found.num:
        return "-", "-", "0", "0"
    value, low, high = _shown(found, shape)
    return value, f"{low} to {high}", f"{found.num:,}", f"{found.num_prompts:,}"


def _shown(found: Estimate, shape: str) -> list[str]:
    return ["-" if math.isnan(each) else shape.format(each) for each in found[:3]]


def _percent(found: Estimate) -> str:
    return f"{found.value:.0%} ({found.low:.0%} to {found.high:.0%})" if found.num else "-"
