"""What imported judgements become in a workspace: raters are people, the same event is one, rewrites are better answers."""

import json
import pickle
import shutil
from pathlib import Path

import pytest

from studio.annotation import history
from studio.cli import main
from studio.datasets import archive, exporting, importing, mapping, returning
from studio.datasets.plan import Asks, Request
from studio.datasets.staging import Stage
from studio.errors import DataError, ImportRefused
from studio.preferences import comparisons, prompts, ratings, snapshots, text_search
from studio.preferences.judgements import Remarks
from studio.preferences.snapshots import Recipe
from studio.workspace import Workspace
from tests.support import stored

FIXTURES = Path(__file__).parents[1] / "fixtures" / "exchange"
PAIR = {"prompt": "Name a colour.", "response_a": "Teal.", "response_b": "Tuesday."}


@pytest.fixture
def ws(tmp_path):
    return Workspace.open(tmp_path / "workspace")


def write(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def votes(**raters):
    return [PAIR | {"rater": rater, "preference": label} for rater, label in raters.items()]


def frozen(ws, recipe):
    with ws.write() as db:
        return snapshots.training_rows(db, snapshots.freeze(db, recipe).id)


def events(ws):
    return [event for row in stored.comparisons(ws) for event in row["events"]]


# Raters.


def test_two_raters_of_one_pair_are_two_events_and_their_disagreement_is_kept(tmp_path, ws):
    result = importing.import_source(ws, write(tmp_path / "a.jsonl", *votes(zoe="a", max="b")))
    assert (result.num_new, result.num_added) == (1, 1)
    assert [(event["rater"], event["outcome"]) for event in events(ws)] == [("zoe", "left"), ("max", "right")]
    assert "1 add a judgement to a pair that was judged here" in result.sentence


def test_judgements_of_different_times_are_two_events_though_nobody_is_named(tmp_path, ws):
    pair = {"prompt": "p", "chosen": "a", "rejected": "b"}
    rows = [
        pair | {"timestamp": "2024-01-01T00:00:00Z"},
        {**pair, "chosen": "b", "rejected": "a", "timestamp": "2024-01-02T00:00:00Z"},
    ]
    path = write(tmp_path / "a.jsonl", *rows, rows[0])
    result = importing.import_source(ws, path)
    assert (result.num_new, result.num_added, result.dropped) == (1, 1, {"duplicate": 1})
    assert [(event["outcome"], event["judged_at"][:10]) for event in events(ws)] == [
        ("left", "2024-01-01"),
        ("right", "2024-01-02"),
    ]
    timeless = write(tmp_path / "b.jsonl", pair, {**pair, "chosen": "b", "rejected": "a"})
    assert importing.import_source(Workspace.open(tmp_path / "w"), timeless).dropped == {
        "the same pair with another preference came before": 1
    }


def test_a_judgement_of_a_pair_that_is_here_is_added_and_the_same_event_is_one(tmp_path, ws):
    row = PAIR | {"rater": "zoe", "preference": "a", "judged_at": "2026-02-03T04:05:06Z"}
    importing.import_source(ws, write(tmp_path / "a.jsonl", row))
    other = importing.import_source(ws, write(tmp_path / "b.jsonl", row, *votes(max="tie")))
    assert (other.num_new, other.num_added, other.num_kept) == (0, 1, 2)
    assert [(event["rater"], event["judged_at"]) for event in events(ws)] == [
        ("zoe", "2026-02-03T04:05:06.000+00:00"),
        ("max", None),
    ]


def test_a_judgement_joins_the_comparison_of_a_pair_that_was_rated_here(tmp_path, ws):
    importing.import_source(ws, write(tmp_path / "open.jsonl", PAIR))
    showing = stored.written(ws, comparisons.next_showing)
    assert showing
    with ws.write() as db:
        ratings.record(db, showing.id, "left", strength=2)
    added = importing.import_source(ws, write(tmp_path / "more.jsonl", *votes(zoe="b")))
    assert added.num_added == 1
    with ws.read() as db:
        assert comparisons.counts(db) == {"comparisons": 1, "unrated": 0}
    assert {event["rater"] for event in events(ws)} == {"person", "zoe"}


def test_a_later_version_of_an_annotation_takes_the_place_of_the_first(tmp_path, ws):
    tasks = json.loads((FIXTURES / "label_studio.json").read_text(encoding="utf-8"))
    (tmp_path / "first.json").write_text(json.dumps(tasks))
    importing.import_source(ws, str(tmp_path / "first.json"))
    tasks[0]["annotations"][1]["result"][0]["value"]["selected"] = "right"
    tasks[0]["annotations"][1]["updated_at"] = "2026-02-04T00:00:00.000Z"
    for name, number in (("second.json", 1), ("third.json", 0)):
        (tmp_path / name).write_text(json.dumps(tasks, indent=number))
        assert importing.import_source(ws, str(tmp_path / name)).num_corrected == number
    counting = [row for row in stored.preferences(ws) if row["rater"] == "4"]
    assert [row["outcome"] for row in counting] == ["right"]
    assert sum(event["rater"] == "4" for event in events(ws)) == 2


def test_rewrites_are_demonstrations_and_better_than_what_they_were_written_over(ws):
    importing.import_source(ws, str(FIXTURES / "label_studio.json"))
    ideal = "Oil, a wick and care."
    assert [each.response for each in stored.read(ws, prompts.list_demonstrations)] == [ideal]
    over = [row for row in stored.preferences(ws) if ideal in (row["left"], row["right"])]
    assert [(row[row["outcome"]], row["rater"]) for row in over] == [(ideal, "3")]
    assert {row["left"] for row in over} | {row["right"] for row in over} == {ideal, "Oil and a wick."}


def answered(text, **annotation):
    """A task of Label Studio in which a person wrote an answer and chose a side."""
    result = [
        {"from_name": "comparison", "to_name": "comparison", "type": "pairwise", "value": {"selected": "left"}},
        {"from_name": "rewrite", "to_name": "prompt", "type": "textarea", "value": {"text": [text]}},
    ]
    said = {"id": 5, "completed_by": 3, "created_at": "2026-02-03T04:05:06Z", "lead_time": 5.5, "result": result}
    return [
        {"id": 1, "data": {"prompt": "Why?", "answer1": "So.", "answer2": "No."}, "annotations": [said | annotation]}
    ]


def shown(ws):
    return sorted(each.response for each in stored.read(ws, prompts.list_demonstrations))


def better(ws):
    return {row[row["outcome"]] for row in stored.preferences(ws)}


@pytest.mark.parametrize("is_judged", [True, False])
def test_a_corrected_rewrite_takes_the_place_of_the_first_one_which_stays_in_the_history(tmp_path, ws, is_judged):
    for number, text in enumerate(["First.", "Second.", "Second.", "First."]):
        tasks = answered(text, updated_at=f"2026-02-0{number + 4}T00:00:00Z")
        if not is_judged:
            del tasks[0]["annotations"][0]["result"][0]
        path = tmp_path / f"{number}.json"
        path.write_text(json.dumps(tasks, indent=number))
        result = importing.import_source(ws, str(path))
        assert shown(ws) == [text]
        assert better(ws) == ({"So.", text} if is_judged else set())
        assert result.num_corrected == (number in (1, 3))
    assert [row["supersedes"] for row in stored.tables(ws)["demonstration_events"]] == [None, 1, 2]
    assert {row["text"] for row in stored.tables(ws)["responses"]} >= {"First.", "Second."}


def test_answers_of_others_and_answers_without_a_name_are_not_replaced(tmp_path, ws):
    importing.import_source(ws, write(tmp_path / "a.jsonl", {"prompt": "Why?", "response": "Plain."}))
    for number, (text, who) in enumerate([("Mine.", 3), ("Yours.", 4), ("Plain.", 5), ("Mended.", 5)]):
        path = tmp_path / f"{number}.json"
        path.write_text(json.dumps(answered(text, completed_by=who)))
        importing.import_source(ws, str(path))
    assert shown(ws) == ["Mended.", "Mine.", "Plain.", "Yours."]


def test_an_answer_that_was_replaced_comes_in_again_from_a_source_that_means_it(tmp_path, ws):
    for number, text in enumerate(["First.", "Second."]):
        path = tmp_path / f"{number}.json"
        path.write_text(json.dumps(answered(text)))
        importing.import_source(ws, str(path))
    result = importing.import_source(ws, write(tmp_path / "a.jsonl", {"prompt": "Why?", "response": "First."}))
    assert (result.num_new, shown(ws)) == (1, ["First.", "Second."])
    other = Workspace.open(tmp_path / "other")
    archive.read(other, str(archive.write(ws).path))
    assert (shown(other), better(other)) == (shown(ws), better(ws))


def test_time_strength_flags_notes_scores_and_models_are_kept(ws, tmp_path):
    importing.import_source(ws, str(FIXTURES / "label_studio.json"))
    first = next(event for event in events(ws) if event["rater"] == "3" and event["strength"])
    assert (first["outcome"], first["strength"], first["elapsed_ms"]) == ("right", 3, 5500)
    assert json.loads(first["facts"])["flags"] == {"unsafe": []}
    (row, *_) = stored.comparisons(ws)
    assert [response["model"] for response in row["responses"]] == ["m1", "m2"]
    importing.import_source(ws, str(FIXTURES / "pku.jsonl"))
    unsafe = next(event for event in events(ws) if event["flags"])
    assert json.loads(unsafe["flags"]) == {"unsafe": [0]}
    importing.import_source(
        ws, write(tmp_path / "m.jsonl", {"prompt": "p", "chosen": "c", "rejected": "r", "margin": 0.25})
    )
    assert [event["margin"] for event in events(ws) if event["margin"]] == [0.25]


def test_a_ranking_with_ties_is_one_event_and_equal_texts_next_to_each_other_are_one(tmp_path, ws):
    answers = [{"answer": text, "rank": rank} for text, rank in (("a", 2), ("b", 1), ("a", 2), ("c", 3))]
    split = [{"answer": text, "rank": rank} for text, rank in (("a", 1), ("b", 2), ("a", 3))]
    rows = [{"prompt": "p", "answers": answers}, {"prompt": "q", "answers": split}]
    result = importing.import_source(ws, write(tmp_path / "r.jsonl", *rows))
    assert result.dropped == {"the same response has two ranks, with another response between them": 1}
    (event,) = events(ws)
    assert (event["outcome"], json.loads(event["ranks"])) == ("ranking", [2, 1, 3])


def test_an_item_that_names_a_comparison_of_ours_joins_it(ws, monkeypatch):
    importing.import_source(ws, str(FIXTURES / "skywork.jsonl"))
    (row,) = stored.comparisons(ws)
    ids = {response["text"]: response["id"] for response in row["responses"]}

    def find(db, item):
        assert item.metadata[returning.COMPARISON] == "41"
        return returning.Place(row["id"], tuple(ids[text] for text in item.responses))

    monkeypatch.setattr(returning, "find", find)
    added = importing.import_source(ws, str(FIXTURES / "label_studio.json"))
    assert (added.num_new, added.num_added) == (0, 2)
    assert {event["comparison_id"] for event in stored.read(ws, ratings.list_events) if event["outcome"] == "left"} >= {
        row["id"]
    }


# Snapshots.


@pytest.mark.parametrize(
    ("raters", "rows"),
    [
        ("all", [("Teal.", 1.0), ("Teal.", 1.0), ("Tuesday.", 1.0), (None, 0.5)]),
        ("zoe", [("Teal.", 1.0)]),
        ("max, ann", [("Tuesday.", 1.0), (None, 0.5)]),
        ("majority", [("Teal.", 1.0)]),
        ("share", [("Teal.", 2.5 / 4)]),
    ],
)
def test_a_snapshot_takes_all_raters_named_ones_their_majority_or_their_share(tmp_path, ws, raters, rows):
    importing.import_source(ws, write(tmp_path / "v.jsonl", *votes(zoe="a", bea="a", max="b", ann="tie")))
    found = frozen(ws, Recipe(raters=raters))
    assert [(row["chosen"] if row["target_p"] != 0.5 else None, row["target_p"]) for row in found] == rows


def test_a_rater_who_answered_twice_has_one_voice_and_a_draw_is_a_tie(tmp_path, ws):
    rows = [
        PAIR | {"rater": "zoe", "preference": label, "judged_at": f"2026-02-0{day}"}
        for day, label in ((1, "a"), (2, "b"))
    ]
    importing.import_source(ws, write(tmp_path / "v.jsonl", *rows, *votes(max="a")))
    for way in ("majority", "share"):
        (row,) = frozen(ws, Recipe(raters=way))
        assert row["target_p"] == 0.5
    with pytest.raises(Exception, match="No rating fits the recipe"):
        frozen(ws, Recipe(raters="share", ties="drop"))


def test_since_goes_by_the_day_of_the_judgement(tmp_path, ws):
    importing.import_source(
        ws, write(tmp_path / "v.jsonl", PAIR | {"preference": "a", "rater": "zoe", "judged_at": "2024-02-01"})
    )
    assert len(frozen(ws, Recipe(until="2024-02-01"))) == 1


# Criteria.


def test_both_judgements_of_a_source_come_in_and_a_snapshot_can_go_by_either(tmp_path, ws):
    result = importing.import_source(ws, str(FIXTURES / "pku.jsonl"))
    assert "Judged by helpfulness; safety kept too (--axis safety judges by that instead)." in result.sentence
    chosen = {axis: {row["chosen"] for row in frozen(ws, Recipe(axis=axis))} for axis in ("", "helpfulness", "safety")}
    assert chosen[""] == chosen["helpfulness"] == {"Oil and a wick.", "Try it."}
    assert chosen["safety"] == {"Oil and a wick.", "No, it is poison."}
    with pytest.raises(DataError, match="leave out its axis"):
        frozen(ws, Recipe(axis="wit"))


def test_an_import_can_go_by_another_criterion(tmp_path, ws, capsys):
    arguments = ["import", str(FIXTURES / "pku.jsonl"), "--workspace", str(ws.root), "--axis"]
    assert main([*arguments, "wit"]) == 1
    assert "pku.jsonl says nothing about 'wit'. It judges helpfulness, safety." in capsys.readouterr().err
    assert main([*arguments, "safety"]) == 0
    assert {row["chosen"] for row in frozen(ws, Recipe())} == {"Oil and a wick.", "No, it is poison."}


def test_scores_for_each_criterion_are_criteria_too(tmp_path, ws):
    rows = [
        {"prompt": "p", "response": text, "helpfulness": helpful, "correctness": correct, "coherence": 4, "complexity": 1, "verbosity": 1}
        for text, helpful, correct in (("a", 4, 0), ("b", 2, 3), ("c", 1, 3))
    ]  # fmt: skip
    path = write(tmp_path / "ratings.jsonl", *rows)
    assert importing.preview(path).examples[0]["groups"] == [["a"], ["b"], ["c"]]
    assert importing.preview(path, Request(axis="correctness")).examples[0]["groups"] == [["b", "c"], ["a"]]
    importing.import_source(ws, path)
    pairs = {(row["chosen"], row["rejected"], row["target_p"]) for row in frozen(ws, Recipe(axis="correctness"))}
    assert pairs == {("b", "a", 1.0), ("c", "a", 1.0), ("b", "c", 0.5)}


def test_a_snapshot_can_go_by_a_scale_that_was_set_while_rating(tmp_path, ws):
    importing.import_source(ws, write(tmp_path / "open.jsonl", PAIR))
    showing = stored.written(ws, comparisons.next_showing)
    assert showing
    with ws.write() as db:
        ratings.record(db, showing.id, "left", remarks=Remarks(attributes={"harmless": [2, 6]}))
    assert [row["chosen"] for row in frozen(ws, Recipe(axis="harmless"))] == [showing.right]


# Asking.


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"prompt": "p", "response": "r", "score": 0.1}, "holds score, which may be a judgement"),
        ({"prompt": "p", "response": "r", "rating": 1}, "holds rating"),
        ({"messages": [{"role": "user", "content": "p"}, {"role": "assistant", "content": "r"}], "thumb": "down"}, "holds thumb"),
        ({"prompt": "p", "chosen": "c"}, "holds chosen"),
        ({"prompt": "p", "chosen": "c", "rejected": "r", "winner": "rejected"}, "holds winner"),
        ({"prompt": "p", "responses": ["x", "y"], "best": 0}, "holds best"),
    ],
)  # fmt: skip
def test_columns_that_sound_like_a_judgement_and_are_not_understood_refuse_the_file(tmp_path, row, told):
    path = write(tmp_path / "a.jsonl", row)
    with pytest.raises(Asks, match=told):
        importing.preview(path)
    assert importing.preview(path, Request("prompts")).num_kept == 1  # the person said so


def test_a_chosen_without_a_known_prompt_is_never_split_where_another_column_may_hold_it(tmp_path):
    rows = [{"ask_me": "Why?", "chosen": "It is so.", "rejected": "It is not."}]
    found = importing.preview(write(tmp_path / "a.jsonl", *rows))
    assert (found.num_kept, next(iter(found.dropped))) == (
        0,
        "no prompt is understood; if it is in ask_me, map it: --map prompt=ask_me",
    )


def test_two_families_that_fit_are_asked_for(tmp_path, capsys):
    row = {"prompt": "p", "chosen": "c", "rejected": "r", "response_a": "x", "response_b": "y", "preference": "a"}
    path = write(tmp_path / "a.jsonl", row)
    with pytest.raises(Asks) as asks:
        importing.preview(path)
    assert asks.value.choices == ["labelled-pairs", "chosen-rejected"]
    assert main(["import", path, "--preview", "--format", "labelled-pairs", "--workspace", str(tmp_path / "w")]) == 0
    assert "chosen: x" in capsys.readouterr().out


def test_ignored_columns_are_listed_with_counts(tmp_path):
    rows = [
        {"prompt": f"p{at}", "chosen": "c", "rejected": "r", "topic": "t" if at else None, "zone": 1} for at in range(3)
    ]
    assert importing.preview(write(tmp_path / "a.jsonl", *rows)).sentence.endswith("Not read: zone (3), topic (2).")


def test_thumbs_become_pairs_only_where_a_person_asks_for_preferences(tmp_path):
    rows = [
        {"prompt": "p", "completion": text, "label": label}
        for text, label in (("good", True), ("bad", False), ("worse", False))
    ]
    path = write(tmp_path / "a.jsonl", *rows)
    assert importing.preview(path).kind == "demonstrations"
    found = importing.preview(path, Request("preferences"))
    assert [(each["chosen"], each["rejected"]) for each in found.examples] == [("good", "bad"), ("good", "worse")]


# Mapping.


def test_columns_are_mapped_in_the_terminal_and_remembered_by_the_structure(tmp_path, ws, capsys):
    rows = {"q": {"text": "Why?"}, "good": "Because.", "poor": "No.", "who": "zoe"}
    path = write(tmp_path / "a.jsonl", rows)
    arguments = ["import", path, "--workspace", str(ws.root)]
    assert main(arguments) == 1
    assert "say what they are (--map" in capsys.readouterr().err
    assert main([*arguments, "--map", "prompt=q.text,chosen=good,rejected=poor,rater=who"]) == 0
    assert [(event["rater"], event["outcome"]) for event in events(ws)] == [("zoe", "left")]
    again = write(tmp_path / "b.jsonl", rows | {"q": {"text": "When?"}})
    assert main(["import", again, "--workspace", str(ws.root)]) == 0
    assert "Columns mapped as before (prompt=q.text,chosen=good,rejected=poor,rater=who)" in capsys.readouterr().out
    with pytest.raises(Asks):
        importing.import_source(ws, write(tmp_path / "c.jsonl", rows | {"more": 1}))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("prompt", "cannot be read"),
        ("prompt=a,prompt=b", "each name once"),
        ("question=a", "Nothing is called question"),
        ("prompt=missing", "has no column missing. It has q"),
    ],
)
def test_a_mapping_that_does_not_fit_is_refused(tmp_path, text, told):
    with pytest.raises(ImportRefused, match=told):
        importing.preview(write(tmp_path / "a.jsonl", {"q": "x"}), Request(map=text))


def test_the_description_of_llama_factory_is_read(tmp_path):
    for name in ("pairs.json", "dataset_info.json"):
        shutil.copy(FIXTURES / "llamafactory" / name, tmp_path)
    found = importing.preview(str(tmp_path / "pairs.json"))
    assert "Columns as dataset_info.json says (instruction=ask" in found.sentence
    turns = [{"who": "me", "says": "p"}, {"who": "it", "says": "r"}]
    (tmp_path / "chat.json").write_text(json.dumps([{"talk": turns}]))
    tags = {"role_tag": "who", "content_tag": "says", "user_tag": "me", "assistant_tag": "it"}
    entry = {"file_name": "chat.json", "formatting": "sharegpt", "columns": {"messages": "talk"}, "tags": tags}
    (tmp_path / "dataset_info.json").write_text(json.dumps({"mine": entry}))
    assert importing.preview(str(tmp_path / "chat.json")).examples[0]["response"] == "r"
    sides = {"good": {"who": "it", "says": "r"}, "poor": {"who": "it", "says": "s"}}
    (tmp_path / "chat.json").write_text(json.dumps([{"talk": [{"who": "sys", "says": "S"}, turns[0]], **sides}]))
    columns = {"messages": "talk", "chosen": "good", "rejected": "poor"}
    entry |= {"ranking": True, "columns": columns, "tags": tags | {"system_tag": "sys"}}
    (tmp_path / "dataset_info.json").write_text(json.dumps({"mine": entry}))
    (pair,) = importing.preview(str(tmp_path / "chat.json")).examples
    assert [pair["messages"][0]["content"], pair["messages"][1]["content"], pair["chosen"], pair["rejected"]] == [
        "S",
        "p",
        "r",
        "s",
    ]
    (tmp_path / "dataset_info.json").write_text("{broken")
    assert mapping.described(tmp_path / "chat.json") is None


# Whole and lean.


def test_a_zip_of_files_and_a_folder_give_the_same(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    for name in ("skywork.jsonl", "tulu.jsonl", "labelled.tsv"):
        shutil.copy(FIXTURES / name, folder)
    packed = shutil.make_archive(str(tmp_path / "data"), "zip", folder)
    one, other = importing.preview(str(folder)), importing.preview(packed)
    assert (one.num_kept, one.dropped, one.examples) == (other.num_kept, other.dropped, other.examples)
    (tmp_path / "bad.zip").write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(ImportRefused, match=r"bad\.zip cannot be unpacked"):
        importing.preview(str(tmp_path / "bad.zip"))


def test_an_import_that_is_stopped_leaves_nothing_and_the_search_works_on(tmp_path, ws):
    rows = [{"prompt": f"Question {at}", "chosen": "c", "rejected": "r"} for at in range(2500)]
    path = write(tmp_path / "many.jsonl", *rows)

    def stop(num_rows, share, doing):
        assert 0 <= share <= 1
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        importing.import_source(ws, path, progress=stop)
    assert stored.read(ws, prompts.counts)["prompts"] == 0
    importing.import_source(ws, str(FIXTURES / "skywork.jsonl"))
    assert len(stored.read(ws, prompts.list_prompts, search="lamp lit")) == 1
    importing.import_source(ws, path)
    assert len(stored.read(ws, prompts.list_prompts, search="Question 2499")) == 1
    stored.written(ws, prompts.add_demonstration, [{"role": "user", "content": "Later than the import"}], "Found.")
    assert len(stored.read(ws, prompts.list_demonstrations, search="Later than")) == 1


def test_a_long_file_is_read_row_by_row(tmp_path):
    import tracemalloc

    path = write(
        tmp_path / "long.jsonl",
        *({"prompt": f"Question {at} {'x' * 2000}", "chosen": "c", "rejected": "r"} for at in range(2000)),
    )
    tracemalloc.start()
    assert importing.preview(path).num_kept == 2000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert Path(path).stat().st_size > 4_000_000
    assert peak < 2_500_000


# Our own files.


def test_a_native_export_comes_back_to_equality_into_a_workspace_that_has_other_pairs(tmp_path, ws):
    for name in ("native.jsonl", "label_studio.json", "label_studio_ranker.json", "trl_preference.jsonl"):
        importing.import_source(ws, str(FIXTURES / name))
    first = exporting.export_ratings(ws)
    other = Workspace.open(tmp_path / "other")
    importing.import_source(other, write(tmp_path / "before.jsonl", *votes(zoe="a")))
    importing.import_source(other, str(first))
    lines = [
        json.loads(line) for path in (first, exporting.export_ratings(other)) for line in path.read_text().splitlines()
    ]
    own, back = lines[: len(lines) // 2], lines[len(lines) // 2 + 1 :]
    assert [plain(row) for row in back] == [plain(row) for row in own]
    assert importing.import_source(other, str(first)).is_repeat


def plain(row):
    """A line of the native export without the numbers that a workspace gives, in their place the texts and uuids."""
    texts = {response["id"]: response["text"] for response in row["responses"]}
    uuids = {event["id"]: event["uuid"].replace(f"import-{row['id']}", "import-N") for event in row["events"]}
    shown = {each["id"]: [texts[at] for at in each["response_ids"] or (each["left_response_id"], each["right_response_id"])] for each in row["showings"]}  # fmt: skip
    events = [
        event | {"id": 0, "uuid": uuids[event["id"]], "showing_id": shown.get(event["showing_id"]), "supersedes": uuids.get(event["supersedes"])}
        for event in row["events"]
    ]  # fmt: skip
    showings = [
        each | {"id": 0, "left_response_id": 0, "right_response_id": 0, "response_ids": shown[each["id"]]}
        for each in row["showings"]
    ]
    responses = [response | {"id": 0} for response in row["responses"]]
    return row | {"id": 0, "prompt_id": 0, "events": events, "showings": showings, "responses": responses}


def test_an_archive_carries_what_imports_brought(tmp_path, ws):
    for name in ("label_studio.json", "pku.jsonl", "webgpt.jsonl", "surge.json"):
        importing.import_source(ws, str(FIXTURES / name))
    path = archive.write(ws).path
    other = Workspace.open(tmp_path / "other")
    archive.read(other, path)
    assert archive.write(other).path.read_bytes() == path.read_bytes()


# Next to others.


def many(path, num=2500, **more):
    return write(path, *({"prompt": f"Question {at}", "chosen": "c", "rejected": "r"} | more for at in range(num)))


def test_others_can_write_while_a_source_is_read_and_nothing_lies_in_the_workspace(tmp_path, ws):
    before = {path.name for path in ws.root.iterdir()}
    seen = []

    def write_too(num_rows, share, doing):
        if doing == "read":
            with ws.write() as db:
                db.execute("PRAGMA busy_timeout = 0")
                prompts.save_draft(db, "beside", "kept")
            seen.append({path.name for path in ws.root.iterdir() if "studio.db" not in path.name})

    importing.import_source(ws, many(tmp_path / "many.jsonl"), progress=write_too)
    assert seen == [before - {path.name for path in ws.root.glob("studio.db*")}]
    assert stored.read(ws, prompts.load_draft, "beside") == "kept"


def test_a_prompt_that_another_program_adds_meanwhile_is_one_with_that_of_the_source(tmp_path, ws):
    def add_one(num_rows, share, doing):
        if doing == "stored":
            stored.written(ws, prompts.add_demonstration, [{"role": "user", "content": "Question 7"}], "Mine.")

    result = importing.import_source(ws, many(tmp_path / "many.jsonl", 9), progress=add_one)
    assert (result.num_new, stored.read(ws, prompts.counts)["prompts"]) == (9, 9)
    assert [row["messages"][0]["content"] for row in stored.comparisons(ws)].count("Question 7") == 1


@pytest.mark.parametrize(
    "source", [path.name for path in sorted(FIXTURES.iterdir()) if path.suffix in (".json", ".jsonl")]
)
def test_what_comes_in_together_is_what_would_come_in_item_by_item(tmp_path, ws, monkeypatch, source):
    try:
        results = [importing.import_source(ws, str(FIXTURES / source))]
    except ImportRefused:
        return  # a fixture that is refused
    other = Workspace.open(tmp_path / "other")
    monkeypatch.setattr(Stage, "add", lambda self, item: self._put("later", pickle.dumps(item)))
    results.append(importing.import_source(other, str(FIXTURES / source)))
    assert len({(each.num_kept, each.num_new, each.num_added, each.num_judged) for each in results}) == 1
    assert told(ws) == told(other)


def told(ws):
    """Every comparison, event and demonstration without ids and times, in no order."""
    found = []
    for row in stored.comparisons(ws):
        said = [
            {name: value for name, value in event.items() if name in TOLD} | {"ranks": event["ranks"]}
            for event in row["events"]
        ]
        texts = [(response["text"], response["model"], response["kind"]) for response in row["responses"]]
        found.append([row["messages"], row["category"], row["split"], texts, said])
    found += [
        [each.messages, each.response, each.category, each.split]
        for each in stored.read(ws, prompts.list_demonstrations)
    ]
    found += [[each["messages"], each["category"], each["split"]] for each in stored.read(ws, prompts.list_prompts)]
    return sorted(found, key=json.dumps)


TOLD = ("outcome", "strength", "rater", "margin", "judged_at", "elapsed_ms", "note", "flags", "facts", "is_imported")


def test_a_source_that_is_here_already_in_another_form_leaves_all_as_it_is(tmp_path, ws):
    importing.import_source(ws, many(tmp_path / "many.jsonl", 9))
    before = stored.tables(ws)
    result = importing.import_source(ws, many(tmp_path / "more.jsonl", 9, more="x"))
    assert "9 were already here" in result.sentence
    after = stored.tables(ws)
    assert {name for name in before if before[name] != after[name]} <= {"imports"}


def test_texts_of_a_long_import_are_found_before_they_are_indexed_while_they_are_and_after(tmp_path, ws, monkeypatch):
    monkeypatch.setattr(text_search, "AT_ONCE", 3)
    monkeypatch.setattr(text_search, "PAUSE_S", 0)
    stored.written(ws, prompts.add_demonstration, [{"role": "user", "content": "Question 29 of before"}], "An answer.")
    for number in range(50):  # so that ids of prompts and of answers are different ones
        stored.written(ws, prompts.add_demonstration, [{"role": "user", "content": "Which?"}], "Yes" + "!" * number)
    rows = [{"prompt": f"Question {at}", "chosen": f"better {at}", "rejected": "worse"} for at in range(30)]
    importing.import_source(ws, write(tmp_path / "pairs.jsonl", *rows))
    waiting = []

    def look(share=0.0):
        with ws.read() as db:
            waiting.append(sum(row["last"] - row["next"] + 1 for row in db.query("SELECT * FROM search_backlog")))
            assert len(prompts.list_prompts(db, search="question 29")) == 2
            assert len(prompts.list_prompts(db, search="N 2")) == 12, "2, 20 to 29, and that of before"
            assert len(prompts.list_demonstrations(db, search="question 29")) == 1
            assert len(history.find(db, history.Filter(search="Question 29"))) == 1
            for piece, num in {"Question 29": 3, "Question 1": 22, "29": 3, "better 29": 1, "no such text": 0}.items():
                ids, is_all = text_search.responses(db, piece)
                assert (len(ids), is_all) == (num, True), piece

    look()
    assert text_search.catch_up(ws, look)
    look()
    assert waiting[0] == 90
    assert waiting[-1] == 0
    assert sorted(set(waiting), reverse=True) == waiting[: len(set(waiting))]
    assert len(set(waiting)) > 3


def test_texts_of_an_archive_are_found_before_they_are_indexed_and_after(tmp_path, ws, monkeypatch):
    importing.import_source(ws, many(tmp_path / "many.jsonl", 30))
    path, other = archive.write(ws).path, Workspace.open(tmp_path / "other")
    monkeypatch.setattr(text_search, "AT_ONCE", 3)
    archive.read(other, path)
    for is_indexed in (False, True):
        assert (stored.tables(other)["search_backlog"] == []) == is_indexed
        assert len(stored.read(other, prompts.list_prompts, search="question 29")) == 1
        assert text_search.catch_up(other)
    stored.written(other, prompts.add_demonstration, [{"role": "user", "content": "Later, question 29?"}], "Yes.")
    assert len(stored.read(other, prompts.list_prompts, search="question 29")) == 2, "the triggers are there again"


def test_the_index_is_left_to_one_program_at_a_time_and_goes_on_where_it_was_left(tmp_path, ws, monkeypatch):
    monkeypatch.setattr(text_search, "AT_ONCE", 3)
    monkeypatch.setattr(text_search, "PAUSE_S", 0)
    importing.import_source(ws, many(tmp_path / "many.jsonl", 30))
    looks = []

    def is_ended():
        looks.append(text_search.catch_up(ws))
        return len(looks) > 1

    assert not text_search.catch_up(ws, is_ended=is_ended), "something is left"
    assert looks == [False, False], "another one is at it"
    with ws.read() as db:
        (left, *_) = db.query("SELECT next, last FROM search_backlog ORDER BY id")
        assert 1 < left["next"] < left["last"]
    assert text_search.catch_up(ws)
    assert stored.tables(ws)["search_backlog"] == []
    assert text_search.catch_up(ws)


def test_a_long_import_at_the_terminal_is_told_before_its_texts_are_indexed(tmp_path, ws, monkeypatch, capsys):
    monkeypatch.setattr(text_search, "AT_ONCE", 3)
    with monkeypatch.context() as patch:
        patch.setattr(text_search, "_index_some", interrupted)
        assert main(["import", many(tmp_path / "many.jsonl", 30), "--workspace", str(ws.root)]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert "30 new" in first
    assert second.startswith("The import is complete.")
    assert len(stored.read(ws, prompts.list_prompts, search="question 29")) == 1
    assert main(["import", str(FIXTURES / "skywork.jsonl"), "--workspace", str(ws.root)]) == 0
    assert stored.tables(ws)["search_backlog"] == []
    assert len(stored.read(ws, prompts.list_prompts, search="lamp lit")) == 1


def interrupted(*_):
    raise KeyboardInterrupt
