"""Takes the pictures of the READMEs from a running studio, light and dark: pages, and what the rating room shows.

    rlhf-studio ui --workspace DIR --port 7860        # with what the pictures should show
    python assets/screenshots/take.py http://127.0.0.1:7860/ home runs/ppo-2 insights pair ranking card
    python assets/screenshots/take.py --width 390 --into pictures http://127.0.0.1:7860/ home rate train runs/ppo-2

An argument is a page's address, or `pair`, `ranking` (the item of the rating room that comes next) or `card` (of a
session). What is on the screen is taken as it is; nothing is rated. Pictures of another width than the READMEs' say it in their names.
"""

import argparse
import shutil
from pathlib import Path
from typing import Literal

from playwright.sync_api import Browser, Page, sync_playwright

HERE = Path(__file__).parent
WIDTH, HEIGHT = 1280, 800
BROWSER = next(filter(None, map(shutil.which, ("chromium-headless-shell", "chromium", "google-chrome"))), None)
ROOM = ("pair", "ranking", "card")


def take(
    browser: Browser, url: str, name: str, scheme: Literal["light", "dark"], width: int = WIDTH, into: Path = HERE
) -> Path:
    """One picture of what the page or the room shows, so many pixels wide; returns its file."""
    height = 1010 if name == "card" else HEIGHT
    page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme, reduced_motion="reduce")
    page.goto(f"{url}#{'rate' if name in ROOM else name}")
    page.wait_for_selector("#pages [role=tab][aria-selected=true]")
    if name in ROOM:
        _open(page, name)
    page.wait_for_timeout(1500)
    file = f"rate-{name}" if name in ROOM else name.partition("/")[0]
    path = into / f"{file}{'' if width == WIDTH else f'-{width}'}-{scheme}.png"
    page.screenshot(path=path)
    page.close()
    return path


def _open(page: Page, name: str) -> None:
    if name == "card":
        page.locator("#rate-tabs").get_by_role("tab", name="Session").click()
        page.locator(".session-card").first.wait_for()
        return
    page.locator(f'.rating[data-state="{name}"][data-ready]').wait_for()
    if name == "ranking":  # half placed: the best one, and two that tie
        for key in "2", "1", "=", "4":
            page.keyboard.press(key)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, action="append", metavar="PX", help=f"may be repeated; default: {WIDTH}")
    parser.add_argument("--into", type=Path, default=HERE, metavar="DIR", help="default: next to this program")
    parser.add_argument("url")
    parser.add_argument("shown", nargs="+", metavar="PAGE")
    given = parser.parse_args()
    given.into.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox", "--disable-gpu"])
        for each in given.shown:
            for px in given.width or [WIDTH]:
                for colours in ("light", "dark"):
                    take(chromium, given.url, each, colours, px, given.into)
