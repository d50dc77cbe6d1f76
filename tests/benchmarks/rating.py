"""How long from a key press until the next pair is painted, with many ratings in the database.

    python -m tests.benchmarks.rating [--ratings 100000] [--presses 300]

Fills a workspace with ratings given on stored showings, starts the server as a process of its own, rates in Chromium and
prints, in milliseconds, from the key's event until the frame after the next pair, and until the studio said "Recorded":
p50, p95, p99, the worst, and the distribution.
"""

import argparse
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from studio.preferences import comparisons, prompts, ratings
from studio.preferences.prompts import NewPrompt
from studio.workspace import Workspace
from tests.support import stored

WAITING = 2000
STEPS_MS = (10, 20, 30, 50, 75, 100, 150, 250, 500)
WATCH = """() => {
  const root = document.querySelector(".rating"), said = root.querySelector("[data-part=said]");
  window.painted = []; window.recorded = []; window.pressedAt = [];
  document.addEventListener("keydown", (event) => { if (event.key === "2") window.pressedAt.push(event.timeStamp); }, true);
  new MutationObserver(() => requestAnimationFrame(() => setTimeout(() =>
    window.painted.push(performance.now() - window.pressedAt.at(-1))))).observe(root, { attributeFilter: ["data-showing"] });
  new MutationObserver(() => { if (said.textContent.startsWith("Recorded"))
    window.recorded.push(performance.now() - window.pressedAt.at(-1)); }).observe(said, { childList: true, characterData: true, subtree: true });
}"""


def fill(ws: Workspace, num_ratings: int) -> None:
    """Rated pairs, and some that wait, with answers of usual length."""
    with ws.write() as db:
        for n in range(num_ratings + WAITING):
            messages = [{"role": "user", "content": f"Question {n}: how do I keep bread fresh for a week?"}]
            prompt_id = prompts.add_prompt(db, NewPrompt(messages, split="train"))
            texts = (f"Answer {n}. " + "Put it into a cloth bag in a cool place. " * k for k in (3, 8))
            pair = [prompts.add_response(db, prompt_id, text, "import") for text in texts]
            comparison_id = comparisons.add_comparison(db, prompt_id, pair)
            if n < num_ratings:
                db.execute(
                    "INSERT INTO showings (comparison_id, left_response_id, right_response_id, seed, rater, created_at)"
                    " VALUES (?, ?, ?, ?, 'person', '2026-01-01T00:00:00+00:00')",
                    [comparison_id, *pair, n],
                )
                db.execute(
                    "INSERT INTO rating_events (uuid, comparison_id, showing_id, outcome, strength, rater, created_at)"
                    " VALUES (?, ?, last_insert_rowid(), 'left', 2, 'person', '2026-01-01T00:00:00+00:00')",
                    [f"fill-{n}", comparison_id],
                )


def rate(page: Page, presses: int) -> tuple[list[float], list[float]]:
    """Press a key for one pair after the other; milliseconds until the next was painted, and until it was recorded."""
    page.locator(".rating[data-ready]").wait_for()
    page.evaluate(WATCH)
    for n in range(1, presses + 1):
        page.locator(".rating[data-ready]").wait_for()
        page.keyboard.press("2")
        page.wait_for_function("(n) => window.painted.length >= n && window.recorded.length >= n", arg=n)
    return page.evaluate("window.painted"), page.evaluate("window.recorded")


def told(name: str, found: Sequence[float]) -> str:
    """Percentiles and a drawn distribution."""
    ordered = sorted(found)
    p50, p95, p99 = (ordered[min(len(ordered) - 1, int(share * len(ordered)))] for share in (0.5, 0.95, 0.99))
    lines = [f"{name}: p50 {p50:.0f}, p95 {p95:.0f}, p99 {p99:.0f}, worst {ordered[-1]:.0f} ms (n = {len(ordered)})"]
    low = 0.0
    for high in (*STEPS_MS, float("inf")):
        count = sum(low <= value < high for value in ordered)
        lines.append(
            f"  {f'up to {high:g}' if high < float('inf') else 'more':>10} {count:>5} {'#' * (60 * count // len(ordered))}"
        )
        low = high
    return "\n".join(lines)


def main() -> None:
    """Fill, serve, rate, tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ratings", type=int, default=100_000)
    parser.add_argument("--presses", type=int, default=300)
    args = parser.parse_args()
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        sys.exit("There is no Chromium, so nothing was measured: install it (apt-get install chromium).")
    with tempfile.TemporaryDirectory() as scratch:
        root, began = Path(scratch) / "studio", time.monotonic()
        ws = Workspace.open(root)
        fill(ws, args.ratings)
        print(
            f"{stored.read(ws, ratings.summary)['rated']:,} ratings made in {time.monotonic() - began:.0f} s",
            flush=True,
        )
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        url = f"http://127.0.0.1:{port}/"
        command = [sys.executable, "-c", "import sys; from studio.cli import main; sys.exit(main())", "ui"]
        server = subprocess.Popen([*command, "--workspace", root, "--port", str(port), "--no-browser"])
        try:
            _wait_for(url)
            with sync_playwright() as play:
                browser = play.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
                page = browser.new_page(viewport={"width": 1280, "height": 900})
                page.goto(url + "#rate")
                painted, recorded = rate(page, args.presses)
                browser.close()
        finally:
            server.terminate()
            server.wait()
        print(told("next pair painted", painted))
        print(told("recorded on disk", recorded))
        print(f"{stored.read(ws, ratings.summary)['rated'] - args.ratings} ratings arrived for {args.presses} presses")


def _wait_for(url: str) -> None:
    for _ in range(600):
        try:
            urllib.request.urlopen(url + "config")
            return
        except OSError:
            time.sleep(0.2)
    sys.exit("The server did not start within 2 minutes.")


if __name__ == "__main__":
    main()
