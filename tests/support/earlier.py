"""Workspaces as an earlier version of the studio left them."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlite_utils import Database

from studio.database import migrations
from studio.preferences import comparisons, prompts
from studio.preferences.prompts import NewPrompt


@contextmanager
def written(root: Path, stop_before: str) -> Iterator[Database]:
    """The database of the version before a migration, in a new folder, to be filled in the block."""
    root.mkdir()
    db = Database(sqlite3.connect(root / "studio.db"))
    db.enable_wal()
    migrations.ALL.apply(db, stop_before=stop_before)
    with db.conn:
        yield db
    db.close()


def pair(db: Database, number: int) -> tuple[int, list[int]]:
    """A comparison of two imported answers to a question with this number, and the answers' ids."""
    prompt_id = prompts.add_prompt(db, NewPrompt([{"role": "user", "content": f"Question {number}"}]))
    ids = [prompts.add_response(db, prompt_id, f"{side} {number}", "import") for side in ("one", "two")]
    comparison_id = comparisons.add_comparison(db, prompt_id, ids)
    assert comparison_id is not None
    return comparison_id, ids
