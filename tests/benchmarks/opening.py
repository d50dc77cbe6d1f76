"""How long the pages Insights and Runs take to open, with many ratings and metrics in the database.

    python -m tests.benchmarks.opening [--ratings 1000000] [--metrics 10000000] [--opens 5] [--workspace DIR]

Fills a workspace with simulated raters and two reward models, and with PPO runs of which one is ten times as long as the others. Prints
in seconds how long the report takes to read and the page Insights to draw in a process that has just opened the database; and in
Chromium what it takes from a click on a page's tab until its last chart is there, and from a click on the longest run until its curves are.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from modules.config import PPOConfig
from studio.database.schema import curves
from studio.insights import report
from studio.workspace import Workspace
from tests.support import rated, stored
from tests.support.rated import World
from tests.ui.conftest import CHROMIUM, FLAGS, Served
from ui.pages.insights import drawing

CHUNK = 100_000
SEARCH = ("prompts_are_found", "responses_are_found")
"""Triggers that fill the search index: left out, since the page does not search and they take minutes."""
METRICS = (
    "objective/score", "objective/kl", "objective/reward", "policy/loss", "policy/entropy", "policy/ratio", "policy/clip_fraction",
    "policy/grad_norm", "policy/approx_kl", "value/loss", "value/explained_variance", "value/advantage_spread", "value/grad_norm",
    "rollout/response_tokens", "rollout/distinct_4grams", "rollout/eos_share", "rollout/length_correlation", "objective/score_spread",
    "objective/score_groups", "time/step_s",
)  # fmt: skip
NUM_RUNS = 31
"""The longest has ten parts of forty, the others one each."""


def fill_ratings(ws: Workspace, num_ratings: int) -> None:
    """Two raters judge all pairs; the newest pairs were predicted before."""
    stored.written(ws, lambda db: [db.execute(f"DROP TRIGGER {name}") for name in SEARCH])
    chunks = max(1, num_ratings // CHUNK)
    for number in range(chunks):
        size = num_ratings // chunks // 2
        models = (1.0, 3.0) if number == chunks - 1 else ()
        rated.fill(
            ws, World(num=size * 9 // 10, repeats=size // 10, raters=("person", "bob"), models=models, seed=number)
        )


def fill_metrics(ws: Workspace, num_metrics: int) -> None:
    """Runs with all metrics at each step, the longest first; the stretches are summed up at once, not row by row."""
    part = num_metrics // 40 // len(METRICS)
    stored.written(ws, lambda db: db.execute("DROP TRIGGER metrics_stretch"))
    for number in range(NUM_RUNS):
        with ws.write() as db:
            row = {
                "name": f"ppo-{number + 1}",
                "stage": "ppo",
                "state": "finished",
                "config": PPOConfig().model_dump_json(),
            }
            at = {
                name: f"2026-06-01T1{n}:00:00.000+00:00"
                for n, name in enumerate(("created_at", "started_at", "ended_at"))
            }
            db.table("runs").insert(row | at | {"revision": "x", "message": "Finished."})
            (run_id,) = db.execute("SELECT max(id) FROM runs").fetchone()
            for name in METRICS:
                db.execute(
                    "WITH RECURSIVE steps(step) AS (SELECT 1 UNION ALL SELECT step + 1 FROM steps WHERE step < ?)"
                    " INSERT INTO metrics (run_id, step, name, value, at)"
                    " SELECT ?, step, ?, abs(random() % 1000) / 1000.0 + step * 1e-5, '2026-06-01T11:00:00.000+00:00' FROM steps",
                    [part * (10 if number == 0 else 1), run_id, name],
                )
            for size in curves.SIZES:
                db.execute(
                    f"INSERT INTO metric_stretches SELECT run_id, name, {size}, step / {size}, max(step), count(*), sum(value), min(value),"
                    f" max(value) FROM metrics WHERE run_id = ? GROUP BY run_id, name, step / {size}",
                    [run_id],
                )
        (ws.runs / f"ppo-{number + 1}").mkdir()


@contextmanager
def filled(root: Path | None, fill: Callable[[Workspace], None]) -> Iterator[Workspace]:
    """The workspace in a folder, filled if it is new; without a folder one that leaves again."""
    with tempfile.TemporaryDirectory() as folder:
        root = root or Path(folder) / "studio"
        is_new = not (root / "studio.db").exists()
        ws = Workspace.open(root)
        if is_new:
            fill(ws)
        yield ws


def main() -> None:
    """Fill, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ratings", type=int, default=1_000_000)
    parser.add_argument("--metrics", type=int, default=10_000_000)
    parser.add_argument("--opens", type=int, default=5)
    parser.add_argument("--workspace", type=Path, help="filled here, and measured as it is the next time")
    asked = parser.parse_args()

    def fill(ws: Workspace) -> None:
        fill_ratings(ws, asked.ratings)
        fill_metrics(ws, asked.metrics)

    with filled(asked.workspace, fill) as ws:
        started = time.perf_counter()
        found = stored.read(ws, report.read)
        read = time.perf_counter()
        drawn = drawing.page(found)
        print(f"{found.num_all:,} judgements, of which the newest {found.num_read:,} are read")
        print(f"read {read - started:.2f} s, drawn {time.perf_counter() - read:.3f} s, {len(drawn) / 1000:,.0f} kB")
        with ws.read() as db:
            print(f"{db.execute('SELECT count(*) FROM metrics').fetchone()[0]:,} metric rows of {NUM_RUNS} runs")
        served = Served(ws)
        for words, act in (
            ("Insights opened", _insights),
            ("Runs opened", _runs),
            ("the longest run opened", _longest),
        ):
            took = _times(served.url, act, asked.opens)
            print(f"{words} in {statistics.median(took):.2f} s (median of {len(took)}), {max(took):.2f} s at most")
        served.stop()


def _insights(page: Page) -> Callable[[], None]:
    page.get_by_role("tab", name="Insights").click()
    return lambda: page.locator("#insight-pace figure").last.wait_for(timeout=120_000)


def _runs(page: Page) -> Callable[[], None]:
    page.get_by_role("tab", name="Runs", exact=True).click()
    return lambda: page.locator(f'#run-curves [data-run="ppo-{NUM_RUNS}"] figure:visible').last.wait_for(
        timeout=120_000
    )


def _longest(page: Page) -> Callable[[], None]:
    page.evaluate("location.hash = '#runs/ppo-1'")
    return lambda: page.locator('#run-curves [data-run="ppo-1"] figure:visible').last.wait_for(timeout=120_000)


def _times(url: str, act: Callable[[Page], Callable[[], None]], times: int) -> list[float]:
    """Return seconds from an act until what it shows is there, each in a page of its own."""
    found = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        for _ in range(times):
            page = browser.new_page()
            page.goto(url + "#data")
            page.get_by_role("tab", name="Insights").wait_for()
            page.wait_for_timeout(2000)  # the page before has asked for all it needs
            started = time.perf_counter()
            act(page)()
            found.append(time.perf_counter() - started)
            page.close()
        browser.close()
    return found


if __name__ == "__main__":
    main()
