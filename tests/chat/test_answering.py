"""Answers in conversations are stored while they are given, whoever looks at them; real models say them."""

import os
import signal
import threading

import pytest

from studio.chat import answering, conversations, turns
from studio.chat.answering import FULL, LOST, Answering
from studio.chat.conversations import Settings
from studio.chat.protocol import Sampling
from studio.chat.resident import Resident
from tests.support import policies, stored, warm
from tests.support.waiting import until

ENDLESS = Sampling(max_new_tokens=400, temperature=10.0)
"""So warm that an answer hardly ever ends by itself."""
SHORT = Sampling(max_new_tokens=6)


@pytest.fixture(scope="module", autouse=True)
def warm_starts():
    with warm.starts():
        yield


@pytest.fixture(scope="module")
def ws(tmp_path_factory):
    return policies.workspace(tmp_path_factory.mktemp("answering") / "studio")


@pytest.fixture
def resident(ws):
    found = Resident(ws, "cpu")
    yield found
    found.close()


@pytest.fixture
def answers(ws, resident):
    return Answering(ws, resident)


def asked(ws, *names, sampling=SHORT, text="Where is the fox?", system=""):
    """The answers of a new conversation, stored and not yet given."""
    with ws.write() as db:
        made = conversations.start(db, Settings(checkpoints=names, sampling=sampling, system=system))
        return conversations.ask(db, conversations.say(db, made, text))


def whole(answers, *begun):
    """The answers when all of them have ended."""
    ended = {}
    while len(ended) < len(begun):
        known = {each.id: 10**9 for each in begun if each.id not in ended}
        ended |= {each.turn_id: each for each in answers.hear(known, 240) if each.end_reason}
    return [ended[each.id] for each in begun]


def test_two_checkpoints_answer_the_same_with_the_same_seed_and_both_are_stored(ws, answers):
    begun = asked(ws, "sft-1@1", "sft-2@1")
    answers.begin(begun)
    told = whole(answers, *begun)
    kept = [stored.read(ws, turns.turn, each.id) for each in begun]
    assert [(each.text, each.end_reason, each.num_tokens) for each in kept] == [
        (each.text, each.end_reason, each.num_tokens) for each in told
    ]
    assert all(each.text and each.seconds > 0 and not each.message for each in kept)
    again = asked(ws, "sft-1@1")
    answers.begin(again)
    assert whole(answers, *again)[0].text == told[0].text


def test_the_next_turn_and_the_system_prompt_are_read_by_the_model(ws, answers):
    (first,) = begun = asked(ws, "sft-1@1", system="Be kind.")
    answers.begin(begun)
    whole(answers, *begun)
    with ws.write() as db:
        said = conversations.say(db, first.conversation_id, "And then?", first.id)
        (second,) = conversations.ask(db, said)
    question = answers._question(second)
    assert [turn["role"] for turn in question.messages] == ["system", "user", "assistant", "user"]
    answers.begin([second])
    assert whole(answers, second)[0].end_reason in ("eos", "length")


def test_what_there_is_of_an_answer_is_heard_and_stored_before_its_end(ws, answers, monkeypatch):
    monkeypatch.setattr(answering, "STORE_S", 0.0)
    (answer,) = begun = asked(ws, "sft-1@1", sampling=ENDLESS)
    answers.begin(begun)
    (heard,) = answers.hear({answer.id: 0}, 240)
    assert heard.text
    assert heard.end_reason is None
    until(lambda: stored.read(ws, turns.turn, answer.id).text, "the text so far is stored")
    assert stored.read(ws, turns.turn, answer.id).end_reason is None
    assert answers.is_live(answer.id)
    answers.stop([answer.id])
    (ended,) = whole(answers, answer)
    assert ended.end_reason == "stopped"
    assert ended.text.startswith(heard.text)
    assert 0 < ended.num_tokens < ENDLESS.max_new_tokens
    assert stored.read(ws, turns.turn, answer.id).text == ended.text
    assert not answers.is_live(answer.id)


def test_an_answer_that_is_stopped_before_it_is_asked_says_nothing(ws, answers, resident, monkeypatch):
    question = resident.question

    def late(*given, **named):
        until(lambda: answers._live[answer.id].is_stopped, "it is stopped")
        return question(*given, **named)

    monkeypatch.setattr(resident, "question", late)
    (answer,) = begun = asked(ws, "sft-1@1", sampling=ENDLESS)
    answers.begin(begun)
    answers.stop([answer.id])
    (ended,) = whole(answers, answer)
    assert ended.end_reason == "stopped"
    assert ended.num_tokens < ENDLESS.max_new_tokens


def test_a_stopped_answer_goes_on_from_its_text_and_counts_both_parts(ws, answers):
    (answer,) = begun = asked(ws, "sft-1@1", sampling=ENDLESS)
    answers.begin(begun)
    answers.hear({answer.id: 0}, 240)
    answers.stop([answer.id])
    (first,) = whole(answers, answer)
    with ws.write() as db:
        again = conversations.reopen(db, answer.id)
    answers.begin([again])
    answers.hear({answer.id: len(first.text)}, 240)
    answers.stop([answer.id])
    (second,) = whole(answers, answer)
    assert second.text.startswith(first.text)
    assert len(second.text) > len(first.text)
    assert second.num_tokens > first.num_tokens
    assert second.seconds > first.seconds


def test_a_killed_process_leaves_what_was_said_and_the_reason(ws, answers, resident):
    (answer,) = begun = asked(ws, "sft-1@1", sampling=ENDLESS)
    answers.begin(begun)
    (heard,) = answers.hear({answer.id: 0}, 240)
    os.kill(resident.pid, signal.SIGKILL)
    (ended,) = whole(answers, answer)
    assert ended.end_reason == "failed"
    assert "its process was ended" in ended.message
    kept = stored.read(ws, turns.turn, answer.id)
    assert kept.text.startswith(heard.text)
    assert kept.can_go_on


def test_an_answer_whose_hearer_was_killed_is_told_as_cut_off(ws, answers):
    (answer,) = asked(ws, "sft-1@1")
    stored.written(ws, turns.write, answer.id, "Half of")
    (told,) = answers.hear({answer.id: 0})
    assert (told.text, told.end_reason, told.message) == ("Half of", "failed", LOST)


def test_what_cannot_be_asked_ends_with_the_reason(ws, answers):
    begun = asked(ws, "sft-9@1", "sft-1@1", text="fox " * 2000)
    answers.begin(begun)
    missing, long = whole(answers, *begun)
    assert (missing.end_reason, long.end_reason) == ("failed", "failed")
    assert "There is no checkpoint named 'sft-9@1'" in missing.message
    assert "leaves no room for an answer" in long.message


def test_an_answer_that_fills_the_models_last_position_says_so(ws, answers):
    (answer,) = begun = asked(ws, "sft-1@1", text="fox " * 240, sampling=ENDLESS)
    answers.begin(begun)
    (ended,) = whole(answers, answer)
    assert (ended.end_reason, ended.message) == ("length", FULL)


def test_hearing_waits_no_longer_than_it_is_asked_to(ws, answers, resident, monkeypatch):
    is_heard = threading.Event()

    def fail(*given, **named):
        is_heard.wait()
        raise ZeroDivisionError

    monkeypatch.setattr(resident, "question", fail)
    (answer,) = begun = asked(ws, "sft-1@1")
    monkeypatch.setattr(answering.threading, "excepthook", lambda told: None)
    answers.begin(begun)
    assert answers.hear({answer.id: 0}, 0.0) == []
    is_heard.set()
    assert whole(answers, answer)[0].end_reason == "failed", "a fault of the studio's own ends it, too"
