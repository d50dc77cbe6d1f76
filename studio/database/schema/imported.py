"""The migration that adds the column `is_imported` to rating events: the judgement came in with a file.

Before, the uuid of such an event began with "import-". Those events get the column filled, here and when an older
archive is imported.
"""

from typing import Any

from sqlite_utils import Database

_BEFORE = "import-"
_COLUMN = "ALTER TABLE rating_events ADD COLUMN is_imported INTEGER NOT NULL DEFAULT 0 CHECK (is_imported IN (0, 1))"
_INDEX = "CREATE INDEX rating_events_imported ON rating_events(comparison_id) WHERE is_imported"
"""For the history, which asks of each comparison whether its judgement was imported."""


def add(db: Database) -> None:
    """Add the column and fill it; the events' other columns stay as they are."""
    db.execute(_COLUMN)
    kept = next(db.query("SELECT sql FROM sqlite_master WHERE name = 'rating_events_refuse_update'"))["sql"]
    db.execute("DROP TRIGGER rating_events_refuse_update")
    db.execute("UPDATE rating_events SET is_imported = 1 WHERE uuid GLOB ?", [f"{_BEFORE}*"])
    db.execute(kept)
    db.execute(_INDEX)


def was_imported(event: dict[str, Any]) -> bool:
    """Return whether an event older than the column came in with a file."""
    return str(event.get("uuid")).startswith(_BEFORE)
