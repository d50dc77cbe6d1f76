"""Search in prompts and answers: any piece of text, in any case and script, quotes and backslashes as they are.

Two FTS5 indexes of trigrams, kept by triggers, give the few texts that hold a piece of three letters or more without
reading the others. They know upper and lower case of all scripts; how a letter was composed, and ß beside ss, is tried as
written both ways. A shorter piece, and one that very many texts hold, is looked for in the texts themselves, newest first.
"""

import json
import unicodedata
from collections.abc import Iterator
from typing import Any

from sqlite_utils import Database

SHORTEST = 3
"""Letters of a trigram."""
FEW = 5000
"""Texts up to which a search goes from the texts to what they belong to; beyond, from the newest back."""


def add_functions(db: Database) -> None:
    """Let SQL ask `holds(text, piece)` and `says(messages, piece)`; the piece is folded by `fold`."""
    db.conn.create_function("holds", 2, _holds, deterministic=True)
    db.conn.create_function("says", 2, _says, deterministic=True)


def fold(text: str) -> str:
    """Return the text as it is compared: composed letters, no case."""
    return unicodedata.normalize("NFC", text).casefold()


def pattern(piece: str) -> str:
    """Return the FTS5 query for texts that hold this piece; empty where the piece is too short for the index."""
    ways = list(dict.fromkeys(_ways(piece)))
    if not piece or any(len(way) < SHORTEST for way in ways) or "\0" in piece:
        return ""
    return " OR ".join('"' + way.replace('"', '""') + '"' for way in ways)


def responses(db: Database, piece: str) -> tuple[list[int], bool]:
    """Ids of the answers that hold the piece, and of those to prompts that do; and whether these are all: they are few, and indexed."""
    query = pattern(piece)
    if not query:
        return [], False
    found = _ids(db, "SELECT rowid AS id FROM response_search WHERE response_search MATCH ? LIMIT ?", [query, FEW + 1])
    found |= _ids(
        db,
        "SELECT id FROM responses WHERE prompt_id IN (SELECT rowid FROM prompt_search WHERE prompt_search MATCH ? LIMIT ?) LIMIT ?",
        [query, FEW + 1, FEW + 1],
    )
    return sorted(found), len(found) <= FEW


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
