"""Demonstrations that people wrote elsewhere, with their versions: the owner of `demonstration_events`.

A later version of an answer takes the place of the earlier one, which stays in the history and is no demonstration any more.
The same answer of the same person to the same prompt is known by the source's own name of it.
"""

from typing import Literal, NamedTuple

from sqlite_utils import Database

from studio.preferences import prompts
from studio.workspace import now


class Written(NamedTuple):
    """A demonstration as it was recorded.

    Attributes:
        response_id: its response.
        became: new, known, or corrected where it took the place of an earlier version.
        replaced: the response of that earlier version.
    """

    response_id: int
    became: Literal["new", "known", "corrected"]
    replaced: int | None = None


def record(
    db: Database,
    prompt_id: int,
    text: str,
    name: str,
    *,
    rater: str,
    judged_at: str | None = None,
    import_id: int | None = None,
) -> Written:
    """Store an answer that a person wrote, or a later version of it, in the caller's transaction.

    Args:
        db: in a transaction.
        prompt_id: the prompt that it answers.
        text: the answer.
        name: the source's own name of it, the same for each version.
        rater: who wrote it; another person's answer is never replaced.
        judged_at: when, where that is known.
        import_id: the batch in which it came.
    """
    newest = db.execute(
        "SELECT e.id, e.response_id, r.text FROM demonstration_events e JOIN responses r ON r.id = e.response_id"
        " WHERE r.prompt_id = ? AND e.name = ? AND e.rater = ? ORDER BY e.id DESC LIMIT 1",
        [prompt_id, name, rater],
    ).fetchone()
    event_id, earlier = newest[:2] if newest else (None, None)
    if newest and newest[2] == text:
        return Written(newest[1], "known")
    before = db.conn.total_changes
    response_id = prompts.add_response(db, prompt_id, text, "demonstration", import_id=import_id)
    is_new = db.conn.total_changes > before
    if not is_new and event_id is None:  # here without a name: nothing may take its place
        return Written(response_id, "known")
    db.execute(
        "INSERT INTO demonstration_events (name, response_id, rater, judged_at, supersedes, created_at) VALUES (?, ?, ?, ?, ?, ?)",
        [name, response_id, rater, judged_at, event_id, now()],
    )
    return Written(response_id, "new" if event_id is None else "corrected", earlier)
