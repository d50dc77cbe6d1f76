"""Workspaces that were opened before: in a terminal one is picked, elsewhere nothing is asked."""

import sys

import pytest

from studio import recent
from studio.cli import main, start
from studio.errors import ConfigError
from studio.workspace import Workspace


@pytest.fixture(autouse=True)
def state(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("RLHF_STUDIO_WORKSPACE", raising=False)
    return tmp_path / "state" / "rlhf-studio" / "workspaces"


@pytest.fixture
def opened(tmp_path):
    """Two workspaces, the second opened last."""
    roots = [Workspace.open(tmp_path / name).root for name in ("one", "the other ü")]
    for root in roots:
        recent.add(root)
    return roots


@pytest.fixture
def answers(monkeypatch):
    """Lets somebody answer at a terminal; what was asked for too often fails."""

    def answer(*lines):
        given = iter(lines)
        monkeypatch.setattr("builtins.input", lambda prompt: next(given))
        for stream in (sys.stdin, sys.stdout):
            monkeypatch.setattr(stream, "isatty", lambda: True)

    return answer


def test_the_list_begins_with_the_newest_names_each_once_and_only_what_is_there(opened, tmp_path, state):
    one, other = opened
    assert recent.read() == [other, one]
    recent.add(one)
    assert recent.read() == [one, other]
    (other / "studio.db").rename(tmp_path / "away.db")
    assert recent.read() == [one]
    for number in range(12):
        recent.add(Workspace.open(tmp_path / f"more-{number}").root)
    assert len(recent.read()) == recent.KEPT
    assert recent.read()[0].name == "more-11"


@pytest.mark.parametrize("text", [b"", b"\xff\xfe\n", b"relative\n\n", b"/no/such\n"], ids=["empty", "bytes", "relative", "gone"])  # fmt: skip
def test_a_list_that_is_damaged_names_nothing_and_is_written_anew(text, state, tmp_path):
    state.parent.mkdir(parents=True)
    state.write_bytes(text)
    assert recent.read() == []
    root = Workspace.open(tmp_path / "one").root
    recent.add(root)
    assert recent.read() == [root]


def test_a_list_that_cannot_be_written_stops_nothing(state, tmp_path):
    state.parent.parent.mkdir()
    state.parent.write_text("in the way")
    recent.add(tmp_path)
    assert recent.read() == []


def test_one_is_picked_by_number_by_enter_or_by_path_and_what_is_neither_is_asked_again(
    opened, answers, tmp_path, capsys
):
    one, other = opened
    answers("")
    assert start._picked() == other
    answers("2")
    assert start._picked() == one
    answers("0", "4", "one", "3")
    assert start._picked() == Workspace.place()
    said = capsys.readouterr().out
    assert f"  1  {other}" in said
    assert "(the usual one)" in said
    assert said.count("neither a number from 1 to 3 nor a path") == 3
    answers(f"{tmp_path}/new", str(tmp_path), str(one))
    assert start._picked() == one
    assert capsys.readouterr().out.count("There is no workspace in") == 2
    assert not (tmp_path / "new").exists()


def test_the_end_of_the_input_is_a_sentence(opened, monkeypatch, answers):
    answers()

    def ended(prompt):
        raise EOFError

    monkeypatch.setattr("builtins.input", ended)
    with pytest.raises(ConfigError, match="No workspace was chosen"):
        start._picked()


def test_nothing_is_asked_without_a_terminal_with_one_workspace_or_where_one_is_named(
    opened, answers, monkeypatch, tmp_path, state
):
    assert start._picked() is None
    answers()
    monkeypatch.setenv("RLHF_STUDIO_WORKSPACE", str(tmp_path / "named"))
    assert start._picked() is None
    monkeypatch.delenv("RLHF_STUDIO_WORKSPACE")
    state.unlink()
    assert start._picked() is None
    recent.add(Workspace.open().root)  # the usual one alone
    assert start._picked() is None


def test_the_command_remembers_what_it_opened(tmp_path, monkeypatch):
    def taken(ws, **_):
        raise ConfigError("Port 7860 is taken.")

    monkeypatch.setattr("ui.app.launch", taken)
    assert main(["ui", "--workspace", str(tmp_path / "mine"), "--empty"]) == 1
    assert recent.read() == [tmp_path / "mine"]
