"""Metrics and sample texts of runs: the owner of those tables. Narrow rows, read by cursor."""

from collections.abc import Iterable, Mapping
from typing import Any

from studio.workspace import Workspace, now


def add(ws: Workspace, run_id: int, step: int, values: Mapping[str, float]) -> None:
    """Store the values of one step in one transaction."""
    at = now()
    with ws.write() as db:
        db.table("metrics").insert_all(
            {"run_id": run_id, "step": step, "name": name, "value": float(value), "at": at}
            for name, value in values.items()
        )


def add_samples(ws: Workspace, run_id: int, step: int, samples: Iterable[Mapping[str, Any]]) -> None:
    """Store sample texts: mappings with prompt, response, and, where known, score, components (JSON), kl, end_reason."""
    at = now()
    rows = [{"run_id": run_id, "step": step, "at": at} | dict(sample) for sample in samples]
    with ws.write() as db:
        db.table("samples").insert_all(rows)


def curve(ws: Workspace, run_id: int, name: str, max_points: int = 600) -> list[tuple[int, float]]:
    """(step, value) of one metric, thinned evenly to at most about `max_points`; first and last are kept."""
    with ws.read() as db:
        points = [
            (row["step"], row["value"])
            for row in db.query(
                "SELECT step, value FROM metrics WHERE run_id = ? AND name = ? AND value IS NOT NULL ORDER BY step, id",
                [run_id, name],
            )
        ]
    stride = max(1, -(-len(points) // max_points))
    thinned = points[::stride]
    return thinned if not points or thinned[-1] == points[-1] else [*thinned, points[-1]]


def names(ws: Workspace, run_id: int) -> list[str]:
    """Metric names this run has logged, sorted."""
    with ws.read() as db:
        return [
            r["name"] for r in db.query("SELECT DISTINCT name FROM metrics WHERE run_id = ? ORDER BY name", [run_id])
        ]


def cursor(ws: Workspace, run_id: int) -> int:
    """Id of the run's newest metric row: unchanged means nothing new to draw."""
    with ws.read() as db:
        return next(db.query("SELECT coalesce(max(id), 0) AS n FROM metrics WHERE run_id = ?", [run_id]))["n"]


def latest(ws: Workspace, run_id: int) -> dict[str, float]:
    """Metric name to its newest value."""
    with ws.read() as db:
        rows = db.query("SELECT name, value, max(id) FROM metrics WHERE run_id = ? GROUP BY name", [run_id])
        return {row["name"]: row["value"] for row in rows if row["value"] is not None}


def first(ws: Workspace, run_id: int) -> dict[str, float]:
    """Metric name to its first value."""
    with ws.read() as db:
        rows = db.query("SELECT name, value, min(id) FROM metrics WHERE run_id = ? GROUP BY name", [run_id])
        return {row["name"]: row["value"] for row in rows if row["value"] is not None}


def list_samples(ws: Workspace, run_id: int, limit: int = 50) -> list[dict[str, Any]]:
    """The run's newest sample texts (step, prompt, response, score, kl, end_reason), newest step first."""
    with ws.read() as db:
        return list(db.query("SELECT * FROM samples WHERE run_id = ? ORDER BY step DESC, id LIMIT ?", [run_id, limit]))
