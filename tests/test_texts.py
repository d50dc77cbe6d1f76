"""Texts that are hidden or edited: what trains, samples, counts, exports and archives make of them, and their history."""

import json
from functools import partial

import pytest

from studio.annotation import history
from studio.cli import main
from studio.datasets import archive, exporting, importing
from studio.errors import DataError
from studio.exchange import ratings_out
from studio.preferences import catalogue, comparisons, demonstrations, prompts, ratings, snapshots, text_search, texts
from studio.preferences.catalogue import Filter
from studio.preferences.snapshots import Recipe
from studio.runs import prepare
from studio.workspace import Workspace
from tests.support import stored

ANSWERED = [
    {"prompt": f"Question {n}?", "response": f"Answer {n}.", "category": f"c{n % 2}", "split": "train"}
    for n in range(4)
]
JUDGED = [
    {"prompt": f"Question {n}?", "chosen": f"good {n}", "rejected": f"bad {n}", "split": "train"} for n in range(3)
]


@pytest.fixture
def ws(tmp_path):
    return Workspace.open(tmp_path / "studio")


def bring(ws, tmp_path, name, rows):
    path = tmp_path / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return importing.import_source(ws, str(path))


@pytest.fixture
def filled(ws, tmp_path):
    bring(ws, tmp_path, "answers.jsonl", ANSWERED)
    bring(ws, tmp_path, "pairs.jsonl", JUDGED)
    stored.written(ws, prompts.add_demonstration, [{"role": "user", "content": "Own?"}], "Own answer.", "own")
    return ws


def listed(ws, *filters, **more):
    return [text.id for text in stored.read(ws, catalogue.find, Filter(*filters, **more), limit=-1)]


def taught(ws):
    return [d.response for split in prompts.SPLITS for d in stored.read(ws, prompts.list_demonstrations, split=split)]


def test_a_hidden_demonstration_is_not_taught_counted_or_exported_until_it_is_shown_again(filled):
    number = listed(filled)[1]
    before = stored.read(filled, prompts.counts)["demonstrations"]
    stored.written(filled, texts.hide, "demonstrations", number)
    assert "Answer 3." not in taught(filled)
    assert stored.read(filled, prompts.counts)["demonstrations"] == before - 1
    assert "Answer 3." not in exporting.export_demonstrations(filled).read_text()
    assert number not in listed(filled)
    assert listed(filled, is_hidden=True) == [number]
    with pytest.raises(DataError, match="is hidden already"):
        stored.written(filled, texts.hide, "demonstrations", number)
    stored.written(filled, texts.undo, "demonstrations", number)
    assert "Answer 3." in taught(filled)
    done = stored.read(filled, texts.history, "demonstrations", number)
    assert [(event["action"], event["rater"]) for event in done] == [("hide", "person"), ("show", "person")]


def test_a_hidden_prompt_takes_its_answers_along_and_is_neither_sampled_nor_shown(filled):
    prompt = stored.read(filled, catalogue.find, Filter("prompts", search="Question 1?"))[0].id
    with filled.write() as db:
        ids = [prompts.add_response(db, prompt, text, "import") for text in ("x", "y")]
        waiting = comparisons.add_comparison(db, prompt, ids)
    assert stored.read(filled, comparisons.counts)["unrated"] == 1
    stored.written(filled, texts.hide, "prompts", prompt)
    assert prompt not in [row["id"] for row in stored.read(filled, prompts.list_prompts)]
    assert "Answer 1." not in taught(filled)
    assert stored.read(filled, comparisons.counts)["unrated"] == 0
    assert stored.written(filled, comparisons.next_showing) is None
    assert waiting not in stored.read(filled, comparisons.list_to_label, is_ranking=False)
    assert "good 1" not in [row["chosen"] for row in stored.read(filled, snapshots.unfrozen_rows, Recipe())]
    stored.written(filled, texts.show, "prompts", prompt)
    showing = stored.written(filled, comparisons.next_showing)
    assert showing is not None
    stored.written(filled, texts.hide, "prompts", prompt)
    assert stored.written(filled, comparisons.next_showing) is None, "what was on the screen is not shown either"


def test_a_hidden_preference_leaves_new_snapshots_and_exports_and_no_frozen_one(filled):
    frozen = stored.freeze(filled)
    number = listed(filled, "preferences")[0]
    stored.written(filled, texts.hide, "preferences", number)
    assert stored.freeze(filled).row_count == frozen.row_count - 1
    assert stored.read(filled, snapshots.get, frozen.id) == frozen
    assert len(stored.read(filled, snapshots.training_rows, frozen.id)) == frozen.row_count
    assert "good 2" not in ratings_out.export(filled, "hh").path.read_text()
    assert "good 2" in exporting.export_ratings(filled).read_text(), "our own export holds everything"
    assert stored.read(filled, ratings.summary)["rated"] == 3, "the judgement itself stays"
    assert len(stored.read(filled, history.find)) == 3


def test_an_edited_demonstration_is_a_new_version_and_undo_brings_the_earlier_one_back(filled):
    number = listed(filled)[1]
    new = stored.written(filled, texts.edit, number, "  Better 3. ")
    assert "Better 3." in taught(filled)
    assert "Answer 3." not in taught(filled)
    again = stored.written(filled, texts.edit, new, "Best 3.")
    assert [event["before"] for event in stored.read(filled, texts.history, "demonstrations", again)] == [
        "Answer 3.",
        "Better 3.",
    ]
    for text, wrong in (("Best 3.", "its text already"), (" ", "is empty")):
        with pytest.raises(DataError, match=wrong):
            stored.written(filled, texts.edit, again, text)
    with pytest.raises(DataError, match="no longer counts"):
        stored.written(filled, texts.edit, number, "From the first one")
    assert f"demonstration {again} has taken its place" in stored.read(filled, demonstrations.standing, number)
    assert stored.read(filled, demonstrations.standing, again) == ""
    assert stored.written(filled, texts.undo, "demonstrations", again) == new
    assert "Better 3." in taught(filled)
    assert f"demonstration {new} has taken its place" in stored.read(filled, demonstrations.standing, again)
    assert stored.read(filled, catalogue.get, "demonstrations", new).source == catalogue.EDITED


def test_one_undo_after_another_goes_back_to_the_beginning_and_no_further(filled):
    first = listed(filled)[1]
    prompt = stored.read(filled, catalogue.get, "demonstrations", first).prompt_id
    undo = partial(stored.written, filled, texts.undo, "demonstrations")
    second = stored.written(filled, texts.edit, first, "Better 3.")
    stored.written(filled, texts.set_category, prompt, "moved")
    third = stored.written(filled, texts.edit, second, "Best 3.")
    stored.written(filled, texts.hide, "demonstrations", third)
    stored.written(filled, texts.show, "demonstrations", third)

    assert [undo(third), undo(third)] == [third, third]
    assert "Best 3." in taught(filled)
    assert undo(third) == second
    assert undo(second) == second, "the category, which was changed before the second edit"
    assert stored.read(filled, catalogue.get, "prompts", prompt).category == "c1"
    assert undo(second) == first
    assert "Answer 3." in taught(filled)
    with pytest.raises(DataError, match="nothing to undo"):
        undo(first)
    again = stored.written(filled, texts.edit, first, "Better 3.")
    assert "Better 3." in taught(filled), "what was undone can be done again"
    assert undo(again) == first


def test_a_category_changed_at_one_text_of_a_prompt_is_undone_at_any(filled):
    number = listed(filled)[1]
    prompt = stored.read(filled, catalogue.get, "demonstrations", number).prompt_id
    stored.written(filled, texts.hide, "prompts", prompt)
    stored.written(filled, texts.set_category, prompt, "moved")
    stored.written(filled, texts.undo, "demonstrations", number)
    assert stored.read(filled, catalogue.get, "prompts", prompt).category == "c1"
    assert stored.read(filled, texts.is_hidden, "prompts", prompt), (
        "what was done with the prompt itself is not undone here"
    )
    stored.written(filled, texts.undo, "prompts", prompt)
    assert not stored.read(filled, texts.is_hidden, "prompts", prompt)
    with pytest.raises(DataError, match="nothing to undo"):
        stored.written(filled, texts.undo, "prompts", prompt)


def test_an_edit_of_a_rated_answer_changes_no_rating(filled):
    pair = stored.read(filled, catalogue.find, Filter("preferences"))[0]
    with filled.write() as db:
        ideal = prompts.add_response(db, pair.prompt_id, "ideal", "demonstration")
        other = comparisons.slots(db, pair.id)[0]
        made = comparisons.add_comparison(db, pair.prompt_id, (ideal, other))
        assert made is not None
        ratings.record_import(db, made)
        texts.edit(db, ideal, "more than ideal")
        assert comparisons.verdict(db, made) == ideal
        assert comparisons.read_text(db, ideal) == "ideal"


def test_a_later_version_of_its_source_comes_after_an_edit_here(ws):
    with ws.write() as db:
        prompt = prompts.add_prompt(db, prompts.NewPrompt([{"role": "user", "content": "Hi?"}]))
        first = demonstrations.record(db, prompt, "one", "task-1", rater="ann")
        texts.edit(db, first.response_id, "mine")
        assert demonstrations.record(db, prompt, "one", "task-1", rater="ann").became == "known"
        assert demonstrations.record(db, prompt, "two", "task-1", rater="ann").became == "corrected"
        assert [row[0] for row in db.execute("SELECT text FROM demonstrations")] == ["two"]


def test_a_category_is_changed_with_its_history_and_undone(filled):
    prompt = stored.read(filled, catalogue.find, Filter("prompts", search="Question 1?"))[0].id
    stored.written(filled, texts.set_category, prompt, " new   name ")
    assert listed(filled, "prompts", category="new name") == [prompt]
    with pytest.raises(DataError, match="already"):
        stored.written(filled, texts.set_category, prompt, "new name")
    stored.written(filled, texts.undo, "prompts", prompt)
    assert stored.read(filled, catalogue.get, "prompts", prompt).category == "c1"


def test_texts_are_listed_by_split_category_source_and_text_in_pages(filled):
    assert [text.source for text in stored.read(filled, catalogue.find, Filter("prompts"))] == [
        catalogue.HERE,
        *["answers.jsonl"] * 4,
    ]
    assert len(listed(filled, source="import:1")) == 4
    assert listed(filled, "preferences", source="import:1") == []
    assert len(listed(filled, "preferences", source="import:2", search="good 1")) == 1
    assert len(listed(filled, source=catalogue.HERE, category="own")) == 1
    assert len(listed(filled, category="c0", split="train")) == 2
    every = listed(filled, "preferences")
    assert listed(filled, "preferences") == sorted(every, reverse=True)
    page = stored.read(filled, catalogue.find, Filter("preferences"), limit=1, after=every[2])
    assert [text.id for text in page] == every[1:2]
    assert [(text.answers, text.judgement) for text in page] == [(("good 1", "bad 1"), "left better")]
    assert stored.read(filled, catalogue.count, Filter("preferences"), 2) == 2
    for wrong in ({"what": "models"}, {"split": "exam"}, {"source": "import:x"}, {"source": "heaven"}):
        with pytest.raises(DataError, match="There is no"):
            Filter(**wrong)


def test_a_piece_that_few_texts_hold_finds_what_a_piece_that_many_hold_would(filled, monkeypatch):
    stored.written(filled, texts.hide, "prompts", 1)
    stored.written(filled, texts.hide, "demonstrations", listed(filled)[0])
    stored.written(filled, texts.hide, "preferences", listed(filled, "preferences")[0])
    stored.written(filled, texts.edit, listed(filled)[0], "Edited Answer 3, not a question?")
    stored.written(filled, prompts.add_demonstration, [{"role": "user", "content": "é?"}], "Öl", "own")
    pieces = ("answer", "question 2", "good", "Edited", "own", "öl", "é", "é?", "is", "Zebra", "2?", "n 3")

    def found():
        return [
            (listed(filled, what, search=piece, is_hidden=is_hidden), stored.read(filled, catalogue.count, Filter(what, piece, is_hidden=is_hidden)))
            for what in texts.WHATS
            for piece in pieces
            for is_hidden in (False, True)
        ]  # fmt: skip

    few = found()
    monkeypatch.setattr(text_search, "FEW", -1)
    assert few == found()
    assert [len(ids) for ids, _ in few] == [number for _, number in few]
    assert sum(number for _, number in few) > 20


def test_the_totals_and_categories_around_the_list_are_those_of_all_texts(filled):
    def check():
        with filled.read() as db:
            counted = prompts.counts(db)
            assert catalogue.totals(db) == {name: counted[name] for name in ("prompts", "demonstrations", "samples")}
            assert catalogue.categories(db) == sorted(prompts.list_categories(db))

    check()
    stored.written(filled, texts.hide, "prompts", 1)
    stored.written(filled, texts.hide, "demonstrations", listed(filled)[0])
    new = stored.written(filled, texts.edit, listed(filled)[0], "Edited.")
    check()
    stored.written(filled, texts.hide, "demonstrations", new)
    stored.written(filled, texts.set_category, 2, "moved")
    check()
    stored.written(filled, texts.undo, "demonstrations", new)
    check()


def test_what_is_hidden_and_edited_travels_in_an_archive(filled, tmp_path):
    stored.written(filled, texts.hide, "prompts", 1)
    stored.written(filled, texts.set_category, 2, "moved")
    new = stored.written(filled, texts.edit, listed(filled)[1], "Edited.")
    path = archive.write(filled).path
    other = Workspace.open(tmp_path / "other")
    archive.read(other, path)
    assert archive.write(other).path.read_bytes() == path.read_bytes()
    for what in texts.WHATS:
        for is_hidden in (False, True):
            assert listed(other, what, is_hidden=is_hidden) == listed(filled, what, is_hidden=is_hidden)
    assert stored.read(other, texts.history, "demonstrations", new) == stored.read(
        filled, texts.history, "demonstrations", new
    )


def test_no_run_learns_from_what_is_hidden(filled):
    stored.written(filled, texts.hide, "demonstrations", listed(filled)[1])
    prompt = stored.read(filled, catalogue.find, Filter("prompts", search="Question 2?"))[0].id
    stored.written(filled, texts.hide, "prompts", prompt)
    with filled.read() as db:
        rows = prepare._demonstrations(db, "train")
        asked = prepare._prompt_rows(db, ("train",), frozenset())
    assert not {"Answer 2.", "Answer 3."} & {row["messages"][-1]["content"] for row in rows}
    assert "Question 2?" not in [row["messages"][-1]["content"] for row in asked]


def test_the_terminal_lists_edits_hides_and_undoes(filled, capsys):
    def run(*words):
        code = main(["data", *words, "--workspace", str(filled.root)])
        found = capsys.readouterr()
        return code, found.out + found.err

    number = str(listed(filled)[1])
    assert "5 of 5 demonstrations." in run()[1]
    assert run("hide", "demonstrations", number)[0] == 0
    assert "4 of 4 demonstrations." in run("list", "demonstrations")[1]
    assert "hidden" in run("list", "demonstrations", "--hidden")[1]
    assert "is hidden. Show it" in run("edit", "demonstrations", number, "--text", "New.")[1]
    assert "used again" in run("unhide", "demonstrations", number)[1]
    said = run("edit", "demonstrations", number, "--text", "New.", "--category", "moved")[1]
    assert f"takes the place of {number}, which stays on record" in said
    new = said.split("Demonstration ")[1].split()[0]
    shown = run("show", "demonstrations", new)[1]
    assert "before: Answer 3." in shown
    assert "Its prompt has: 1 demonstration, 0 sampled answers, 0 imported answers, 0 ratings" in shown
    assert "moved" in shown
    assert f"It is demonstration {number} now." in run("undo", "demonstrations", new)[1]
    assert run("edit", "prompts", "1", "--text", "x")[0] == 1
    assert "There is no prompt 99" in run("hide", "prompts", "99")[1]
    assert "There is no category 'zoo'" in run("list", "prompts", "--category", "zoo")[1]
    line = json.loads(run("list", "preferences", "--json", "--limit", "1")[1])
    assert line["answers"] == ["good 2", "bad 2"]
