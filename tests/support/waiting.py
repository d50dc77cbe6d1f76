"""Waiting for conditions, never for seconds. The patience is for machines with much other work; who is quick is not slowed by it."""

import time
from collections.abc import Callable

import pytest
from playwright.sync_api import FloatRect, Locator

from studio.runs import launcher, runs
from studio.runs.runs import Run
from studio.workspace import Workspace
from tests.support import stored

PATIENCE_S = 240.0


def until(condition: Callable[[], object], what: str = "", patience_s: float = PATIENCE_S) -> None:
    """Return when the condition holds; fail with `what` was waited for."""
    deadline = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {patience_s:g} s: {what or condition}"
        time.sleep(0.02)


def at_rest(locator: Locator) -> FloatRect:
    """Return where a part of a page is, once the page is settled and its middle was to be touched, at one place, for four frames."""
    locator.page.wait_for_function("window.studio.isSettled()")
    locator.evaluate(
        """async (part) => {
            for (let same = 0, before = ""; same < 4; ) {
                await new Promise(requestAnimationFrame);
                const box = part.getBoundingClientRect();
                const hit = document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2);
                if (!part.contains(hit)) part.scrollIntoView({ block: "center" });
                const now = JSON.stringify(box);
                [same, before] = [part.contains(hit) && now === before ? same + 1 : 0, now];
            }
        }"""
    )
    box = locator.bounding_box()
    assert box is not None
    return box


def for_run(
    ws: Workspace, name: str, condition: Callable[[Run], object], *, may_fail: bool = False, reaps: bool = False
) -> Run:
    """Return the run when the condition holds of it; fail with its log where it failed, unless it may, or took too long.

    `reaps`: look after ended processes meanwhile, as a server does.
    """
    deadline = time.monotonic() + PATIENCE_S
    while not condition(run := stored.read(ws, runs.get, name)):
        if run.state == "failed" and not may_fail:
            pytest.fail(f"{run.message}\n{runs.tail_log(ws, name)}")
        if time.monotonic() > deadline:
            pytest.fail(f"{name} did not get there within {PATIENCE_S:g} s: {run}\n{runs.tail_log(ws, name)}")
        if reaps:
            launcher.reap(ws)
        time.sleep(0.05)
    return run
