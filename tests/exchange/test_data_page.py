"""The Data page's cards for others do what the terminal does; the token goes only to the server the environment names."""

import shutil
from pathlib import Path
from threading import Event

import pytest

from studio.datasets import importing, mapping
from studio.exchange import rating_formats
from studio.exchange.label_studio.client import TOKEN, URL
from studio.preferences import comparisons, ratings
from studio.workspace import Workspace
from tests.exchange.filling import fill, pairwise
from tests.support import label_studio, stored
from ui.pages.data import export_cards, import_card


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


# An import while it goes on.


def going_on(started, num_rows=4000):
    """Reading that goes on until it is stopped."""

    def look(*_, progress, **__):
        while True:
            progress(num_rows, 0.25, "read")
            started.set()

    return look


def test_the_page_shows_how_far_a_source_is_read_and_stop_ends_it(ws, monkeypatch):
    monkeypatch.setattr(importing, "look", going_on(started := Event()))
    going: set[Event] = set()
    shown = import_card._look_on(ws, going, "some.jsonl", "auto", *[""] * (len(import_card.MAPPED) + 2))
    _, take, stop, *_ = next(shown)
    assert (take.interactive, stop.interactive) == (False, True)
    assert started.wait(60)
    assert "4,000 rows read, 25% of the file" in next(shown)[0]
    assert not import_card._stop(going).interactive
    *_, (told, take, stop, *others) = shown
    assert "Stopped after 4,000 rows. Nothing was imported." in told
    assert (take.interactive, stop.interactive, going) == (False, False, set())
    assert len(others) == len(import_card.MAPPED) + 3


def test_two_pages_do_not_undo_each_others_stop(ws, monkeypatch):
    monkeypatch.setattr(importing, "look", going_on(Event()))
    going: set[Event] = set()
    pages = [import_card._look_on(ws, going, "some.jsonl", "auto", *[""] * (len(import_card.MAPPED) + 2)) for _ in "ab"]
    for page in pages:
        next(page)
    import_card._stop(going)
    assert all("Stopped after" in list(page)[-1][0] for page in pages)


def test_the_columns_of_each_file_can_be_mapped_and_those_of_an_unclear_one_are_asked_for(ws):
    assert import_card.MAPPED == mapping.TARGETS
    clear = shutil.copy(Path(__file__).parents[1] / "fixtures" / "exchange" / "pku.jsonl", ws.root)
    unclear = ws.root / "unclear.jsonl"
    unclear.write_text(
        '{"q": "Why?", "past": [["a", "b"]], "up": "x", "down": "y", "much": 3, "when": "2026-01-01T00:00:00Z"}\n'
    )
    for source, columns in ((clear, ["prompt", "response_0"]), (str(unclear), ["q", "past", "up"])):
        *_, last = import_card._look_on(ws, set(), source, "auto", "", "", *[""] * len(import_card.MAPPED))
        assert getattr(last[3], "open", False) is (source != clear)
        offered = [[value for _, value in field.choices] for field in last[6:]]
        assert len(offered) == len(import_card.MAPPED)
        assert all(set(columns) <= set(each) for each in offered)
    said = {
        "prompt": "q",
        "history": "past",
        "chosen": "up",
        "rejected": "down",
        "strength": "much",
        "judged_at": "when",
    }
    asked = ["", "", *(said.get(name, "") for name in import_card.MAPPED)]
    *_, last = import_card._take_on(ws, set(), str(unclear), "auto", "", "", *asked)
    assert "1 new preference" in last[0]
    (row,) = stored.preferences(ws)
    assert (len(row["messages"]), row["strength"], row["created_at"][:10]) == (3, 3, "2026-01-01")


def test_a_source_of_several_criteria_offers_them(ws):
    source = shutil.copy(Path(__file__).parents[1] / "fixtures" / "exchange" / "pku.jsonl", ws.root)
    asked = ["", "", *[""] * len(import_card.MAPPED)]
    *_, last = import_card._look_on(ws, set(), source, "auto", *asked)
    assert "2 of 2 rows" in last[0]
    axis = last[5]
    assert (axis.visible, [value for _, value in axis.choices]) == (True, ["", "helpfulness", "safety"])
    asked[1] = "safety"
    *_, last = import_card._take_on(ws, set(), source, "auto", "", "", *asked)
    assert "2 new preferences" in last[0]
    assert {row[row["outcome"]] for row in stored.preferences(ws)} == {"Oil and a wick.", "No, it is poison."}
