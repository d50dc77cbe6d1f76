"""Which rows came with an import, and what depends on them: the owner of `import_rows`.

Prompts and responses name their import themselves; of the other rows the ids are noted here as they come in.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlite_utils import Database

from studio.database import curtain
from studio.database.curtain import Piece
from studio.errors import DataError
from studio.preferences import prompts
from studio.workspace import LARGEST

NOTED = ("comparisons", "rating_events", "showings", "demonstration_events")


@contextmanager
def noted(db: Database, import_id: int) -> Iterator[None]:
    """Note the rows that are stored in this block, inside the caller's write transaction."""
    before = {table: _last(db, table) for table in NOTED}
    yield
    for table, last in before.items():
        if (newest := _last(db, table)) > last:
            note_piece(db, import_id, Piece(table, last + 1, newest))


def note_piece(db: Database, import_id: int, piece: Piece) -> None:
    """Note a piece of a long import; prompts and responses need none."""
    if piece.rows_of in NOTED:
        db.execute("INSERT INTO import_rows (import_id, rows_of, first, last) VALUES (?, ?, ?, ?)", [import_id, *piece])


def get(db: Database, import_id: int) -> dict[str, Any]:
    """Return an import, as `prompts.list_imports` does.

    Raises:
        DataError: there is none.
    """
    found = next((row for row in prompts.list_imports(db) if row["id"] == import_id), None)
    if found is None:
        raise DataError(f"There is no import {import_id}. See them with: rlhf-studio data imports")
    return found


def brought(db: Database, import_id: int) -> dict[str, int]:
    """Count what came with an import and is still its own: prompts, demonstrations, other answers, comparisons and judgements."""
    row = next(
        db.query(
            "SELECT (SELECT count(*) FROM prompts WHERE import_id = :id) AS prompts,"
            " (SELECT count(*) FROM responses WHERE import_id = :id AND kind = 'demonstration') AS demonstrations,"
            " (SELECT count(*) FROM responses WHERE import_id = :id) AS answers,"
            " (SELECT coalesce(sum(last - first + 1), 0) FROM import_rows WHERE import_id = :id AND rows_of = 'comparisons') AS pairs,"
            " (SELECT coalesce(sum(last - first + 1), 0) FROM import_rows WHERE import_id = :id AND rows_of = 'rating_events') AS judgements",
            {"id": import_id},
        )
    )
    return row | {"answers": row["answers"] - row["demonstrations"]}


def check_free(db: Database, import_id: int) -> None:
    """Refuse an import on which something was trained, rated or built since.

    Raises:
        DataError: names what depends on it, or there is no such import.
    """
    batch = get(db, import_id)
    name = f"Import {import_id} ({batch['source']})"
    if not batch["is_noted"]:
        raise DataError(
            f"{name} came in with an earlier version of the studio, which did not note its rows, so it cannot be taken back. "
            "Hide what should not be used."
        )
    found = [words for words in (_dependant(db, batch, *each) for each in _DEPENDANTS) if words]
    if found:
        raise DataError(
            f"{name} cannot be taken back: {'; '.join(found)}. Hide what should not be used: rlhf-studio data hide"
        )


def pieces(db: Database, import_id: int) -> list[Piece]:
    """Return all rows of an import that a curtain can hide, in the order in which they came."""
    found = [Piece("imports", import_id, import_id)]
    for table in ("prompts", "responses"):
        islands = db.execute(
            f"SELECT min(id), max(id) FROM (SELECT id, id - row_number() OVER (ORDER BY id) AS island FROM {table}"
            " WHERE import_id = ?) GROUP BY island ORDER BY 1",
            [import_id],
        )
        found += [Piece(table, *ends) for ends in islands.fetchall()]
    for table in ("comparisons", "rating_events"):
        found += [Piece(table, *ends) for ends in db.execute(_NOTED, [import_id, table]).fetchall()]
    return found


def forget(db: Database, import_id: int) -> None:
    """Delete the showings and versions of demonstrations that came with an import, and the note of its rows.

    The caller's connection checks no foreign keys.
    """
    for table in ("showings", "demonstration_events"):
        for first, last in db.execute(_NOTED, [import_id, table]).fetchall():
            with curtain.unguarded(db, table):
                db.execute(f"DELETE FROM main.{table} WHERE id BETWEEN ? AND ?", [first, last])
            if table == "showings":
                for kept in ("open_showings", "undone_showings", "contradictions"):
                    db.execute(f"DELETE FROM main.{kept} WHERE showing_id BETWEEN ? AND ?", [first, last])
    db.execute("DELETE FROM import_rows WHERE import_id = ?", [import_id])


def _dependant(db: Database, batch: dict[str, Any], sql: str, words: str) -> str:
    values = {"id": batch["id"], "at": batch["created_at"], "largest": LARGEST}
    names = [str(row[0]) for row in db.execute(sql, values).fetchall()]
    if not names:
        return ""
    listed = ", ".join(names[:5]) + (f" and {len(names) - 5:,} more" if len(names) > 5 else "")
    return words.format(names=listed, num=f"{len(names):,}")


def _last(db: Database, table: str) -> int:
    return db.execute(f"SELECT coalesce(max(id), 0) FROM main.{table}").fetchone()[0]


def _is_own(rows_of: str, column: str) -> str:
    return (
        f"EXISTS (SELECT 1 FROM import_rows m WHERE m.import_id = :id AND m.rows_of = '{rows_of}'"
        f" AND {column} BETWEEN m.first AND m.last)"
    )


_NOTED = "SELECT first, last FROM import_rows WHERE import_id = ? AND rows_of = ? ORDER BY first"
_OWN_PROMPT = "(SELECT id FROM prompts WHERE import_id = :id)"
_OWN_PAIRS = "import_rows o JOIN comparisons c ON o.import_id = :id AND o.rows_of = 'comparisons' AND c.id BETWEEN o.first AND o.last"
_TAUGHT = (
    "SELECT 1 FROM responses d JOIN prompts q ON q.id = d.prompt_id WHERE d.import_id = :id AND d.kind = 'demonstration'"
    " AND q.split != 'test'"
)
_DEPENDANTS = (
    (
        f"SELECT name FROM runs WHERE stage = 'sft' AND created_at >= :at AND EXISTS ({_TAUGHT})",
        "{names} may have learned from its demonstrations",
    ),
    (
        "SELECT name FROM runs WHERE stage = 'ppo' AND created_at >= :at"
        " AND EXISTS (SELECT 1 FROM prompts WHERE import_id = :id AND split != 'test')",
        "{names} may have learned on its prompts",
    ),
    (
        "SELECT DISTINCT 'snapshot-' || s.snapshot_id FROM snapshot_rows s JOIN rating_events e ON e.id = s.rating_id"
        f" WHERE {_is_own('comparisons', 'e.comparison_id')} OR {_is_own('rating_events', 'e.id')}",
        "{names} holds its preferences",
    ),
    (
        f"SELECT DISTINCT k.name FROM responses r JOIN checkpoints k ON k.id = r.checkpoint_id WHERE r.prompt_id IN {_OWN_PROMPT}",
        "{names} answered its prompts",
    ),
    (
        f"SELECT r.id FROM responses r WHERE r.prompt_id IN {_OWN_PROMPT} AND r.import_id IS NOT :id AND r.kind != 'sample'",
        "answers to its prompts that were written or edited here or came with another import: {num}",
    ),
    (
        f"SELECT e.id FROM {_OWN_PAIRS} JOIN rating_events e ON e.comparison_id = c.id WHERE NOT {_is_own('rating_events', 'e.id')}",
        "ratings of its pairs that were given since: {num}",
    ),
    (
        f"SELECT s.id FROM {_OWN_PAIRS} JOIN showings s ON s.comparison_id = c.id WHERE NOT {_is_own('showings', 's.id')}",
        "its pairs that were shown for rating: {num}",
    ),
    (
        f"SELECT p.id FROM {_OWN_PAIRS} JOIN predictions p ON p.comparison_id = c.id",
        "predictions of reward models on its pairs: {num}",
    ),
    (
        "SELECT e.id FROM import_rows o JOIN rating_events e ON o.import_id = :id AND o.rows_of = 'rating_events'"
        f" AND e.id BETWEEN o.first AND o.last WHERE NOT {_is_own('comparisons', 'e.comparison_id')}",
        "pairs that were here before and that it judged: {num}",
    ),
    (
        "SELECT DISTINCT f.comparison_id FROM responses r JOIN comparison_responses f ON f.response_id = r.id"
        f" WHERE r.import_id = :id AND NOT {_is_own('comparisons', 'f.comparison_id')}",
        "other pairs that hold its answers: {num}",
    ),
    (
        f"SELECT c.id FROM comparisons c WHERE c.prompt_id IN {_OWN_PROMPT} AND NOT {_is_own('comparisons', 'c.id')}",
        "other pairs on its prompts: {num}",
    ),
    (
        "SELECT DISTINCT e.response_id FROM demonstration_events e JOIN responses r ON r.id = e.response_id LEFT JOIN demonstration_events n ON n.supersedes = e.id"
        f" WHERE (r.import_id = :id AND (NOT {_is_own('demonstration_events', 'e.id')} OR NOT {_is_own('demonstration_events', 'n.id')}"
        f" AND n.id IS NOT NULL)) OR (e.supersedes IS NOT NULL AND {_is_own('demonstration_events', 'e.id')}"
        f" AND NOT {_is_own('demonstration_events', 'e.supersedes')})",
        "its demonstrations that have other versions: {num}",
    ),
    (
        f"SELECT r.id FROM rollouts r WHERE r.prompt_id IN {_OWN_PROMPT}",
        "rollouts on its prompts: {num}",
    ),
    (
        f"SELECT t.id FROM label_studio_tasks t WHERE t.prompt_id IN {_OWN_PROMPT} OR {_is_own('comparisons', 't.comparison_id')}",
        "tasks on Label Studio about it: {num}",
    ),
    (
        "SELECT t.id FROM turns t JOIN responses r ON r.id = t.response_id WHERE r.import_id = :id",
        "turns of conversations with its answers: {num}",
    ),
)
"""A query for what depends on an import, and how it is told; a row has a name or a number first."""
