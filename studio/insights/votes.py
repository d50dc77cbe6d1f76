"""Reads the newest votes on pairs with all that the insights look at, and what reward models said of these pairs before.

The work is bounded by the number of votes read, not by how many there are: habits are those of now, and 10,000 votes
give a share to within a point.
"""

import json
from collections.abc import Sequence
from typing import NamedTuple

from sqlite_utils import Database

from studio.annotation.session_summary import TARGET
from studio.preferences.vocabulary import SIDES

NEWEST = 10_000
"""So many votes are read, the newest ones."""
MOST_MODELS = 5
"""So many reward models are measured, the newest ones."""


class Vote(NamedTuple):
    """A judgement that counts; left and right are the sides on the screen, or slots where nothing was shown here."""

    id: int
    comparison_id: int
    prompt_id: int
    category: str
    rater: str
    outcome: str
    first_outcome: str
    """Before a prediction was shown; else as `outcome`."""
    strength: int | None
    """That of the first outcome."""
    elapsed_ms: int | None
    created_at: str
    is_shown: bool
    """Judged on this studio's pages or terminal, so that its side and its time are known."""
    arm: str | None
    """Why a session chose it; None outside sessions."""
    left_id: int
    right_id: int
    left_length: int
    """Of the response, in characters."""
    right_length: int

    @property
    def is_repeat(self) -> bool:
        """Return whether a session showed it a second time: that measures the rater and nothing else."""
        return self.arm == "repeat"

    @property
    def is_decided(self) -> bool:
        """Return whether one of two responses won, also before a prediction was shown."""
        return self.outcome in SIDES and self.first_outcome in SIDES


class Predicted(NamedTuple):
    """A vote with the probability that a reward model had given the left response before it."""

    vote: Vote
    left_p: float

    @property
    def target(self) -> float:
        """What the probability should have been: 1, 0, or 1/2 for a tie."""
        return TARGET[self.vote.first_outcome]


def read(db: Database, rater: str = "", newest: int = NEWEST) -> list[Vote]:
    """Return the newest votes that count, oldest first, also skips and rankings; of all raters where none is named."""
    rows = db.execute(_VOTES, {"rater": rater, "newest": newest}).fetchall()
    return [Vote(*row) for row in reversed(rows)]


def predicted(db: Database, votes: Sequence[Vote]) -> dict[str, list[Predicted]]:
    """Return for each reward model its predictions of the given votes on pairs, newest model first; repeats are left out."""
    wanted = [vote for vote in votes if vote.first_outcome in TARGET and not vote.is_repeat]
    ids = json.dumps(sorted({vote.comparison_id for vote in wanted}))
    said: dict[int, list[tuple[str, int, float]]] = {}
    for name, comparison_id, first_id, preference in db.execute(_PREDICTIONS, [ids]):
        said.setdefault(comparison_id, []).append((name, first_id, preference))
    names = [name for (name,) in db.execute(_MODELS)]
    found: dict[str, list[Predicted]] = {name: [] for name in names}
    for vote in wanted:
        for name, first_id, preference in said.get(vote.comparison_id, ()):
            found[name].append(Predicted(vote, preference if vote.left_id == first_id else 1.0 - preference))
    return {name: each for name, each in found.items() if each}


def count(db: Database, rater: str = "") -> int:
    """Return how many judgements count, skips included; triggers keep the number."""
    sql = "SELECT coalesce(sum(number), 0) FROM rating_tallies WHERE :rater = '' OR rater = :rater"
    return db.execute(sql, {"rater": rater}).fetchone()[0]


def mark(db: Database) -> str:
    """Return what differs as soon as something was judged, predicted or settled."""
    tables = ("rating_events", "predictions", "settlements")
    newest = f"SELECT {', '.join(f'coalesce((SELECT max(id) FROM {table}), 0)' for table in tables)}"
    return " ".join(map(str, db.execute(newest).fetchone()))


def raters(db: Database) -> list[str]:
    """Return who judged, those with the most judgements first."""
    sql = "SELECT rater FROM rating_tallies GROUP BY rater HAVING sum(number) > 0 ORDER BY sum(number) DESC, rater"
    return [name for (name,) in db.execute(sql)]


_VOTES = """
SELECT r.id, r.comparison_id, c.prompt_id, p.category, r.rater, r.outcome, coalesce(w.outcome, r.outcome),
    CASE WHEN w.id IS NULL THEN r.strength ELSE w.strength END, r.elapsed_ms, r.created_at,
    r.showing_id IS NOT NULL AND r.judged_at IS NULL AND NOT r.is_imported, i.arm, a.id, b.id, length(a.text), length(b.text)
FROM (SELECT * FROM rating_events e WHERE e.outcome != 'undo' AND e.edited_response_id IS NULL
        AND (:rater = '' OR e.rater = :rater) AND NOT EXISTS (SELECT 1 FROM rating_events n WHERE n.supersedes = e.id)
        ORDER BY e.id DESC LIMIT :newest) r
JOIN comparisons c ON c.id = r.comparison_id JOIN prompts p ON p.id = c.prompt_id
JOIN comparison_responses f ON f.comparison_id = r.comparison_id AND f.slot = 0
JOIN comparison_responses g ON g.comparison_id = r.comparison_id AND g.slot = 1
LEFT JOIN showings s ON s.id = r.showing_id
JOIN responses a ON a.id = coalesce(s.left_response_id, f.response_id)
JOIN responses b ON b.id = coalesce(s.right_response_id, g.response_id)
LEFT JOIN session_items i ON i.showing_id = r.showing_id
LEFT JOIN prediction_views v ON v.id = (SELECT min(id) FROM prediction_views WHERE showing_id = r.showing_id)
LEFT JOIN rating_events w ON w.id = v.event_id
ORDER BY r.id DESC
"""
_PREDICTIONS = """
SELECT k.name, q.comparison_id, f.response_id, q.preference FROM json_each(?) j
CROSS JOIN predictions q ON q.comparison_id = j.value AND q.preference IS NOT NULL
JOIN checkpoints k ON k.id = q.checkpoint_id
JOIN comparison_responses f ON f.comparison_id = q.comparison_id AND f.slot = 0
"""
_MODELS = "SELECT k.name FROM checkpoints k JOIN runs u ON u.id = k.run_id AND u.stage = 'reward' ORDER BY k.id DESC"
