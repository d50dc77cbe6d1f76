"""One page of tabs, or a page for each: ``python -m tests.benchmarks.pages [SECONDS] [--idle]`` (idle for 60 s unless said otherwise).

Opens the studio as it is, then the same pages as routes of Gradio (`Blocks.route`, each with its own address, as a
spike: what crosses pages, such as the run that Train starts, is left out). Prints for both what a page and a run take from
the click until they are painted, with the requests and Gradio's events for it, and whether the back button, links to a run and
a restarted server work; then the share of a core that all processes of Chromium take while nobody touches the page, both
ways on each page, and as it is with each dialog and drawer open, with the animations that never end. ``--idle`` does the last part only.
"""

import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import gradio as gr
import psutil
from playwright.sync_api import Browser, Page, sync_playwright

from modules.config import SFTConfig
from studio.network import address
from studio.workspace import Workspace
from tests.ui import filling
from tests.ui.conftest import CHROMIUM, FLAGS, Served
from ui import app
from ui.components import html, typed
from ui.components.theme import HEAD, theme
from ui.handlers import on
from ui.server import rest

SETTLE_S = 5.0
TIMES = 5
DIALOGS = {"note": "n", "demonstrate": "d", "edit": "e1", "help": "?", "guideline": "g", "scales": "a", "skip": "s"}
"""What Rate opens, and the keys that open it, one after the other."""
OPENED = {"scales": ".attributes >> visible=true", "skip": "[data-part=reasons] >> visible=true"}
"""What then shows, where it is not a dialog."""
FOLLOW = """
const follow = () => { const item = decodeURIComponent(location.hash.slice(1)); if (item) { props.value = item; trigger("submit"); } };
window.addEventListener("hashchange", follow);
follow();
"""
ENDLESS = "document.getAnimations().filter((a) => a.playState === 'running' && a.effect.getComputedTiming().iterations === Infinity).length"
PAINTED = """([name, isRoute]) => new Promise((resolve) => {
  const start = performance.now();
  if (isRoute) location.hash = name; // its links would have to name /runs: Gradio sets a base of /
  else document.querySelector("#run-list a[href$='" + name + "']").click();
  const look = () => document.querySelector("#run-head h2")?.textContent === name && document.querySelector("#run-curves polyline")
    ? requestAnimationFrame(() => setTimeout(() => resolve(performance.now() - start))) : setTimeout(look, 5);
  look();
})"""


def build_routes(ws: Workspace) -> gr.Blocks:
    """The pages as routes; an address such as /runs#ppo-1 names the run."""
    whole = gr.Blocks(title="RLHF Studio", analytics_enabled=False, fill_width=True)
    for number, name in enumerate(app.TITLES):
        with whole if number == 0 else whole.route(app.TITLES[name], name):
            _place(ws, name, whole)
    rest.calm(whole)
    return whole


def _place(ws: Workspace, name: str, whole: gr.Blocks) -> None:
    item = gr.Textbox("", visible=False, render=False)
    with gr.Tabs(visible=False) as tabs:
        pass
    if name != "runs":
        item.render()
    page = app.builders(ws, tabs, item)[name]()
    shown = on(whole.load, page.refresh, page.inputs, page.outputs) if page.outputs else None
    if shown and page.typed:
        typed.restore(shown, page.typed)
    if page.timer is not None:
        on(page.timer.tick, *(page.live or (page.refresh, page.inputs, page.outputs)))
        whole.load(lambda: gr.Timer(active=True), None, page.timer, show_progress="hidden")
    if page.item is not None:
        place = html.html("", html_template="", js_on_load=FOLLOW)
        on(place.submit, lambda asked: asked, [place], [page.item])


class Routed(Served):
    """The spike, served as the studio is, without what stands between Gradio and the network."""

    def start(self) -> None:
        self.app = build_routes(self.ws)
        settings = app.launch_settings(self.ws, address.parse("127.0.0.1", self.port))
        self.app.launch(**settings | {"app_kwargs": {}, "theme": theme(), "head": HEAD})


WAYS = (("tabs", Served, "#{0}/{1}"), ("routes", Routed, "{0}#{1}"))


def main(idle_s: float, is_idle_only: bool) -> None:
    """Print both ways, then the idle shares."""
    with tempfile.TemporaryDirectory() as scratch, sync_playwright() as playwright:
        ws = Workspace.open(Path(scratch) / "studio")
        filling.fill(ws)
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        for title, kind, link in () if is_idle_only else WAYS:
            print(f"\n== {title}")
            with _served(kind, ws) as served:
                _compare(browser, served, link)
        print("\n== idle\n| page | share of a core | endless animations |\n|---|---|---|")
        with _served(Served, ws) as served:
            _rest(browser, served, idle_s)
            _rest_open(browser, served, idle_s)
            run = filling.add_run(ws, SFTConfig(), "running", "step 12 of 40")
            for name in ("home", "runs"):
                page = _open(browser, f"{served.url}#{name}")
                _say(f"{name}, with a run going on ({run.name})", page, idle_s)
                page.close()
        with _served(Routed, ws) as served:
            _rest(browser, served, idle_s, is_routed=True)
        browser.close()


@contextmanager
def _served(kind: type[Served], ws: Workspace) -> Iterator[Served]:
    served = kind(ws)
    try:
        yield served
    finally:
        served.stop()


def _open(browser: Browser, url: str) -> Page:
    page = browser.new_page(viewport={"width": 1280, "height": 860})
    page.set_default_timeout(120_000)
    page.goto(url)
    return page


def _compare(browser: Browser, served: Served, link: str) -> None:
    """Open the runs of the list, one after the other, and go back; then the server starts again."""
    page = browser.new_page(viewport={"width": 1280, "height": 860})
    page.set_default_timeout(60_000)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    start = time.monotonic()
    page.goto(served.url + link.format("runs", "ppo-2"))
    works = _until(
        page,
        "document.querySelector('#run-head h2')?.textContent === 'ppo-2' && document.querySelector('#run-curves polyline')",
    )
    print(f"link to a run: {_word(works)}, painted after {1000 * (time.monotonic() - start):.0f} ms, {_count(asked)}")
    time.sleep(SETTLE_S)
    _click(page, asked, link, "a run by a click in the list")
    if link.startswith("#"):
        page.evaluate("window.studio.paint = undefined")
        _click(page, asked, link, "the same without ui/static/open_run.js")
    page.go_back()
    time.sleep(SETTLE_S / 2)
    print(f"back: {page.url.removeprefix(served.url)}, shows {page.locator('#run-head h2').all_inner_texts()}")
    for name in ("train", "models", "runs"):
        asked.clear()
        start = time.monotonic()
        _go(page, served, name, link)
        print(f"to {name}: {1000 * (time.monotonic() - start):.0f} ms, ", end="")
        time.sleep(SETTLE_S / 2)
        print(_count(asked))
    served.stop()
    served.start()
    time.sleep(SETTLE_S)
    works = _until(page, "!document.querySelector('.toast-wrap .error')")
    asked.clear()
    _go(page, served, "train", link)
    print(
        f"after a restart of the server: no error on the open page: {_word(works)}; another page opens: {_word(bool(asked))}"
    )
    page.close()


def _click(page: Page, asked: list[str], link: str, what: str) -> None:
    took, counts = [], []
    for n in range(TIMES):
        asked.clear()
        took.append(page.evaluate(PAINTED, [("sft-1", "ppo-2", "reward-1")[n % 3], not link.startswith("#")]))
        time.sleep(SETTLE_S / 2)
        counts.append(_count(asked))
    print(f"{what}: {median(took):.0f} ms (median of {sorted(round(t) for t in took)}), {counts[-1]}")


def _go(page: Page, served: Served, name: str, link: str) -> None:
    """Open a page as a person does: by its tab, or by its link in the bar."""
    mark = {"train": "#stage", "models": "#page-models, #models, .lineage, textarea", "runs": "#run-head h2"}[name]
    if link.startswith("#"):
        page.click(f"#page-{name}-button")
    else:
        page.goto(served.url + name)
    page.locator(mark).locator("visible=true").first.wait_for()


def _until(page: Page, condition: str) -> bool:
    try:
        page.wait_for_function(condition, timeout=60_000)
        return True
    except Exception:
        return False


def _count(asked: list[str]) -> str:
    events = sum("/queue/join" in url for url in asked)
    return f"{len(asked)} requests, {events} of them events of Gradio"


def _word(works: bool) -> str:
    return "works" if works else "FAILS"


def _rest(browser: Browser, served: Served, idle_s: float, is_routed: bool = False) -> None:
    """Watch an idle tab on each page."""
    for number, name in enumerate(app.TITLES):
        route = name if number else ""
        page = _open(browser, f"{served.url}{route if is_routed else f'#{name}'}")
        _say(f"{name}, as a route" if is_routed else name, page, idle_s)
        page.close()


def _rest_open(browser: Browser, served: Served, idle_s: float) -> None:
    """Watch an idle tab with what Rate opens by a key, the note of a checkpoint, and a text on Data."""
    for dialog, keys in DIALOGS.items():
        page = _open(browser, f"{served.url}#rate")
        page.locator(".rating[data-ready]").wait_for()
        for key in keys:
            page.keyboard.press(key)
        page.locator(OPENED.get(dialog, "dialog[open]")).first.wait_for()
        _say(f"rate, {dialog} open", page, idle_s)
        page.close()
    page = _open(browser, f"{served.url}#models")
    page.locator("[data-checkpoint] >> visible=true").first.click()
    page.locator("dialog.noting[open]").wait_for()
    _say("models, a note open", page, idle_s)
    page.close()
    page = _open(browser, f"{served.url}#data")
    page.locator("#data-list [data-row]").first.press("Enter")
    page.locator("#data-drawer [data-shown]").wait_for()
    _say("data, a text open", page, idle_s)
    page.close()


def _say(what: str, page: Page, idle_s: float) -> None:
    time.sleep(2 * SETTLE_S)
    before, start = _cpu(), time.monotonic()
    time.sleep(idle_s)
    share = (_cpu() - before) / (time.monotonic() - start)
    print(f"| {what} | {share:.1%} | {page.evaluate(ENDLESS)} |", flush=True)


def _cpu() -> float:
    family: list[Any] = [
        each
        for each in psutil.Process().children(recursive=True)
        if "chrom" in each.name() or "headless" in each.name()
    ]
    return sum(sum(each.cpu_times()[:2]) for each in family)


if __name__ == "__main__":
    seconds = [float(word) for word in sys.argv[1:] if word != "--idle"]
    main(seconds[0] if seconds else 60.0, "--idle" in sys.argv)
