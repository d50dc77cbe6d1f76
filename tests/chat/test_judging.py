"""What is said of answers in a conversation is what Rate would have stored, and the reward model trains on it."""

import json
import uuid

import pytest

from studio.annotation import history
from studio.annotation.history import Filter
from studio.chat import conversations, judging, turns
from studio.chat.conversations import Settings
from studio.chat.protocol import Sampling
from studio.errors import CheckpointError, RatingError
from studio.preferences import comparisons, model_votes, prompts, ratings, undo
from studio.workspace import Workspace, now
from tests.chat.talking import answered
from tests.support import stored

TWO = Settings(checkpoints=("sft-1@40", "sft-2@40"), system="Be brief.", sampling=Sampling(seed=7, temperature=0.5))


@pytest.fixture
def ws(tmp_path):
    """Two checkpoints, as their rows say, and nothing to train on."""
    ws = Workspace.open(tmp_path / "studio")
    with ws.write() as db:
        for number in (1, 2):
            run = {
                "name": f"sft-{number}",
                "stage": "sft",
                "state": "finished",
                "config": "{}",
                "revision": "",
                "created_at": now(),
            }
            run_id = db.table("runs").insert(run).last_pk
            row = {"name": f"sft-{number}@40", "run_id": run_id, "step": 40, "folder": "", "base_model": "starter"}
            db.table("checkpoints").insert(row | {"base_fingerprint": "", "metrics": "{}", "created_at": now()})
    return ws


@pytest.fixture
def pair(ws):
    """Two answers to the second turn of a conversation, whose prompt is one to train on."""
    with ws.write() as db:
        made = conversations.start(db, TWO)
        first, _ = answered(db, conversations.say(db, made, "Where is the fox?"), " In the wood. ", "I know not.")
        return answered(db, conversations.say(db, made, "And now?", first), "Now it is here.", "It sleeps.")


CONTEXT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Where is the fox?"},
    {"role": "assistant", "content": "In the wood."},
    {"role": "user", "content": "And now?"},
]


def test_a_vote_is_a_rating_with_its_whole_origin_and_the_reward_model_trains_on_it(ws, pair):
    rating = stored.written(ws, judging.vote, pair, "right", strength=3, elapsed_ms=1200)
    with ws.read() as db:
        showing = comparisons.get_showing(db, rating.showing_id)
        rows = list(db.query("SELECT r.*, k.name FROM responses r JOIN checkpoints k ON k.id = r.checkpoint_id"))
    assert (showing.messages, showing.texts) == (CONTEXT, ("Now it is here.", "It sleeps."))
    assert [row["name"] for row in rows] == ["sft-1@40", "sft-2@40"]
    sampling = json.loads(rows[0]["sampling"])
    assert (sampling["seed"], sampling["temperature"], sampling["conversation"]) == (7, 0.5, 1)
    assert rows[0]["end_reason"] == "eos"
    (row,) = stored.training_rows(ws, stored.freeze(ws).id)
    assert (row["messages"], row["chosen"], row["rejected"]) == (CONTEXT, "It sleeps.", "Now it is here.")
    assert row["strength"] == 3
    (vote,) = stored.read(ws, model_votes.between_checkpoints)
    assert (vote.left, vote.right, vote.winner) == ("sft-1@40", "sft-2@40", "right")
    (entry,) = stored.read(ws, history.find, Filter("", "", "", "", "", "", "", None, False), limit=5)
    assert entry.id == rating.id


def test_a_pair_of_a_conversation_is_never_put_up_on_rate_unless_its_vote_is_taken_back(ws, pair):
    assert stored.written(ws, comparisons.next_showing) is None
    rating = stored.written(ws, judging.vote, pair, "left")
    assert stored.written(ws, comparisons.next_showing) is None
    stored.undone(ws)
    assert stored.written(ws, comparisons.next_showing).id == rating.showing_id


@pytest.mark.parametrize("outcome", ["tie", "both_bad"])
def test_neither_may_be_better(ws, pair, outcome):
    stored.written(ws, judging.vote, pair, outcome)
    (row,) = stored.training_rows(ws, stored.freeze(ws).id)
    assert row["target_p"] == 0.5


def test_a_vote_on_a_held_out_prompt_says_so(ws):
    said = set()
    for number in range(40):
        with ws.write() as db:
            begun = conversations.start(db, TWO)
            two = answered(db, conversations.say(db, begun, f"Question {number}"), "Yes.", "No.")
            rating = judging.vote(db, two, "left")
            split = comparisons.split_of(db, rating.comparison_id)
            said.add((split, judging.held_out(db, rating)))
    told = "Its prompt is held out ({}): it measures models and trains none."
    assert {split for split, _ in said} >= {"train", "validation"}
    assert all(words == ("" if split == "train" else told.format(split)) for split, words in said)


def test_another_vote_replaces_the_first_and_the_same_press_is_one_rating(ws, pair):
    press = str(uuid.uuid4())
    first = stored.written(ws, judging.vote, pair, "left", uuid=press)
    assert stored.written(ws, judging.vote, pair, "left", uuid=press) == first
    second = stored.written(ws, judging.vote, pair, "tie")
    answers = [stored.read(ws, turns.turn, each) for each in pair]
    assert stored.read(ws, judging.verdict, answers) == second
    assert (second.outcome, second.showing_id) == ("tie", first.showing_id)
    with pytest.raises(RatingError, match="already says so"):
        stored.written(ws, judging.vote, pair, "tie")
    assert stored.read(ws, ratings.summary)["rated"] == 1
    for _ in range(2):
        stored.written(ws, undo.newest)
    assert stored.read(ws, judging.verdict, answers) is None
    third = stored.written(ws, judging.vote, pair[::-1], "right")
    assert (third.outcome, third.showing_id) == ("right", first.showing_id), "the order is that of the screen"
    assert len(stored.comparisons(ws)) == 1


def test_the_order_stored_is_that_of_the_screen_however_a_pair_is_named(ws, pair):
    asked = stored.read(ws, turns.turn, pair[0]).parent_id
    for number in range(8):
        with ws.write() as db:
            answers = answered(db, asked, f"first {number}", f"second {number}")
            rating = judging.vote(db, answers[:: 1 if number % 2 else -1], "left")
            assert comparisons.get_showing(db, rating.showing_id).texts == (f"first {number}", f"second {number}")


def test_what_is_not_a_pair_is_refused_and_nothing_is_stored(ws, pair):
    with ws.write() as db:
        asked = turns.turn(db, pair[0]).parent_id
        other = answered(db, asked, "The same. ", "The same.")
        growing = [each.id for each in conversations.ask(db, asked)]
        written = conversations.edit(db, pair[0], "Better.")
    for turn_ids, words in (
        ([pair[0], other[0]], "two answers of one attempt"),
        ([pair[0], pair[0]], "two answers of one attempt"),
        ([pair[0]], "two answers of one attempt"),
        ([written, written], "two answers of one attempt"),
        (other, "Both answers are the same"),
        (growing, "has not come to its end"),
    ):
        with pytest.raises(RatingError, match=words):
            stored.written(ws, judging.vote, turn_ids, "left")
    with ws.read() as db:
        assert [judging.is_pair([turns.turn(db, each) for each in ids]) for ids in (pair, other, growing)] == [
            True,
            False,
            False,
        ]
        assert [judging.is_alike([turns.turn(db, each) for each in ids]) for ids in (pair, other, growing)] == [
            False,
            True,
            False,
        ]
        assert prompts.counts(db)["prompts"] == 0


def test_an_answer_of_a_checkpoint_that_is_gone_is_refused(ws):
    with ws.write() as db:
        made = conversations.start(db, Settings(checkpoints=("sft-1@40", "sft-9@1")))
        gone = answered(db, conversations.say(db, made, "Hello"), "one", "two")
    with pytest.raises(CheckpointError, match="There is no checkpoint named 'sft-9@1' any more"):
        stored.written(ws, judging.vote, gone, "left")
    assert stored.comparisons(ws) == []


def test_what_an_answer_should_have_been_is_a_demonstration_and_a_preference(ws, pair):
    rating = stored.written(ws, judging.demonstrate, pair[0], " It is in the wood. ", uuid=str(uuid.uuid4()))
    (demonstration,) = stored.read(ws, prompts.list_demonstrations)
    assert (demonstration.messages, demonstration.response) == (CONTEXT, "It is in the wood.")
    (row,) = stored.training_rows(ws, stored.freeze(ws).id)
    assert (row["chosen"], row["rejected"]) == ("It is in the wood.", "Now it is here.")
    stored.written(ws, judging.vote, pair, "left")
    with ws.read() as db:
        answers = db.execute("SELECT count(*) FROM responses WHERE kind = 'sample'").fetchone()[0]
    assert answers == 2, "the answer is one response, judged and corrected"
    with pytest.raises(RatingError, match="recorded already"):
        stored.written(ws, judging.demonstrate, pair[0], "It is in the wood.", uuid=str(uuid.uuid4()))
    stored.written(ws, undo.take_back_event, rating.id)
    assert stored.read(ws, prompts.list_demonstrations) == []


def test_an_answer_that_is_right_as_it_is_or_that_a_person_wrote_is_a_demonstration_only(ws, pair):
    assert stored.written(ws, judging.demonstrate, pair[0], "Now it is here.\n", uuid=str(uuid.uuid4())) is None
    written = stored.written(ws, conversations.edit, pair[1], "It is in bed.")
    assert stored.written(ws, judging.demonstrate, written, "It is in bed.", uuid=str(uuid.uuid4())) is None
    found = {each.response: each.messages for each in stored.read(ws, prompts.list_demonstrations)}
    assert found == {"Now it is here.": CONTEXT, "It is in bed.": CONTEXT}
    assert stored.comparisons(ws) == []
    with pytest.raises(RatingError, match="Only an answer"):
        stored.written(ws, judging.demonstrate, 1, "No.", uuid=str(uuid.uuid4()))


def test_a_failing_prompt_goes_to_the_prompts_once(ws, pair):
    asked = stored.read(ws, turns.turn, pair[0]).parent_id
    first, is_new = stored.written(ws, judging.add_prompt, asked)
    assert is_new
    assert stored.written(ws, judging.add_prompt, asked) == (first, False)
    assert [row["messages"] for row in stored.read(ws, prompts.list_prompts)] == [CONTEXT]


def test_an_answer_that_was_stopped_is_judged_as_one_without_an_end_token(ws):
    with ws.write() as db:
        made = conversations.start(db, TWO)
        stopped = answered(db, conversations.say(db, made, "Where is the fox?"), "In the", "In a", reason="stopped")
        judging.vote(db, stopped, "left")
        rows = list(db.query("SELECT end_reason, sampling FROM responses"))
    assert {row["end_reason"] for row in rows} == {"length"}
    assert {json.loads(row["sampling"])["end"] for row in rows} == {"stopped"}


class _Scores:
    """Gives these scores."""

    def __init__(self, *scores):
        self.scores, self.asked = scores, []

    def score(self, *asked):
        self.asked.append(asked)
        return [list(each) for each in self.scores]


def test_the_reward_model_is_heard_after_the_vote_and_not_before(ws, pair):
    resident = _Scores((1.0, 3.0), (0.5, 0.5))
    assert stored.read(ws, judging.score, resident, pair) == "", "there is none yet"
    with ws.write() as db:
        db.execute("UPDATE runs SET stage = 'reward' WHERE name = 'sft-2'")
    with pytest.raises(RatingError, match="Judge the two answers first"):
        stored.read(ws, judging.score, resident, pair)
    assert resident.asked == []
    stored.written(ws, judging.vote, pair, "right")
    said = stored.read(ws, judging.score, resident, pair)
    assert said == "sft-2@40 gives the left answer 82% (scores 2.00 and 0.50)."
    ((name, messages, texts, ends),) = resident.asked
    assert (name, messages, texts, ends) == ("sft-2@40", CONTEXT, ["Now it is here.", "It sleeps."], ["eos", "eos"])
    assert stored.read(ws, judging.score, _Scores((0.0,), (1.0,)), pair).startswith(
        "sft-2@40 gives the right answer 73%"
    )


def test_a_deleted_conversation_leaves_its_ratings(ws, pair):
    stored.written(ws, judging.vote, pair, "left")
    stored.written(ws, conversations.delete, 1)
    assert stored.read(ws, ratings.summary)["rated"] == 1
    assert len(stored.training_rows(ws, stored.freeze(ws).id)) == 1
