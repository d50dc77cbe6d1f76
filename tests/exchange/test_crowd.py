"""Crowd work and Prodigy: who answered, when, and how long it took; and lists and options that can be read in two ways."""

import json
from pathlib import Path

import pytest

from studio.datasets import importing
from studio.datasets.formats.item import Item
from studio.datasets.plan import Asks, Request
from studio.preferences import comparisons
from studio.workspace import Workspace
from tests.exchange.reading import kept, outcomes, told
from tests.support import stored

FIXTURES = Path(__file__).parents[1] / "fixtures" / "exchange"


def write(tmp_path, *rows):
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_an_assignment_of_mechanical_turk_keeps_worker_time_note_and_id():
    one, two = (each for each in outcomes(FIXTURES / "mturk.csv") if isinstance(each, Item))
    assert (one.rater, one.at, one.elapsed_ms) == ("w1", "2026-01-05T18:00:30.000+00:00", 30_000)
    assert (one.event_id, one.note, two.event_id) == ("mturk-as1", "It burns.", "mturk-as2")
    assert one.groups == two.groups[::-1]  # two workers, two opinions


def test_answers_of_toloka_and_appen_keep_ids_and_confidence_and_never_an_address():
    told_apart = [each.event_id for each in outcomes(FIXTURES / "toloka.tsv") if isinstance(each, Item)]
    assert told_apart == ["toloka-as1-t1", "toloka-as2-t1"]
    (aggregated,) = outcomes(FIXTURES / "toloka_aggregated.tsv")
    assert aggregated.facts == {"confidence of result": "98.5%"}
    found = outcomes(FIXTURES / "appen.csv")
    assert [(each.event_id, each.facts) for each in found[:2]] == [("appen-7", {"trust": "0.9"}), ("appen-8", {"trust": "0.9"})]  # fmt: skip
    assert "192.0.2.1" not in str(found)
    (aggregated,) = outcomes(FIXTURES / "appen_aggregated.csv")
    assert aggregated.facts == {"confidence of which_is_better": "0.67"}


TURK = {"AssignmentId": "a", "WorkerId": "w", "AssignmentStatus": "Submitted", "Input.prompt": "q", "Input.response_a": "x", "Input.response_b": "y"}  # fmt: skip


@pytest.mark.parametrize(
    ("answer", "kind", "chosen"),
    [
        ({"Answer.preference": "A is much better"}, "pair", "x"),
        ({"Answer.choice": "response_b"}, "pair", "y"),
        ({"Answer.result": "2"}, "pair", "y"),
        ({"Answer.preference": "tie"}, "tie", ""),
        ({"Answer.taskAnswers": '[{"preference": {"a": false, "b": true}, "issues": {"rude": true, "long": true}}]'}, "pair", "y"),
        ({"Answer.preference": "a", "Answer.rewrite": "Better than both by far, and longer."}, "pair", "x"),
    ],
    ids=str,
)  # fmt: skip
def test_what_a_worker_may_answer(tmp_path, answer, kind, chosen):
    (item,), _ = kept(write(tmp_path, TURK | answer))
    assert (item.kind, item.chosen if chosen else "") == (kind, chosen)
    assert item.rewrites == tuple(text for name, text in answer.items() if name == "Answer.rewrite")
    assert set(item.flags) == ({"rude", "long"} if "taskAnswers" in str(answer) else set())


@pytest.mark.parametrize(
    "answer",
    [{"Answer.preference": "maybe"}, {"Answer.worst_response": "a"}, {"Answer.preference": ""}, {"Answer.mood": "a"}, {"Answer.x": "on"}],
    ids=str,
)  # fmt: skip
def test_an_answer_that_is_not_understood_is_no_judgement(tmp_path, answer):
    found, tally = kept(write(tmp_path, TURK | answer))
    assert (found, sum(tally.dropped.values())) == ([], 1)


def test_a_task_that_asked_for_an_answer_gives_a_demonstration(tmp_path):
    row = {name: value for name, value in TURK.items() if "response" not in name} | {"Answer.answer": "Oil, of course."}
    (item,), _ = kept(write(tmp_path, row))
    assert (item.kind, item.responses, item.rater) == ("demonstration", ("Oil, of course.",), "w")


def test_decisions_of_prodigy_become_pairs_where_a_person_asks_for_preferences(tmp_path):
    ws = Workspace.open(tmp_path / "w")
    result = importing.import_source(ws, str(FIXTURES / "prodigy.jsonl"), Request("preferences"))
    assert (result.num_kept, result.dropped) == (1, {"skipped": 1, "no opposite thumb on the same prompt so far": 1})
    (row,) = stored.preferences(ws)
    assert (row[row["outcome"]], row["rater"]) == ("Oil and a wick.", "ann")


def test_an_answer_that_prodigy_rejected_is_no_demonstration(tmp_path):
    result = importing.import_source(Workspace.open(tmp_path / "w"), str(FIXTURES / "prodigy.jsonl"))
    assert (result.num_kept, result.dropped) == (1, {"labelled as a bad response": 1, "skipped": 1})


def test_options_that_are_the_same_in_all_rows_are_answers_only_where_a_person_says_so():
    path = str(FIXTURES / "prodigy_labels.jsonl")
    with pytest.raises(Asks) as asks:
        importing.preview(path)
    assert asks.value.choices == ["prodigy-answers"]
    assert importing.preview(path, Request(format="prodigy-answers")).num_kept == 2


@pytest.mark.parametrize(
    ("reading", "best_first"), [("ranking-of-ranks", ["b", "c", "a"]), ("ranking-in-order", ["c", "a", "b"])]
)
def test_a_ranking_that_may_be_ranks_or_an_order_is_read_as_a_person_says(tmp_path, reading, best_first):
    path = write(tmp_path, {"prompt": "q", "completions": ["a", "b", "c"], "ranking": [2, 0, 1]})
    with pytest.raises(Asks) as asks:
        importing.preview(str(path))
    assert asks.value.choices == ["ranking-of-ranks", "ranking-in-order"]
    (item,) = outcomes(path, family=reading)
    assert [text for (text,) in told(item)["groups"]] == best_first


@pytest.mark.parametrize(
    ("ranking", "more"), [([2, 1, 3], []), ([1, 0], []), ([2, 0, 1], [[1, 1, 2]]), ([0.5, 0.2, 0.9], []), ([3, 1, 2], [[1, 1, 1]])]
)  # fmt: skip
def test_a_ranking_that_can_only_be_ranks_or_says_the_same_either_way_asks_nothing(tmp_path, ranking, more):
    rows = [{"prompt": f"q{at}", "completions": list("abc"[: len(each)]), "ranking": each} for at, each in enumerate([ranking, *more])]  # fmt: skip
    found = kept(write(tmp_path, *rows))[0]
    assert len(found) == len(rows)
    assert told(found[0])["kind"] == ("pair" if len(ranking) == 2 else "ranking")


@pytest.mark.parametrize("label", ["label", "kto_tag"])
def test_a_row_without_the_label_that_others_have_is_no_demonstration(tmp_path, label):
    rows = [{"prompt": "q", "response": "good", label: True}, {"prompt": "q", "response": "bad"}]
    found, tally = kept(write(tmp_path, *rows))
    assert ([item.responses for item in found], dict(tally.dropped)) == ([("good",)], {"no label": 1})


@pytest.mark.parametrize(
    ("more", "is_dropped"),
    [
        ({"image": "a/b.PNG"}, True), ({"images": ["https://x.test/y"]}, True), ({"image": {"bytes": "0a", "path": None}}, True),
        ({"audio_path": "a.wav"}, True), ({"video": "data:video/mp4;base64,AA"}, True), ({"image": "ubuntu latest"}, False), ({"images": []}, False),
        ({"image": None}, False), ({"image_url": ""}, False),
    ],
    ids=str,
)  # fmt: skip
def test_what_is_about_a_picture_or_a_sound_is_not_read_as_if_it_were_text_alone(tmp_path, more, is_dropped):
    path = write(tmp_path, {"prompt": "What is this?", "response": "A lamp."} | more, {"prompt": "q", "response": "r"})
    found, tally = kept(path)
    name = next(iter(more))
    reason = {f"belongs to what is in {name}, which is not text and is not read": 1} if is_dropped else {}
    assert (len(found), dict(tally.dropped)) == (1 if is_dropped else 2, reason)


@pytest.mark.parametrize("word", ["reject", "Rejected", "thumbs down", "thumbs_down", "👎", "downvoted", "disliked"])
@pytest.mark.parametrize("place", ["human", "x", "meta"])
def test_a_word_that_speaks_against_an_answer_is_asked_about_under_any_name(tmp_path, word, place):
    said = {"meta": {"who": word}} if place == "meta" else {place: word}
    with pytest.raises(Asks, match=place):
        importing.preview(str(write(tmp_path, {"prompt": "q", "response": "r"} | said)))


def test_a_reaction_to_an_answer_is_a_thumb(tmp_path):
    path = str(FIXTURES / "comparia_reactions.jsonl")
    found = importing.preview(path)
    assert (found.kind, found.num_kept) == ("demonstrations", 2)
    ws = Workspace.open(tmp_path / "w")
    importing.import_source(ws, path, Request("preferences"))
    (row,) = stored.preferences(ws)
    assert (row[row["outcome"]], row["rater"]) == ("Oil and a wick.", "v1")


THREE = {"prompt": "q", "response_1": "x", "response_2": "y", "response_3": "z"}


def test_the_best_of_several_responses_is_better_than_each_and_nothing_is_said_of_the_others(tmp_path):
    found, _ = kept(write(tmp_path, THREE | {"best": 2, "annotator": "ann"}))
    assert [(item.kind, item.chosen, item.rejected, item.rater) for item in found] == [
        ("pair", "y", "x", "ann"),
        ("pair", "y", "z", "ann"),
    ]
    assert found[0].responses == ("x", "y")  # in the order of the file


@pytest.mark.parametrize(("reading", "best"), [("best-from-0", "x"), ("best-from-1", "")])
def test_a_number_that_no_name_of_a_response_ends_with_is_asked_about(tmp_path, reading, best):
    path = write(tmp_path, THREE | {"label": 0})
    with pytest.raises(Asks, match="the best one is 0 of response_1 to response_3"):
        importing.preview(str(path))
    found, _ = kept(path, family=reading)
    assert {item.chosen for item in found} == ({best} if best else set())


def test_three_responses_without_a_judgement_wait_to_be_ranked(tmp_path):
    ws = Workspace.open(tmp_path / "w")
    importing.import_source(ws, str(write(tmp_path, THREE)))
    showing = stored.written(ws, comparisons.next_showing)
    assert showing is not None
    assert sorted(showing.texts) == ["x", "y", "z"]
    with pytest.raises(Asks, match="holds rank_1, rank_2, rank_3"):
        importing.preview(str(write(tmp_path, THREE | {"rank_1": 3, "rank_2": 1, "rank_3": 2})))
