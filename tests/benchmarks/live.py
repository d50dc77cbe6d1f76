"""How fast the Runs page answers: ``python -m tests.benchmarks.live [POINTS [FOLDER]]`` (100,000 points unless said otherwise).

Makes a workspace of 500 runs, ten of them with 20 metrics of so many points each (in FOLDER it is kept for the next time),
and times what the server does when a run is opened, when ten are laid over each other, and at each tick of an idle tab:
wall time and the CPU time it took, which tells what of it was waiting for a busy machine. Where there is a Chromium, a run
is then opened in it, from a click in the list or a change of the address to drawn curves, and by Gradio's events alone for
comparison; and an idle tab is watched for its share of a core.
"""

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil
from playwright.sync_api import Page, sync_playwright

from modules.config import SFTConfig
from studio.database.schema import curves
from studio.runs import runs
from studio.runs.runs import Run
from studio.workspace import Workspace
from tests.support import stored
from tests.ui.conftest import CHROMIUM, FLAGS, Served
from ui.pages.runs import curves as run_curves
from ui.pages.runs import page as runs_page

NUM_RUNS, NUM_LONG, NUM_METRICS = 500, 10, 20
NUM_TIMES = 20
IDLE_S = 20.0
REST_S = 1.5
OPEN = """([name, isClick]) => new Promise((resolve) => {
  const start = performance.now();
  if (isClick) document.querySelector("#run-list a[href='#runs/" + name + "']").click();
  else location.hash = "runs/" + name;
  const look = () => document.querySelector("#run-head h2")?.textContent === name
    && document.querySelector("#run-curves [data-run='" + name + "'] polyline")
    ? requestAnimationFrame(() => setTimeout(drawn)) : setTimeout(look, 5);
  const drawn = () => settled(performance.now() - start);
  const settled = (took) => document.getElementById("run").inert ? setTimeout(settled, 5, took)
    : resolve([took, performance.now() - start]);
  look();
})"""
"""Milliseconds to drawn curves, and until the controls speak of the run too."""


def main(points: int, folder: Path) -> None:
    """Print the times: median and 95th percentile."""
    ws = Workspace.open(folder / "studio")
    long = fill(ws, points) if not stored.read(ws, runs.list_all) else stored.read(ws, runs.list_all)[:NUM_LONG]
    names = [run.name for run in long]
    print(
        f"{NUM_RUNS} runs, {NUM_LONG} of them with {NUM_METRICS} metrics of {points:,} points; {NUM_TIMES} times each"
    )
    print("| server | p50, ms | p95, ms | CPU, ms |")
    print("|---|---|---|---|")
    say("list, head and controls of a run", lambda: runs_page._refresh(ws, names[0], ""))
    say("its 20 curves", lambda: stored.read(ws, run_curves.draw, names[0], [], 0, False))
    say("ten runs laid over each other", lambda: stored.read(ws, run_curves.draw, names[0], names[1:], 0.9, True))
    *_, seen = runs_page._refresh(ws, names[0], "")
    say("a tick with nothing new (every 2 s)", lambda: runs_page._refresh(ws, names[0], seen))
    if CHROMIUM:
        served = Served(ws)
        try:
            _watch(served.url, names)
        finally:
            served.stop()


def fill(ws: Workspace, points: int) -> list[Run]:
    """Runs by their rows, metrics by SQL; the stretches are made as the migration makes them."""
    config = SFTConfig().model_dump_json()
    with ws.write() as db:
        db.table("runs").insert_all(
            {"name": f"sft-{n}", "stage": "sft", "state": "finished", "config": config, "revision": "", "created_at": "2026-01-01T00:00:00+00:00",
             "started_at": "2026-01-01T00:00:00+00:00", "ended_at": "2026-01-01T01:00:00+00:00", "gone_at": "2026-01-01T01:00:00+00:00"}
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
        db.execute(curves.STATEMENTS[1])
    return stored.read(ws, runs.list_all)[:NUM_LONG]


def say(what: str, call: Callable[[], object]) -> None:
    """Print a call's median time, its 95th percentile and the median of its CPU time."""
    walls, cpus = [], []
    for _ in range(NUM_TIMES):
        start, used = time.perf_counter(), time.thread_time()
        call()
        walls.append(1000 * (time.perf_counter() - start))
        cpus.append(1000 * (time.thread_time() - used))
    print(f"| {what} | {_spread(walls)} | {sorted(cpus)[NUM_TIMES // 2]:.0f} |", flush=True)


def _spread(times: list[float]) -> str:
    ordered = sorted(times)
    return f"{ordered[len(ordered) // 2]:.0f} | {ordered[int(0.95 * (len(ordered) - 1))]:.0f}"


def _watch(url: str, names: list[str]) -> None:
    """Open runs in a browser, one after the other; then leave it alone."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 860})
        page.set_default_timeout(120_000)
        page.goto(f"{url}#runs/{names[-1]}")
        page.wait_for_selector("#run-curves polyline")
        time.sleep(3)
        print("| browser, a run opened | p50, ms | p95, ms |")
        print("|---|---|---|")
        took = _open(page, names, is_click=True)
        print(f"| by a click in the list, to its drawn curves | {_spread([drawn for drawn, _ in took])} |")
        print(f"| until its controls may be used | {_spread([settled for _, settled in took])} |")
        print(f"| by its address | {_spread([drawn for drawn, _ in _open(page, names, is_click=False)])} |")
        page.evaluate("window.studio.paint = undefined")
        print(
            f"| the same by Gradio's events alone | {_spread([drawn for drawn, _ in _open(page, names, is_click=False)])} |"
        )
        time.sleep(3)
        print(f"browser, idle tab: {_idle():.1%} of a core over {IDLE_S:.0f} s", flush=True)
        browser.close()


def _open(page: Page, names: list[str], *, is_click: bool) -> list[list[float]]:
    """Open a run after the other, each when the page has come to rest."""
    times = []
    for n in range(NUM_TIMES):
        times.append(page.evaluate(OPEN, [names[n % NUM_LONG], is_click]))
        time.sleep(REST_S)
    return times


def _idle() -> float:
    """Share of a core that all processes of the browser take while nobody touches it."""
    family = [p for p in psutil.Process().children(recursive=True) if "chrom" in p.name()]
    before = sum(sum(p.cpu_times()[:2]) for p in family)
    time.sleep(IDLE_S)
    return (sum(sum(p.cpu_times()[:2]) for p in family) - before) / IDLE_S


if __name__ == "__main__":
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    with tempfile.TemporaryDirectory() as scratch:
        main(number, Path(sys.argv[2]) if len(sys.argv) > 2 else Path(scratch))
