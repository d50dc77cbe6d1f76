"""Some of the runs: those at work, the newest, a page of them that a word is found in."""

from studio.page_reads import PAGE
from studio.runs.runs import Run, of_row
from studio.workspace import Workspace

_OPEN = "state IN ('queued', 'running')"
_FOUND = "(:search = '' OR instr(name, :search) > 0 OR instr(state, :search) > 0) AND (:stage = '' OR stage = :stage)"


def page(ws: Workspace, *, stage: str = "", search: str = "", limit: int = PAGE, offset: int = 0) -> list[Run]:
    """Runs whose name or state holds the word, newest first."""
    given = {"stage": stage, "search": search.strip().lower(), "limit": limit, "offset": max(0, offset)}
    with ws.read() as db:
        rows = db.query(f"SELECT * FROM runs WHERE {_FOUND} ORDER BY id DESC LIMIT :limit OFFSET :offset", given)
        return [of_row(row) for row in rows]


def at_work(ws: Workspace) -> list[Run]:
    """Runs that wait or go, newest first."""
    with ws.read() as db:
        return [of_row(row) for row in db.query(f"SELECT * FROM runs WHERE {_OPEN} ORDER BY id DESC")]


def last_ended(ws: Workspace, limit: int) -> list[Run]:
    """The runs that ended last, the last one at the end."""
    with ws.read() as db:
        rows = list(
            db.query("SELECT * FROM runs WHERE ended_at IS NOT NULL ORDER BY ended_at DESC, id DESC LIMIT ?", [limit])
        )
    return [of_row(row) for row in reversed(rows)]


def named(ws: Workspace, names: list[str]) -> list[Run]:
    """The runs with these names that there are."""
    with ws.read() as db:
        marks = ", ".join("?" * len(names))
        return [of_row(row) for row in db.query(f"SELECT * FROM runs WHERE name IN ({marks}) ORDER BY id DESC", names)]


def newest(ws: Workspace, stage: str, *states: str) -> Run | None:
    """The newest run of a stage in one of these states."""
    marks = ", ".join("?" * len(states))
    with ws.read() as db:
        rows = db.query(
            f"SELECT * FROM runs WHERE stage = ? AND state IN ({marks}) ORDER BY id DESC LIMIT 1", [stage, *states]
        )
        return next((of_row(row) for row in rows), None)


def count(ws: Workspace) -> int:
    """How many runs there are."""
    with ws.read() as db:
        return next(db.query("SELECT count(*) AS n FROM runs"))["n"]


def count_ended(ws: Workspace) -> dict[str, int]:
    """How many runs of each stage have ended."""
    with ws.read() as db:
        rows = db.query(f"SELECT stage, count(*) AS n FROM runs WHERE NOT ({_OPEN}) GROUP BY stage")
        return {row["stage"]: row["n"] for row in rows}
