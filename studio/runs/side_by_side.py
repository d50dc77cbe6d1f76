"""Two checkpoints next to each other: the settings in which their runs differ, their figures, what was measured, votes, answers.

Everything is read from the database, so checkpoints whose files were deleted can be compared too.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any, NamedTuple

from pydantic import BaseModel
from sqlite_utils import Database

from modules.metrics import sentence
from studio.errors import CheckpointError
from studio.evaluation import comparison, leaderboard, report, results
from studio.evaluation.comparison import Comparison
from studio.evaluation.leaderboard import HeadToHead
from studio.models import checkpoints
from studio.models.checkpoints import Checkpoint
from studio.models.figures import STAGES
from studio.preferences import model_votes
from studio.preferences.prompts import Messages
from studio.runs import metrics, runs

NUM_ANSWERS = 6
"""Prompts of each kind that are shown with both answers."""
MISSING = "–"
"""Stands for a setting that a stage does not have."""


class Setting(NamedTuple):
    """A setting in which the two runs differ."""

    name: str
    one: str
    other: str


class Value(NamedTuple):
    """A metric of one or both."""

    metric: str
    sentence: str
    one: float | None
    other: float | None


class Answers(NamedTuple):
    """A prompt, or an item of a suite, with both answers."""

    where: str
    """What they were given for."""
    messages: Messages
    one: str
    other: str


@dataclass(frozen=True)
class SideBySide:
    """Everything about two checkpoints."""

    one: Checkpoint
    other: Checkpoint
    settings: list[Setting]
    values: list[Value]
    measured: Comparison | None
    """The second against the first; without lines where the conditions differ, None where no suite has measured both."""
    votes: HeadToHead | None
    """None where nobody has voted on answers of both to one prompt."""
    answers: list[Answers]

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        measured = [report.line_facts(line) for line in self.measured.lines] if self.measured else []
        return leaderboard.plain(
            {
                "one": self.one.name,
                "other": self.other.name,
                "settings": [each._asdict() for each in self.settings],
                "metrics": [each._asdict() for each in self.values],
                "measured": measured,
                "votes": asdict(self.votes) if self.votes else None,
                "answers": [each._asdict() for each in self.answers],
            }
        )


def read(db: Database, one: str, other: str, num_answers: int = NUM_ANSWERS) -> SideBySide:
    """Compare two checkpoints; a run's name stands for the one that it hands on.

    Args:
        db: The workspace.
        one: The first, such as the older one.
        other: The second; differences are what changed from the first to it.
        num_answers: Most prompts of each kind.

    Raises:
        CheckpointError: there is no such checkpoint, or both are the same.
    """
    first, second = (checkpoints.recorded(db, name) for name in (one, other))
    if first.id == second.id:
        raise CheckpointError(f"{first.name} cannot be compared with itself: name two checkpoints.")
    names = first.name, second.name
    suites = results.measured(db)
    common = [suite.name for suite in suites if first.name in suite.subjects]
    common = [suite.name for suite in suites if second.name in suite.subjects and suite.name in common]
    return SideBySide(
        first,
        second,
        _settings(runs.get(db, first.run_name), runs.get(db, second.run_name)),
        _values(first, second),
        comparison.compare(db, first.name, names, common) if common else None,
        _votes(db, first, second),
        [
            *islice(_sampled(db, first, second), num_answers),
            *islice(_written_in_training(db, first, second), num_answers),
            *(each for suite in suites if set(names) <= set(suite.subjects) for each in islice(_measured(db, suite, names), num_answers)),
        ],
    )  # fmt: skip


def _settings(one: runs.Run, other: runs.Run) -> list[Setting]:
    """Return the settings that differ; of those that only one stage has, the ones that differ from their defaults."""
    first, second = _told(one.config, other.config), _told(other.config, one.config)
    found = [
        Setting(name, first.get(name, MISSING), second.get(name, MISSING))
        for name in dict.fromkeys([*first, *second])
        if first.get(name) != second.get(name)
    ]
    return found if one.revision == other.revision else [*found, Setting("code", one.revision, other.revision)]


def _told(config: BaseModel, other: BaseModel) -> dict[str, str]:
    """Return settings as texts: all that the other config has too, and what else differs from its default."""
    fields = type(config).model_fields
    return {
        name: str(value)
        for name, value in config.model_dump().items()
        if name in type(other).model_fields or value != fields[name].default
    }


def _values(one: Checkpoint, other: Checkpoint) -> list[Value]:
    """Return the metrics of both, those of their stages first; the bounds of intervals are left out."""
    first = [figure.metric for c in (one, other) for figure in STAGES.get(c.stage, ())]
    known = one.metrics | other.metrics
    names = [name for name in dict.fromkeys([*first, *sorted(known)]) if name in known]
    return [
        Value(name, sentence(name), one.metrics.get(name), other.metrics.get(name))
        for name in names
        if not name.endswith(("_low", "_high"))
    ]


def _votes(db: Database, one: Checkpoint, other: Checkpoint) -> HeadToHead | None:
    """Return the votes between the two, of the person or else of the first rater who gave some."""
    for rater in model_votes.raters(db):
        votes = model_votes.between_checkpoints(db, rater, [other.id])
        between = [vote for vote in votes if {vote.left, vote.right} == {one.name, other.name}]
        if between:
            return leaderboard.head_to_head(one.name, other.name, between, rater)
    return None


def _sampled(db: Database, one: Checkpoint, other: Checkpoint) -> Iterator[Answers]:
    """Yield the first answers of both to each prompt that both were asked, the newest prompt first."""
    rows = db.query(
        "SELECT p.messages, (SELECT text FROM responses WHERE id = b.one) AS one, (SELECT text FROM responses WHERE id = b.other) AS other"
        " FROM (SELECT prompt_id, min(iif(checkpoint_id = :one, id, NULL)) AS one, min(iif(checkpoint_id = :other, id, NULL)) AS other"
        " FROM responses WHERE checkpoint_id IN (:one, :other) GROUP BY prompt_id) b JOIN prompts p ON p.id = b.prompt_id"
        " WHERE b.one IS NOT NULL AND b.other IS NOT NULL ORDER BY b.prompt_id DESC",
        {"one": one.id, "other": other.id},
    )
    for row in rows:
        yield Answers("sampled", json.loads(row["messages"]), row["one"], row["other"])


def _written_in_training(db: Database, one: Checkpoint, other: Checkpoint) -> Iterator[Answers]:
    """Yield the answers to fixed prompts that both runs had written when they saved these checkpoints."""
    found = [metrics.samples_until(db, c.run_id, c.step) for c in (one, other)]
    for prompt, text in found[0].items():
        if prompt in found[1]:
            yield Answers("written while training", metrics.turns_of(prompt), text, found[1][prompt])


def _measured(db: Database, suite: results.Measured, names: tuple[str, str]) -> Iterator[Answers]:
    for item in results.items(db, suite.id, names):
        texts = [next(filter(None, item.texts[name]), "") for name in names]
        if any(texts):
            asked = item.content.get("messages") or [{"role": "user", "content": str(item.content.get("prompt", ""))}]
            yield Answers(f"measured on {suite.title}", asked, *texts)
