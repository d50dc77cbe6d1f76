"""What a person types at the terminal: numbers too large, days that are none, ratings that were taken back or replaced."""

import pytest

from studio import comparisons, history, prompts, ratings, snapshots
from studio.cli import main
from studio.errors import RatingError, WorkspaceError
from studio.history import Filter
from studio.prompts import NewPrompt
from studio.snapshots import Recipe
from studio.workspace import Workspace

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
    showing = comparisons.next_showing(ws)
    assert showing is not None
    return ratings.record(ws, showing.id, outcome, **facts)


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
        history.get(ws, int(HUGE))
    for text in (HUGE, "9" * 5000, "one", "-1"):
        with pytest.raises(RatingError, match="There is no rating"):
            history.number(text)
    with pytest.raises(WorkspaceError, match="larger than any that is stored here"):
        history.find(ws, Filter(session=int(HUGE)))


@pytest.mark.parametrize("day", ["tomorrow", "2026-13-45", "20260331", "2026-W13-2", "2026-3-1"])
def test_a_day_that_is_none_is_refused_by_history_and_snapshots_alike(cli, day):
    for words in (
        ("history", "--since", day),
        ("history", "--until", day),
        ("snapshots", "freeze", "--set", f"since={day}"),
    ):
        code, out, err = cli(*words)
        assert (code, out) == (1, "")
        assert f"{day!r} is no day; write it as 2026-03-31." in err
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
    ratings.undo(ws)
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
        assert f"Rating {skipped.id} was taken back and counts no more." in err
    again = rate(ws, "right")
    assert [entry.id for entry in history.find(ws, Filter(is_changed=True))] == [again.id]
    assert [entry.id for entry in history.find(ws)] == [again.id, kept.id]
    assert "There is no rating 99." in cli("history", "show", "99")[2]


def test_of_a_correction_that_was_taken_back_the_list_of_changed_ones_has_what_counts_alone(ws):
    first = rate(ws)
    ratings.correct(ws, first.id, "right")
    ratings.undo(ws)
    assert [(entry.outcome, entry.is_undone) for entry in history.find(ws, Filter(is_changed=True))] == [("left", 0)]
    ratings.undo(ws)
    assert [(entry.outcome, entry.is_undone) for entry in history.find(ws, Filter(is_changed=True))] == [("left", 1)]
    assert history.count(ws, Filter(is_changed=True)) == 1
    assert history.find(ws) == []


def test_a_replaced_rating_names_the_one_in_its_place(ws, cli):
    first = rate(ws)
    newest = ratings.correct(ws, first.id, "right")
    for verb, *words in (("annotate", "--note", "x"), ("correct", "left")):
        code, _, err = cli("history", verb, str(first.id), *words)
        assert code == 1
        assert f"Rating {first.id} counts no more: rating {newest.id} stands in its place." in err
        assert f"rlhf-studio history {verb} {newest.id} " in err
        assert "Reload" not in err


def test_a_comparison_of_snapshots_fills_in_what_an_older_recipe_left_out(ws, cli):
    rate(ws)
    snapshots.freeze(ws)
    snapshots.freeze(ws, Recipe(repeats="keep", weak="drop", use_strength=True))
    _, out, _ = cli("snapshots", "diff", "1", "2")
    assert "recipe: repeats is drop in the first and keep in the second" in out
    assert "recipe: weak is keep in the first and drop in the second" in out
    assert "recipe: use_strength is False in the first and True in the second" in out
    assert "None" not in out


def test_the_page_says_the_same_of_numbers_and_days(ws):
    from ui.pages import history as page

    for number in (HUGE, "9" * 5000, "one", "99"):
        assert "There is no rating" in page._pick(ws, number)[0]
        assert "There is no rating" in page._correct(ws, number, "tie", "")[0]
        assert "There is no rating" in page._annotate(ws, number, "", [])[0]
    filters = ["", "", "", "", "tomorrow", "", "", 0, False]
    assert "is no day; write it as 2026-03-31." in page._list(ws, None, *filters)[0]
    taken = rate(ws, "skip", reason="too close")
    ratings.undo(ws)
    assert "skipped, taken back" in page._pick(ws, str(taken.id))[0]


@pytest.mark.parametrize(
    "words",
    [
        "history", "history show 1", "snapshots", "snapshots freeze", "session", "session card", "session pause",
        "session guideline", "rate", "runs", "runs show ppo-1", "models", "export ratings", "export demonstrations",
    ],
)  # fmt: skip
def test_a_command_that_only_reads_makes_no_workspace(tmp_path, capsys, words):
    assert main([*words.split(), "--workspace", str(tmp_path / "mistyped")]) == 1
    assert f"There is no workspace in {tmp_path / 'mistyped'}. Check --workspace" in capsys.readouterr().err
    assert not (tmp_path / "mistyped").exists()


def test_a_command_that_brings_something_makes_the_workspace(tmp_path, capsys):
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "How are you?"}\n')
    assert main(["import", str(tmp_path / "prompts.jsonl"), "--workspace", str(tmp_path / "new")]) == 0
    assert main(["session", "guideline", "Be kind.", "--workspace", str(tmp_path / "newer")]) == 0
    assert main(["history", "--workspace", str(tmp_path / "newer")]) == 0
    capsys.readouterr()
