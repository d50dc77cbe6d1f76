"""Reads some of the runs: the active ones, the newest, a page of a search."""

from studio.page_reads import PAGE
from studio.runs.runs import Run, of_row
from studio.workspace import Workspace

_OPEN = "state IN ('queued', 'running')"
_FOUND = "(:search = '' OR instr(name, :search) > 0 OR instr(state, :search) > 0) AND (:stage = '' OR stage = :stage)"


def page(ws: Workspace, *, stage: str = "", search: str = "", limit: int = PAGE, offset: int = 0) -> list[Run]:
    """Return runs whose name or state holds the word, newest first."""
    given = {"stage": stage, "search": search.strip().lower(), "limit": limit, "offset": max(0, offset)}
    with ws.read() as db:
        rows = db.query(f"SELECT * FROM runs WHERE {_FOUND} ORDER BY id DESC LIMIT :limit OFFSET :offset", given)
        return [of_row(row) for row in rows]


def at_work(ws: Workspace) -> list[Run]:
    """Return the runs that wait or are running, newest first."""
    with ws.read() as db:
        return [of_row(row) for row in db.query(f"SELECT * FROM runs WHERE {_OPEN} ORDER BY id DESC")]


def last_ended(ws: Workspace, limit: int) -> list[Run]:
    """Return the last runs that ended, the latest at the end."""
    with ws.read() as db:
        rows = list(
            db.query("SELECT * FROM runs WHERE ended_at IS NOT NULL ORDER BY ended_at DESC, id DESC LIMIT ?", [limit])
        )
    return [of_row(row) for row in reversed(rows)]


def named(ws: Workspace, names: list[str]) -> list[Run]:
    """Return the existing runs among these names."""
    with ws.read() as db:
        marks = ", ".join("?" * len(names))
        return [of_row(row) for row in db.query(f"SELECT * FROM runs WHERE name IN ({marks}) ORDER BY id DESC", names)]


def newest(ws: Workspace, stage: str, *states: str) -> Run | None:
    """Return the newest run of a stage in one of these states."""
    marks = ", ".join("?" * len(states))
    with ws.read() as db:
        rows = db.query(
            f"SELECT * FROM runs WHERE stage = ? AND state IN ({marks}) ORDER BY id DESC LIMIT 1", [stage, *states]
        )
        return next((of_row(row) for row in rows), None)


def count(ws: Workspace) -> int:
    """Count the runs."""
    with ws.read() as db:
        return next(db.query("SELECT count(*) AS n FROM runs"))["n"]


def count_ended(ws: Workspace) -> dict[str, int]:
    """Count the ended runs of each stage."""
    with ws.read() as db:
        rows = db.query(f"SELECT stage, count(*) AS n FROM runs WHERE NOT ({_OPEN}) GROUP BY stage")
        return {row["stage"]: row["n"] for row in rows}
