"""Blind votes between two checkpoints in a real database, and what the command line says of them."""

import json

import pytest

from modules.config import SampleConfig, SFTConfig
from studio.annotation import sessions
from studio.cli import main
from studio.preferences import comparisons, model_votes, prompts, ratings
from studio.preferences.prompts import NewPrompt
from studio.runs import launcher, runs
from studio.workspace import Workspace
from tests.support import policies, stored, warm
from tests.support.waiting import for_run
from tests.ui import filling


@pytest.fixture
def ws(tmp_path):
    """A workspace with two policies that have answered nothing yet."""
    ws = Workspace.open(tmp_path / "workspace")
    filling.add_texts(ws, 4)
    for _ in range(2):
        filling.add_checkpoint(ws, filling.add_run(ws, SFTConfig()))
    return ws


def vote(ws, num, judge, rater="person"):
    for _ in range(num):
        showing = stored.written(ws, comparisons.next_showing, rater)
        assert showing is not None
        judge(showing)


def prefer(ws, name):
    def judge(showing):
        stored.written(ws, ratings.record, showing.id, "left" if showing.left.startswith(name) else "right")

    return judge


def read(ws, rater="person"):
    with ws.read() as db:
        return model_votes.between_checkpoints(db, rater)


def test_a_vote_knows_whose_answer_was_shown_where_and_how_long_it_was(ws):
    filling.add_rivals(ws, 12)
    vote(ws, 12, prefer(ws, "sft-2"))
    found = read(ws)
    assert {each.left for each in found} == {"sft-2@40", "sft-1@40"}
    assert all((each.left if each.winner == "left" else each.right) == "sft-2@40" for each in found)
    assert {each.left_length for each in found} == {len("sft-2@40 0 0"), len("sft-2@40 10 0")}


def test_a_corrected_vote_counts_as_corrected_and_one_that_was_taken_back_or_skipped_does_not(ws):
    filling.add_rivals(ws, 4)
    vote(ws, 4, prefer(ws, "sft-2"))
    stored.undone(ws)
    first, second = (event["id"] for event in stored.read(ws, ratings.list_events)[:2])
    stored.written(ws, ratings.correct, first, "tie")
    stored.written(ws, ratings.correct, second, "skip")
    assert sorted(each.winner == "tie" for each in read(ws)) == [False, True]


def test_a_ranking_gives_its_pairs_of_different_checkpoints(ws):
    filling.add_rivals(ws, 1, size=4)
    vote(ws, 1, lambda showing: stored.written(ws, ratings.record, showing.id, "ranking", ranks=[1, 2, 2, 3]))
    found = read(ws)
    assert len(found) == 4
    assert all(each.is_of_a_ranking and each.left != each.right for each in found)


def test_answers_of_one_checkpoint_or_of_a_file_are_no_votes_between_checkpoints(ws):
    filling.add_rivals(ws, 3, names=("sft-2@40", "sft-2@40"))
    with ws.write() as db:
        prompt_id = prompts.add_prompt(db, NewPrompt([{"role": "user", "content": "Another"}], "", "train"))
        comparisons.add_comparison(
            db, prompt_id, [prompts.add_response(db, prompt_id, text, "import") for text in ("one", "two")]
        )
    vote(ws, 4, lambda showing: stored.written(ws, ratings.record, showing.id, "left"))
    assert read(ws) == []


def test_the_leaderboard_in_the_terminal_moves_with_each_vote(ws, capsys):
    filling.add_rivals(ws, 30)
    vote(ws, 10, prefer(ws, "sft-2"))
    assert main(["leaderboard", "--workspace", str(ws.root)]) == 0
    said = capsys.readouterr().out
    assert "sft-2@40 against sft-1@40: won 10, tied 0, lost 0" in said
    assert "Decided: sft-2@40 is preferred." in said
    vote(ws, 12, prefer(ws, "sft-1"))
    assert main(["leaderboard", "--workspace", str(ws.root), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["pairs"][0]["wins"], found["pairs"][0]["losses"]) == (12, 10)
    assert not found["pairs"][0]["is_decided"]
    assert found["groups"][0]["anchor"] == "sft-1@40"


def test_an_anchor_that_was_never_voted_on_is_refused_and_those_that_can_be_one_are_named(ws, capsys):
    filling.add_rivals(ws, 4)
    vote(ws, 4, prefer(ws, "sft-2"))
    third = filling.add_run(ws, SFTConfig())
    filling.add_checkpoint(ws, third)
    for name in (f"{third.name}@40", third.name, "base"):
        assert main(["leaderboard", "--anchor", name, "--workspace", str(ws.root)]) == 1
        said = capsys.readouterr().err
        assert f"has never voted on {name}, so it cannot be the anchor. These can be: sft-1@40, sft-2@40." in said
    assert main(["leaderboard", "--anchor", "sft-2", "--json", "--workspace", str(ws.root)]) == 0
    assert json.loads(capsys.readouterr().out)["groups"][0]["anchor"] == "sft-2@40"


def test_votes_of_two_raters_stay_apart_and_a_rater_without_any_is_told_who_voted(ws, capsys):
    filling.add_rivals(ws, 6)
    vote(ws, 3, prefer(ws, "sft-2"))
    vote(ws, 3, prefer(ws, "sft-2"), rater="scripted")
    assert (len(read(ws)), len(read(ws, "scripted"))) == (3, 3)
    assert main(["leaderboard", "--rater", "anna", "--workspace", str(ws.root)]) == 1
    assert "The rater anna has not voted" in (said := capsys.readouterr().err)
    assert "person, scripted" in said


def test_compare_starts_a_blind_session_on_prompts_that_measure(ws, capsys):
    assert main(["compare", "sft-2", "sft-1", "--votes", "5", "--workspace", str(ws.root)]) == 0
    session = stored.read(ws, sessions.list_all)[0]
    assert (session.config.checkpoint, session.config.opponent) == ("sft-2@40", "sft-1@40")
    assert (session.config.split, session.config.target, session.config.repeat_share) == ("validation", 5, 0.0)
    out = capsys.readouterr().out
    assert "leaderboard" in out
    assert "0 of 5, block 1. sft-2@40 against sft-1@40, sides hidden: no pairs wait yet.\n" in out
    sampled = filling.add_run(ws, SampleConfig(checkpoint="sft-2", opponent="sft-1"))
    filling.add_rivals(ws, 2, run=sampled)
    assert stored.read(ws, sessions.outlook, session).endswith(
        "sides hidden: 2 pairs wait, and more are sampled when fewer than 5 are left"
    )
    showing = stored.written(ws, sessions.next_showing)
    assert "2 pairs wait" in stored.read(ws, sessions.outlook, session), "the one on the screen is counted too"
    stored.written(ws, ratings.record, showing.id, "left")
    assert stored.read(ws, lambda db: sessions.outlook(db, sessions.get(db, session.id))) == (
        "sft-2@40 against sft-1@40, sides hidden"
    )


def test_a_checkpoint_is_not_compared_with_itself_or_with_a_reward_model(ws, capsys):
    assert main(["compare", "sft-2", "sft-2", "--workspace", str(ws.root)]) == 1
    assert "cannot be compared with itself" in capsys.readouterr().err


@pytest.mark.parametrize(("opponent", "seeds"), [("sft-1@1", [[5, 5], [6, 6]]), ("", [[5, 6], [7, 8]])])
def test_both_sides_of_a_pair_are_sampled_with_one_seed_and_two_answers_of_one_policy_are_not(
    tmp_path, opponent, seeds
):
    ws = policies.workspace(tmp_path / "policies")
    with ws.write() as db:
        prompts.add_prompt(db, NewPrompt(policies.QUESTION, split="validation"))
    chosen = SampleConfig(
        checkpoint="sft-2@1", opponent=opponent, split="validation", responses_per_prompt=4, seed=5, max_new_tokens=8, device="cpu"
    )  # fmt: skip
    with warm.starts():
        run = launcher.start(ws, runs.create(ws, chosen))
        run = for_run(ws, run.name, lambda r: r.is_ended)
    assert run.state == "finished", run.message
    answers = [row for row in stored.tables(ws)["responses"] if row["run_id"] == run.id]
    given = [json.loads(row["sampling"])["seed"] for row in answers]
    assert [given[:2], given[2:]] == seeds
    assert len({row["checkpoint_id"] for row in answers[:2]}) == (2 if opponent else 1)
