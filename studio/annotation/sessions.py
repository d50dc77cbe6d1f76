"""Rating sessions: their amount, source and choice of pairs. The owner of `sessions`, their events, items and runs.

A session lives only in the database: its state follows from its newest event and the votes that count, so that it goes
on unchanged after a restart. Its items are ordinary showings, each with a row that says why it was chosen.

    running -> (a block is full) resting -> running ... -> (the target is reached) done -> ended
    running <-> paused -> ended
"""

import random
import secrets
from dataclasses import dataclass
from typing import Any, Literal

from sqlite_utils import Database

from studio import settings
from studio.annotation import guidelines, pair_selection, repeats, session_config
from studio.annotation.repeats import Place
from studio.annotation.session_config import SessionConfig
from studio.errors import RatingError
from studio.preferences import comparisons
from studio.preferences.comparisons import Showing
from studio.workspace import now

State = Literal["running", "resting", "done", "paused", "ended"]


@dataclass(frozen=True)
class Session:
    """The current state of a session."""

    id: int
    rater: str
    config: SessionConfig
    guideline_id: int | None
    seed: int
    created_at: str
    reason: str
    """In words, what an automatic choice went by; empty where the person chose."""
    state: State
    num_given: int
    """Votes that count, skips left out."""

    @property
    def num_in_block(self) -> int:
        """Votes of the current block, of `config.block_size`; a full block where the session rests after one."""
        size = self.config.block_size
        return size if self.state == "resting" else self.num_given % size

    @property
    def sentence(self) -> str:
        """The session's state in words."""
        block = -(-self.num_given // self.config.block_size) if self.state == "resting" else self._block
        where = f"{self.num_given:,} of {self.config.target:,}"
        words = {
            "running": f"{where}, block {block}",
            "resting": f"{where}: block {block} is done",
            "done": f"{where}: the target is reached",
            "paused": f"{where}, paused",
            "ended": f"{where}, ended",
        }
        return f"Session {self.id}: {words[self.state]}."

    @property
    def _block(self) -> int:
        return self.num_given // self.config.block_size + 1


GIVEN = (
    "SELECT count(*) FROM session_items i WHERE i.session_id = :session AND EXISTS (SELECT 1 FROM rating_events e"
    " WHERE e.showing_id = i.showing_id AND e.outcome NOT IN ('undo', 'skip')"
    " AND NOT EXISTS (SELECT 1 FROM rating_events n WHERE n.supersedes = e.id))"
)


def start(db: Database, config: SessionConfig, rater: str = "person", reason: str = "") -> Session:
    """Start a session; empty checkpoint names are filled in with the newest ones.

    `reason` says what an automatic choice went by; `insights.active_choice` settles it.

    Raises:
        RatingError: another session of this rater is active, or has to be ended first.
        CheckpointError: there is no checkpoint for this source.
    """
    config = session_config.fill_in(db, config)
    if found := _at_work(db, rater):
        raise RatingError(f"Session {found} is running. Pause or end it before you start another.")
    row = {
        "rater": rater,
        "config": config.model_dump_json(),
        "guideline_id": guidelines.current(db).version or None,
        "seed": secrets.randbits(31),
        "created_at": now(),
        "reason": reason,
    }
    session_id: Any = db.table("sessions").insert(row).last_pk
    _note(db, session_id, "started", 0)
    return get(db, session_id)


def get(db: Database, session_id: int) -> Session:
    """Return the session with this number.

    Raises:
        RatingError: there is none.
    """
    row = next(db.query("SELECT * FROM sessions WHERE id = ?", [session_id]), None)
    if row is None:
        raise RatingError(f"There is no session {session_id}. See them with: rlhf-studio session")
    return _session(db, row)


def list_all(db: Database) -> list[Session]:
    """Return all sessions, newest first."""
    return [_session(db, row) for row in list(db.query("SELECT * FROM sessions ORDER BY id DESC"))]


def active(db: Database, rater: str = "person") -> Session | None:
    """Return the active session: running, resting between blocks, or done and not yet ended."""
    found = _at_work(db, rater)
    return get(db, found) if found else None


def pause(db: Database, session_id: int) -> Session:
    """Let a session wait; other pairs can be rated meanwhile."""
    return _move(db, session_id, "paused", ("running", "resting", "done"))


def resume(db: Database, session_id: int) -> Session:
    """Go on after a pause or with the next block.

    Raises:
        RatingError: it is running already or is over, or another session is active.
    """
    return _move(db, session_id, "resumed", ("paused", "resting"))


def end(db: Database, session_id: int) -> Session:
    """End a session for good, at its target or before."""
    return _move(db, session_id, "ended", ("running", "resting", "done", "paused"))


def undo_since(db: Database, rater: str) -> str:
    """Return the time from which undo takes back: the active session's start, so that it never reaches another one."""
    session = active(db, rater)
    return session.created_at if session else ""


def nothing_to_undo(db: Database, rater: str) -> str:
    """Say why undo took nothing back."""
    if active(db, rater):
        return "Nothing of this session is left to undo. History corrects what was given before it."
    return "There is nothing to undo."


def next_showing(db: Database, rater: str = "person", after: int | None = None) -> Showing | None:
    """Return what the rater sees next: the session's next item, or without an active session any waiting pair.

    None while a session rests, is done, or has no pair left that it may show (see `waiting`). Arguments as in
    `comparisons.next_showing`.
    """
    found = upcoming(db, rater, 1 if after is None else 2)
    return next((comparisons.get_showing(db, each) for each in found if each != after), None)


def upcoming(db: Database, rater: str, count: int) -> list[int]:
    """Return the next showings, the current one first, in an open write transaction: the active session's, else any.

    The one taken back last comes first, then the open ones; new items are chosen and stored to the end of the block.
    """
    session = active(db, rater)
    if session is None:
        return comparisons.upcoming(db, rater, count)
    if session.state != "running":
        return []
    found = _open(db, session.id, count)
    left = min(session.config.block_size - session.num_in_block, session.config.target - session.num_given)
    while len(found) < min(count, left) and (new := _new(db, session)) is not None:
        found.append(new)
    return found


def count_waiting(db: Database, session: Session) -> int:
    """Count the pairs this session can still show without new ones."""
    drawn = pair_selection.count_waiting(db, session.id)
    return drawn or len(pair_selection.pool_of(db, session_config.query(db, session.config), session.rater))


def outlook(db: Database, session: Session) -> str:
    """Say which two a session compares and, before its first vote, how many of their pairs there are; else empty.

    Counting looks at all that waits, so it is not done at each vote.
    """
    asked = session_config.question(session.config)
    if not asked or session.num_given or session.state != "running":
        return asked
    num = count_waiting(db, session) + len(_open(db, session.id, session.config.target))
    wait = f"{num:,} pair{' waits' if num == 1 else 's wait'}" if num else "no pairs wait yet"
    below = min(session.config.sample_below, session.config.target)
    more = f", and more are sampled when fewer than {below:,} are left" if num and below else ""
    return f"{asked}: {wait}{more}"


def why_nothing(db: Database, session: Session) -> str:
    """Explain why a running session has nothing to show, and what to do; empty if it has, or is not running.

    Reads only a few rows while something is open.
    """
    if session.state != "running" or _open(db, session.id, 1):
        return ""
    near = _recent(db, session.id)
    if repeats.next_second_look(db, _place(session, _position(db, session.id), near)):
        return ""
    query = session_config.query(db, session.config)
    waiting = pair_selection.waiting_prompts(db, session.id) | {
        row["prompt_id"] for row in pair_selection.pool_of(db, query, session.rater)
    }
    if waiting - near:
        return ""
    if waiting:
        return (
            f"Only pairs of prompts that you saw within the last {pair_selection.DISTANCE} items are left. Import other prompts, "
            "or end the session."
        )
    return session_config.why_none(session.config, pair_selection.census(db, query, session.rater))


def add_run(db: Database, session_id: int, run_id: int) -> None:
    """Remember a sampling run that was started for a session."""
    db.execute("INSERT INTO session_runs (session_id, run_id) VALUES (?, ?)", [session_id, run_id])


def list_runs(db: Database, session_id: int) -> list[int]:
    """Return the sampling runs started for a session, oldest first."""
    rows = db.query("SELECT run_id FROM session_runs WHERE session_id = ? ORDER BY run_id", [session_id])
    return [row["run_id"] for row in rows]


def _open(db: Database, session_id: int, count: int) -> list[int]:
    """Return the session's showings without a judgement: taken back last first, then never judged ones, as drawn."""
    undone = db.query(
        "SELECT u.showing_id FROM undone_showings u CROSS JOIN session_items i ON i.showing_id = u.showing_id"
        " WHERE i.session_id = ? ORDER BY u.event_id DESC LIMIT ?",
        [session_id, count],
    )
    found = [row["showing_id"] for row in undone]
    never = db.query(
        "SELECT o.showing_id FROM open_showings o CROSS JOIN session_items i ON i.showing_id = o.showing_id"
        " WHERE i.session_id = ? ORDER BY i.position LIMIT ?",
        [session_id, count - len(found)],
    )
    return found + [row["showing_id"] for row in never]


def _new(db: Database, session: Session) -> int | None:
    """Choose the next item, store its order of sides and why it was chosen; None where no pair may be shown now."""
    position = _position(db, session.id)
    near = _recent(db, session.id)
    rng = random.Random(f"{session.seed}:{position}")
    place = _place(session, position, near)
    found = repeats.second_look(db, place) or repeats.repeat(db, place, rng) or _fresh(db, session, near, rng)
    if found is None:
        return None
    row = found | {
        "session_id": session.id,
        "position": position,
        "guideline_id": _guideline(db),
        "created_at": now(),
    }
    db.table("session_items").insert(row)
    return row["showing_id"]


def _position(db: Database, session_id: int) -> int:
    """Return the position of the next item."""
    sql = "SELECT coalesce(max(position) + 1, 0) AS position FROM session_items WHERE session_id = ?"
    return next(db.query(sql, [session_id]))["position"]


def _place(session: Session, position: int, near: set[int]) -> Place:
    return Place(session.id, session.rater, session.config, session.seed, session.created_at, position, near)


def _recent(db: Database, session_id: int) -> set[int]:
    """Return the prompts of the newest items, which must not come again so soon."""
    sql = "SELECT prompt_id FROM session_items WHERE session_id = ? ORDER BY position DESC LIMIT ?"
    return {row["prompt_id"] for row in db.query(sql, [session_id, pair_selection.DISTANCE])}


def _fresh(db: Database, session: Session, near: set[int], rng: random.Random) -> dict[str, Any] | None:
    """Return a pair nobody has judged, from the block's draw; draw again where that is used up."""
    chosen = pair_selection.take(db, session.id, near, session.rater)
    if chosen is None:
        query = session_config.query(db, session.config)
        pool = pair_selection.pool_of(db, query, session.rater)
        pair_selection.fill_queue(db, session.id, pair_selection.draw(pool, query, session.config.block_size, rng))
        chosen = pair_selection.take(db, session.id, near, session.rater)
    if chosen is None:
        return None
    return {
        "showing_id": comparisons.add_showing(db, chosen.comparison_id, session.rater),
        "prompt_id": chosen.prompt_id,
        "arm": chosen.arm,
        "probability": chosen.probability,
        "score": chosen.score,
        "score_kind": chosen.score_kind,
    }


def _guideline(db: Database) -> int | None:
    return next((row["id"] for row in db.query("SELECT max(id) AS id FROM guidelines")), None)


def _move(db: Database, session_id: int, kind: str, allowed: tuple[State, ...]) -> Session:
    session = get(db, session_id)
    if session.state not in allowed:
        raise RatingError(f"Session {session_id} is {session.state}, so it cannot be {kind}.")
    other = _at_work(db, session.rater)
    if kind == "resumed" and other not in (None, session_id):
        raise RatingError(f"Session {other} is running. Pause or end it before you resume another.")
    if kind != "resumed":
        pair_selection.clear(db, session_id)
    _note(db, session_id, kind, session.num_given)
    return get(db, session_id)


def _note(db: Database, session_id: int, kind: str, num_given: int) -> None:
    db.execute(
        "INSERT INTO session_events (session_id, kind, num_given, created_at) VALUES (?, ?, ?, ?)",
        [session_id, kind, num_given, now()],
    )


def _at_work(db: Database, rater: str) -> int | None:
    """Return the rater's session that is neither paused nor ended."""
    rows = db.query(
        "SELECT s.id FROM sessions s WHERE s.rater = ? AND (SELECT e.kind FROM session_events e WHERE e.session_id = s.id"
        " ORDER BY e.id DESC LIMIT 1) IN ('started', 'resumed') ORDER BY s.id DESC LIMIT 1",
        [rater],
    )
    return next((row["id"] for row in rows), None)


def _session(db: Database, row: dict[str, Any]) -> Session:
    given = db.execute(GIVEN, {"session": row["id"]}).fetchone()[0]
    sql = "SELECT kind, num_given FROM session_events WHERE session_id = ? ORDER BY id DESC LIMIT 1"
    newest = next(db.query(sql, [row["id"]]))
    config, _ = settings.read_tolerantly(SessionConfig, row["config"])
    state: State = "running"
    if newest["kind"] in ("paused", "ended"):
        state = newest["kind"]
    elif given >= config.target:
        state = "done"
    elif given and given % config.block_size == 0 and newest["num_given"] != given:
        state = "resting"
    return Session(**(row | {"config": config, "state": state, "num_given": given}))
