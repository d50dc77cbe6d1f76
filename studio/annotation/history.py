"""The history of all ratings: searched and filtered, a page at a time, each with all its events. Read-only.

Ratings are read from the newest back, and only as far as a page needs. A rating is one chain of events on a showing (or
an imported judgement); the newest event counts, and the older ones say what it was before.
"""

import json
from dataclasses import asdict, dataclass
from typing import Any

from sqlite_utils import Database

from studio.annotation import sessions
from studio.errors import RatingError
from studio.preferences import comparisons, prompts, ratings, wording
from studio.preferences import text_search as texts_of
from studio.preferences.judgements import Remarks
from studio.preferences.vocabulary import FLAGS
from studio.workspace import LARGEST, check_day


@dataclass(frozen=True)
class Filter:
    """A filter for ratings; empty fields let all through.

    `since` and `until` are days (UTC); `flag` is one of the flags given to a response; `is_changed`: only ratings that
    were corrected, annotated again, given again after an undo, or taken back, those that count no more included;
    `is_imported`: only judgements that came with an import, as they count now.

    Raises:
        RatingError: a day or a flag is invalid.
    """

    search: str = ""
    outcome: str = ""
    rater: str = ""
    category: str = ""
    since: str = ""
    until: str = ""
    flag: str = ""
    session: int | None = None
    is_changed: bool = False
    is_imported: bool = False

    def __post_init__(self) -> None:
        try:
            check_day(self.since)
            check_day(self.until)
        except ValueError as error:
            raise RatingError(f"{error}.") from error
        if self.since and self.until and self.since > self.until:
            raise RatingError(f"No day is between {self.since} and {self.until}: the second is before the first.")
        if self.flag and self.flag not in FLAGS:
            raise RatingError(f"There is no flag {self.flag[:60]!r}; use one of {', '.join(FLAGS)}.")


@dataclass(frozen=True)
class Entry:
    """A rating, with the texts as they were on the screen."""

    id: int
    comparison_id: int
    showing_id: int | None
    outcome: str
    strength: int | None
    rater: str
    reason: str | None
    note: str
    flags: str
    attributes: str
    ranks: str | None
    is_ranked: int
    """1 if three or more answers were on the screen."""
    elapsed_ms: int | None
    created_at: str
    category: str
    split: str
    session_id: int | None
    arm: str | None
    messages: list[dict[str, str]]
    left: str
    right: str
    is_undone: int = 0
    """1 if it was taken back and nothing replaces it."""
    num_responses: int = 2
    is_imported: int = 0

    @property
    def what(self) -> str:
        """What was judged, and how it came to be, in words."""
        kind = "pair" if self.num_responses == 2 else f"ranking of {self.num_responses}"
        if self.arm in ("repeat", SECOND_LOOK):
            return f"{kind}, {self.arm}"
        return f"{kind}, imported" if self.is_imported else kind

    @property
    def verdict(self) -> str:
        """The outcome in words."""
        return f"{self._judgement}, taken back" if self.is_undone else self._judgement

    @property
    def _judgement(self) -> str:
        return wording.of_judgement(self.outcome, self.strength, self.ranks, is_ranked=bool(self.is_ranked))

    @property
    def remarks(self) -> Remarks:
        """Note, flags and attributes."""
        return Remarks(self.note, json.loads(self.flags or "{}"), json.loads(self.attributes or "{}"))


def find(
    db: Database,
    wanted: Filter | None = None,
    *,
    limit: int = 20,
    before: int | None = None,
    after: int | None = None,
) -> list[Entry]:
    """Return the ratings that fit, newest first.

    Args:
        db: an open connection.
        wanted: which ones.
        limit: at most this many.
        before: only ratings with a smaller id: the last one of the previous page.
        after: only ratings with a larger id, the nearest ones: the first one of the page after.
    """
    wanted = wanted or Filter()
    bound = _bound(wanted) | {"limit": limit, "before": 2**62 if before is None else before}
    bound |= {"after": -1 if after is None else after}
    is_all = _look_up(db, wanted, bound)
    order = "DESC" if after is None else "ASC"
    end = f"{_OF_THESE} ORDER BY +e.id {order}" if is_all else f"ORDER BY e.id {order}"
    found = [_entry(row) for row in db.query(f"{_SELECT} {_WHERE} {end} LIMIT :limit", bound)]
    return found if after is None else found[::-1]


def count(db: Database, wanted: Filter | None = None, at_most: int = 2**62) -> int:
    """Count the ratings that fit; with a filter, stop counting at `at_most`."""
    wanted = wanted or Filter()
    if wanted == Filter():
        found = ratings.summary(db)
        return found["rated"] + found["skip"]
    bound = _bound(wanted) | {"before": 2**62, "after": -1, "limit": at_most}
    is_all = _look_up(db, wanted, bound)
    found = _num(db, _OF_THESE, bound) if bound["few"] else 0
    return found if is_all or found >= at_most else _num(db, "", bound)


def _num(db: Database, which: str, bound: dict[str, Any]) -> int:
    return next(db.query(f"SELECT count(*) AS n FROM (SELECT 1 {_FROM} {_WHERE} {which} LIMIT :limit)", bound))["n"]


def count_imported(db: Database) -> int:
    """Count the imported judgements, those corrected since included."""
    return next(db.query("SELECT count(*) AS n FROM rating_events WHERE is_imported"))["n"]


def number(text: str) -> int:
    """Return the number of a rating, as a person typed it.

    Raises:
        RatingError: no rating can have it.
    """
    if text.isdecimal() and len(text) <= 19 and int(text) <= LARGEST:
        return int(text)
    raise RatingError(f"There is no rating {text[:60]}. Give a number from the list.")


def get(db: Database, event_id: int, *, is_undone_too: bool = False) -> Entry:
    """Return the rating that counts of the chain that this event belongs to.

    Args:
        db: an open connection.
        event_id: any event of the chain.
        is_undone_too: if the whole chain was taken back, return the judgement that was taken back last.

    Raises:
        RatingError: there is no such event, or no event of its chain counts.
    """
    chain = events(db, event_id) if event_id <= LARGEST else []
    is_undone = bool(chain) and chain[-1]["outcome"] == "undo"
    if not chain:
        raise RatingError(f"There is no rating {event_id}. See them with: rlhf-studio history")
    if is_undone and not is_undone_too:
        raise RatingError(
            f"Rating {event_id} was taken back and no longer counts. Rate its pair again; its events: rlhf-studio history show {event_id}"
        )
    row = next(db.query(f"{_SELECT} WHERE e.id = ?", [chain[-2 if is_undone else -1]["id"]]), None)
    if row is None:
        raise RatingError(
            f"What rating {event_id} was about cannot be read. Look at the database with: rlhf-studio doctor"
        )
    return _entry(row)


def texts(db: Database, entry: Entry) -> tuple[str, ...]:
    """Return all its answers as they were on the screen; for a judgement without a screen, by slot."""
    showing = comparisons.get_showing(db, entry.showing_id) if entry.showing_id else None
    if showing:
        return showing.texts
    return tuple(comparisons.read_text(db, each) for each in comparisons.slots(db, entry.comparison_id))


def events(db: Database, event_id: int) -> list[dict[str, Any]]:
    """Return a rating's events, oldest first, with `after_prediction`: whether the rater had seen a prediction."""
    # Those that this one superseded, and those that superseded it.
    return list(
        db.query(
            "WITH RECURSIVE older(id, supersedes) AS (SELECT id, supersedes FROM rating_events WHERE id = :id"
            " UNION ALL SELECT e.id, e.supersedes FROM rating_events e JOIN older o ON e.id = o.supersedes),"
            " newer(id) AS (SELECT :id UNION ALL SELECT e.id FROM rating_events e JOIN newer n ON e.supersedes = n.id)"
            " SELECT e.*, EXISTS (SELECT 1 FROM prediction_views v WHERE v.showing_id = e.showing_id AND v.event_id < e.id)"
            " AS after_prediction FROM rating_events e WHERE e.id IN (SELECT id FROM older UNION SELECT id FROM newer) ORDER BY e.id",
            {"id": event_id},
        )
    )


def raters(db: Database) -> list[str]:
    """Return the names of all raters."""
    # Steps from name to name, so it reads only as many rows as there are names.
    return [
        row["rater"]
        for row in db.query(
            "WITH RECURSIVE names(rater) AS (SELECT min(rater) FROM rating_events UNION ALL"
            " SELECT (SELECT min(e.rater) FROM rating_events e WHERE e.rater > n.rater) FROM names n WHERE n.rater IS NOT NULL)"
            " SELECT rater FROM names WHERE rater IS NOT NULL"
        )
    ]


def check_names(db: Database, wanted: Filter) -> None:
    """Refuse names that do not exist here, as opposed to names that match no rating.

    Raises:
        RatingError: there is no rater, category or session of that name.
    """
    known = {
        "rater": raters(db) if wanted.rater else [],
        "category": [name for name in prompts.list_categories(db) if name] if wanted.category else [],
        "session": [each.id for each in sessions.list_all(db)] if wanted.session else [],
    }
    for kind, names in known.items():
        if (given := getattr(wanted, kind)) and given not in names:
            listed = ", ".join(map(str, names[:20])) or "none"
            raise RatingError(f"There is no {kind} {str(given)[:60]!r} in this workspace. There is: {listed}.")


def as_json(entry: Entry) -> str:
    """Return a rating as one line of JSON."""
    return json.dumps(asdict(entry), ensure_ascii=False)


def _entry(row: dict[str, Any]) -> Entry:
    return Entry(**(row | {"messages": json.loads(row["messages"])}))


def _bound(wanted: Filter) -> dict[str, Any]:
    flags = {"is_changed": int(wanted.is_changed), "is_imported": int(wanted.is_imported)}
    return asdict(wanted) | flags | {"search": texts_of.fold(wanted.search)}


def _look_up(db: Database, wanted: Filter, bound: dict[str, Any]) -> bool:
    """Bind the answers that hold the searched text; True where these are all, so only their ratings need be read."""
    texts_of.add_functions(db)
    few, is_all = texts_of.responses(db, wanted.search) if wanted.search else ([], False)
    bound["few"] = json.dumps(few) if few or is_all else ""
    return is_all


_OF_THESE = """AND e.comparison_id IN (SELECT comparison_id FROM comparison_responses
    WHERE response_id IN (SELECT value FROM json_each(:few)))"""
_FROM = """
FROM rating_events e
CROSS JOIN comparisons c ON c.id = e.comparison_id CROSS JOIN prompts p ON p.id = c.prompt_id
LEFT JOIN showings s ON s.id = e.showing_id LEFT JOIN session_items i ON i.showing_id = e.showing_id
CROSS JOIN comparison_responses f ON f.comparison_id = e.comparison_id AND f.slot = 0
CROSS JOIN comparison_responses g ON g.comparison_id = e.comparison_id AND g.slot = 1
CROSS JOIN responses x ON x.id = coalesce(s.left_response_id, f.response_id)
CROSS JOIN responses y ON y.id = coalesce(s.right_response_id, g.response_id)
"""
"""From the newest event back: the order of the joins must stay."""
_IS_UNDONE = """EXISTS (SELECT 1 FROM rating_events u WHERE u.supersedes = e.id AND u.outcome = 'undo'
    AND NOT EXISTS (SELECT 1 FROM rating_events v WHERE v.supersedes = u.id))"""
SECOND_LOOK = "second look"
"""The arm of a repeat that was chosen because the first vote contradicts a reward model."""
_SELECT = f"""
SELECT e.id, e.comparison_id, e.showing_id, e.outcome, e.strength, e.rater, e.reason, coalesce(e.note, '') AS note, coalesce(e.flags, '') AS flags,
    coalesce(e.attributes, '') AS attributes, e.ranks, s.response_ids IS NOT NULL AS is_ranked,
    (SELECT count(*) FROM comparison_responses k WHERE k.comparison_id = e.comparison_id) AS num_responses, e.is_imported,
    e.elapsed_ms, e.created_at, p.category, p.split, i.session_id,
    CASE WHEN i.prediction_id IS NULL THEN i.arm ELSE '{SECOND_LOOK}' END AS arm, p.messages, x.text AS left, y.text AS right, {_IS_UNDONE} AS is_undone {_FROM}
"""
_WHERE = f"""
WHERE e.id < :before AND e.id > :after AND e.outcome != 'undo'
AND (NOT EXISTS (SELECT 1 FROM rating_events n WHERE n.supersedes = e.id) OR (:is_changed AND {_IS_UNDONE}))
AND (:outcome = '' OR e.outcome = :outcome) AND (:rater = '' OR e.rater = :rater)
AND (:since = '' OR e.created_at >= :since) AND (:until = '' OR substr(e.created_at, 1, 10) <= :until)
AND (:is_changed = 0 OR e.supersedes IS NOT NULL OR {_IS_UNDONE}) AND (:session IS NULL OR i.session_id = :session)
AND (:is_imported = 0 OR EXISTS (SELECT 1 FROM rating_events m WHERE m.comparison_id = e.comparison_id AND m.is_imported))
AND (:category = '' OR p.category = :category)
AND (:flag = '' OR (e.flags IS NOT NULL AND EXISTS (SELECT 1 FROM json_each(e.flags) WHERE key = :flag)))
AND (:search = '' OR says(p.messages, :search) OR EXISTS (SELECT 1 FROM comparison_responses t JOIN responses z
    ON z.id = t.response_id WHERE t.comparison_id = e.comparison_id AND holds(z.text, :search)))
"""
