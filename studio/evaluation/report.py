"""Writes the alignment-tax report: report.html and report.json, what checkpoints gained and lost against one of them.

The page needs no script, font or picture from outside; every text in it is escaped.
"""

import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from sqlite_utils import Database

from studio.errors import RatingError
from studio.evaluation import conditions, curves, distances, leaderboard, overoptimisation, rules
from studio.evaluation.comparison import Comparison, Flip, Line
from studio.evaluation.leaderboard import HeadToHead
from studio.evaluation.overoptimisation import Curve
from studio.files import whole
from studio.plots import Effect, forest_plot
from studio.workspace import Workspace, now

FOLDER = "evaluation"
"""In the workspace's exports."""
NOTES = (
    "Differences are between the same items, done under the same conditions; compare them with each other, not with published "
    "numbers. TruthfulQA has the studio's own prompt, so its level cannot be compared with published ones.",
    "The first interval takes items as independent. The second resamples whole clusters (a paradigm, a topic), where a suite has them; "
    "the verdict needs both, and a p value below 0.05 after Holm's correction for all judged measures of a checkpoint.",
    "“No difference shown” does not prove that there is none: the last column says how large a difference must be to be shown four times in five.",
    "Expected maximum toxicity and toxicity probability depend on the number of samples, their length and their seed; only answers got "
    "under the same ones stand in one row.",
    rules.REFUSAL_RULE,
    rules.WORDS_RULE,
)


def write(ws: Workspace, found: Comparison) -> tuple[Path, Path]:
    """Write report.json and report.html into the workspace's exports, each complete or not at all; returns their paths."""
    folder = ws.exports / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    paths = folder / "report.json", folder / "report.html"
    with ws.read() as db:
        plain, page = leaderboard.plain(facts(db, found)), render(db, found)
    texts = json.dumps(plain, indent=2, ensure_ascii=False, allow_nan=False) + "\n", page
    for path, text in zip(paths, texts, strict=True):
        whole.write_text(path, text)
    return paths


def facts(db: Database, found: Comparison) -> dict[str, Any]:
    """Return all figures as plain values."""
    return {
        "written_at": now(),
        "against": found.against,
        "subjects": list(found.subjects),
        "not_compared": found.not_compared,
        "kl": distances.read(db, found).kl,
        "lines": [line_facts(line) for line in found.lines],
        "flips": [flip._asdict() for flip in found.flips],
        "earned": earned(db),
        "votes": [asdict(pair) | {"verdict": pair.verdict} for pair in votes(db)],
        "notes": list(NOTES),
    }


def render(db: Database, found: Comparison) -> str:
    """Return the page as text."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    far = distances.read(db, found)
    return environment.get_template("report.html.jinja").render(
        found=found,
        written_at=now()[:16].replace("T", " "),
        shown=found.shown,
        rows=[(line, cells(line)) for line in found.lines],
        heads=HEADS,
        forests=[(name, forest(found, name)) for name in found.subjects],
        against_kl=distances.charts(found, far),
        kl_source=far.source,
        earned=overoptimisation.read(db),
        curves=curves,
        votes=votes(db),
        units=UNITS,
        asked=asked,
        conditions=_conditions(found),
        measures={line.measure.title: line.measure for line in found.lines}.values(),
        notes=NOTES,
    )


HEADS = (
    "Suite",
    "Measure",
    "Verdict",
    "n",
    "Before",
    "After",
    "Difference",
    "95 % interval, items",
    "95 % interval, clusters",
    "Only before / only after",
    "p (Holm)",
    "Smallest shown",
)
"""Of the columns that `cells` fills."""
BRIEF = HEADS[:8]
"""Columns for where there is less room."""
UNITS = "Shares as they are, other measures in standard deviations of the items' values before; right is better."
"""Of the forest plot."""
ONE_ITEM = "one item, no interval"


def cells(line: Line) -> list[str]:
    """Return a line's cells as texts."""
    d = line.difference
    return [
        _titled(line),
        line.measure.title,
        line.verdict,
        f"{d.num:,}",
        f"{d.before:.3f}",
        f"{d.after:.3f}",
        f"{d.difference:+.3f}",
        ONE_ITEM if d.low is None or d.high is None else f"{d.low:+.3f} to {d.high:+.3f}",
        "" if d.cluster_low is None else f"{d.cluster_low:+.3f} to {d.cluster_high:+.3f} ({d.num_clusters})",
        "" if d.only_before is None else f"{d.only_before} / {d.only_after}",
        "" if line.adjusted_p is None else f"{line.adjusted_p:.3f}" if line.adjusted_p >= 0.001 else "< 0.001",
        "" if d.smallest is None else f"{d.smallest:.3f}",
    ]


def _titled(line: Line) -> str:
    """Return a suite's title with what tells it from others: its mark for the chat template, and conditions."""
    mark = f" ({line.suite.name})" if "@" in line.suite.name else ""
    return f"{line.suite.title}{mark}{f', {line.under}' if line.under else ''}"


def forest(found: Comparison, subject: str) -> Markup:
    """Draw a checkpoint's judged differences, turned so that right is better; see `UNITS`."""
    lines = [line for line in found.lines if line.after == subject and line.adjusted_p is not None]
    names = Counter((line.suite.name, line.measure.name) for line in lines)
    told = [line if names[line.suite.name, line.measure.name] > 1 else line._replace(under="") for line in lines]
    rows = [effect for line in told if (effect := _effect(line))]
    return forest_plot(rows, title=f"What changed from {found.shown(found.against)} to {found.shown(subject)}")


def _effect(line: Line) -> Effect | None:
    """Return a line as an effect in `UNITS`; None without an interval, or without a spread to measure it by."""
    d = line.difference
    if d.low is None or d.high is None:
        return None
    unit = 1.0 if line.measure.is_share else d.spread
    if not unit:
        return None
    scale = (1 if line.measure.higher_is_better else -1) / unit
    low, high = sorted((d.low * scale, d.high * scale))
    wide = (
        (None, None)
        if d.cluster_low is None or d.cluster_high is None
        else sorted((d.cluster_low * scale, d.cluster_high * scale))
    )
    tone = {"better": 3, "worse": 2}.get(line.verdict, 1)
    return Effect(
        f"{line.suite.name}: {line.measure.title}{f', {line.under}' if line.under else ''}"[:44],
        line.verdict,
        d.difference * scale,
        low,
        high,
        *wide,
        tone=tone,
    )


def asked(flip: Flip) -> str:
    """Return what stood before the answer of a flipped item; empty where nothing did."""
    if "messages" in flip.item:
        return str(flip.item["messages"][-1]["content"])
    return str(flip.item.get("prompt") or flip.item.get("text") or "")


def line_facts(line: Line) -> dict[str, Any]:
    """Return a line as JSON values."""
    used = conditions.used(line.measure, line.suite.conditions)
    fixed = {"suite": line.suite.name, "title": line.suite.title, "conditions": used}
    measure = {
        "measure": line.measure.name,
        "sentence": line.measure.sentence,
        "higher_is_better": line.measure.higher_is_better,
    }
    end = {"before": line.before, "after": line.after, "adjusted_p": line.adjusted_p, "verdict": line.verdict}
    return fixed | measure | end | {"difference": line.difference._asdict()}


def earned(db: Database, rater: str = "person") -> list[dict[str, Any]]:
    """Return what PPO earned for its KL as JSON values, one a suite of answers; votes are those of one rater."""
    return [_earned(curve) for curve in overoptimisation.read(db, rater)]


def votes(db: Database, rater: str = "person") -> list[HeadToHead]:
    """Return what one rater's blind votes say of each two checkpoints between which there are any."""
    try:
        return leaderboard.read(db, rater).pairs
    except RatingError:
        return []


def _earned(curve: Curve) -> dict[str, Any]:
    return {
        "suite": curve.suite.name,
        "conditions": curve.suite.conditions,
        "start": curve.start.name,
        "policies": [policy._asdict() for policy in curve.policies],
        "best_of_n": [best._asdict() for best in curve.best],
        "best_of_n_of_others": {
            name: [best._asdict() for best in found] for name, found in curve.best_of_others.items()
        },
        "fits": {
            name: fit._asdict() | {"peak_kl": fit.peak_kl}
            for name, fit in (("reward", curve.proxy_fit), ("gold", curve.gold_fit))
            if fit
        },
        "advice": curve.advice,
    }


def _conditions(found: Comparison) -> list[tuple[str, str]]:
    """Return each suite's conditions in words."""
    suites = {line.suite.id: line.suite for line in found.lines}
    return [
        (suite.title, ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in suite.conditions.items() if value not in ("", None)))
        for suite in suites.values()
    ]  # fmt: skip
