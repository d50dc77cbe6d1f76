"""What a workspace holds, read for a test, and what a test does to it in one transaction."""

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlite_utils import Database

from studio.datasets import export_rows
from studio.preferences import snapshots, undo
from studio.preferences.ratings import Rating
from studio.preferences.snapshots import Recipe, Snapshot
from studio.workspace import Workspace

Given = ParamSpec("Given")
Answer = TypeVar("Answer")


def read(
    ws: Workspace, ask: Callable[Concatenate[Database, Given], Answer], *given: Given.args, **named: Given.kwargs
) -> Answer:
    """The answer of a function that reads from an open database."""
    with ws.read() as db:
        return ask(db, *given, **named)


def written(
    ws: Workspace, do: Callable[Concatenate[Database, Given], Answer], *given: Given.args, **named: Given.kwargs
) -> Answer:
    """What a function returns that writes in a transaction, committed now."""
    with ws.write() as db:
        return do(db, *given, **named)


def comparisons(ws: Workspace) -> list[dict[str, Any]]:
    """Every comparison with its prompt, responses, showings and events."""
    with ws.read() as db:
        return list(export_rows.comparisons(db))


def preferences(ws: Workspace) -> list[dict[str, Any]]:
    """The ratings that count, with the texts of the first two positions as left and right."""
    with ws.read() as db:
        return [row | {"left": row["texts"][0], "right": row["texts"][1]} for row in export_rows.judgements(db)]


def freeze(ws: Workspace, recipe: Recipe | None = None, **settings: Any) -> Snapshot:
    """A snapshot of the ratings that count now, by a recipe or its settings."""
    with ws.write() as db:
        return snapshots.freeze(db, recipe or Recipe(**settings))


def undone(ws: Workspace, rater: str = "person", uuid: str | None = None) -> Rating | None:
    """The rater's newest rating, taken back now."""
    with ws.write() as db:
        return undo.newest(db, rater, uuid)


def training_rows(ws: Workspace, snapshot_id: int) -> list[dict[str, Any]]:
    """The rows of a snapshot, as a reward model trains on them."""
    with ws.read() as db:
        return snapshots.training_rows(db, snapshot_id)


def tables(ws: Workspace) -> dict[str, list[dict[str, Any]]]:
    """Every row of every table but those of the search index, which cannot be listed."""
    with ws.read() as db:
        return {name: list(db.query(f'SELECT * FROM "{name}"')) for name in db.table_names() if "_search" not in name}


def copied(ws: Workspace, root: Path) -> Workspace:
    """Copy a workspace, also while a process that used its database still closes it."""
    shutil.copytree(ws.root, root, ignore=shutil.ignore_patterns(f"{ws.database.name}*"))
    with closing(sqlite3.connect(ws.database)) as old, closing(sqlite3.connect(root / ws.database.name)) as new:
        old.backup(new)
    return Workspace.open(root)
