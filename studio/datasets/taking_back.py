"""Takes an import back: what came with it leaves the workspace, as if it had never come, while nothing depends on it.

Its rows are hidden in one transaction, and then deleted in short ones, as those of an import that was stopped. The index of the search
forgets its texts first; meanwhile a search reads them.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from filelock import FileLock
from sqlite_utils import Database

from studio.database import curtain
from studio.database.curtain import Piece
from studio.datasets import batches, publishing
from studio.preferences import ratings, text_search, texts
from studio.workspace import Workspace

WAIT_S = 0.1


def take_back(ws: Workspace, import_id: int) -> str:
    """Take an import back; returns what left, in words.

    Raises:
        DataError: there is no such import, or something depends on it; nothing was changed.
    """
    with ws.read() as db:
        batches.check_free(db, import_id)
        batch, counts, found = batches.get(db, import_id), batches.brought(db, import_id), batches.pieces(db, import_id)
    with _unindexed(ws, [piece for piece in found if piece.rows_of in ("prompts", "responses")]), publishing.alone(ws):
        publishing.take_out(ws)  # of an import that was killed
        with ws.read() as db:
            db.execute("PRAGMA foreign_keys = OFF")
            with ws.transaction(db, is_import=True):
                batches.check_free(db, import_id)
                _hide(db, import_id)
        publishing.take_out(ws)
    left = ", ".join(f"{number:,} {name}" for name, number in counts.items() if number) or "no rows"
    return f"{batch['source']} was taken back: {left} left the workspace. Import it again to have them back."


@contextmanager
def _unindexed(ws: Workspace, pieces: Sequence[Piece]) -> Iterator[None]:
    """Let the index forget these texts; if they stay after all, they are indexed again later."""
    while not text_search.catch_up(ws):
        time.sleep(WAIT_S)
    with FileLock(ws.root / "search.lock"):
        for table, first, last in pieces:
            for start in range(first, last + 1, text_search.AT_ONCE):
                with ws.write() as db:
                    text_search.forget(db, table, start, min(last, start + text_search.AT_ONCE - 1))
        yield


def _hide(db: Database, import_id: int) -> None:
    """Hide all that came with an import, and delete what no curtain hides, in the caller's transaction."""
    pieces = batches.pieces(db, import_id)
    for piece in pieces:
        if piece.rows_of == "rating_events":
            ratings.uncount(db, piece.first, piece.last)
        if piece.rows_of in ("prompts", "responses"):
            text_search.drop_backlog(db, *piece)
        if what := {"prompts": "prompts", "responses": "demonstrations", "comparisons": "preferences"}.get(
            piece.rows_of
        ):
            texts.forget(db, what, piece.first, piece.last)
    batches.forget(db, import_id)
    for piece in pieces:
        curtain.hide(db, piece)
