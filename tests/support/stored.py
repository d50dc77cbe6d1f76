"""What a workspace holds, read for a test."""

from typing import Any

from studio.datasets import export_rows
from studio.workspace import Workspace


def comparisons(ws: Workspace) -> list[dict[str, Any]]:
    """Every comparison with its prompt, responses, showings and events."""
    with ws.read() as db:
        return list(export_rows.comparisons(db))


def preferences(ws: Workspace) -> list[dict[str, Any]]:
    """The ratings that count, as the export for TRL reads them."""
    with ws.read() as db:
        return list(export_rows.preferences(db))


def tables(ws: Workspace) -> dict[str, list[dict[str, Any]]]:
    """Every row of every table but those of the search index, which cannot be listed."""
    with ws.read() as db:
        return {name: list(db.query(f'SELECT * FROM "{name}"')) for name in db.table_names() if "_search" not in name}
