"""A conversation is a tree: what is edited, asked again or forked keeps what was there before."""

import json

import pytest

from studio.chat import conversations, transcripts, turns
from studio.chat.conversations import Settings
from studio.chat.protocol import Sampling
from studio.datasets import archive, importing
from studio.errors import DataError, ImportRefused
from studio.preferences import prompts
from studio.preferences.prompts import NewPrompt
from studio.recovery import rescue
from studio.workspace import Workspace
from tests.chat.talking import answered
from tests.support import stored
from tests.support.earlier import written as earlier_workspace

ONE = Settings(checkpoints=("sft-1@1",), system="Be brief.", sampling=Sampling(seed=7))
TWO = Settings(checkpoints=("sft-1@1", "ppo-1@4"))


@pytest.fixture
def ws(tmp_path):
    return Workspace.open(tmp_path / "studio")


@pytest.fixture
def db(ws):
    with ws.write() as db:
        yield db


def talk(db, settings, *said):
    """A conversation of these texts: the person's, then the answers'; returns its id and the newest answers."""
    made, answers = conversations.start(db, settings), [None]
    for text, *replies in said:
        answers = answered(db, conversations.say(db, made, text, answers[0]), *replies)
    return made, answers


def shown(db, conversation_id):
    """The texts of the branch at which it opens; of an attempt the one it goes on from."""
    found = conversations.get(db, conversation_id)
    return [each.text for each in turns.branch(db, found.leaf_id)] if found.leaf_id else []


def test_what_was_said_is_read_back_in_its_order_with_how_it_was_answered(db):
    made, (last,) = talk(db, ONE, ("Hello", "Good day."), ("And now?", "Now we talk."))
    assert shown(db, made) == ["Hello", "Good day.", "And now?", "Now we talk."]
    assert conversations.get(db, made).title == "Hello"
    answer = turns.turn(db, last)
    assert (answer.checkpoint, answer.num_tokens, answer.seconds, answer.end_reason) == ("sft-1@1", 3, 0.5, "eos")
    assert (answer.sampling, answer.system) == (ONE.sampling, "Be brief.")
    assert turns.messages(db, answer.parent_id, answer.system) == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Good day."},
        {"role": "user", "content": "And now?"},
    ]


def test_an_edited_turn_begins_a_branch_and_the_earlier_one_can_be_opened_again(db):
    made, (first,) = talk(db, ONE, ("Hello", "Good day."))
    (second,) = answered(db, conversations.say(db, made, "And now?", first), "Now we talk.")
    asked = turns.turn(db, second).parent_id
    edited = conversations.edit(db, asked, "And then?")
    assert shown(db, made) == ["Hello", "Good day.", "And then?"]
    answered(db, edited, "Then we sleep.")
    assert shown(db, made)[-1] == "Then we sleep."
    exchange = conversations.exchanges(db, conversations.get(db, made))[-1]
    assert exchange.versions == [asked, edited]
    conversations.open_at(db, asked)
    assert shown(db, made) == ["Hello", "Good day.", "And now?", "Now we talk."]


def test_an_edited_answer_is_another_attempt_that_a_person_wrote(db):
    made, (first,) = talk(db, ONE, ("Hello", "Good day."))
    better = conversations.edit(db, first, "Hello to you, too.")
    (exchange,) = conversations.exchanges(db, conversations.get(db, made))
    assert [each.text for each in exchange.answers] == ["Hello to you, too."]
    assert (exchange.answers[0].end_reason, exchange.answers[0].checkpoint) == ("written", None)
    assert (exchange.attempts, exchange.chosen) == ([1, 2], better)
    assert turns.turn(db, better).system == "Be brief."
    conversations.open_at(db, exchange.asked.id, 1)
    assert shown(db, made)[-1] == "Good day."


def test_each_attempt_has_the_next_seed_and_both_answers_of_one_share_it(db):
    made = conversations.start(db, TWO.model_copy(update={"sampling": Sampling(seed=2**63 - 1)}))
    asked = conversations.say(db, made, "Hello")
    seeds = [[each.sampling.seed for each in conversations.ask(db, asked)] for _ in range(2)]
    assert seeds == [[2**63 - 1] * 2, [0, 0]]
    exchange = conversations.exchanges(db, conversations.get(db, made))[0]
    assert [(each.place, each.checkpoint) for each in exchange.answers] == [(0, "sft-1@1"), (1, "ppo-1@4")]


def test_it_goes_on_from_the_chosen_answer_of_two_which_both_then_read(db):
    made, (left, right) = talk(db, TWO, ("Hello", "left", "right"))
    assert shown(db, made) == ["Hello", "left"]
    conversations.open_at(db, right)
    assert shown(db, made) == ["Hello", "right"]
    answers = conversations.ask(db, conversations.say(db, made, "Go on", right))
    contexts = [turns.messages(db, answer.parent_id) for answer in answers]
    assert contexts[0] == contexts[1]
    assert contexts[0][1]["content"] == "right"
    asked = turns.turn(db, left).parent_id
    conversations.open_at(db, asked, 1)
    assert shown(db, made)[:3] == ["Hello", "right", "Go on"], "the branch that was gone on with"
    assert conversations.get(db, made).leaf_id == answers[0].id, "of an attempt that nobody chose from the first answer"


def test_a_hidden_pair_is_in_another_order_now_and_then(db):
    made = conversations.start(db, TWO.model_copy(update={"is_blind": True}))
    asked = conversations.say(db, made, "Hello")
    assert {conversations.ask(db, asked)[0].checkpoint for _ in range(60)} == {"sft-1@1", "ppo-1@4"}


def test_a_fork_has_the_branch_and_leaves_the_first_one_as_it_is(db):
    made, (_, right) = talk(db, TWO, ("Hello", "left", "right"))
    before = transcripts.write(db, made, "json")
    forked = conversations.fork(db, right)
    assert shown(db, forked) == ["Hello", "right"]
    assert conversations.get(db, forked).title == "Hello (fork)"
    assert turns.turn(db, conversations.get(db, forked).leaf_id).checkpoint == "ppo-1@4"
    conversations.say(db, forked, "Go on", conversations.get(db, forked).leaf_id)
    assert transcripts.write(db, made, "json") == before
    assert shown(db, made) == ["Hello", "left"]


def test_an_answer_that_was_cut_off_goes_on_and_a_whole_one_does_not(db):
    made = conversations.start(db, ONE)
    asked = conversations.say(db, made, "Hello")
    (cut,) = answered(db, asked, "Good d", reason="stopped")
    assert conversations.reopen(db, cut).text == "Good d"
    assert turns.turn(db, cut).end_reason is None
    (lost,) = (each.id for each in conversations.ask(db, asked))
    turns.write(db, lost, "Goo")
    assert conversations.reopen(db, lost).can_go_on, "whoever was writing it was killed"
    for whole in (*answered(db, asked, "Good day."), *answered(db, asked, "", reason="length")):
        with pytest.raises(DataError, match="not one that was cut off"):
            conversations.reopen(db, whole)


def test_they_are_found_by_title_and_by_what_was_said_in_any_case(db):
    first, _ = talk(db, ONE, ("The Straße of Rome", "Long."))
    second, _ = talk(db, ONE, ("Hello", "A FOX."))
    conversations.rename(db, second, "  About   animals ")

    def found(text):
        return [each.id for each in conversations.find(db, text)]

    assert found("") == [second, first]
    assert found("fox") == found("ANIMALS") == [second]
    assert found("strasse") == [first]
    assert found("100 %") == found("_") == []
    assert conversations.get(db, second).title == "About animals"
    conversations.say(db, first, "More", conversations.get(db, first).leaf_id)
    assert found("") == [first, second], "the one that was changed last is first"
    assert [each.id for each in conversations.find(db, limit=1, offset=1)] == [second]


def test_a_deleted_conversation_is_gone_and_the_others_stay(db):
    first, _ = talk(db, ONE, ("Hello", "Good day."))
    second, _ = talk(db, ONE, ("Hello", "Good day."))
    conversations.delete(db, first)
    with pytest.raises(DataError, match=f"There is no conversation {first}"):
        conversations.get(db, first)
    assert turns.list_all(db, first) == []
    assert shown(db, second) == ["Hello", "Good day."]


def test_what_cannot_be_is_refused_in_a_sentence(db):
    made, (answer,) = talk(db, ONE, ("Hello", ""))
    asked = turns.turn(db, answer).parent_id
    other, (elsewhere,) = talk(db, ONE, ("Hi", "Ho."))
    for refused, words in (
        (lambda: conversations.start(db, Settings()), "Choose a checkpoint"),
        (lambda: conversations.start(db, Settings(checkpoints=("a@1", "a@1"))), "cannot be compared with itself"),
        (lambda: conversations.say(db, made, " \n "), "The text is empty"),
        (lambda: conversations.say(db, made, "x" * 400_001), "at most 400,000 characters"),
        (lambda: conversations.say(db, made, "On", answer), "The answer before is empty"),
        (lambda: conversations.say(db, made, "On", asked), "must follow an answer of this conversation"),
        (lambda: conversations.say(db, made, "On", elsewhere), "must follow an answer of this conversation"),
        (lambda: conversations.ask(db, answer), "Only a person's turn"),
        (lambda: conversations.edit(db, asked, "Hello "), "Nothing was changed"),
        (lambda: conversations.rename(db, made, " "), "1 to 200 characters"),
        (lambda: turns.turn(db, 999), "There is no turn 999"),
    ):
        with pytest.raises(DataError, match=words):
            refused()
    assert shown(db, other) == ["Hi", "Ho."]


def test_each_branch_is_a_line_that_an_import_reads_as_a_demonstration(ws):
    with ws.write() as db:
        made, (first,) = talk(db, ONE, ("Hello", "Good day."))
        answered(db, conversations.say(db, made, "And now?", first), "Now we talk.")
        conversations.say(db, made, "And then?", first)
        text = transcripts.write(db, made, "jsonl")
    rows = [json.loads(line) for line in text.splitlines()]
    said = [[turn["content"] for turn in row["messages"]] for row in rows]
    assert said == [
        ["Be brief.", "Hello", "Good day.", "And now?", "Now we talk."],
        ["Be brief.", "Hello", "Good day."],
    ]
    path = ws.root / "talk.jsonl"
    path.write_text(text, encoding="utf-8")
    assert importing.import_source(ws, str(path)).num_new == 2
    assert {each.response for each in stored.read(ws, prompts.list_demonstrations)} == {"Now we talk.", "Good day."}


def test_the_whole_tree_is_exported_with_how_each_answer_was_sampled(db):
    made, (left, _) = talk(db, TWO, ("Hello", "left", "right"))
    conversations.edit(db, left, "better")
    tree = json.loads(transcripts.write(db, made, "json"))
    assert tree["settings"]["checkpoints"] == ["sft-1@1", "ppo-1@4"]
    assert [(each["role"], each["text"]) for each in tree["turns"]] == [
        ("user", "Hello"), ("assistant", "left"), ("assistant", "right"), ("assistant", "better"),
    ]  # fmt: skip
    assert tree["turns"][2]["settings"]["sampling"]["seed"] == 0


# Archives, rescue, workspaces of an earlier version.


def test_an_archive_and_a_rescue_bring_them_back(ws, tmp_path):
    with ws.write() as db:
        prompts.add_prompt(db, NewPrompt([{"role": "user", "content": "A prompt"}]))
        made, _ = talk(db, TWO, ("Hello", "left", "right"), ("Go on", "on", "off"))
        before = transcripts.write(db, made, "json")
    path = archive.write(ws).path
    other = Workspace.open(tmp_path / "other")
    archive.read(other, str(path))
    rescued = tmp_path / "rescued"
    rescue.rescue(ws.root, rescued)
    for copy in (other, Workspace.existing(rescued)):
        assert stored.read(copy, transcripts.write, made, "json") == before
        assert stored.read(copy, shown, made) == ["Hello", "left", "Go on", "on"]


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("UPDATE turns SET conversation_id = 2 WHERE id = 3", "a turn follows one of another conversation"),
        ("UPDATE conversations SET leaf_id = 1 WHERE id = 2", "a turn follows one of another conversation"),
        ("UPDATE turns SET settings = '[]' WHERE id = 2", "settings is .* which cannot be read"),
    ],
)
def test_an_archive_whose_turns_contradict_each_other_is_refused(ws, tmp_path, sql, words):
    with ws.write() as db:
        prompts.add_prompt(db, NewPrompt([{"role": "user", "content": "A prompt"}]))
        talk(db, ONE, ("Hello", "Good day."))
        talk(db, ONE, ("Hi", "Ho."))
        db.execute(sql.replace("id = 3", "id = 2"))
    other = Workspace.open(tmp_path / "other")
    with pytest.raises(ImportRefused, match=words):
        archive.read(other, str(archive.write(ws).path))
    assert stored.read(other, conversations.find) == []


def test_settings_of_another_version_are_left_out(db):
    made, _ = talk(db, ONE, ("Hello", "Good day."))
    db.execute("UPDATE conversations SET settings = '{\"voice\": 1}'")
    assert conversations.get(db, made).settings == Settings()
    db.execute("UPDATE turns SET settings = 'x'")
    assert shown(db, made) == ["Hello", "Good day."]


def test_a_workspace_of_an_earlier_version_gets_the_tables(tmp_path):
    with earlier_workspace(tmp_path / "old", "m043_conversations"):
        pass
    with Workspace.open(tmp_path / "old").write() as db:
        made, _ = talk(db, ONE, ("Hello", "Good day."))
        assert shown(db, made) == ["Hello", "Good day."]
