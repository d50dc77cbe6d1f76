"""Pairs in columns of any name: read as what they are, asked about, or dropped with a reason; never a wrong row."""

import json

import pytest

from studio.cli import main
from studio.datasets import importing
from studio.datasets.formats import cells
from studio.datasets.plan import Asks, Request
from studio.workspace import Workspace
from tests.exchange.reading import kept, told


def write(tmp_path, *rows):
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def read(tmp_path, *rows):
    """The items as told, and the reasons of the drops."""
    found, tally = kept(write(tmp_path, *rows))
    return [told(item) for item in found], dict(tally.dropped)


def pair(prompt, chosen, rejected):
    return {"kind": "pair", "prompt": [{"role": "user", "content": prompt}], "chosen": chosen, "rejected": rejected}


# Labels that are numbers.

ONE_TWO = {"response_1": "x", "response_2": "y"}


def labelled(sides, *labels, name="label"):
    return [{"prompt": f"p{at}", **sides, name: label} for at, label in enumerate(labels)]


@pytest.mark.parametrize(
    "sides", [ONE_TWO, {"output_1": "x", "output_2": "y"}, {"response_a": "x", "response_b": "y"}], ids="-".join
)
@pytest.mark.parametrize(
    ("labels", "format", "better"),
    [
        ([0, 1], "better-from-0", "xy"),
        (["1", "0"], "first-is-better", "xy"),
        ([True, False], "first-is-better", "xy"),
        ([-1, 1.0], "first-is-better", "yx"),
        ([1, 2, 0], "better-or-tie", "xy="),
        ([0, 1, 2], "from-0-or-tie", "xy="),
    ],
    ids=str,
)
@pytest.mark.parametrize("name", ["label", "winner"])
def test_numbers_that_are_not_those_of_the_sides_are_asked_about_and_read_as_the_person_says(
    tmp_path, sides, labels, format, better, name
):
    path = write(tmp_path, *labelled(sides, *labels, name=name))
    with pytest.raises(
        Asks, match=f"{name} is .* next to .*, which does not say which is better.*--format {format}"
    ) as asks:
        importing.preview(path)
    assert format in asks.value.choices
    found, tally = kept(path, family=format)
    assert ["=" if item.kind == "tie" else item.chosen for item in found] == list(better)
    assert not tally.dropped


def test_a_zero_that_begins_after_the_first_rows_refuses_the_whole_file(tmp_path):
    path = write(tmp_path, *labelled(ONE_TWO, *[1] * 300, 0))
    ws = Workspace.open(tmp_path / "w")
    with pytest.raises(Asks, match="label is 0 next to response_1 and response_2"):
        importing.import_source(ws, path)
    assert importing.preview(path, Request("prompts")).num_kept == 300
    with ws.read() as db:
        assert db.execute("SELECT count(*) FROM comparisons").fetchone() == (0,)


@pytest.mark.parametrize(
    ("sides", "labels"),
    [
        (ONE_TWO, [1, 2]),
        (ONE_TWO, ["1", "2.0"]),
        (ONE_TWO, [1.2, 1.9]),
        ({"response_0": "x", "response_1": "y"}, [0, 1]),
        ({"response_a": "x", "response_b": "y"}, ["a", "B"]),
    ],
    ids=str,
)
def test_numbers_and_letters_of_the_sides_are_read_without_a_question(tmp_path, sides, labels):
    assert read(tmp_path, *labelled(sides, *labels)) == ([pair("p0", "x", "y"), pair("p1", "y", "x")], {})


def test_a_number_that_the_chosen_reading_does_not_know_is_dropped(tmp_path):
    found, tally = kept(write(tmp_path, *labelled(ONE_TWO, 0, 2)), family="better-from-0")
    assert ([item.chosen for item in found], dict(tally.dropped)) == (["x"], {"unknown preference '2'": 1})


# A prompt that stands in its column and once more in the responses.

HUMAN = "\n\nHuman: q\n\nAssistant:"


@pytest.mark.parametrize("prompt", ["q", HUMAN, "\n\nHuman: q", [{"role": "user", "content": "q"}]], ids=str)
@pytest.mark.parametrize("begin", [HUMAN, HUMAN.strip(), "\n\nAssistant:"])
def test_transcripts_next_to_their_prompt_are_read_as_transcripts(tmp_path, prompt, begin):
    sides = (f"{begin} c", f"{begin} r")
    row = {"prompt": prompt, "chosen": sides[0], "rejected": sides[1]}
    assert read(tmp_path, row) == ([pair("q", "c", "r")], {})
    row = {"prompt": prompt, "response_a": sides[0], "response_b": sides[1], "preference": "b"}
    assert read(tmp_path, row) == ([pair("q", "r", "c")], {})
    (found,), _ = read(tmp_path, {"prompt": prompt, "response": sides[0]})
    assert (found["kind"], found["response"]) == ("demonstration", "c")


def test_a_transcript_of_several_turns_holds_the_prompt_column(tmp_path):
    talk = "\n\nHuman: a\n\nAssistant: b\n\nHuman: q\n\nAssistant:"
    for prompt in (talk, "q"):
        (found,), drops = read(
            tmp_path, {"prompt": prompt, "system": "S", "chosen": f"{talk} c", "rejected": f"{talk} r"}
        )
        assert ([turn["content"] for turn in found["prompt"]], drops) == (["S", "a", "b", "q"], {})
        assert (found["chosen"], found["rejected"]) == ("c", "r")


def test_transcripts_of_another_prompt_are_dropped_and_dialogues_that_were_asked_for_are_answers(tmp_path):
    row = {"prompt": "harmless", "chosen": f"{HUMAN} c", "rejected": f"{HUMAN} r"}
    assert read(tmp_path, row) == ([], {"the prompt column and the prompt inside differ": 1})
    sides = ("Human: Hello!\n\nAssistant: Hi!", "Human: Bye!\n\nAssistant: See you!")
    row = {"prompt": "Write a dialogue.", "chosen": sides[0], "rejected": sides[1]}
    assert read(tmp_path, row) == ([pair("Write a dialogue.", *sides)], {})


@pytest.mark.parametrize(
    "begin",
    ["Name a colour.", "User: Name a colour. Assistant:", "<|user|>\nName a colour.", "[INST] Name a colour. [/INST]"],
)
@pytest.mark.parametrize("names", [("chosen", "rejected"), ("response_a", "response_b"), ("response",)], ids="-".join)
def test_responses_that_begin_with_their_prompt_are_told(tmp_path, begin, names):
    label = {"preference": "a"} if len(names) == 2 and "chosen" not in names else {}
    row = {"prompt": "Name a colour.", **{name: f"{begin} {name}" for name in names}, **label}
    assert any(
        "begins with its prompt, word for word" in note for note in importing.preview(write(tmp_path, row)).notes
    )
    plain = row | {name: f"Teal. {name}" for name in names}
    assert not any("begins with" in note for note in importing.preview(write(tmp_path, plain)).notes)


# A prompt that no column is named for.

SIDES = {"chosen": "The cat is on the mat", "rejected": "The cat is dead"}
WHERE = "Where is the cat?"


@pytest.mark.parametrize(
    ("more", "hint"),
    [
        ({"metadata": {"question": WHERE}}, "metadata.question"),
        ({"metadata": WHERE}, "metadata"),
        ({"system": "You know cats."}, "system"),
        ({"ask_me": WHERE}, "ask_me"),
        ({"info": {"post": WHERE}}, "info.post"),
        ({"dialogue": [WHERE]}, "dialogue"),
        ({"context": "A passage.", "ask_me": WHERE}, "ask_me"),
        ({"history": [["a", "b"]], "user": WHERE}, "history"),
    ],
    ids=str,
)
@pytest.mark.parametrize("rows_before", [0, 150])
def test_no_pair_is_split_at_shared_words_where_another_column_may_hold_the_prompt(tmp_path, more, hint, rows_before):
    before = [{"chosen": f"It is {at} good", "rejected": f"It is {at} bad"} for at in range(rows_before)]
    found, drops = read(tmp_path, *before, SIDES | more)
    assert len(found) == rows_before
    (reason,) = drops
    assert reason.startswith("no prompt is understood; if it is in ")
    assert reason.endswith(f"--map prompt={hint}") or f" or {hint}" in reason


@pytest.mark.parametrize(
    "more", [{}, {"id": "a b", "source": "x y"}, {"score_chosen": 2.0, "score_rejected": 1.0}, {"metadata": {}}, {"metadata": {"id": 1, "source": "web"}}, {"system": " "}, {"context": None}], ids=str
)  # fmt: skip
def test_an_implicit_prompt_is_split_off_where_no_other_column_can_hold_it(tmp_path, more):
    assert read(tmp_path, SIDES | more) == ([pair("The cat is", "on the mat", "dead")], {})


TURN = [{"role": "human", "text": WHERE}]


@pytest.mark.parametrize(
    "sides",
    [
        SIDES,
        {
            "chosen": {"role": "assistant", "text": SIDES["chosen"]},
            "rejected": {"role": "assistant", "text": SIDES["rejected"]},
        },
    ],
    ids=["texts", "turns"],
)
@pytest.mark.parametrize("name", ["context", "history"])
@pytest.mark.parametrize("value", [WHERE, TURN, json.dumps(TURN)], ids=["text", "turns", "json"])
def test_a_context_that_stands_alone_is_the_prompt(tmp_path, sides, name, value):
    wanted = pair(WHERE, SIDES["chosen"], SIDES["rejected"])
    assert read(tmp_path, sides | {name: value}) == ([wanted], {})
    assert read(tmp_path, sides | {name: value, "source": "s", "id": 1, "split": "train"}) == ([wanted], {})
    labelled = {
        "response_a": SIDES["chosen"],
        "response_b": SIDES["rejected"],
        "preference": "a",
        name: value,
        "language": "en",
    }
    if name == "context":
        assert read(tmp_path, labelled) == ([wanted], {})


def test_a_context_is_no_prompt_where_the_file_has_a_prompt_column(tmp_path):
    rows = [SIDES | {"prompt": WHERE, "context": "A passage."}, SIDES | {"prompt": None, "context": "A passage."}]
    found, drops = read(tmp_path, *rows)
    assert ([item["prompt"][-1]["content"] for item in found], drops) == ([WHERE], {"empty prompt": 1})


# Pairs of which nothing that is read says which is better.

PAIR = {"prompt": "p", "response_a": "x", "response_b": "y"}


@pytest.mark.parametrize(
    "more",
    [
        {"annotator1": 1, "annotator2": 2}, {"rater_1": "a"}, {"annotations": [{"rater": "x", "choice": "A"}]}, {"ground_truth": "model_a"},
        {"rank_a": 1, "rank_b": 2}, {"votes": [1, 0]}, {"human": "A"}, {"result": "A>B"}, {"metadata": {"winner": "b"}}, {"outcome": "response_b"},
        {"isBetterA": True}, {"helpful_a": 0.1, "helpful_b": 0.9}, {"verdict_text": "The first."},
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("label", [{}, {"preference": ""}], ids=["no label", "empty label"])
@pytest.mark.parametrize("rows_before", [0, 150])
def test_what_may_judge_a_pair_without_a_judgement_is_asked_about(tmp_path, more, label, rows_before):
    before = [PAIR | {"prompt": f"p{at}"} | label for at in range(rows_before)]
    path = write(tmp_path, *before, PAIR | label | more)
    if not rows_before:
        with pytest.raises(Asks, match=f"holds {next(iter(more))}"):
            importing.preview(path)
        assert importing.preview(path, Request("prompts")).num_kept == 1
    else:
        found, tally = kept(path)
        assert {item.kind for item in found} == {"unrated"}
        assert [reason.split(",")[0].split(".")[0] for reason in tally.dropped] == [f"holds {next(iter(more))}"]


@pytest.mark.parametrize(
    "more", [{}, {"id": "a", "source": "s", "model_a": "m1", "model_b": "m2"}, {"topic": "cats", "turn": 1, "metadata": {"line": 3}, "label_id": 5}], ids=str
)  # fmt: skip
def test_pairs_that_wait_for_a_judgement_come_in_and_are_shown_as_a_and_b(tmp_path, more, capsys):
    path = write(tmp_path, PAIR | more)
    (example,) = importing.preview(path).examples
    assert (example["outcome"], example["sides"]) == ("unrated", ["x", "y"])
    assert main(["import", path, "--preview", "--workspace", str(tmp_path / "w")]) == 0
    said = capsys.readouterr().out
    assert "A: x" in said
    assert "B: y" in said
    assert "chosen" not in said
    assert "rejected" not in said


@pytest.mark.parametrize(
    "names", [("score_a", "score_b"), ("rating_a", "rating_b"), ("response_a_score", "response_b_score"), ("score_response_a", "score_response_b")], ids="-".join
)  # fmt: skip
def test_a_score_of_each_side_says_which_is_better_where_no_label_does(tmp_path, names):
    first, second = names
    assert read(tmp_path, PAIR | {first: 1, second: "9"}) == ([pair("p", "y", "x")], {})
    (found,), _ = read(tmp_path, PAIR | {first: 2, second: 2})
    assert found["kind"] == "tie"
    (item,), _ = kept(write(tmp_path, PAIR | {first: 1, second: 9, "preference": "a"}))
    assert (item.chosen, item.scores) == ("x", {"score": (1.0, 9.0)})
    (found,), _ = read(tmp_path, PAIR | {first: None, second: None})
    assert found["kind"] == "unrated"


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ("pos_resp", "neg_resp"), ("output_w", "output_l"), ("better_answer", "worse_answer"), ("answer_good", "answer_bad"),
        ("preferred", "dispreferred"), ("preferred_response", "rejected_response"), ("winning_response", "losing_response"), ("y_w", "y_l"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("asked", ["prompt", "instruction", "question"])
def test_a_column_that_is_called_the_better_answer_is_the_chosen_one(tmp_path, better, worse, asked):
    assert read(tmp_path, {worse: "r", asked: "p", better: "c", "id": 1}) == ([pair("p", "c", "r")], {})


@pytest.mark.parametrize("name", ["responses", "candidates", "generations"])
@pytest.mark.parametrize("text", ["text", "response", "answer"])
def test_answers_as_objects_are_ranked_by_the_rank_or_the_score_of_each(tmp_path, name, text):
    ranked = [{text: "x", "rank": 2}, {text: "y", "rank": 1}]
    assert read(tmp_path, {"prompt": "p", name: ranked}) == ([pair("p", "y", "x")], {})
    rated = [{text: "x", "rating": 5}, {text: "y", "rating": 1}, {text: "z", "rating": 5}]
    (found,), _ = read(tmp_path, {"prompt": "p", name: json.dumps(rated)})
    assert found["groups"] == [["x", "z"], ["y"]]
    assert read(tmp_path, {"prompt": "p", name: [*ranked, {text: "z"}]}) == ([], {"an answer without rank or score": 1})


@pytest.mark.parametrize(
    "more",
    [
        {"responses": ["x", "y"]}, {"outs": [{"text": "x"}, {"text": "y"}]}, {"resp1": "x", "resp2": "y"}, {"answer_x": "x", "answer_y": "y"},
        {"pos": "x", "neg": "y"}, {"response_x": {"content": "x"}}, {"responses": {"A": "x", "B": "y"}},
    ],
    ids=str,
)  # fmt: skip
def test_only_prompts_come_in_next_to_answers_that_are_not_read_where_a_person_says_so(tmp_path, more):
    path = write(tmp_path, {"prompt": "p"} | more)
    with pytest.raises(Asks, match=f"holds {next(iter(more))}"):
        importing.preview(path)
    assert importing.preview(path, Request("prompts")).num_kept == 1
    harmless = {
        "prompt": "p",
        "id": 1,
        "source": "s",
        "tags": ["a", "b"],
        "metadata": {"n": 1},
        "url": "u",
        "category": "c",
        "title": "t",
    }
    assert importing.preview(write(tmp_path, harmless)).kind == "prompts"


# Rows that belong together, votes, and judgements in words.


def helpsteer(prompt, response, helpfulness):
    return {"prompt": prompt, "response": response, "helpfulness": helpfulness, "correctness": 4, "coherence": 4}


def test_ratings_of_one_prompt_are_joined_wherever_their_rows_stand(tmp_path):
    rows = [helpsteer(f"p{at}", text, score) for text, score in (("x", 1), ("y", 4), ("z", 0)) for at in range(60)]
    found, drops = read(tmp_path, *rows, helpsteer("alone", "x", 1))
    assert [item["groups"] for item in found] == [[["y"], ["x"], ["z"]]] * 60
    assert drops == {"joined with the row before": 120, "only one response to this prompt": 1}


def test_rows_that_do_not_fit_into_memory_together_are_told():
    rows = [{"prompt": prompt, "text": "x" * 10} for prompt in ("a", "b", "a", "c", "a", "c")]
    assert list(cells.gathered(rows, "prompt")) == [[rows[0], rows[2], rows[4]], [rows[1]], [rows[3], rows[5]]]
    found = list(cells.gathered(rows, "prompt", most=35))
    assert [[row["prompt"] for row in group] if isinstance(group, list) else str(group) for group in found] == [
        ["a", "a"], "too far from the other rows of its prompt", ["b"], ["c", "c"],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("answers", "groups"),
    [
        ([(0, True), (0, False)], [["x"], ["y"]]),
        ([(0, False), (0, True), (0, False)], [["y"], ["x", "z"]]),
        ([(1, True), (2, False)], [["y"], ["x"]]),
        ([(0, False), (0, False)], [["x", "y"]]),
    ],
)
def test_of_answers_with_equal_votes_the_accepted_one_is_better(tmp_path, answers, groups):
    row = {
        "question": "q",
        "answers": [
            {"text": t, "pm_score": score, "selected": is_one}
            for t, (score, is_one) in zip("xyz", answers, strict=False)
        ],
    }
    (item,), _ = kept(write(tmp_path, row))
    assert [[item.responses[at] for at in group] for group in item.groups] == groups


@pytest.mark.parametrize(
    ("label", "kind", "better", "strength"),
    [
        ("A is slightly better", "pair", "x", 1), ("Response B", "pair", "y", None), ("B is much better", "pair", "y", 3), ("A>B", "pair", "x", None),
        ("B>A", "pair", "y", None), ("A<B", "pair", "y", None), ("[[A>>B]]", "pair", "x", 3), ("A=B", "tie", None, None),
        ("Both are bad", "both_bad", None, None), ("about the same", "tie", None, None), ("The first one is better", "pair", "x", 2),
    ],
)  # fmt: skip
@pytest.mark.parametrize("names", [("response_a", "response_b"), ("response_1", "response_2")], ids="-".join)
def test_a_label_in_words_is_read_with_its_strength(tmp_path, names, label, kind, better, strength):
    row = {"prompt": "p", **dict(zip(names, "xy", strict=True)), "preference": label}
    (item,), drops = kept(write(tmp_path, row, row | {"prompt": "q", "preference": "dunno"}))
    assert (item.kind, item.strength) == (kind, strength)
    assert better is None or item.chosen == better
    assert dict(drops.dropped) == {"unknown preference 'dunno'": 1}


@pytest.mark.parametrize(
    ("labels", "is_kept"),
    [
        ({"preference": "a", "winner": "response_b"}, False), ({"preference": "b", "winner": "response_b"}, True), ({"winner": "tie", "choice": "a"}, False),
        ({"preference": "b", "label": "maths"}, True), ({"preference": "b", "label": 1}, True),
    ],
    ids=str,
)  # fmt: skip
def test_labels_that_contradict_each_other_make_no_pair(tmp_path, labels, is_kept):
    found, tally = kept(write(tmp_path, {"prompt": "q", "response_a": "x", "response_b": "y"} | labels))
    reason = {} if is_kept else {"two labels say otherwise of the same pair": 1}
    assert ([item.chosen for item in found], dict(tally.dropped)) == (["y"] if is_kept else [], reason)


def test_answers_with_votes_against_them_are_not_ranked_by_the_others_alone(tmp_path):
    answers = [{"text": "x", "upvotes": 3, "downvotes": 0}, {"text": "y", "upvotes": 3, "downvotes": 9}]
    found, tally = kept(write(tmp_path, {"prompt": "q", "responses": answers}))
    assert (found, dict(tally.dropped)) == ([], {"votes against an answer, which are not read": 1})


def test_scores_that_say_otherwise_than_the_ranks_are_told(tmp_path):
    answers = [{"text": "x", "rank": 1, "score": 1}, {"text": "y", "rank": 2, "score": 9}]
    (item,), _ = kept(write(tmp_path, {"prompt": "q", "responses": answers}))
    assert (item.chosen, item.warnings) == ("x", ("the scores say otherwise than the ranks, which count",))


@pytest.mark.parametrize("names", [("chosen_reward", "rejected_reward"), ("votes_chosen", "votes_rejected")])
def test_scores_of_the_chosen_and_the_rejected_answer_are_read_under_any_of_their_names(tmp_path, names):
    row = {"prompt": "q", "chosen": "x", "rejected": "y", "chosen_policy": "m1", "rejected_policy": "m2"}
    (item,), _ = kept(write(tmp_path, row | dict(zip(names, (1, 4), strict=True))))
    assert (dict(item.scores), item.models) == ({"score": (1.0, 4.0)}, ("m1", "m2"))
    assert item.warnings == ("the scores contradict the choice: the rejected response scored better",)
