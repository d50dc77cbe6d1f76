"""How fast the Runs page answers: ``python -m tests.benchmarks.live [POINTS]`` (100,000 unless said otherwise).

Makes a workspace of 500 runs, ten of them with 20 metrics of so many points each, and times what the page asks for when it
is opened, when ten runs are laid over each other, and at each tick of an idle tab.
"""

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from modules.config import SFTConfig
from studio import runs, schema_curves
from studio.runs import Run
from studio.workspace import Workspace
from ui.pages import run_curves
from ui.pages import runs as runs_page

NUM_RUNS, NUM_LONG, NUM_METRICS = 500, 10, 20


def main(points: int) -> None:
    """Print the times, each the median of five."""
    with tempfile.TemporaryDirectory() as folder:
        ws = Workspace.open(Path(folder) / "studio")
        long = fill(ws, points)
        first, *rest = (run.name for run in long)
        print(f"{NUM_RUNS} runs, {NUM_LONG} of them with {NUM_METRICS} metrics of {points:,} points")
        say("open one run, curves", lambda: run_curves._draw(ws, first, [], 0, False))
        say("ten runs laid over each other", lambda: run_curves._draw(ws, first, rest, 0.9, True))
        say("open the page, list and head", lambda: runs_page._refresh(ws, first, ""))
        *_, seen = runs_page._refresh(ws, first, "")
        say("a tick with nothing new (every 2 s)", lambda: runs_page._refresh(ws, first, seen))


def fill(ws: Workspace, points: int) -> list[Run]:
    """Runs by their rows, metrics by SQL; the stretches are made as the migration makes them."""
    config = SFTConfig().model_dump_json()
    with ws.write() as db:
        db.table("runs").insert_all(
            {"name": f"sft-{n}", "stage": "sft", "state": "finished", "config": config, "revision": "", "created_at": "2026-01-01T00:00:00+00:00",
             "started_at": "2026-01-01T00:00:00+00:00", "ended_at": "2026-01-01T01:00:00+00:00"}
            for n in range(1, NUM_RUNS + 1)
        )  # fmt: skip
        db.execute("DROP TRIGGER metrics_stretch")
        db.execute(
            "WITH RECURSIVE step(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM step WHERE n < :points),"
            " metric(m) AS (SELECT 1 UNION ALL SELECT m + 1 FROM metric WHERE m < :metrics)"
            " INSERT INTO metrics (run_id, step, name, value, at)"
            " SELECT r.id, n, 'train/metric_' || m, 1.0 / n + abs(random() % 1000) / 5000.0, '' FROM runs r, metric, step"
            " WHERE r.id > :after",
            {"points": points, "metrics": NUM_METRICS, "after": NUM_RUNS - NUM_LONG},
        )
        db.execute(schema_curves.STATEMENTS[1])
    return runs.list_all(ws)[:NUM_LONG]


def say(what: str, call: Callable[[], object]) -> None:
    """Print the median time of a call."""
    times = []
    for _ in range(5):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    print(f"{what}: {sorted(times)[2] * 1000:.0f} ms", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
