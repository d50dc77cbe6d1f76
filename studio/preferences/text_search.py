"""Searches prompts and answers for any piece of text, in any case and script, with quotes and backslashes.

Two FTS5 indexes of trigrams, kept by triggers, give the few texts that hold a piece of three letters or more without
reading the others. They know upper and lower case of all scripts; composed and decomposed letters, and ß and ss, are
both tried. Two letters are looked up as the trigrams that begin or end with them. A single letter, or a piece that very
many texts hold, is searched in the texts themselves, newest first. The texts of a long import are there before the index
has them: they wait in `search_backlog`, and a search reads those.
"""

import json
import time
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from filelock import FileLock, Timeout
from sqlite_utils import Database

from studio.database.schema import search
from studio.workspace import Workspace

SHORTEST = 3
"""Letters of a trigram."""
_LAST = chr(0x10FFFF)
_TABLES = {"prompts": "prompt_search", "responses": "response_search"}
"""Table to its index."""
_TRIGGERS = "SELECT name, sql FROM main.sqlite_master WHERE type = 'trigger' AND name IN ('prompts_are_found', 'responses_are_found')"
_MANY, _USUAL = 2**24, 2**20
"""Bytes that an index gathers before it writes."""
_MERGING = {"automerge": 16, "crisismerge": 64}
"""Parts of a size that an index merges a little with each write, and from which it merges them at once. SQLite's 4 and 16 would merge
a long import more often. They stay: to go back would merge all parts within one write."""
AT_ONCE = 2000
"""Most texts of an import that are indexed with it; the others follow it."""
LONGEST_S = 0.25
"""Seconds that others wait, about, while texts are indexed."""
PAUSE_S = 0.05
"""Seconds between two transactions, in which a program that waits gets its turn."""
FEW = 5000
"""Most texts from which a search goes to what they belong to; beyond, it reads from the newest back."""


def add_functions(db: Database) -> None:
    """Add `holds(text, piece)` and `says(messages, piece)` to SQL; the piece is folded by `fold`."""
    db.conn.create_function("holds", 2, _holds, deterministic=True)
    db.conn.create_function("says", 2, _says, deterministic=True)


@contextmanager
def many_texts(db: Database) -> Iterator[None]:
    """Leave the texts stored in this block out of the index, inside the caller's transaction, for `catch_up`.

    A few texts are indexed at the end of the block.
    """
    before = {table: _last(db, table) for table in _TABLES}
    with unindexed(db):
        yield
        for table, last in before.items():
            newest = _last(db, table)
            if newest - last > AT_ONCE:
                postpone(db, table, last + 1, newest)
            elif newest > last:
                db.execute(search.BETWEEN[table], [last + 1, newest])


@contextmanager
def unindexed(db: Database) -> Iterator[None]:
    """Leave the texts stored in this block out of the index, inside the caller's transaction.

    A trigger that writes to the index makes it flush after every text, which takes most of the time of a long import.
    """
    triggers = {row["name"]: row["sql"] for row in db.query(_TRIGGERS)}
    for name in triggers:
        db.execute(f"DROP TRIGGER main.{name}")
    yield
    for statement in triggers.values():
        db.execute(statement)


def postpone(db: Database, table: str, first: int, last: int) -> None:
    """Leave texts of these ids for `catch_up`; until then a search reads them."""
    db.execute("INSERT INTO search_backlog (texts, next, last) VALUES (?, ?, ?)", [table, first, last])


def forget(db: Database, table: str, first: int, last: int) -> None:
    """Take texts of these ids, all of which are indexed, out of the index; until they leave, a search reads them."""
    db.execute(search.FORGET[table], [first, last])
    postpone(db, table, first, last)


def drop_backlog(db: Database, table: str, first: int, last: int) -> None:
    """Leave no text of these ids for `catch_up`."""
    db.execute("DELETE FROM search_backlog WHERE texts = ? AND next >= ? AND last <= ?", [table, first, last])


def catch_up(
    ws: Workspace,
    progress: Callable[[float], None] | None = None,
    is_ended: Callable[[], bool] = lambda: False,
) -> bool:
    """Index the texts that were left out, in transactions so short that others can write in between.

    Args:
        ws: the workspace.
        progress: gets the share that is done; what it raises ends the work, which can be taken up again.
        is_ended: whether to leave the rest for later.

    Returns:
        False where something is left: another program is at it, or `is_ended` said so.
    """
    with ws.read() as db:
        if not _is_behind(db):
            return True
    try:
        with FileLock(ws.root / "search.lock", timeout=0):
            return _index_all(ws, progress, is_ended)
    except Timeout:
        return False


def _index_all(ws: Workspace, progress: Callable[[float], None] | None, is_ended: Callable[[], bool]) -> bool:
    size, num_done = AT_ONCE, 0
    while not is_ended():
        started = time.monotonic()
        with ws.write() as db:
            num_left = _index_some(db, size)
        if not num_left:
            return True
        num_done += size
        size = max(100, min(20 * AT_ONCE, round(size * LONGEST_S / max(0.01, time.monotonic() - started))))
        if progress:
            progress(num_done / (num_done + num_left))
        time.sleep(PAUSE_S)
    return False


def _index_some(db: Database, size: int) -> int:
    """Index so many texts of the backlog; returns the number of those left."""
    row = next(db.query("SELECT id, texts, next, last FROM search_backlog ORDER BY id LIMIT 1"), None)
    if row is None:
        return 0
    end = min(row["last"], row["next"] + size - 1)
    _set(db, _TABLES[row["texts"]], hashsize=_MANY, **_MERGING)
    db.execute(search.BETWEEN[row["texts"]], [row["next"], end])
    _set(db, _TABLES[row["texts"]], hashsize=_USUAL)
    if end == row["last"]:
        db.execute("DELETE FROM search_backlog WHERE id = ?", [row["id"]])
    else:
        db.execute("UPDATE search_backlog SET next = ? WHERE id = ?", [end + 1, row["id"]])
    return db.execute("SELECT coalesce(sum(last - next + 1), 0) FROM search_backlog").fetchone()[0]


def _set(db: Database, index: str, **settings: int) -> None:
    for name, value in settings.items():
        db.execute(f"INSERT INTO {index} ({index}, rank) VALUES (?, ?)", [name, value])


def _is_behind(db: Database) -> bool:
    return bool(db.execute("SELECT EXISTS (SELECT 1 FROM search_backlog)").fetchone()[0])


def _last(db: Database, table: str) -> int:
    return db.execute(f"SELECT coalesce(max(id), 0) FROM main.{table}").fetchone()[0]


def fold(text: str) -> str:
    """Return the text in the form that is compared: composed letters, no case."""
    return unicodedata.normalize("NFC", text).casefold()


def condition(db: Database, piece: str, values: dict[str, Any], *, of: str, row: str, text: str) -> str:
    """Return the SQL condition that a text holds the piece: by the index, and by reading what is not indexed.

    Args:
        db: an open connection.
        piece: what is searched.
        values: gets what the condition binds.
        of: `prompts` or `responses`.
        row: the SQL name of the text's id, with its table.
        text: the SQL name of the text, of a prompt its messages.
    """
    add_functions(db)
    values["piece"], values["pattern"] = fold(piece), pattern(piece)
    holds = f"{'says' if of == 'prompts' else 'holds'}({text}, :piece)"
    if not values["pattern"]:
        return holds
    found = f"{row} IN (SELECT rowid FROM {_TABLES[of]} WHERE {_TABLES[of]} MATCH :pattern)"
    if not _is_behind(db):
        return found
    waits = f"EXISTS (SELECT 1 FROM search_backlog w WHERE w.texts = '{of}' AND {row} BETWEEN w.next AND w.last)"
    return f"({found} OR ({waits} AND {holds}))"


def pattern(piece: str) -> str:
    """Return the FTS5 query for texts that hold this piece; empty where the piece is too short for the index."""
    ways = list(dict.fromkeys(_ways(piece)))
    if not piece or any(len(way) < SHORTEST for way in ways) or "\0" in piece:
        return ""
    return " OR ".join(map(_quoted, ways))


def responses(db: Database, piece: str) -> tuple[list[int], bool]:
    """Return the ids of answers that hold the piece or whose prompt does, and whether these are all (few, and not one letter)."""
    of_responses, of_prompts = (_query(db, index, piece) for index in ("response_search", "prompt_search"))
    if of_responses is None or of_prompts is None:
        return [], False
    most, folded = FEW + 1, fold(piece)
    found = _waiting(db, folded, most)  # before the index: a text that is indexed meanwhile is found twice, not never
    found |= _ids(
        db, "SELECT rowid AS id FROM response_search WHERE response_search MATCH ? LIMIT ?", [of_responses, most]
    )
    found |= _ids(
        db,
        "SELECT id FROM responses WHERE prompt_id IN (SELECT rowid FROM prompt_search WHERE prompt_search MATCH ? LIMIT ?) LIMIT ?",
        [of_prompts, most, most],
    )
    if len(piece) < SHORTEST:  # a text of two letters has no trigram
        found |= _ids(
            db, f"SELECT id FROM responses WHERE {search.IS_SHORT} AND holds(text, ?) LIMIT ?", [folded, most]
        )
        found |= _ids(
            db,
            f"SELECT r.id FROM responses r WHERE r.prompt_id IN (SELECT id FROM prompts WHERE {search.IS_SHORT_PROMPT}"
            " AND says(messages, ?) LIMIT ?) LIMIT ?",
            [folded, most, most],
        )
    return sorted(found), len(found) <= FEW


def prompts(db: Database, piece: str) -> tuple[list[int], bool]:
    """Return the ids of prompts that hold the piece, and whether these are all, as `responses`."""
    query, most, folded = _query(db, "prompt_search", piece), FEW + 1, fold(piece)
    if query is None:
        return [], False
    waits = (
        "SELECT p.id FROM search_backlog w JOIN prompts p ON p.id BETWEEN w.next AND w.last WHERE w.texts = 'prompts'"
        " AND says(p.messages, ?) LIMIT ?"
    )
    found = _ids(db, waits, [folded, most]) if _is_behind(db) else set()
    found |= _ids(db, "SELECT rowid AS id FROM prompt_search WHERE prompt_search MATCH ? LIMIT ?", [query, most])
    if len(piece) < SHORTEST:  # a text of two letters has no trigram
        short = f"SELECT id FROM prompts WHERE {search.IS_SHORT_PROMPT} AND says(messages, ?) LIMIT ?"
        found |= _ids(db, short, [folded, most])
    return sorted(found), len(found) <= FEW


def _waiting(db: Database, folded: str, most: int) -> set[int]:
    """Return answers that are not indexed yet and hold the piece, and those whose prompt is such a one; `most` of each."""
    if not _is_behind(db):
        return set()
    found = _ids(
        db,
        "SELECT r.id FROM search_backlog w JOIN responses r ON r.id BETWEEN w.next AND w.last"
        " WHERE w.texts = 'responses' AND holds(r.text, ?) LIMIT ?",
        [folded, most],
    )
    return found | _ids(
        db,
        "SELECT id FROM responses WHERE prompt_id IN (SELECT p.id FROM search_backlog w JOIN prompts p ON p.id BETWEEN w.next AND w.last"
        " WHERE w.texts = 'prompts' AND says(p.messages, ?) LIMIT ?) LIMIT ?",
        [folded, most, most],
    )


def _query(db: Database, index: str, piece: str) -> str | None:
    """Return the FTS5 query of an index for texts of three letters or more that hold the piece; None if it cannot say."""
    ways = {form for way in _ways(piece) for form in (way, way.lower())}
    if min(map(len, ways)) < SHORTEST - 1 or "\0" in piece:
        return None
    found = set()
    for way in ways:
        found |= {way} if len(way) >= SHORTEST else _trigrams(db, index, way)
    return " OR ".join(map(_quoted, sorted(found))) or '""'


def _trigrams(db: Database, index: str, pair: str) -> set[str]:
    """Return the trigrams in an index that begin or end with two letters; reads a row for each first letter there is."""
    vocabulary = f"temp.{index}_trigrams"
    db.execute(f"CREATE VIRTUAL TABLE IF NOT EXISTS {vocabulary} USING fts5vocab('main', '{index}', 'row')")
    between = f"SELECT term FROM {vocabulary} WHERE term >= ? AND term < ?"
    found = {row[0] for row in db.execute(between, [pair, pair + _LAST])}
    at = ""
    while row := db.execute(f"SELECT term FROM {vocabulary} WHERE term >= ? LIMIT 1", [at]).fetchone():
        first = row[0][0]
        found |= {row[0] for row in db.execute(f"SELECT term FROM {vocabulary} WHERE term = ?", [first + pair])}
        at = first + _LAST
    return found


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _ids(db: Database, sql: str, values: list[Any]) -> set[int]:
    return {row["id"] for row in db.query(sql, values)}


def _ways(piece: str) -> Iterator[str]:
    for form in ("NFC", "NFD"):
        written = unicodedata.normalize(form, piece)
        yield written
        yield written.casefold()
        yield written.casefold().replace("ss", "ß")


def _holds(text: Any, piece: str) -> bool:
    return piece in fold(str(text))


def _says(messages: Any, piece: str) -> bool:
    try:
        return any(piece in fold(str(turn.get("content"))) for turn in json.loads(messages))
    except (ValueError, AttributeError, TypeError):
        return piece in fold(str(messages))
