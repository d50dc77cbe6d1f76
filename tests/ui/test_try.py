"""A prompt is tried in a real browser on a real resident process: answers grow, Stop stops the model, the next one needs no loading."""

import pytest
from playwright.sync_api import expect

from studio.chat.resident import Resident
from tests.support import warm
from tests.support.waiting import until
from tests.test_exporting import make_checkpoint
from ui import app
from ui.pages.models import page as models

pytestmark = pytest.mark.browser


class _Warm(Resident):
    def question(self, name, messages, sampling):
        """As warm as can be, so that hardly any answer ends by itself before it is stopped."""
        return super().question(name, messages, sampling.model_copy(update={"temperature": 10.0}))


@pytest.fixture
def resident(ws, monkeypatch):
    """The process of the served page."""
    with warm.starts():
        found = _Warm(ws, "cpu")
        monkeypatch.setattr(app, "Resident", lambda ws: found)
        yield found
        found.close()


def test_two_answers_grow_side_by_side_until_they_are_stopped(ws, resident, serve, visit):
    for _ in range(2):
        make_checkpoint(ws, "policy")
    page = visit(serve(ws).url + "#models")
    ask, stop = page.locator("#ask"), page.locator("#ask-stop")
    expect(page.locator("#try-second input")).to_have_value("sft-1@1")
    page.locator("#try-prompt textarea").fill("Where is the fox?")
    page.get_by_label("number input for Maximum tokens").fill("480")
    ask.click()
    expect(stop).to_be_visible()
    for answer in ("#answer-first", "#answer-second"):
        expect(page.locator(answer)).not_to_contain_text(models.WAITING)
    stop.click()
    expect(ask).to_be_visible()
    expect(stop).to_be_hidden()
    until(lambda: not resident._open, "the model stops")
    pid = resident.pid
    page.get_by_label("number input for Maximum tokens").fill("8")
    ask.click()
    expect(stop).to_be_hidden()
    assert resident.pid == pid, "the same process answered"
    assert not resident._open
