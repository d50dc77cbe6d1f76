"""What many open tabs cost: ``python -m tests.benchmarks.tabs [TABS [SECONDS]]`` (50 tabs, 30 s each unless said otherwise).

Serves a filled workspace in a process of its own and opens so many real tabs on Home, then on Runs, first with nothing
going on, then with a run that stores twenty metrics every two seconds. Prints the server's share of a core, how long it
takes to answer a request for the whole page meanwhile, and its memory before, with all tabs, and after they are closed.
"""

import os
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from playwright.sync_api import Browser, Page, sync_playwright

from modules.config import SFTConfig
from studio.runs import metrics, processes, runs
from studio.runs.runs import Run
from studio.workspace import Workspace
from tests.support import stored
from tests.ui import filling
from tests.ui.conftest import CHROMIUM, FLAGS, free_port

SETTLE_S = 10.0
PACE_S = 2.0
REST_S = 1.0


def main(tabs: int, seconds: float) -> None:
    """Print a row for each page and state."""
    with tempfile.TemporaryDirectory() as scratch, sync_playwright() as playwright:
        ws = Workspace.open(Path(scratch) / "studio")
        filling.fill(ws)
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        with _served(ws) as (server, url):
            _memory("before", server)
            print("| tabs | page | state | server, share of a core | an answer: median, worst (ms) |")
            print("|---|---|---|---|---|")
            for name in ("home", "runs"):
                pages = [_open(browser, f"{url}#{name}") for _ in range(tabs)]
                _row(f"{tabs} | {name} | nothing going on", server, url, seconds)
                run = filling.add_run(ws, SFTConfig(), "running", "step 12 of 40")
                with _going_on(ws, run):
                    _row(f"{tabs} | {name} | a run going on", server, url, seconds)
                stored.written(ws, runs.move, run.id, "stopped", "Stopped.")
                _memory(f"with {tabs} tabs on {name}", server)
                for page in pages:
                    page.close()
                time.sleep(SETTLE_S)
                _memory("after they are closed", server)
        browser.close()


@contextmanager
def _served(ws: Workspace) -> Iterator[tuple[psutil.Process, str]]:
    port = free_port(7900)
    code = "import sys; from studio.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "ui", "--workspace", str(ws.root), "--port", str(port), "--no-browser"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None
            next(line for line in child.stdout if "RLHF Studio is at" in line)
            yield psutil.Process(child.pid), f"http://127.0.0.1:{port}/"
        finally:
            child.terminate()


@contextmanager
def _going_on(ws: Workspace, run: Run) -> Iterator[None]:
    """Store what a run stores, as long as the block lasts."""
    is_over = threading.Event()
    stored.written(ws, runs.set_process, run.id, os.getpid(), processes.birth(os.getpid()), run.mark)

    def work() -> None:
        step = 0
        while not is_over.wait(PACE_S):
            step += 1
            with ws.write() as db:
                metrics.add(db, run.id, step, {f"train/metric_{number}": 1 / step for number in range(20)})
                runs.beat(db, run.id, 0.3, f"step {step} of 40")

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def _open(browser: Browser, url: str) -> Page:
    page = browser.new_page(viewport={"width": 1280, "height": 860})
    page.set_default_timeout(240_000)
    page.goto(url)
    page.locator("main h1, h1").first.wait_for(state="attached")
    return page


def _row(what: str, server: psutil.Process, url: str, seconds: float) -> None:
    time.sleep(SETTLE_S)
    before, start = sum(server.cpu_times()[:2]), time.monotonic()
    time.sleep(seconds)
    share = (sum(server.cpu_times()[:2]) - before) / (time.monotonic() - start)
    took, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        asked = time.monotonic()
        with urllib.request.urlopen(url) as answer:
            answer.read()
        took.append(1000 * (time.monotonic() - asked))
        time.sleep(REST_S)
    took.sort()
    print(f"| {what} | {share:.0%} | {took[len(took) // 2]:.0f}, {took[-1]:.0f} |", flush=True)


def _memory(when: str, server: psutil.Process) -> None:
    print(f"server {when}: {server.memory_info().rss / 2**20:.0f} MiB", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 50, float(sys.argv[2]) if len(sys.argv) > 2 else 30.0)
