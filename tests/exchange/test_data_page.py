"""The Data page's cards for others do what the terminal does; the token goes only to the server the environment names."""

import pytest

from studio.exchange import rating_formats
from studio.exchange.label_studio.client import TOKEN, URL
from studio.preferences import comparisons, ratings
from studio.workspace import Workspace
from tests.exchange.filling import fill, pairwise
from tests.support import label_studio, stored
from ui.pages import export_cards


@pytest.fixture
def ws(tmp_path):
    ws = Workspace.open(tmp_path / "workspace")
    fill(ws, 2)
    return ws


def test_ratings_are_exported_and_the_loss_is_told(ws):
    assert "is-bad" in export_cards._ratings(ws, "trl")
    showing = stored.written(ws, comparisons.next_showing)
    assert showing is not None
    stored.written(ws, ratings.record, showing.id, "left")
    said = export_cards._ratings(ws, "hh")
    assert "Not carried: " in said
    assert "rater (1)" in said
    for form in ("native", "archive"):
        assert str(ws.exports) in export_cards._ratings(ws, form)
    assert [name for _, name in export_cards.FORMATS] == ["native", "archive", *rating_formats.FORMATS]


def test_tasks_are_written_for_a_tool(ws):
    assert "2 pairs in to-label-surge-pairs" in export_cards._tasks(ws, "surge", "pairs", False)
    assert "There are no rankings" in export_cards._tasks(ws, "surge", "rankings", False)


def test_the_page_pushes_and_pulls_and_lists_the_project(ws, monkeypatch):
    with label_studio.running() as remote:
        monkeypatch.setenv(TOKEN, label_studio.LEGACY)
        monkeypatch.setenv(URL, remote.url)
        told, listing = export_cards._push(ws, "<Round>", ["pairs"])
        assert "2 pairs pushed" in told
        assert "&lt;Round&gt;: pairs" in listing
        remote.annotate(remote.tasks[0], [pairwise("left")])
        told, listing = export_cards._pull(ws, "<Round>", ["pairs"])
        assert "1 new" in told
        assert len(stored.preferences(ws)) == 1
        assert remote.url in export_cards._where()


def test_without_an_address_in_the_environment_nothing_is_sent(ws, monkeypatch):
    monkeypatch.setenv(TOKEN, "secret-0123456789")
    monkeypatch.delenv(URL, raising=False)
    told, _ = export_cards._push(ws, "Round", ["pairs"])
    assert "No server is named" in told
    assert "Set LABEL_STUDIO_URL" in export_cards._where()
