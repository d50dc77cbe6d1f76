"""How long the page Insights takes to open, with many ratings in the database.

    python -m tests.benchmarks.insights [--ratings 1000000] [--opens 5]

Fills a workspace with simulated raters and two reward models, then prints in seconds how long the report takes to read and the page to
draw in a process that has just opened the database, and from a click on the page's tab in Chromium until its last chart is there.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from playwright.sync_api import sync_playwright

from studio.insights import report
from studio.workspace import Workspace
from tests.support import rated, stored
from tests.support.rated import World
from tests.ui.conftest import CHROMIUM, FLAGS, Served
from ui.pages.insights import drawing

CHUNK = 100_000
SEARCH = ("prompts_are_found", "responses_are_found")
"""Triggers that fill the search index: left out, since the page does not search and they take minutes."""


def fill(ws: Workspace, num_ratings: int) -> None:
    """Two raters judge all pairs; the newest pairs were predicted before."""
    stored.written(ws, lambda db: [db.execute(f"DROP TRIGGER {name}") for name in SEARCH])
    chunks = max(1, num_ratings // CHUNK)
    for number in range(chunks):
        size = num_ratings // chunks // 2
        models = (1.0, 3.0) if number == chunks - 1 else ()
        rated.fill(
            ws, World(num=size * 9 // 10, repeats=size // 10, raters=("person", "bob"), models=models, seed=number)
        )


def main() -> None:
    """Fill, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ratings", type=int, default=1_000_000)
    parser.add_argument("--opens", type=int, default=5)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        ws = Workspace.open(Path(folder) / "studio")
        fill(ws, asked.ratings)
        started = time.perf_counter()
        found = stored.read(ws, report.read)
        read = time.perf_counter()
        drawn = drawing.page(found)
        print(f"{found.num_all:,} judgements, of which the newest {found.num_read:,} are read")
        print(f"read {read - started:.2f} s, drawn {time.perf_counter() - read:.3f} s, {len(drawn) / 1000:,.0f} kB")
        opens = _opens(ws, asked.opens)
        print(f"opened in {statistics.median(opens):.2f} s (median of {len(opens)}), {max(opens):.2f} s at most")


def _opens(ws: Workspace, times: int) -> list[float]:
    """Return seconds from a click on the tab until the last chart is there, each in a page of its own."""
    served, found = Served(ws), []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        for _ in range(times):
            page = browser.new_page()
            page.goto(served.url + "#data")
            page.get_by_role("tab", name="Insights").wait_for()
            page.wait_for_timeout(2000)  # the page before has asked for all it needs
            started = time.perf_counter()
            page.get_by_role("tab", name="Insights").click()
            page.locator("#insight-pace figure").last.wait_for(timeout=120_000)
            found.append(time.perf_counter() - started)
            page.close()
        browser.close()
    served.stop()
    return found


if __name__ == "__main__":
    main()
