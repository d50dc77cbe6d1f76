"""Handlers that keep the newest values: asked again while they run, each runs once more, and then the page is quiet."""

import threading
from collections import Counter

import pytest
from playwright.sync_api import expect

from studio.runs.runs import list_all
from tests.support import stored, waiting
from ui.pages.runs import curves, rollouts


@pytest.mark.browser
def test_runs_that_are_chosen_faster_than_they_are_drawn_end_in_the_last_one_and_in_silence(
    full_ws, serve, visit, monkeypatch
):
    gate, calls = threading.Event(), Counter()

    def slow(module, name):
        handler = getattr(module, name)

        def wrapped(*given):
            calls[name] += 1
            gate.wait(0.4)  # longer than a page takes to ask for the other one
            return handler(*given)

        monkeypatch.setattr(module, name, wrapped)

    slow(curves, "_redraw")
    slow(rollouts, "_detail")
    page = visit(serve(full_ws).url + "#runs/ppo-1")
    expect(page.locator("#run-head h2")).to_have_text("ppo-1")
    first, second = [run.name for run in stored.read(full_ws, list_all, stage="ppo")][:2]
    for name in (first, second, first, second):
        page.evaluate("(name) => { location.hash = `#runs/${name}`; }", name)
    expect(page.locator("#run-head h2")).to_have_text(second)

    def is_quiet():
        before = Counter(calls)
        page.wait_for_timeout(1500)  # several times as long as a handler takes
        return before == calls

    waiting.until(is_quiet, "no handler repeats another one for ever")
    assert max(calls.values()) < 12
