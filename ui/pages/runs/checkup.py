"""What looks wrong with the chosen run: the newest findings, each with its evidence and what to do, above the curves."""

from collections.abc import Sequence
from html import escape

from studio.checkup.findings import Finding

SHOWN = 4


def panel(name: str, found: Sequence[Finding]) -> str:
    """Return the newest findings of a run; empty where nothing looks wrong."""
    if not found:
        return ""
    rows = "".join(
        f'<li><b>{escape(finding.rule)}</b> <span class="num">iteration {finding.step:,}</span>'
        f'<p>{escape(finding.said)}</p><p class="quiet">{escape(finding.advice)}</p></li>'
        for finding in found[: -SHOWN - 1 : -1]
    )
    told = f'<p class="quiet">All {len(found)}: <code>rlhf-studio runs checkup {escape(name)}</code></p>'
    ask = (
        '<p>Only people can tell whether the answers got worse: <a href="#evaluate">ask for ten blind votes</a> between '
        "this policy and SFT.</p>"
    )
    more = (ask if any(finding.asks_votes for finding in found) else "") + (told if len(found) > SHOWN else "")
    return f'<section class="checkup" aria-label="What looks wrong"><ul>{rows}</ul>{more}</section>'
