"""What a person types at the terminal: numbers too large, days that are none, ratings that were taken back or replaced."""

import io
import sys

import pytest

from studio.annotation import history, session_status, sessions
from studio.annotation.history import Filter
from studio.annotation.session_config import SessionConfig
from studio.cli import main
from studio.errors import RatingError, WorkspaceError
from studio.preferences import comparisons, prompts, ratings
from studio.preferences.prompts import NewPrompt
from studio.preferences.snapshots import Recipe
from studio.workspace import Workspace
from tests.support import stored

HUGE = "99999999999999999999999"


@pytest.fixture
def ws(tmp_path):
    """Four pairs to rate."""
    ws = Workspace.open(tmp_path / "workspace")
    with ws.write() as db:
        for number in range(4):
            prompt_id = prompts.add_prompt(db, NewPrompt([{"role": "user", "content": f"Question {number}"}], "sum"))
            pair = [prompts.add_response(db, prompt_id, f"{side} {number}", "import") for side in ("one", "two")]
            comparisons.add_comparison(db, prompt_id, (pair[0], pair[1]))
    return ws


@pytest.fixture
def cli(ws, capsys):
    """Run a command; returns exit code, stdout and stderr."""

    def call(*words):
        try:
            code = main([*words, "--workspace", str(ws.root)])
        except SystemExit as error:  # argparse refuses so
            code = error.code
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def rate(ws, outcome="left", **facts):
    showing = stored.written(ws, comparisons.next_showing)
    assert showing is not None
    return stored.written(ws, ratings.record, showing.id, outcome, **facts)


def why_nothing(ws, session):
    with ws.read() as db:
        return sessions.why_nothing(db, session)


@pytest.mark.parametrize("number", [HUGE, "9" * 5000, "0", "-3", "1.5", "²"])
@pytest.mark.parametrize(
    "words",
    [
        "history show",
        "history annotate",
        "history --before",
        "history --limit",
        "history --session",
        "session card",
        "session card --last",
        "session pause",
        "snapshots diff 1 2 --limit",
        "runs rollouts ppo-1 --tokens",
        "runs rollouts ppo-1 --limit",
    ],
)
def test_a_number_that_can_be_none_is_refused_in_a_sentence(cli, words, number):
    code, out, err = cli(*words.split(), number)
    assert (code, out) == (2, "")
    last = err.splitlines()[-1]
    assert "it takes a whole number, at least 1." in last or "expected one argument" in last or "unrecognized" in last
    assert len(last) < 300


def test_a_number_too_large_for_the_database_is_said_wherever_it_enters(ws):
    with pytest.raises(RatingError, match="There is no rating 99999"):
        stored.read(ws, history.get, int(HUGE))
    for text in (HUGE, "9" * 5000, "one", "-1"):
        with pytest.raises(RatingError, match="There is no rating"):
            history.number(text)
    with pytest.raises(WorkspaceError, match="too large to be stored here"):
        stored.read(ws, history.find, Filter(session=int(HUGE)))


def test_half_a_character_is_said_and_nothing_is_stored(ws):
    with pytest.raises(WorkspaceError, match="half a character, which cannot be stored"):
        stored.written(ws, prompts.add_demonstration, [{"role": "user", "content": "A question"}], "half \ud800")
    assert stored.read(ws, prompts.counts)["prompts"] == 4


@pytest.mark.parametrize("words", [("sft",), ("sample",), ("session", "start"), ("session", "guideline", "Be kind.")])
def test_a_mistyped_workspace_is_not_made(tmp_path, capsys, words):
    code = main([*words, "--workspace", str(tmp_path / "mistyped")])
    assert code == 1
    assert "There is no workspace in" in capsys.readouterr().err
    assert not (tmp_path / "mistyped").exists()


@pytest.mark.parametrize("day", ["tomorrow", "2026-13-45", "20260331", "2026-W13-2", "2026-3-1"])
def test_a_day_that_is_none_is_refused_by_history_and_snapshots_alike(cli, day):
    for words in (
        ("history", "--since", day),
        ("history", "--until", day),
        ("snapshots", "freeze", "--set", f"since={day}"),
    ):
        code, out, err = cli(*words)
        assert (code, out) == (1, "")
        assert f"{day!r} is not a day; write it as 2026-03-31." in err
    code, out, _ = cli("history", "--since", "2026-03-31")
    assert (code, out) == (0, "0 of 0 ratings that fit.\n")


def test_a_flag_that_is_none_is_refused_with_those_there_are(cli):
    code, _, err = cli("history", "--flag", "foo")
    assert code == 2
    assert "unsafe" in err
    assert "hallucinated" in err
    with pytest.raises(RatingError, match="There is no flag 'foo'; use one of unsafe, hallucinated, refused"):
        Filter(flag="foo")


def test_a_rating_that_was_taken_back_is_found_and_shown_with_its_events(ws, cli):
    kept = rate(ws)
    skipped = rate(ws, "skip", reason="too close")
    stored.undone(ws)
    code, out, _ = cli("history", "--changed")
    assert code == 0
    assert "skipped, taken back" in out
    assert "1 of 1 ratings that fit." in out
    assert "skipped" not in cli("history")[1], "it counts no more"
    for number in (skipped.id, skipped.id + 1):
        code, out, _ = cli("history", "show", str(number))
        assert code == 0
        assert "skipped, taken back" in out.splitlines()[0]
        assert f"\n{skipped.id}: skip" in out
        assert f"\n{skipped.id + 1}: undo" in out
    for verb in (("correct", str(skipped.id), "left"), ("annotate", str(skipped.id), "--note", "x")):
        code, _, err = cli("history", *verb)
        assert code == 1
        assert f"Rating {skipped.id} was taken back and no longer counts." in err
    again = rate(ws, "right")
    assert [entry.id for entry in stored.read(ws, history.find, Filter(is_changed=True))] == [again.id]
    assert [entry.id for entry in stored.read(ws, history.find)] == [again.id, kept.id]
    assert "There is no rating 99." in cli("history", "show", "99")[2]


def test_of_a_correction_that_was_taken_back_the_list_of_changed_ones_has_what_counts_alone(ws):
    first = rate(ws)
    stored.written(ws, ratings.correct, first.id, "right")
    stored.undone(ws)
    assert [(entry.outcome, entry.is_undone) for entry in stored.read(ws, history.find, Filter(is_changed=True))] == [
        ("left", 0)
    ]
    stored.undone(ws)
    assert [(entry.outcome, entry.is_undone) for entry in stored.read(ws, history.find, Filter(is_changed=True))] == [
        ("left", 1)
    ]
    assert stored.read(ws, history.count, Filter(is_changed=True)) == 1
    assert stored.read(ws, history.find) == []


def test_a_replaced_rating_names_the_one_in_its_place(ws, cli):
    first = rate(ws)
    newest = stored.written(ws, ratings.correct, first.id, "right")
    for verb, *words in (("annotate", "--note", "x"), ("correct", "left")):
        code, _, err = cli("history", verb, str(first.id), *words)
        assert code == 1
        assert f"Rating {first.id} no longer counts: rating {newest.id} has replaced it." in err
        assert f"rlhf-studio history {verb} {newest.id} " in err
        assert "Reload" not in err


def test_a_comparison_of_snapshots_fills_in_what_an_older_recipe_left_out(ws, cli):
    rate(ws)
    stored.freeze(ws)
    stored.freeze(ws, Recipe(repeats="keep", weak="drop", use_strength=True))
    _, out, _ = cli("snapshots", "diff", "1", "2")
    assert "recipe: repeats is drop in the first and keep in the second" in out
    assert "recipe: weak is keep in the first and drop in the second" in out
    assert "recipe: use_strength is False in the first and True in the second" in out
    assert "None" not in out


def test_the_page_says_the_same_of_numbers_and_days(ws):
    from ui.pages.rate import history as page

    for number in (HUGE, "9" * 5000, "one", "99"):
        assert "There is no rating" in stored.read(ws, page._pick, number)[0]
        assert "There is no rating" in page._correct(ws, number, "tie", "")[0]
        assert "There is no rating" in page._annotate(ws, number, "", [])[0]
    filters = ["", "", "", "", "tomorrow", "", "", 0, False]
    assert "is not a day; write it as 2026-03-31." in page._list(ws, "newest", page.Place(), *filters)[0]
    taken = rate(ws, "skip", reason="too close")
    stored.undone(ws)
    assert "skipped, taken back" in stored.read(ws, page._pick, str(taken.id))[0]


@pytest.mark.parametrize(
    "words",
    [
        "history", "history show 1", "snapshots", "snapshots freeze", "session", "session card", "session pause",
        "session guideline", "rate", "runs", "runs show ppo-1", "models", "export ratings", "export demonstrations", "chat", "chats",
    ],
)  # fmt: skip
def test_a_command_that_only_reads_makes_no_workspace(tmp_path, capsys, words):
    assert main([*words.split(), "--workspace", str(tmp_path / "mistyped")]) == 1
    assert f"There is no workspace in {tmp_path / 'mistyped'}. Check --workspace" in capsys.readouterr().err
    assert not (tmp_path / "mistyped").exists()


def test_a_command_that_brings_something_makes_the_workspace(tmp_path, capsys):
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "How are you?"}\n')
    assert main(["import", str(tmp_path / "prompts.jsonl"), "--workspace", str(tmp_path / "new")]) == 0
    assert main(["history", "--workspace", str(tmp_path / "new")]) == 0
    capsys.readouterr()


# Sessions with nothing to rate, and their rests.


def state_of(ws):
    with ws.write() as db:
        sessions.upcoming(db, "person", 4)
        return session_status.state(ws, db, "person")["session"]


def test_a_session_of_pairs_that_came_judged_says_so_at_its_start_in_the_terminal_and_on_the_page(
    tmp_path, capsys, monkeypatch
):
    root = tmp_path / "other"
    path = tmp_path / "preferences.jsonl"
    path.write_text("".join(f'{{"prompt": "Q{n}?", "chosen": "good", "rejected": "bad"}}\n' for n in range(7)))
    assert main(["import", str(path), "--workspace", str(root)]) == 0
    assert main(["session", "start", "--set", "source=imported", "--workspace", str(root)]) == 0
    reason = "All 7 pairs that it asks for came with a judgement, so nothing is left to rate in it."
    out = capsys.readouterr().out
    assert f"It has nothing to show. {reason}" in out
    assert "End it: rlhf-studio session end --workspace" in out
    monkeypatch.setattr(sys, "stdin", io.StringIO("q"))
    assert main(["rate", "--workspace", str(root)]) == 0
    out = capsys.readouterr().out
    assert f"Nothing to rate in it now. {reason}" in out
    assert "Sample: rlhf-studio sample" in out
    assert "takes the last one back" not in out, "there is none"
    assert reason in state_of(Workspace.open(root))["background"]


def test_why_a_session_has_nothing_is_told_apart(ws, cli):
    def why(**config):
        session = stored.written(ws, sessions.start, SessionConfig(repeat_share=0.0, **config))
        state_of(ws)
        found = why_nothing(ws, session)
        stored.written(ws, sessions.end, session.id)
        return found

    assert "None of the pairs is a ranking of 3 to 5 answers" in why(rank=5)
    with ws.write() as db:
        prompts.add_prompt(db, NewPrompt([{"role": "user", "content": "Why?"}], "why"))
    assert "has a prompt of the categories why" in why(categories="why")
    assert why() == ""
    assert "4 were shown to you, or drawn, outside this session" in why()
    while stored.written(ws, comparisons.next_showing):
        rate(ws)
    assert "All 4 pairs that it asks for are already judged" in why()
    empty = Workspace.open(ws.root.parent / "empty")
    assert "There are no pairs in this workspace yet" in why_nothing(
        empty, stored.written(empty, sessions.start, SessionConfig())
    )


def test_a_session_that_has_only_prompts_of_just_now_left_says_so(ws):
    with ws.write() as db:
        prompt_id = prompts.add_prompt(db, NewPrompt([{"role": "user", "content": "Question 0"}], "sum"))
        for number in range(9):
            pair = [prompts.add_response(db, prompt_id, f"{side} more {number}", "import") for side in ("a", "b")]
            comparisons.add_comparison(db, prompt_id, (pair[0], pair[1]))
    session = stored.written(ws, sessions.start, SessionConfig(repeat_share=0.0, target=20))
    assert why_nothing(ws, session) == ""
    while showing := stored.written(ws, sessions.next_showing):
        stored.written(ws, ratings.record, showing.id, "tie")
    assert "Only pairs of prompts that you saw within the last 5 items are left" in why_nothing(ws, session)


def test_categories_that_no_prompt_has_are_refused_with_the_known_ones(ws, cli):
    code, out, err = cli("session", "start", "--set", "categories=sum,telepathy")
    assert (code, out) == (1, "")
    assert err == "No prompt has the category telepathy. They have: sum.\n"
    assert stored.read(ws, sessions.list_all) == []


def test_at_a_rest_and_at_the_end_the_next_command_is_named_and_z_works_from_the_start(ws, cli, monkeypatch):
    with ws.write() as db:
        for number in range(8):
            prompt_id = prompts.add_prompt(db, NewPrompt([{"role": "user", "content": f"More {number}"}], "sum"))
            pair = [prompts.add_response(db, prompt_id, f"{side} {number}", "import") for side in ("one", "two")]
            comparisons.add_comparison(db, prompt_id, (pair[0], pair[1]))
    stored.written(ws, sessions.start, SessionConfig(target=7, block_size=5, repeat_share=0.0))

    def press(keys):
        monkeypatch.setattr(sys, "stdin", io.StringIO(keys))
        return cli("rate")[1]

    out = press("11111q")
    assert "block 1 is done.\nNext block: rlhf-studio session resume --workspace" in out
    out = press("q")
    assert "Next block: rlhf-studio session resume" in out
    assert "z takes the last one back" in out
    assert out.endswith("0 rated now, 5 in all.\n")
    assert "Taken back: left much better." in press("zq")
    assert stored.read(ws, ratings.summary)["rated"] == 4
    press("1q")
    assert cli("session", "resume")[0] == 0
    out = press("11q")
    assert "the target is reached.\nEnd it: rlhf-studio session end --workspace" in out
    assert "Taken back" in press("zq")
