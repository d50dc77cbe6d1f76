"""Gathers the items of an import in a file of their own, so that others can write to the workspace while a source is read.

What is new here is laid down as the rows that it will be, numbered from 1; `publishing` then brings them into the workspace by
SQL alone. A prompt or a response that is here already is named by its id, below 0; judgements of comparisons that are here are laid
down apart. What needs more than an insertion is kept as it is (`later`), for `storing.store`. The file loses its name as soon as it is
open: nothing of it is left, whatever ends the program.
"""

import pickle
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from tempfile import NamedTemporaryFile
from typing import Any
from uuid import uuid4

from sqlite_utils import Database

from studio.database import curtain
from studio.database.curtain import Piece
from studio.datasets import storing
from studio.datasets.formats.item import ANONYMOUS, COMPARED, Item
from studio.datasets.returning import Place
from studio.datasets.storing import Stored
from studio.preferences import comparisons, prompts, ratings
from studio.preferences.judgements import Imported
from studio.workspace import Workspace

SLICE = 2000
"""Items whose rows are written at once."""
_CACHE_KIB = {"main": 2**18, "staged": 2**16}
"""Of the main file more: a page of an index that does not fit is written several times while others wait."""
_SAID = (
    "outcome TEXT, strength INTEGER, rater TEXT, ranks TEXT, margin REAL, judged_at TEXT, elapsed_ms INTEGER, note TEXT,"
    " flags TEXT, facts TEXT"
)
_TABLES = (
    "CREATE TABLE staged.prompts (n INTEGER PRIMARY KEY, hash TEXT NOT NULL UNIQUE, messages TEXT, category TEXT, split TEXT)",
    "CREATE TABLE staged.responses (n INTEGER PRIMARY KEY, prompt INTEGER, kind TEXT, text TEXT, model TEXT)",
    "CREATE INDEX staged.responses_prompt ON responses(prompt)",
    "CREATE TABLE staged.comparisons (n INTEGER PRIMARY KEY, prompt INTEGER)",
    "CREATE TABLE staged.places (comparison INTEGER, slot INTEGER, response INTEGER, PRIMARY KEY (comparison, slot)) WITHOUT ROWID",
    "CREATE INDEX staged.places_response ON places(response)",
    f"CREATE TABLE staged.events (comparison INTEGER PRIMARY KEY, name TEXT, {_SAID})",
    f"CREATE TABLE staged.judgements (n INTEGER PRIMARY KEY, comparison INTEGER, uuid TEXT UNIQUE, {_SAID})",
    "CREATE INDEX staged.judgements_comparison ON judgements(comparison)",
    "CREATE TABLE staged.later (n INTEGER PRIMARY KEY, item BLOB)",
    "CREATE TABLE staged.pieces (rows_of TEXT, first INTEGER, last INTEGER, added INTEGER, PRIMARY KEY (rows_of, first)) WITHOUT ROWID",
)
_INSERTS = {
    "responses": "INSERT INTO staged.responses VALUES (?, ?, ?, ?, ?)",
    "comparisons": "INSERT INTO staged.comparisons VALUES (?, ?)",
    "places": "INSERT INTO staged.places VALUES (?, ?, ?)",
    "events": f"INSERT INTO staged.events VALUES ({', '.join('?' * 12)})",
    "judgements": f"INSERT INTO staged.judgements VALUES (NULL, {', '.join('?' * 12)})",
    "later": "INSERT INTO staged.later (item) VALUES (?)",
}
_NEWEST = {
    "prompts": prompts.last,
    "responses": prompts.last_response,
    "comparisons": comparisons.last,
    "rating_events": ratings.last,
}
"""Rows that others may have added too, to the function that gives their newest id."""
Row = tuple[Any, ...]


class Stage:
    """The items of one import, until they are published."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._looked_at = {name: last(db) for name, last in _NEWEST.items()}
        """The newest ids as the import began: rows after them are not known to be other ones than those laid down."""
        for piece in curtain.hidden(db):
            if piece.rows_of in _NEWEST:
                self._looked_at[piece.rows_of] = min(self._looked_at[piece.rows_of], piece.first - 1)
        self._response, self._comparison = count(1), count(1)
        self._waiting: dict[str, list[Row]] = {name: [] for name in _INSERTS}
        self._kept: set[str] = set()
        """Hashes of prompts with an item that is stored by itself: what comes after it on the same prompt must not overtake it."""
        self.stored = Counter[Stored]()
        """What became of the items that are laid down."""

    def add(self, item: Item) -> None:
        """Lay an item down."""
        text, key = prompts.stored_messages(prompts.check_messages(item.prompt, last="user"))
        here = prompts.find(self._db, key)
        place = storing.find_place(self._db, item, here) if here and _is_plain(item) else None
        if here and _is_plain(item) and storing.is_here(self._db, item, here, place):
            return
        if not _is_plain(item) or key in self._kept:
            self._kept.add(key)
            self._put("later", pickle.dumps(item))
            return
        number, is_first = (-here, False) if here else self._prompt(item, text, key)
        if place:
            self._judged(item, place)
        elif item.kind in COMPARED:
            self._compared(item, number, is_first)
        elif item.kind == "demonstration":
            self._answer(number, "demonstration", item.responses[0], None, is_first)
            self.stored["new"] += 1
        else:
            self.stored["new"] += is_first

    def _prompt(self, item: Item, text: str, key: str) -> tuple[int, bool]:
        """Return the number of an item's prompt, and whether it is the first item of it."""
        row = (key, text, item.category, item.split or prompts.split_for(item.prompt))
        execute = self._db.conn.execute
        made = execute(
            "INSERT INTO staged.prompts (hash, messages, category, split) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
            row,
        )
        if made.rowcount:
            assert made.lastrowid is not None
            return made.lastrowid, True
        return execute("SELECT n FROM staged.prompts WHERE hash = ?", [key]).fetchone()[0], False

    def _compared(self, item: Item, prompt: int, is_first: bool) -> None:
        models = item.models or (None,) * len(item.responses)
        ids = [
            self._answer(prompt, "import", text, model, is_first)
            for text, model in zip(item.responses, models, strict=True)
        ]
        if not is_first and self._is_there(ids):
            self._put("later", pickle.dumps(item))  # one more judgement of a pair of this source
            return
        number = next(self._comparison)
        self._put("comparisons", number, prompt)
        for slot, response in enumerate(ids):
            self._put("places", number, slot, response)
        if item.kind != "unrated":
            self._put("events", number, *_event(item))
        self.stored["new"] += 1

    def _judged(self, item: Item, place: Place) -> None:
        """Lay down a judgement of a comparison that is here."""
        found = storing.new_judgement(self._db, item, place)
        if found is None or self._has_judged(place.comparison_id, found[1]):
            self._put("later", pickle.dumps(item))  # another version, or a contrary one
            return
        outcome, said = found
        was_judged = comparisons.verdict(self._db, place.comparison_id) is not None
        self.stored["added" if was_judged or self._has_judged(place.comparison_id) else "judged"] += 1
        uuid = said.uuid or str(uuid4())
        self._put("judgements", place.comparison_id, uuid, *_said(item, outcome, said))

    def _has_judged(self, comparison_id: int, said: Imported | None = None) -> bool:
        """Return whether the source has judged this comparison before; given an event, whether by that event."""
        self._flush()
        if said is None:
            sql, value = "comparison = ?", comparison_id
        elif said.uuid:
            sql, value = "uuid = ?", said.uuid
        else:
            sql, value = f"rater = '{ANONYMOUS}' AND comparison = ?", comparison_id
        found = self._db.conn.execute(f"SELECT 1 FROM staged.judgements WHERE {sql} LIMIT 1", [value])
        return found.fetchone() is not None

    def _answer(self, prompt: int, kind: str, text: str, model: str | None, is_first: bool) -> int:
        """Return the number of a response, which one prompt has once."""
        if not is_first:
            if prompt < 0 and (here := prompts.find_same(self._db, -prompt, text, kind)):
                return -here
            self._flush()
            sql = "SELECT n FROM staged.responses WHERE prompt = ? AND kind = ? AND text = ?"
            if found := self._db.conn.execute(sql, [prompt, kind, text]).fetchone():
                return found[0]
        number = next(self._response)
        self._put("responses", number, prompt, kind, text, model)
        return number

    def _is_there(self, responses: Sequence[int]) -> bool:
        """Return whether the source had a comparison of the same responses before."""
        self._flush()
        execute = self._db.conn.execute
        for (number,) in execute("SELECT comparison FROM staged.places WHERE response = ?", [responses[0]]).fetchall():
            found = execute("SELECT response FROM staged.places WHERE comparison = ?", [number]).fetchall()
            if {response for (response,) in found} == set(responses):
                return True
        return False

    def _put(self, table: str, *row: Any) -> None:
        waiting = self._waiting[table]
        waiting.append(row)
        if len(waiting) >= SLICE:
            self._flush()

    def _flush(self) -> None:
        for table, rows in self._waiting.items():
            if rows:
                self._db.conn.executemany(_INSERTS[table], rows)
                rows.clear()

    def close(self) -> None:
        """Write what waits, and end the transaction in which the items were gathered."""
        self._flush()
        self._db.conn.commit()

    def is_outdated(self) -> bool:
        """Return whether another program has added something since the last look that was laid down as new."""
        since, self._looked_at = self._looked_at, {name: last(self._db) for name, last in _NEWEST.items()}
        return (
            prompts.has_staged_since(self._db, since["prompts"])
            or prompts.has_staged_responses_since(self._db, since["responses"])
            or comparisons.has_staged_since(self._db, since["comparisons"])
            or ratings.has_staged_since(self._db, since["rating_events"])
        )

    def sizes(self) -> list[tuple[str, int]]:
        """Return the tables in the order in which they are brought in, each with the largest number of its rows."""
        last = "SELECT coalesce(max({0}), 0) FROM staged.{1}".format
        columns = {"prompts": "n", "responses": "n", "comparisons": "n", "events": "comparison"}
        found = (self._db.execute(last(column, table)).fetchone()[0] for table, column in columns.items())
        return list(zip(("prompts", "responses", "comparisons", "rating_events"), found, strict=True))

    def bring(self, rows_of: str, import_id: int, at: str, first: int, last: int) -> Piece | None:
        """Bring the rows of these numbers into the workspace, in the caller's transaction; returns their ids, None where there is no row."""
        db, newest = self._db, _NEWEST[rows_of]
        before = newest(db)
        if rows_of != "rating_events":  # to which nothing refers
            self._note(rows_of, first, last, before + 1 - first)
        match rows_of:
            case "prompts":
                prompts.publish(db, import_id, at, first, last)
            case "responses":
                prompts.publish_responses(db, import_id, at, first, last)
            case "comparisons":
                comparisons.publish(db, at, first, last)
            case _:
                with ratings.uncounted(db):
                    ratings.publish(db, at, first, last)
        self._looked_at[rows_of] = after = newest(db)
        return Piece(rows_of, before + 1, after) if after > before else None

    def _note(self, rows_of: str, first: int, last: int, added: int) -> None:
        """Note what is added to numbers to give ids; most often the same as for the numbers before them."""
        grown = self._db.execute(
            "UPDATE staged.pieces SET last = ? WHERE rows_of = ? AND last = ? AND added = ?",
            [last, rows_of, first - 1, added],
        )
        if not grown.rowcount:
            self._db.execute("INSERT INTO staged.pieces VALUES (?, ?, ?, ?)", [rows_of, first, last, added])

    def later(self) -> Iterator[Item]:
        """Yield what is to be stored item by item."""
        for (found,) in self._db.conn.execute("SELECT item FROM staged.later ORDER BY n"):
            yield pickle.loads(found)


@contextmanager
def opened(ws: Workspace) -> Iterator[tuple[Database, Stage]]:
    """Yield a connection to the workspace with an empty stage next to it, outside of any transaction."""
    with ws.read() as db:
        with NamedTemporaryFile(prefix=".import-", dir=ws.root) as file:
            db.conn.execute("ATTACH ? AS staged", [file.name])
            db.conn.execute("PRAGMA staged.journal_mode = OFF")
            db.conn.execute("PRAGMA staged.synchronous = OFF")
            for statement in _TABLES:
                db.conn.execute(statement)
            db.conn.commit()
        for schema, size in _CACHE_KIB.items():
            db.conn.execute(f"PRAGMA {schema}.cache_size = -{size}")
        yield db, Stage(db)


def _is_plain(item: Item) -> bool:
    is_named = item.kind == "demonstration" and item.event_id
    return item.record is None and not (is_named or item.metadata or item.rewrites or item.rewritten)


def _event(item: Item) -> Row:
    """Return the judgement of a new comparison by the order of its responses; its uuid ends with its name, where it has one."""
    outcome, ranks = storing.outcome(item, item.ranks)
    return storing.digest(item) or None, *_said(item, outcome, storing.said(item, range(len(item.responses)), ranks))


def _said(item: Item, outcome: str, said: Imported) -> Row:
    strength = item.strength if item.kind == "pair" else None
    return (
        outcome, strength, said.rater, said.ranks, said.margin, said.judged_at, said.elapsed_ms, said.note, said.flags, said.facts,
    )  # fmt: skip
