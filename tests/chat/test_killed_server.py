"""A server that is killed in the middle of an answer loses nothing that was said."""

import pytest

from studio.chat import turns
from studio.chat.answering import LOST, of_turn
from tests.live_server import LiveServer
from tests.support import policies, stored
from tests.support.waiting import until

WISH = {
    "checkpoints": ["sft-1@1"],
    "system": "",
    "is_blind": False,
    "sampling": {"temperature": 10, "top_p": 1, "top_k": 0, "max_new_tokens": 480, "seed": 1},
}


@pytest.fixture
def ws(tmp_path):
    return policies.workspace(tmp_path / "studio")


def test_what_was_said_and_heard_is_there_after_a_kill_and_can_be_gone_on_with(ws, tmp_path):
    server = LiveServer(ws, tmp_path / "log.txt").wait()
    try:
        told = server.ask("chat", "say", {"text": "Where is the fox?", "wish": WISH})
        (exchange,) = told["conversation"]["exchanges"]
        assert exchange["asked"]["text"] == "Where is the fox?"
        (answer,) = exchange["answers"]
        assert answer["is_growing"]
        until(lambda: stored.read(ws, turns.turn, answer["id"]).text, "some of the answer is stored")
    finally:
        server.stop()  # kill -9
    kept = stored.read(ws, turns.turn, answer["id"])
    assert (kept.end_reason, of_turn(kept).ending) == (None, LOST)
    assert kept.can_go_on
    server = LiveServer(ws, tmp_path / "log-2.txt").wait()
    try:
        shown = server.ask("chat", "show", {"id": told["conversation"]["id"]})["conversation"]["exchanges"][0][
            "answers"
        ][0]
        assert (shown["text"], shown["ending"], shown["can_go_on"]) == (kept.text.strip(), LOST, True)
        assert server.ask("chat", "go_on", {"id": kept.id})["conversation"]["exchanges"][0]["answers"][0]["is_growing"]
        server.ask("chat", "stop", {"ids": [kept.id]})
        until(lambda: stored.read(ws, turns.turn, kept.id).end_reason, "it ends")
    finally:
        server.stop()
    assert stored.read(ws, turns.turn, kept.id).text.startswith(kept.text)
