"""Tells the rating page about the active session, in the transaction that records the press."""

from typing import Any

from sqlite_utils import Database

from studio.annotation import guidelines, predictions, prefetch, sessions
from studio.workspace import Workspace


def state(ws: Workspace, db: Database, rater: str) -> dict[str, Any]:
    """Return the active session for the rating page's scripts, in its open transaction, and the guideline in force."""
    session = sessions.active(db, rater)
    told: dict[str, Any] = {"guideline": guidelines.current(db).text, "session": None, "asks_attributes": False}
    if session is None:
        return told
    prefetch.look_after(ws, rater)
    background = ""
    if session.state == "running":
        background = prefetch.explain(ws, session, sessions.why_nothing(db, session))
    known = {
        "state": session.state,
        "said": session.sentence,
        "outlook": sessions.outlook(db, session),
        "given": session.num_given,
        "target": session.config.target,
    }
    return told | {"session": known | {"background": background}, "asks_attributes": session.config.attributes}


def prediction(db: Database, rater: str, showing_id: int, event_id: int) -> str:
    """Return the prediction for a pair just judged, where the session shows it, and store that it was seen."""
    session = sessions.active(db, rater)
    found = predictions.reveal(db, showing_id, event_id) if session and session.config.show_predictions else None
    if found is None:
        return ""
    side, share = ("left", found.left) if found.left >= 0.5 else ("right", 1.0 - found.left)
    return f"{found.checkpoint} had given the {side} answer {share:.0%}."
