"""Tells of each comparison that was voted on whether a session had chosen it or drawn it at random.

Its arm is that of the session item through which it was voted on first. Only sessions that chose count: what they drew at random
comes from the same pairs, at the same time. What was imported, or rated outside such sessions, belongs to neither arm, and neither
does what came first as the newest.
"""

from typing import Literal

from sqlite_utils import Database

Arm = Literal["active", "random"]
ARMS: tuple[Arm, Arm] = ("active", "random")
WORDS = {"active": "chosen actively", "random": "drawn at random"}


def by_comparison(db: Database) -> dict[int, Arm]:
    """Return the arm of each comparison that has one, by its id."""
    rows = db.query(
        f"WITH first AS (SELECT min(id) AS id FROM rating_events WHERE outcome NOT IN ('undo', 'skip') GROUP BY comparison_id)"
        f" SELECT e.comparison_id, i.arm = 'random' AS is_random FROM first JOIN rating_events e ON e.id = first.id"
        f" JOIN session_items i ON i.showing_id = e.showing_id WHERE i.arm IN {_CHOSEN}"
        f" OR (i.arm = 'random' AND i.session_id IN (SELECT session_id FROM session_items WHERE arm IN {_CHOSEN}))"
    )
    return {row["comparison_id"]: "random" if row["is_random"] else "active" for row in rows}


_CHOSEN = "('uncertainty', 'margin', 'information', 'diversity')"
