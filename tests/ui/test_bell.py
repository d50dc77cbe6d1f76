"""The bell in a browser: a hidden tab tells of a run that ended, and catches up when it is shown again."""

import pytest
from playwright.sync_api import expect

from modules.config import SFTConfig
from studio.runs import metrics, runs
from tests.support import stored
from tests.ui import filling
from ui.components import notifications
from ui.pages.home import page as home_page
from ui.pages.runs import page as runs_page

pytestmark = pytest.mark.browser
STUB = """(permission) => {
  window.told = [];
  window.Notification = class {
    static permission = permission;
    static async requestPermission() { Notification.permission = "granted"; return "granted"; }
    constructor(title, options) { window.told.push([title, options.body]); }
    close() {}
  };
  window.isHidden = false;
  Object.defineProperty(document, "hidden", { get: () => window.isHidden });
}"""
TURN = "(isHidden) => { window.isHidden = isHidden; document.dispatchEvent(new Event('visibilitychange')); }"


def test_a_run_in_trouble_needs_attention(ws, monkeypatch):
    filling.add_texts(ws)
    run = filling.add_run(ws, SFTConfig(), "running", "step 3")
    monkeypatch.setattr(notifications.launcher, "reap", lambda ws: [])
    assert notifications._news(ws) == [{"name": run.name, "state": "running", "said": "step 3"}]
    with ws.write() as db:
        db.table("runs").update(run.id, {"heartbeat_at": "2026-01-01T00:00:00+00:00"})
    (news,) = notifications._news(ws)
    assert news["state"] == "needs attention"
    assert news["said"].startswith("No sign of life for")


def test_a_hidden_tab_tells_of_an_end_and_catches_up_when_shown(ws, serve, visit, monkeypatch):
    filling.add_texts(ws)
    run = filling.add_run(ws, SFTConfig(), "running", "step 3")
    monkeypatch.setattr(notifications.launcher, "reap", lambda ws: [])
    monkeypatch.setattr(runs_page, "REFRESH_S", 3600.0)  # a timer that sleeps, as in a hidden tab
    served = serve(ws)
    page = visit(served.url + "#rate")
    page.evaluate(STUB, "default")
    expect(page.locator("#rate-tabs")).to_be_visible()
    page.evaluate("location.hash = 'runs'")
    expect(page.locator("#run-head h2")).to_have_text(run.name)
    page.evaluate("document.body.dataset.bell = Notification.permission")
    page.get_by_role("button", name="Notify me when a run ends").click()
    expect(page.get_by_role("button", name="Notify me when a run ends")).to_be_hidden()
    page.evaluate(TURN, True)
    stored.written(ws, metrics.add, run.id, 1, {"train/loss": 1.5})
    stored.written(ws, runs.move, run.id, "failed", "The disk is full. Make room and resume.")
    page.wait_for_function("window.told.length")
    assert page.evaluate("window.told") == [[f"{run.name} failed", "The disk is full. Make room and resume."]]
    assert page.title() == f"● {run.name} failed · RLHF Studio"
    page.evaluate(TURN, False)
    expect(page.locator("#run-head .badge")).to_have_text("failed")
    expect(page.locator("#run-curves svg text.name")).to_contain_text("1.50")
    assert page.title() == "RLHF Studio"


def test_a_seen_tab_asks_little_and_a_hidden_one_only_for_the_bell(ws, serve, visit, monkeypatch):
    filling.add_texts(ws)
    monkeypatch.setattr(home_page, "PULSE", home_page.PULSE.replace("3000", "150"))
    monkeypatch.setattr(notifications, "SCRIPT", notifications.SCRIPT.replace("4000", "150"))
    page = visit(serve(ws).url)
    expect(page.locator("#next-step")).to_be_visible()
    asked = []

    def name(request):
        return request.post_data_json["fn_name"] if "component_server" in request.url else request.url.split("/")[-1]

    def wait(wanted, times):
        for _ in range(times):
            page.wait_for_event("request", lambda request: name(request) == wanted)

    wait("mark", 3)  # the first has Home drawn
    page.on("request", lambda request: asked.append(name(request)))
    for _ in range(20):  # what it began to draw before comes to its end
        asked.clear()
        wait("mark", 3)
        if set(asked) <= {"mark", "news"}:
            break
    assert set(asked) <= {"mark", "news"}, "nothing is drawn while nothing changes"
    run = filling.add_run(ws, SFTConfig(), "finished", "Saved.")
    expect(page.locator("#home .recent")).to_contain_text(run.name)
    page.evaluate("document.hidden || Object.defineProperty(document, 'hidden', { get: () => true })")
    page.evaluate("setInterval(() => (window.ticked = true), 1000)")  # as Gradio's timers do
    wait("news", 2)  # a question that was on its way
    asked.clear()
    wait("news", 12)
    assert "mark" not in asked
    assert page.evaluate("window.ticked === undefined")
