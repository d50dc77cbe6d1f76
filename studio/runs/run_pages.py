"""Reads some of the runs: the active ones, the newest, a page of a search."""

from sqlite_utils import Database

from studio.page_reads import PAGE
from studio.runs.runs import Run, of_row

_OPEN = "state IN ('queued', 'running')"
_FOUND = "(:search = '' OR instr(name, :search) > 0 OR instr(state, :search) > 0) AND (:stage = '' OR stage = :stage)"


def page(
    db: Database,
    *,
    stage: str = "",
    search: str = "",
    limit: int = PAGE,
    offset: int = 0,
    by: str = "",
    is_low_first: bool = False,
) -> list[Run]:
    """Return runs whose name or state holds the word, newest first, or by the last value of a metric, those without it last."""
    given = {"stage": stage, "search": search.strip().lower(), "limit": limit, "offset": max(0, offset), "by": by}
    of_metric = "(SELECT m.value FROM metrics m WHERE m.run_id = runs.id AND m.name = :by AND m.value IS NOT NULL ORDER BY m.step DESC LIMIT 1)"
    order = f"{of_metric} {'ASC' if is_low_first else 'DESC'} NULLS LAST, id DESC" if by else "id DESC"
    rows = db.query(f"SELECT * FROM runs WHERE {_FOUND} ORDER BY {order} LIMIT :limit OFFSET :offset", given)
    return [of_row(row) for row in rows]


def at_work(db: Database) -> list[Run]:
    """Return the runs that wait or are running, newest first."""
    return [of_row(row) for row in db.query(f"SELECT * FROM runs WHERE {_OPEN} ORDER BY id DESC")]


def last_ended(db: Database, limit: int) -> list[Run]:
    """Return the last runs that ended, the latest at the end."""
    rows = list(
        db.query("SELECT * FROM runs WHERE ended_at IS NOT NULL ORDER BY ended_at DESC, id DESC LIMIT ?", [limit])
    )
    return [of_row(row) for row in reversed(rows)]


def named(db: Database, names: list[str]) -> list[Run]:
    """Return the existing runs among these names."""
    marks = ", ".join("?" * len(names))
    return [of_row(row) for row in db.query(f"SELECT * FROM runs WHERE name IN ({marks}) ORDER BY id DESC", names)]


def with_checkpoints(db: Database, *stages: str, limit: int) -> tuple[list[Run], int]:
    """Return the newest runs of these stages that have a checkpoint which was not deleted, and how many there are in all."""
    marks = ", ".join("?" * len(stages))
    having = "EXISTS (SELECT 1 FROM checkpoints c WHERE c.run_id = r.id AND c.deleted_at IS NULL)"
    those = f"FROM runs r WHERE r.stage IN ({marks}) AND {having}"
    rows = db.query(f"SELECT r.* {those} ORDER BY r.id DESC LIMIT ?", [*stages, limit])
    return [of_row(row) for row in rows], next(db.query(f"SELECT count(*) AS n {those}", list(stages)))["n"]


def newest(db: Database, stage: str, *states: str) -> Run | None:
    """Return the newest run of a stage in one of these states."""
    marks = ", ".join("?" * len(states))
    rows = db.query(
        f"SELECT * FROM runs WHERE stage = ? AND state IN ({marks}) ORDER BY id DESC LIMIT 1", [stage, *states]
    )
    return next((of_row(row) for row in rows), None)


def count(db: Database) -> int:
    """Count the runs."""
    return next(db.query("SELECT count(*) AS n FROM runs"))["n"]


def count_ended(db: Database) -> dict[str, int]:
    """Count the ended runs of each stage."""
    rows = db.query(f"SELECT stage, count(*) AS n FROM runs WHERE NOT ({_OPEN}) GROUP BY stage")
    return {row["stage"]: row["n"] for row in rows}
