"""Shows how far to trust a reward model's scores: the reliability curve, accuracy by strength and category."""

from collections.abc import Mapping, Sequence
from html import escape

from studio.runs.reward_evaluation import Line, lines, reliability
from ui.components import reliability_curve
from ui.components.html import number


def panel(values: Mapping[str, float]) -> str:
    """Return the drawing with its table; empty where nothing was measured on held-out comparisons."""
    rows = lines(values)
    if not rows:
        return ""
    ece = values.get("eval/ece")
    note = "" if ece is None else f"The mean distance from it is {ece:.3f} (ece)."
    drawing = reliability_curve.figure(reliability(values), note)
    return f'<div class="charts trust">{drawing}<div>{_table(rows)}{_zero(values)}</div></div>'


def _zero(values: Mapping[str, float]) -> str:
    """Say what a score of 0 means, and how much a point of score is; empty before the end of the fit."""
    if "eval/center" not in values:
        return ""
    return (
        f'<p class="zero">The scores of {int(values["eval/center_num"]):,} reference answers are 0 on average '
        f"(before: {number(values['eval/center'])}) with a standard deviation of {number(values['eval/center_spread'])}.</p>"
    )


def _table(rows: Sequence[Line]) -> str:
    body, group = "", ""
    for row in rows:
        if row.group != group:
            group = row.group
            body += f'<tr><th colspan="4" scope="rowgroup">{escape(group)}</th></tr>'
        is_share = group != "correlation"
        value, low, high = (f"{x:.0%}" if is_share else f"{x:.2f}" for x in (row.value, row.low, row.high))
        body += (
            f'<tr><td>{escape(row.name)}</td><td class="num">{value}</td><td class="num">{low} to {high}</td>'
            f'<td class="num">{row.num:,}</td></tr>'
        )
    return (
        '<table class="judged"><thead><tr><th scope="col">held-out comparisons</th><th scope="col">value</th>'
        f'<th scope="col">95 % interval</th><th scope="col">number</th></tr></thead><tbody>{body}</tbody></table>'
    )
