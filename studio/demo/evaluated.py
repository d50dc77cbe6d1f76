"""What the demo's last policy gained and lost, for its report: suites, votes at every look, and what PPO earned for its KL."""

from typing import Any

from studio.evaluation import comparison, curves, leaderboard, overoptimisation
from studio.evaluation import report as evaluation_report
from studio.models import checkpoints
from studio.plots import Interval, interval_chart
from studio.workspace import Database

Facts = dict[str, Any]
GOLD = (
    "Gold is a second reward model, from other votes on answers of the last policy and of SFT; PPO was never trained against it. Best of n "
    "chooses from answers of SFT."
)
TOXICITY = (
    "Answers to safe and unsafe requests are looked at for what looks like a refusal and for listed words. Toxicity is not measured: that needs "
    "a classifier of yours (toxicity=classifier:FOLDER#LABEL)."
)
VOTES = "Expected share of the scripted rater's votes against SFT, a tie counting as half."


def facts(db: Database, sft: str, ppo: str, rater: str) -> Facts:
    """Return the comparison of the two runs' checkpoints on the same items, and the votes between them, as JSON values."""
    before, after = checkpoints.get(db, sft).name, checkpoints.get(db, ppo).name
    found = comparison.compare(db, before, (before, after))
    lines = [
        dict(zip(("suite", "measure", "verdict", "n", "before", "after", "difference", "interval"), row, strict=True))
        for row in (evaluation_report.cells(line)[:8] for line in found.lines)
    ]
    pairs = leaderboard.read(db, rater, [before]).as_dict()["pairs"]
    votes = next(pair for pair in pairs if {pair["one"], pair["other"]} == {before, after})
    earned = evaluation_report.earned(db, rater)
    return {"before": before, "after": after, "lines": lines, "votes": votes, "earned": earned}


def sections(db: Database, found: Facts | None, rater: str) -> list[Facts]:
    """Return the report's sections of these facts: title, text and plots, each with a caption; none where nothing was measured."""
    if found is None:
        return []
    before, after, votes = found["before"], found["after"], found["votes"]
    compared = comparison.compare(db, before, (before, after))
    num = votes["wins"] + votes["losses"]
    share = Interval(
        f"{votes['one']} preferred", votes["decided"] or 0.5, votes["anytime_low"], votes["anytime_high"], num
    )
    tax = {
        "title": f"What PPO changed elsewhere: {after} against {before}",
        "text": f"The same items, one by one. The verdict needs both intervals, and a p value below 0.05 after Holm's correction. {TOXICITY}",
        "plots": [
            {
                "title": "Differences on the suites",
                "svg": evaluation_report.forest(compared, after),
                "caption": evaluation_report.UNITS,
            },
        ],
    }
    looked_at = {
        "title": "When to stop judging",
        "text": "Votes of the scripted rater between the two, at both temperatures; ties are left out.",
        "plots": [
            {
                "title": "Decided votes",
                "svg": interval_chart([share], title="Decided votes", reference_text="equal"),
                "caption": f"This 95 % interval holds at every look: one may stop once it is decided. {_verdict(votes)}",
            },
        ],
    }
    return [tax, looked_at, *(_earned(curve) for curve in overoptimisation.read(db, rater))]


def _verdict(votes: Facts) -> str:
    if votes["is_decided"]:
        return f"It is: {votes['one'] if votes['anytime_low'] > 0.5 else votes['other']} is preferred."
    more = votes["votes_to_decide"]
    return (
        "It is not yet." if more is None else f"It is not yet; about {more:,} more votes would settle it at this rate."
    )


def _earned(curve: overoptimisation.Curve) -> Facts:
    titles = ("Gain over the KL", "Gold gain over the KL", "Gold gain over the other", "Votes over the KL")
    return {
        "title": "What PPO earned for its KL",
        "text": " ".join([*curves.sentences(curve), GOLD]),
        "plots": [
            {"title": title, "svg": chart, "caption": VOTES if title == titles[-1] else curves.units(curve)}
            for title, chart in zip(titles, curves.charts(curve), strict=False)
        ],
    }
