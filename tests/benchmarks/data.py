"""How long the page Data takes to open, to turn its pages, to filter and to search, with very many texts in the database.

    python -m tests.benchmarks.data [--texts 1000000] [--repeats 3] [--workspace DIR]

Fills a workspace with so many prompts, of 50 categories and half of them of an import, each with a demonstration, all indexed for the
search. Prints in seconds what the page's server takes for each press, in a process that has just opened the database, and in Chromium what
it takes from a press until the table has changed.
"""

import argparse
import random
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from playwright.sync_api import Page, expect, sync_playwright

from studio.database.schema import search
from studio.preferences import text_search
from studio.workspace import Workspace
from tests.benchmarks.opening import filled
from tests.ui.conftest import CHROMIUM, FLAGS, Served
from ui.components.paging import Place
from ui.pages.data import browse, imports

CHUNK = 50_000
WORDS = [
    a + b + c
    for a in ("ba", "ke", "lo", "mi", "tu", "sha")
    for b in ("n", "r", "st", "l")
    for c in ("a", "o", "ing", "er")
]
RARE = "zebrafish"
"""Stands in one text of 100,000."""
NOTHING = "quokka"
"""Stands in none."""
ALL = ("demonstrations", "", "", browse.ANY, "", "")
"""The filters of the page as it opens: what, search, split, category, source, hidden."""


def fill(ws: Workspace, num: int) -> None:
    """Add prompts with a demonstration each, and index them."""
    rng = random.Random(0)
    with ws.write() as db:
        db.execute(
            "INSERT INTO imports (id, source, sha256, kind, kept, dropped, created_at) VALUES (1, 'texts.jsonl', 'x', 'demonstrations',"
            " ?, '{}', '2026-06-01T10:00:00.000+00:00')",
            [num // 2],
        )
    for start in range(1, num + 1, CHUNK):
        end = min(num, start + CHUNK - 1)
        with ws.write() as db, text_search.unindexed(db):
            db.conn.executemany(
                "INSERT INTO prompts (id, hash, messages, category, split, import_id, created_at) VALUES (?, ?, ?, ?, ?, ?,"
                " '2026-06-01T10:00:00.000+00:00')",
                _prompts(rng, start, end, num),
            )
            db.conn.executemany(
                "INSERT INTO responses (id, prompt_id, text, kind, import_id, created_at) VALUES (?, ?, ?, 'demonstration', ?,"
                " '2026-06-01T10:00:00.000+00:00')",
                [(n, n, _text(rng, 15), 1 if n <= num // 2 else None) for n in range(start, end + 1)],
            )
            for table in ("prompts", "responses"):
                db.execute(search.BETWEEN[table], [start, end])


def _prompts(rng: random.Random, start: int, end: int, num: int) -> Iterator[tuple[object, ...]]:
    for n in range(start, end + 1):
        text = _text(rng, 8) + (f" {RARE}" if n % 100_000 == 1 else "")
        split = "validation" if n % 20 == 0 else "test" if n % 20 == 1 else "train"
        import_id = 1 if n <= num // 2 else None
        yield n, f"{n:064x}", f'[{{"role": "user", "content": "{text} {n}"}}]', f"category {n % 50}", split, import_id


def _text(rng: random.Random, num_words: int) -> str:
    return " ".join(rng.choices(WORDS, k=num_words))


def main() -> None:
    """Fill, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--workspace", type=Path, help="filled here, and measured as it is the next time")
    asked = parser.parse_args()
    with filled(asked.workspace, partial(fill, num=asked.texts)) as ws:
        print("| press | server, s | until it is painted, s |\n|---|---|---|")
        painted = _painted(ws, asked.repeats)
        for words, seconds in _served(ws, asked.repeats).items():
            print(f"| {words} | {seconds:.2f} | {f'{painted[words]:.2f}' if words in painted else ''} |")


def _served(ws: Workspace, repeats: int) -> dict[str, float]:
    """Return what each press takes in the server, the median."""

    def changed(**filters: str) -> tuple[str, ...]:
        names = ("what", "search", "split", "category", "source", "hidden")
        return tuple(filters.get(name, value) for name, value in zip(names, ALL, strict=True))

    presses = {
        "opened after a change": lambda: (browse._shared._answers.clear(), browse.refresh(ws, Place(), *ALL)),
        "opened again": lambda: browse.refresh(ws, Place(), *ALL),
        "older": lambda: browse._list(ws, "older", Place(0, 10**6, 10**6 - 20, "more"), *ALL),
        "prompts": lambda: browse._list(ws, "newest", Place(), *changed(what="prompts")),
    }
    for words, filters in FILTERS.items():
        presses[words] = lambda filters=filters: browse._list(ws, "newest", Place(), *changed(**filters))
    found = {}
    for words, press in presses.items():
        times = []
        for _ in range(repeats):
            began = time.perf_counter()
            press()
            times.append(time.perf_counter() - began)
        found[words] = statistics.median(times)
    return found


FILTERS = {
    "a split": {"split": "validation"},
    "a category": {"category": "category 7"},
    "prompts of a category": {"what": "prompts", "category": "category 7"},
    "a category that has none": {"category": "nothing"},
    "the import": {"source": "import:1"},
    "a source that has none": {"source": "edited here"},
    "prompts of a source that has none": {"what": "prompts", "source": "chat"},
    "hidden ones, of which there are none": {"hidden": "hidden"},
    "a word that most have": {"search": "kesting"},
    "a rare word": {"search": RARE},
    "a word that none has": {"search": NOTHING},
    "two letters": {"search": "zq"},
    "one letter that none has": {"search": "ß"},
    "a rare word of a category": {"search": RARE, "category": "category 1"},
    "a common word of a category that has none": {"search": "kesting", "category": "nothing"},
}
"""What a person presses or types, by its words in the table."""


def _painted(ws: Workspace, repeats: int) -> dict[str, float]:
    """Return what some presses take in the browser, the median."""
    times: dict[str, list[float]] = {}
    served = Served(ws)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        for _ in range(repeats):
            page = browser.new_page()
            page.goto(served.url + "#rate")
            page.get_by_role("tab", name="Data").wait_for()
            page.wait_for_timeout(2000)  # the page before has asked for all it needs
            for words, seconds in _walk(page):
                times.setdefault(words, []).append(seconds)
            page.close()
        browser.close()
    served.stop()
    return {words: statistics.median(each) for words, each in times.items()}


def _walk(page: Page) -> Iterator[tuple[str, float]]:
    rows, extent = page.locator("#data-list tbody tr"), page.locator("#data-extent")

    def took(act: Callable[[], None], seen: Callable[[], None]) -> float:
        began = time.perf_counter()
        act()
        seen()
        return time.perf_counter() - began

    for shared in (browse._shared, imports._shared):
        shared._answers.clear()
    tab, older = page.get_by_role("tab", name="Data"), page.locator("#data-older")
    search = page.locator("#search textarea, #search input")
    yield "opened after a change", took(tab.click, lambda: expect(extent).to_contain_text("1 to 20"))
    yield "older", took(older.click, lambda: expect(extent).to_contain_text("21 to 40"))
    yield "a rare word", took(lambda: search.fill(RARE), lambda: expect(rows.first).to_contain_text(RARE))
    yield "a word that none has", took(lambda: search.fill(NOTHING), lambda: expect(rows).to_have_count(0))


if __name__ == "__main__":
    main()
