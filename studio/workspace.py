"""A workspace: one folder with the database, the runs and the exports of one project.

    <root>/studio.db          the truth for prompts, responses, ratings, run states, metrics, lineage
    <root>/runs/<name>/       config.json, frozen rows, log.txt, checkpoints/
    <root>/exports/           exported files and models
    <root>/backups/           copies of the database, made automatically or by hand
    <root>/lanes/, servers/   kernel locks: the run on the CPU, the servers that have the workspace open
    <root>/rewards/           Python files with reward functions, put there by hand: the only ones a run may name
    <root>/evaluations/       JSONL files with suites of the user's own, put there by hand

Functions of the workbench take an open `db`; whoever calls them opens `read` or `write` once for what belongs together. Those
that need the folder too, or open the database several times, take the workspace.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

from sqlite_utils import Database

from studio.database import connection, curtain, faults, high_water
from studio.errors import WorkspaceError, WorkspaceUnavailable

DEFAULT_ROOT = Path("~/rlhf-studio")
LARGEST = 2**63 - 1
"""The largest integer in SQLite."""


@dataclass(frozen=True)
class Workspace:
    """An opened workspace; `Workspace.open` creates one."""

    root: Path

    @classmethod
    def open(cls, root: str | Path | None = None) -> "Workspace":
        """Open the workspace at `root`, creating folder and database where they are missing.

        Without `root`: the environment variable RLHF_STUDIO_WORKSPACE, else ~/rlhf-studio.

        Raises:
            WorkspaceError: the folder cannot be used, or its database is damaged or from a newer version.
        """
        path = _resolve(root)
        workspace = cls(path)
        workspace.check_not_lost()
        try:
            for folder in (path, workspace.runs, workspace.exports, workspace.rewards, workspace.evaluations):
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise WorkspaceError(
                f"The workspace folder {path} cannot be created: {error.strerror}. Choose another with --workspace."
            ) from error
        connection.migrate(workspace.database)
        return workspace

    @classmethod
    def existing(cls, root: str | Path | None = None) -> "Workspace":
        """Open the existing workspace at `root`: a mistyped folder is not created.

        Raises:
            WorkspaceError: as `open`, or the folder holds no workspace.
        """
        path = _resolve(root)
        cls(path).check_not_lost()
        if connection.is_gone(cls(path).database):
            raise WorkspaceError(
                f"There is no workspace in {path}. Check --workspace; a new one is made by rlhf-studio ui and rlhf-studio import."
            )
        return cls.open(path)

    @staticmethod
    def place(root: str | Path | None = None) -> Path:
        """Return the workspace's folder, whatever is in it."""
        return _resolve(root)

    def check_not_lost(self) -> None:
        """Refuse to begin with an empty database where there was one with data.

        Raises:
            WorkspaceError: the database is missing or empty, next to files of a workspace; or it cannot be opened.
        """
        if connection.is_blank(self.database) and (left := self.used_before()):
            what = "is empty" if self.database.exists() else "is gone"
            raise WorkspaceUnavailable(
                f"The database {self.database.name} of {self.root} {what}, but the folder is not new: it has {left}. Nothing was "
                f"made or changed. Put {self.database.name} back (a backup: rlhf-studio restore FILE), or have a new one made that "
                f"knows the runs and checkpoints of these folders, without the ratings: rlhf-studio doctor --repair --workspace {self.root}"
            )

    def used_before(self) -> str:
        """Name the signs that the folder was a workspace before; empty where there are none."""
        if connection.is_gone(self.database) and _size(self.database.with_name(f"{self.database.name}-wal")):
            return f"a {self.database.name}-wal, which belongs to it"
        for folder, what in ((self.runs, "run"), (self.exports, "export"), (self.backups, "backup")):
            names = sorted(path.name for path in _entries(folder) if not path.name.startswith("."))
            if names:
                more = f" and {len(names) - 3:,} more" if len(names) > 3 else ""
                return f"the {what}{'s' * (len(names) > 1)} {', '.join(names[:3])}{more}"
        return ""

    @property
    def database(self) -> Path:
        """The SQLite file."""
        return self.root / "studio.db"

    @property
    def runs(self) -> Path:
        """Folder of the run folders."""
        return self.root / "runs"

    @property
    def exports(self) -> Path:
        """Folder of exported files and models."""
        return self.root / "exports"

    @property
    def backups(self) -> Path:
        """Folder of the database's backups."""
        return self.root / "backups"

    @property
    def rewards(self) -> Path:
        """Folder of the files with reward functions."""
        return self.root / "rewards"

    @property
    def evaluations(self) -> Path:
        """Folder of the user's own suites."""
        return self.root / "evaluations"

    @contextmanager
    def read(self) -> Iterator[Database]:
        """Yield a connection for reading; it is closed at the end of the block.

        Raises:
            WorkspaceError: another program holds the database for too long, its disk is full, read-only or faulty, or a newer
                version has changed the schema meanwhile.
        """
        db = connection.connect(self.database, self.root)
        try:
            curtain.draw(db)
            yield db
        except OverflowError as error:  # sqlite3 only says that a number is too large
            if "SQLite" not in str(error):
                raise
            raise WorkspaceError("A number is too large to be stored here. Check the input.") from error
        except UnicodeEncodeError as error:
            raise WorkspaceError(
                "A text contains half a character, which cannot be stored. Check the input."
            ) from error
        except connection.FAULTS as error:
            if not (faults.explain(error, self.database.name, connection.BUSY_TIMEOUT_S) or faults.is_damage(error)):
                if newer := connection.newer(self.database):
                    raise WorkspaceError(newer) from error
                raise
            raise connection.refusal(self.database, error) from error
        finally:
            db.close()

    @contextmanager
    def kept_open(self) -> Iterator[None]:
        """Keep the database open for the length of the block, so that it can be read when the disk fills up."""
        with self.read() as db:
            db.execute("SELECT count(*) FROM sqlite_master").fetchall()
            yield

    @contextmanager
    def write(self) -> Iterator[Database]:
        """Open a write transaction (BEGIN IMMEDIATE): committed at the end of the block, rolled back on an exception.

        Raises:
            WorkspaceError: as `read`; nothing was written.
        """
        with self.read() as db, self.transaction(db):
            yield db

    @contextmanager
    def transaction(self, db: Database, *, is_import: bool = False) -> Iterator[None]:
        """Open a write transaction on a connection of `read`; as `write`. An import sees what it has brought in itself."""
        db.conn.execute("BEGIN IMMEDIATE")
        try:
            if not is_import:
                curtain.draw(db)  # what came while this connection waited for its turn
            before = db.conn.total_changes
            high_water.settle(db, self.database)
            yield
            number = high_water.advance(db) if db.conn.total_changes > before else 0
        except BaseException:
            db.rollback()
            raise
        db.commit()
        if number:
            high_water.note(self.database, number)


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _resolve(root: str | Path | None) -> Path:
    return Path(root or os.environ.get("RLHF_STUDIO_WORKSPACE") or DEFAULT_ROOT).expanduser().resolve()


def check_day(text: str) -> str:
    """Return a day (UTC) as 2026-03-31, the way times begin in the database; or empty.

    Raises:
        ValueError: it is not a day; the message is for a person.
    """
    try:
        is_day = not text or date.fromisoformat(text).isoformat() == text
    except ValueError:
        is_day = False
    if not is_day:
        raise ValueError(f"{text[:60]!r} is not a day; write it as 2026-03-31")
    return text


def now() -> str:
    """Return the time in UTC, ISO 8601, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
