"""Checkpoints are talked with at the terminal: several turns, streamed and stopped, judged, found again."""

import io
import json
import os
import pty
import select
import signal
import subprocess
import threading
import time

import pytest

from studio.chat import answering, conversations, turns
from studio.cli import main
from studio.preferences import comparisons, prompts
from tests.live_server import COMMAND
from tests.support import policies, stored, warm
from tests.support.waiting import PATIENCE_S, until

BOTH = ("sft-1@1", "sft-2@1", "--max-new-tokens", "8")


@pytest.fixture(scope="module", autouse=True)
def warm_starts():
    with warm.starts():
        yield


@pytest.fixture
def ws(tmp_path):
    return policies.workspace(tmp_path / "studio")


@pytest.fixture
def cli(ws, capsys, monkeypatch):
    """Run a command with this typed into it; returns exit code, stdout and stderr."""

    def call(*words, typed=""):
        monkeypatch.setattr("sys.stdin", io.StringIO(typed))
        code = main([*words, "--workspace", str(ws.root)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def shown(ws, conversation_id=1):
    found = stored.read(ws, conversations.get, conversation_id)
    return [each.text.strip() for each in stored.read(ws, turns.branch, found.leaf_id)]


def test_two_turns_with_one_checkpoint_are_printed_and_kept(ws, cli):
    code, out, _ = cli("chat", "sft-1", "--system", "Be kind.", "--seed", "3", typed="Where is\\\nthe fox?\nAnd now?\n")
    assert code == 0
    said = shown(ws)
    assert [said[0], said[2]] == ["Where is\nthe fox?", "And now?"]
    assert out.index(said[1]) < out.index(said[3])
    assert out.count("tokens/s") == 2
    found = stored.read(ws, conversations.get, 1)
    assert (found.settings.checkpoints, found.settings.system, found.settings.sampling.seed) == (
        ("sft-1@1",),
        "Be kind.",
        3,
    )
    answer = stored.read(ws, turns.turn, 4)
    assert stored.read(ws, turns.messages, answer.parent_id, answer.system)[0]["role"] == "system"
    code, out, _ = cli("chat", "--continue", "1", "--max-new-tokens", "4", typed="/show\n/again\n")
    assert out.count("And now?") == 2, "once at the beginning, once asked for"
    assert "4 tokens" in out or "ended by itself" in out
    assert stored.read(ws, turns.attempts, 3) == [1, 2]


def test_a_vote_between_two_is_a_rating_and_names_are_hidden_until_then(ws, cli):
    typed = "Where is the fox?\n/show\n/vote right\n/show\n/ideal It is in the wood.\n/prompt\nAnd now?\n"
    code, out, err = cli("chat", *BOTH, "--blind", typed=typed)
    assert (code, err) == (0, "")
    before, after = out.split("Recorded: right better.")
    assert "sft-1@1" not in before.split("\n", 2)[2]
    assert " left is sft-" in after.split("\n")[0]
    ((rating,), *_) = [row["events"] for row in stored.comparisons(ws)]
    assert (rating["outcome"], rating["rater"]) == ("right", "person")
    second = stored.read(ws, turns.attempt, 1, 1)[1]
    assert shown(ws)[:2] == ["Where is the fox?", second.text.strip()], "it goes on from the better answer"
    (demonstration,) = [row for row in stored.read(ws, prompts.list_demonstrations) if row.response != "Madrid."]
    assert demonstration.response == "It is in the wood."
    assert stored.written(ws, comparisons.next_showing) is None


def test_what_the_page_does_with_branches_the_terminal_does(ws, cli):
    typed = "\n".join(
        (
            "Where is the fox?", "/edit Where is the wolf?", "/version 1", "/version 2", "/again", "/attempt 1", "/answer In bed.",
            "/fork", "And now?", "/use 1", "/title Wolves", "/set temperature=0 seed=5", "/system Be brief.", "/quit", "not said",
        )
    )  # fmt: skip
    code, out, _ = cli("chat", "sft-1", "--max-new-tokens", "4", typed=typed)
    assert code == 0
    assert shown(ws, 1) == ["Where is the wolf?", "In bed."]
    forked = stored.read(ws, conversations.get, 2)
    assert shown(ws, 2)[:3] == ["Where is the wolf?", "In bed.", "And now?"]
    assert (forked.title, forked.settings.sampling.temperature, forked.settings.system) == ("Wolves", 0.0, "Be brief.")
    assert forked.settings.sampling.max_new_tokens == 4
    assert "version 1 of 2" in out
    assert "attempt 1 of 2" in out
    with ws.read() as db:
        assert "not said" not in json.dumps([each.text for each in turns.list_all(db, 2)])


def test_any_turn_can_be_gone_back_to_and_what_followed_it_stays(ws, cli):
    typed = "\n".join(
        (
            "A fox?",
            "And now?",
            "/turn 1",
            "/edit A wolf?",
            "/version 1",
            "/turn 1",
            "And then?",
            "/version 1",
            "/turn 9",
            "/turn",
        )
    )
    code, out, _ = cli("chat", "sft-1", "--max-new-tokens", "4", typed=typed)
    assert code == 0
    assert out.count("Give a number from 1 to 2.") == 1
    with ws.read() as db:
        asked = [(each.parent_id, each.text) for each in turns.list_all(db, 1) if each.role == "user"]
    first = stored.read(ws, turns.attempt, 1, 1)[0].id
    assert asked == [(None, "A fox?"), (first, "And now?"), (None, "A wolf?"), (first, "And then?")]
    assert shown(ws)[::2] == ["A fox?", "And then?"], "the branch that was gone on with last"


def test_what_is_not_understood_is_said_and_the_talk_goes_on(ws, cli):
    typed = "/bogus\n/again\n/vote left\n/set temperature=9999\n/set voice=1\n/use 2\n/continue\n/ideal\nHello\n/vote maybe\n"
    code, out, _ = cli("chat", "sft-1", "--max-new-tokens", "4", typed=typed)
    assert code == 0
    for words in (
        "/bogus is not a command", "Nothing has been said yet.", "temperature = '9999': Input should be", "Type /set with max_new_tokens",
        "Type /vote with left", "It is kept.",
    ):  # fmt: skip
        assert words in out, out
    assert shown(ws)[0] == "Hello"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["chat", "sft-9@1"], "There is no checkpoint named 'sft-9@1'"),
        (["chat", "sft-1", "sft-1"], "cannot be compared with itself"),
        (["chat", "sft-1", "sft-2", "sft-1"], "Give one checkpoint, or two"),
        (["chat", "--temperature", "-1"], "temperature = -1.0: Input should be greater"),
        (["chat", "--continue", "7"], "There is no conversation 7"),
        (["chats", "show", "7"], "There is no conversation 7"),
        (["chats", "delete", "7"], "There is no conversation 7"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence_and_nothing_is_kept(ws, cli, words, said):
    code, _, err = cli(*words, typed="Hello\n")
    assert code == 1
    assert said in err
    assert stored.read(ws, conversations.find) == []


def test_ctrl_c_stops_the_answer_and_not_the_program(ws, cli, monkeypatch):
    monkeypatch.setattr(answering, "STORE_S", 0.0)

    def press():
        until(lambda: any(each.text for each in stored.read(ws, turns.list_all, 1)[1:]), "an answer has begun")
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # a shell may have started the tests with it ignored
    thread = threading.Thread(target=press)
    thread.start()
    try:
        typed = "Hello\n/set max_new_tokens=4\nAnd now?\n"
        code, out, _ = cli("chat", "sft-1", "--temperature", "10", "--max-new-tokens", "450", typed=typed)
    finally:
        thread.join()
        signal.signal(signal.SIGINT, before)
    assert code == 0
    assert "stopped]" in out
    answers = [each for each in stored.read(ws, turns.list_all, 1) if each.role == "assistant"]
    assert len(answers) == 2
    assert answers[0].num_tokens < 450
    assert answers[1].text


def test_conversations_are_listed_searched_renamed_exported_and_deleted(ws, cli):
    cli("chat", "sft-1", "--max-new-tokens", "4", typed="A fox\n")
    cli("chat", *BOTH, typed="A wolf\n")
    cli("chat", "sft-1", typed="")
    code, out, _ = cli("chats")
    assert (code, [line.split()[0] for line in out.splitlines()]) == (0, ["2", "1"])
    assert "sft-1@1, sft-2@1" in out
    assert [line.split()[0] for line in cli("chats", "--search", "FOX")[1].splitlines()] == ["1"]
    assert cli("chats", "--search", "bear")[1] == "No conversation contains this text.\n"
    assert "is now: Foxes" in cli("chats", "rename", "1", " Foxes ")[1]
    assert "Foxes\n\nyou\nA fox\n" in cli("chats", "show", "1")[1]
    for form in ("jsonl", "json"):
        assert f"conversation-1.{form}" in cli("chats", "export", "1", "--format", form)[1]
        assert "A fox" in (ws.exports / f"conversation-1.{form}").read_text()
    assert cli("chats", "delete", "1")[1] == "Conversation 1 is deleted: Foxes\n"
    assert [line.split()[0] for line in cli("chats")[1].splitlines()] == ["2"]


def test_ctrl_c_in_a_real_terminal_reaches_the_program_and_not_the_model(ws):
    ours, theirs = pty.openpty()
    command = [*COMMAND, "chat", "sft-1", "--temperature", "10", "--max-new-tokens", "450", "--workspace", str(ws.root)]
    child = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True, preexec_fn=_own
    )
    os.close(theirs)
    screen = _Screen(ours)
    try:
        screen.until("> ")
        num_stopped = 0
        while num_stopped < 2:  # on a busy machine an answer may be whole before the key arrives
            os.write(ours, b"Hello\n")
            screen.until("sft-1@1\r\n")
            screen.until(" ")
            os.write(ours, b"\x03")
            screen.until("\r\n  [")
            num_stopped += screen.until("]").endswith("stopped")
            screen.until("> ")
        screen.interrupt("> ")
        os.write(ours, b"\x04")
        screen.until("It is kept.")
    finally:
        child.kill()
        child.wait()
        os.close(ours)
    ended = [each.end_reason for each in stored.read(ws, turns.list_all, 1) if each.role == "assistant"]
    assert ended.count("stopped") == 2


def _own():
    """Make the terminal that of the child, so that Ctrl-C reaches it and all that it starts."""
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


class _Screen:
    """What a terminal shows, read on from where it was read to."""

    def __init__(self, descriptor):
        self.descriptor, self.unread = descriptor, ""

    def interrupt(self, text):
        """Press Ctrl-C until a text is shown: Python's input() misses a signal between its prompt and its waiting."""
        deadline = time.monotonic() + PATIENCE_S
        os.write(self.descriptor, b"\x03")
        while not self._shows(text, patience_s=2):
            assert time.monotonic() < deadline, self.unread
            os.write(self.descriptor, b"\x03")
        return self.until(text)

    def until(self, text):
        assert self._shows(text, PATIENCE_S), self.unread
        before, self.unread = self.unread.split(text, 1)
        return before

    def _shows(self, text, patience_s):
        deadline = time.monotonic() + patience_s
        while text not in self.unread and time.monotonic() < deadline:
            if select.select([self.descriptor], [], [], 0.1)[0]:
                self.unread += os.read(self.descriptor, 4096).decode("utf-8", errors="replace")
        return text in self.unread
