"""Brings the rows of a stage into the workspace: a short import in one transaction, a long one piece by piece behind a curtain.

While a long import comes in, other programs write between its pieces and see none of it (`studio.database.curtain`); the last
transaction shows all of it. One that is stopped or killed is never seen, and what it left is taken out by whoever comes next.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from filelock import FileLock, Timeout
from sqlite_utils import Database

from studio.database import curtain
from studio.datasets import batches
from studio.datasets.staging import Stage
from studio.preferences import prompts, ratings, text_search
from studio.workspace import Workspace, now

LARGE = 20_000
"""New items from which an import comes in piece by piece; fewer take less than a second."""
FIRST_PIECE = 5_000
LONGEST_S = 0.4
"""Seconds for which a piece lets others wait, about."""
PAUSE_S = 0.12
"""Seconds between two pieces: a program that waits for its turn looks every 0.1 s."""
GRACE_S = 1.0
"""Seconds after the first mark of an import, in which connections end that were opened before it: they last some milliseconds."""
Report = Callable[[float], None]
"""Gets the share that is brought in; what it raises ends the import."""


class Outdated(Exception):
    """Another program has added a prompt meanwhile that was laid down as new."""


@contextmanager
def ahead(
    ws: Workspace, db: Database, stage: Stage, batch: tuple[str, str, str], report: Report
) -> Iterator[int | None]:
    """Bring a long import in behind the curtain, for the block to `show`; yields its id, None for a short one.

    What is not shown at the end of the block is taken out again.

    Other imports wait meanwhile.

    Raises:
        Outdated: as it says.
    """
    with alone(ws):
        take_out(ws)  # of an import that was killed
        curtain.lift(db)
        if stage.stored["new"] < LARGE:
            yield None
            return
        try:
            with ws.transaction(db, is_import=True):
                import_id = prompts.record_import(db, *batch)
                curtain.hide(db, curtain.Piece("imports", import_id, import_id))
            time.sleep(GRACE_S)
            _bring_pieces(ws, db, stage, import_id, report)
            yield import_id
        finally:
            db.rollback()
            take_out(ws)


def whole(db: Database, stage: Stage, import_id: int) -> None:
    """Bring all rows of a stage in, in the caller's transaction."""
    at = now()
    for rows_of, size in stage.sizes():
        stage.bring(rows_of, import_id, at, 1, size)
    ratings.count_staged(db)


def show(db: Database, import_id: int) -> None:
    """Show what came in behind the curtain, in the caller's transaction; its texts are indexed for the search later."""
    for piece in curtain.show(db):
        batches.note_piece(db, import_id, piece)
        if piece.rows_of in ("prompts", "responses"):
            text_search.postpone(db, piece.rows_of, piece.first, piece.last)
    ratings.count_staged(db)


def take_out(ws: Workspace) -> None:
    """Delete what is hidden, in short transactions, with the lock of `ahead` held."""
    size = FIRST_PIECE
    with ws.read() as db:
        if not curtain.is_needed(db):
            return
        curtain.lift(db)
        db.execute("PRAGMA foreign_keys = OFF")
        is_left = True
        while is_left:
            started = time.monotonic()
            with ws.transaction(db, is_import=True):
                is_left = curtain.take_out(db, size)
            size = _next_size(size, started)
            time.sleep(PAUSE_S)


def take_out_leftovers(ws: Workspace) -> bool:
    """Delete what a killed import has left, unless another import is running; returns whether there was any."""
    with ws.read() as db:
        if not curtain.is_needed(db):
            return False
    try:
        with alone(ws, timeout=0):
            take_out(ws)
    except Timeout:
        return False
    return True


def _bring_pieces(ws: Workspace, db: Database, stage: Stage, import_id: int, report: Report) -> None:
    at, sizes = now(), stage.sizes()
    total, num_done = sum(num for _, num in sizes), 0
    for rows_of, num in sizes:
        first, size = 1, FIRST_PIECE
        while first <= num:
            last, started = min(num, first + size - 1), time.monotonic()
            with ws.transaction(db, is_import=True):
                if stage.is_outdated():
                    raise Outdated
                with text_search.unindexed(db):
                    piece = stage.bring(rows_of, import_id, at, first, last)
                if piece:
                    curtain.hide(db, piece)
            size = _next_size(size, started)
            num_done, first = num_done + last - first + 1, last + 1
            report(num_done / total)
            time.sleep(PAUSE_S)


def _next_size(size: int, started: float) -> int:
    return max(500, min(2 * size, round(size * LONGEST_S / max(0.01, time.monotonic() - started))))


def alone(ws: Workspace, timeout: float = -1) -> FileLock:
    """Return the lock of the one import that brings its rows in."""
    return FileLock(ws.root / "import.lock", timeout=timeout)
