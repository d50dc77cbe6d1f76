"""What a person answers to a task in another program: how much better, and answers that contradict each other."""

import json

import pytest

from tests.exchange.reading import kept

DATA = {"prompt": "q", "answer1": "x", "answer2": "y"}


def label_studio(said):
    """Choices and numbers next to the left side."""
    results = [{"value": {"selected": "left"}, "from_name": "pw", "to_name": "pw", "type": "pairwise"}]
    for name, value in said.items():
        kind, held = ("choices", [value]) if isinstance(value, str) else ("rating", value)
        results.append({"value": {kind: held}, "from_name": name, "to_name": "prompt", "type": kind})
    return [{"id": 1, "data": DATA, "annotations": [{"id": 5, "completed_by": 2, "result": results[::-1]}]}]


def label_studio_rows(said):
    row = {"id": 1, "annotation_id": 5, "annotator": 2, "lead_time": 1.0, "pw": [{"selected": "left"}], **DATA}
    return [row | {name: value if isinstance(value, str) else [{"rating": value}] for name, value in said.items()}]


def argilla(said):
    answers = {name: [{"value": value, "user_id": "u"}] for name, value in ({"preference": "answer1"} | said).items()}
    return [{"id": "r", "fields": DATA, "metadata": {}, "suggestions": {}, "responses": answers}]


def surge(said):
    data = said | {"Which is better?": "Answer 1"}
    return [{"id": "t", "project_id": "p", "fields": DATA, "responses": [{"id": "r", "worker_id": "w", "data": data}]}]


def read(tmp_path, rows):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(rows))
    found, tally = kept(path)
    return found, dict(tally.dropped)


TOOLS = [label_studio, label_studio_rows, argilla, surge]


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize(
    ("word", "strength"), [("Slightly", 1), ("much", 3), ("slightly better", 1), ("Significantly", 3)]
)
@pytest.mark.parametrize("name", ["how_much", "How much?", "degree"])
def test_a_word_that_is_only_a_strength_is_one_next_to_a_verdict(tmp_path, tool, word, strength, name):
    (item,), drops = read(tmp_path, tool({name: word}))
    assert (item.chosen, item.strength, dict(item.flags), drops) == ("x", strength, {}, {})


@pytest.mark.parametrize("tool", [label_studio, argilla, surge])
def test_such_a_word_of_another_question_is_a_flag_and_an_empty_answer_is_none(tmp_path, tool):
    (item,), _ = read(tmp_path, tool({"argument": "clear", "tone": ""}))
    assert (item.strength, list(item.flags)) == (None, ["clear"])


@pytest.mark.parametrize("tool", TOOLS)
def test_how_much_better_as_a_number_of_an_unknown_scale_is_the_margin(tmp_path, tool):
    (item,), _ = read(tmp_path, tool({"strength": 2}))
    assert (item.chosen, item.strength, item.margin, item.note) == ("x", None, 2.0, "")


def scale(*annotations, num=2):
    answers = [{"role": "assistant", "content": {"text": text}, "source_id": text} for text in "xyz"[:num]]
    turn = {
        "messages": [{"role": "user", "content": {"text": "q"}, "source_id": "user"}, *answers],
        "annotations": annotations,
    }
    return [{"task_id": "t", "status": "completed", "threads": [{"turns": [turn]}]}]


def ranks(*order):
    return {"id": "1", "type": "ranked_choices", "key": "order", "value": list(order)}


def groups(*order):
    return {"id": "1", "type": "ranked_groups", "key": "order", "value": list(order)}


def likert(value):
    return {"id": "2", "type": "integer", "key": "likert_value", "value": value}


def selected(name):
    return {"id": "3", "type": "text", "key": "selected_model_id", "value": name}


@pytest.mark.parametrize(
    ("annotations", "num"),
    [
        ((ranks("y", "x"), likert(1)), 2),
        ((likert(7), ranks("x", "y")), 2),
        ((ranks("y", "x"), selected("x")), 2),
        ((ranks("y", "x"), likert(4)), 2),
        ((groups(["x", "y"]), selected("x")), 2),
        ((groups(["x", "y"]), likert(2)), 2),
        ((selected("x"), likert(7)), 2),
        ((ranks("y", "x", "z"), selected("x")), 3),
    ],
)
def test_ranks_that_say_otherwise_than_the_selection_are_dropped(tmp_path, annotations, num):
    found, drops = read(tmp_path, scale(*annotations, num=num))
    assert not found
    (reason,) = drops
    assert reason.startswith("contradicts itself: ")


@pytest.mark.parametrize(
    ("annotations", "num", "wanted"),
    [
        ((ranks("y", "x"), likert(7)), 2, ("pair", [["y"], ["x"]], 3)),
        ((ranks("x", "y"), selected("x")), 2, ("pair", [["x"], ["y"]], None)),
        ((groups(["x", "y"]), likert(4)), 2, ("tie", [["x", "y"]], None)),
        ((ranks("y", "x", "z"), selected("y")), 3, ("ranking", [["y"], ["x"], ["z"]], None)),
        ((groups(["y", "x"], ["z"]), selected("x")), 3, ("ranking", [["x", "y"], ["z"]], None)),
    ],
)
def test_ranks_that_say_the_same_as_the_selection_are_one_judgement(tmp_path, annotations, num, wanted):
    (item,), drops = read(tmp_path, scale(*annotations, num=num))
    assert (item.kind, [[item.responses[at] for at in group] for group in item.groups], item.strength) == wanted
    assert not drops


def test_a_rewrite_next_to_a_contradiction_is_kept_as_a_demonstration(tmp_path):
    rows = scale(ranks("y", "x"), likert(1))
    rows[0]["threads"][0]["turns"][0]["messages"][1]["annotations"] = [
        {"id": "4", "type": "text", "key": "rewrite", "value": "better"}
    ]
    (item,), drops = read(tmp_path, rows)
    assert (item.kind, item.responses, len(drops)) == ("demonstration", ("better",), 1)


def marked(*results):
    """An annotation that prefers the left side and says something of parts of the answers."""
    chosen = {"value": {"selected": "left"}, "from_name": "pw", "to_name": "pw", "type": "pairwise"}
    return [{"id": 1, "data": DATA, "annotations": [{"id": 5, "completed_by": 2, "result": [chosen, *results]}]}]


RELATION = {"type": "relation", "from_id": "a", "to_id": "b"}
LABEL = {
    "value": {"start": 0, "end": 1, "text": "y", "labels": ["made up"]},
    "from_name": "spans",
    "to_name": "answer2",
}
BETTER = {"value": {"start": 0, "end": 1, "text": ["z"]}, "from_name": "correction", "to_name": "answer2"}
STARS = {"value": {"start": 0, "end": 1, "text": "y", "rating": 1}, "from_name": "rating", "to_name": "answer2"}


def test_a_label_on_a_part_of_an_answer_flags_that_answer_and_is_noted(tmp_path):
    (item,), _ = read(tmp_path, marked(LABEL))
    assert (item.chosen, dict(item.flags)) == ("x", {"made up": (1,)})
    assert item.note == 'spans on answer2: {"text": "y", "labels": ["made up"]}'


@pytest.mark.parametrize("part", [BETTER, STARS])
def test_a_text_or_a_rating_for_a_part_of_an_answer_is_not_one_of_the_whole_answer(tmp_path, part):
    (item,), drops = read(tmp_path, marked(part))
    assert (item.kind, item.rewrites, dict(item.scores), drops) == ("pair", (), {}, {})
    assert item.note.startswith(f"{part['from_name']} on answer2: ")
    nothing = marked(part)
    del nothing[0]["annotations"][0]["result"][0]
    assert read(tmp_path, nothing) == ([], {"nothing chosen": 1})


@pytest.mark.parametrize("name", ["spans", "correction"])
def test_parts_of_an_answer_are_noted_from_rows_too(tmp_path, name):
    found = {"start": 0, "end": 1, "text": "y", "labels": ["made up"]}
    (row,) = label_studio_rows({})
    (item,), _ = read(tmp_path, [row | {name: [found]}])
    assert (item.rewrites, dict(item.flags)) == ((), {"made up": ()})
    assert item.note.startswith(f"{name}: ")


@pytest.mark.parametrize(
    ("control", "scores"),
    [("quality_2", {"quality": (None, 4)}), ("qualityB", {"quality": (None, 4)}), ("quality b", {"quality": (None, 4)}), ("criteria", {}), ("Tab", {})],
)  # fmt: skip
def test_a_letter_is_a_response_only_where_it_stands_alone_at_the_end_of_a_name(tmp_path, control, scores):
    (item,), _ = read(tmp_path, label_studio({control: 4}))
    assert (dict(item.scores), item.note) == (scores, "" if scores else f"{control}: 4")


@pytest.mark.parametrize(
    ("words", "kind", "chosen"),
    [("3 - About the same", "tie", ""), ("1. Answer 2 is much better", "pair", "y"), ("-2: Answer 1 is better", "pair", "x")],
)  # fmt: skip
def test_the_number_of_a_choice_is_not_the_number_of_a_side(tmp_path, words, kind, chosen):
    (item,), _ = read(tmp_path, labelled(words))
    assert (item.kind, item.chosen if chosen else "") == (kind, chosen)


@pytest.mark.parametrize("words", ["-2 much better", "+1", "- 1 slightly better"])
def test_a_number_with_a_sign_is_a_step_of_a_scale_and_no_side(tmp_path, words):
    found, drops = read(tmp_path, labelled(words))
    assert found == []
    assert "is not understood" in next(iter(drops))


def labelled(words):
    chosen = {"value": {"choices": [words]}, "from_name": "preference", "to_name": "prompt", "type": "choices"}
    return [{"id": 1, "data": DATA, "annotations": [{"id": 5, "completed_by": 2, "result": [chosen]}]}]


def test_labels_of_any_kind_flag_and_a_relation_between_parts_spoils_nothing(tmp_path):
    value = {
        "start": "/p[1]",
        "end": "/p[1]",
        "startOffset": 0,
        "endOffset": 1,
        "text": "y",
        "hypertextlabels": ["made up"],
    }
    (item,), _ = read(tmp_path, marked(LABEL | {"value": value}, RELATION))
    assert (item.chosen, dict(item.flags)) == ("x", {"made up": (1,)})
