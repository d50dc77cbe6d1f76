"""Counts what a reward model has not seen, and what it was made from."""

from sqlite_utils import Database

from studio.preferences import snapshots
from studio.preferences.snapshots import Recipe
from studio.preferences.vocabulary import TIES

_IS_TIE = (
    f"(r.outcome IN {TIES!r} OR r.outcome = 'ranking' AND (SELECT count(DISTINCT value) FROM json_each(r.ranks)) = 1)"
)


def count(db: Database, recipe: Recipe, when: str, *, is_held_out: bool = False) -> int:
    """Count the training prompts' ratings that a recipe selects, without those that said the same at this UTC time: a note is no news.

    With `is_held_out` those of the other prompts, which a reward model is only measured with.
    """
    chosen, values = snapshots.chosen(recipe)
    split = "<>" if is_held_out else "="
    return db.execute(
        f"SELECT count(*) FROM ({chosen} AND p.split {split} 'train' AND r.created_at > :when"
        f" AND NOT (:drops_ties AND {_IS_TIE}) AND NOT (:drops_weak AND r.strength IS 1)) f WHERE NOT EXISTS ("
        "SELECT 1 FROM rating_events e WHERE e.comparison_id = f.comparison_id AND e.created_at <= :when"
        " AND (e.showing_id, e.rater, e.outcome, e.strength, e.ranks) IS (f.showing_id, f.rater, f.outcome, f.strength, f.ranks)"
        " AND NOT EXISTS (SELECT 1 FROM rating_events n WHERE n.supersedes = e.id AND n.created_at <= :when))",
        values | {"when": when, "drops_ties": recipe.ties == "drop", "drops_weak": recipe.weak == "drop"},
    ).fetchone()[0]


def count_frozen(db: Database, snapshot_id: int, most: int) -> int:
    """Count the ratings in a snapshot, `most` where there are more."""
    return db.execute(
        "SELECT count(*) FROM (SELECT DISTINCT rating_id FROM snapshot_rows WHERE snapshot_id = ? LIMIT ?)",
        [snapshot_id, most],
    ).fetchone()[0]
