"""The vendors' and the public formats' own files in ../shared come in exactly as their expected.json says."""

import json
import shutil
from pathlib import Path

import pytest

from studio.datasets import exporting, importing
from studio.datasets.formats.item import Dropped
from studio.errors import ImportRefused
from studio.workspace import Workspace
from tests.exchange.reading import kept, outcomes, told
from tests.support import stored

SHARED = Path(__file__).parents[3] / "shared" / "data" / "exchange"
pytestmark = pytest.mark.skipif(not SHARED.is_dir(), reason="the files in ../shared/data/exchange are not here")
PUBLIC = sorted(path.relative_to(SHARED) for path in SHARED.glob("public/*/expected*.json"))
STUDIO = [
    *(f"{name}{part}" for name in ("json", "json_min", "csv", "tsv") for part in ("", "_all")), "snapshot_full", "api_tasks",
]  # fmt: skip
COLUMNS = ("json_min", "csv", "tsv")


def read(path):
    return json.loads((SHARED / path).read_text(encoding="utf-8"))


def one(folder, stem):
    return next(path for path in (SHARED / folder).iterdir() if path.stem == stem)


# Public formats.


@pytest.mark.parametrize("path", PUBLIC, ids=lambda path: "-".join((path.parent.name, *path.stem.split(".")[1:])))
def test_a_public_format_gives_its_items_and_its_drops(path, tmp_path):
    expected = read(path)
    source = SHARED / path.parent / expected["file"]
    found, tally = kept(source)
    items = [told(item) for item in found]
    if any(
        item["kind"] == "unpaired" for item in expected["items"]
    ):  # thumbs are read as such, a bad one is no demonstration
        items = [told(each) for each in outcomes(source) if not isinstance(each, Dropped)]
        assert [item["response"] for item in map(told, found)] == [
            e["response"] for e in expected["items"] if e["label"]
        ]
    wanted = [{name: each[name] for name in _TOLD if name in each} for each in expected["items"]]
    if expected["name"] == "hh_rlhf_red_team":
        with pytest.raises(ImportRefused, match=r"No row .* as preferences; 1 dropped: no preference in it"):
            importing.import_source(Workspace.open(tmp_path), str(source))
    assert items == wanted
    assert tally.num_rows == expected["rows"]
    if items == [told(item) for item in found]:
        assert sum(tally.dropped.values()) == expected["rows_dropped"] == len(expected["dropped"])
    for item, each in zip(found, expected["items"], strict=False):
        check_beside(item, each)


_TOLD = ("kind", "prompt", "chosen", "rejected", "a", "b", "groups", "response", "label")


def check_beside(item, expected):
    """What goes with the judgement: rater, strength, scores, split."""
    for name in ("rater", "strength", "split", "margin"):
        if name in expected:
            assert getattr(item, name) == expected[name], name
    for name in ("confidence", "score_ratio"):
        if name in expected:
            assert item.facts[name] == expected[name]
    if "score" in expected:
        assert item.scores["score"][0] - item.scores["score"][1] == pytest.approx(expected["score"])
    if "helpfulness" in expected:
        assert list(item.scores["helpfulness"]) == expected["helpfulness"]
    if "models" in expected:
        assert list(item.models) == expected["models"]
    if "safer" in expected:
        assert item.responses[item.axes["safety"][0][0]] == expected["safer"]
    if "flags" in expected:
        assert [item.responses[at] for at in item.flags["unsafe"]] == [expected["rejected"]]
    if expected.get("equal_scores") or expected.get("warn") or "warning" in expected.get("note", ""):
        assert item.warnings


# Label Studio.


def position(item):
    return {"pair": ("left", "right")[item.groups[0][0]] if item.groups else ""}.get(item.kind, item.kind)


def judgement(item, names):
    """A judgement of Label Studio in the words of expected.json; rater as the file names it."""
    rater = names.get(item.rater, item.rater.split("@")[0])
    said = {"rater": rater, "outcome": position(item), "strength": item.strength}
    said["ratings"] = list(item.scores["quality"]) if "quality" in item.scores else None
    said["rewrite"] = list(item.rewrites) or None
    said["flags"] = sorted(item.flags) or None
    said["comment"] = [item.note] if item.note else None
    return said


@pytest.mark.parametrize("stem", STUDIO)
@pytest.mark.parametrize("folder", ["pairwise", "full"])
def test_label_studio_pairs_come_in_with_rater_strength_ratings_and_rewrites(folder, stem):
    expected = read(f"label_studio/{folder}/expected.json")
    found = outcomes(one(f"label_studio/{folder}", stem))
    items = [each for each in found if not isinstance(each, Dropped)]
    names = ("outcome", "strength", "ratings", "rewrite", "flags", "comment")
    wanted = [{name: each.get(name) for name in ("rater", *names)} for each in expected["judgements"]]
    assert sorted_by_text(judgement(item, expected["raters"]) for item in items) == sorted_by_text(wanted)
    assert all(item.at and item.elapsed_ms and item.event_id for item in items)
    dropped = [each for each in expected["dropped"] if appears(each["reason"], stem)]
    assert len([each for each in found if isinstance(each, Dropped)]) == len(dropped)


def appears(reason, stem):
    """Whether a file holds what was dropped: rows have no skips, and tasks without an annotation are only in some files."""
    if reason.startswith("skipped"):
        return not stem.startswith(COLUMNS)
    if reason.startswith(("only a draft", "only a prediction", "untouched")):
        return stem.endswith("_all") or stem in ("snapshot_full", "api_tasks")
    return True


def sorted_by_text(rows):
    return sorted(rows, key=lambda row: json.dumps(row, sort_keys=True))


@pytest.mark.parametrize("stem", STUDIO)
def test_label_studio_rankings_come_in_by_the_ids_of_their_items(stem):
    expected = read("label_studio/ranker/expected.json")
    tasks = {task["data"]["source_id"]: task["data"] for task in read("label_studio/ranker/json_all.json")}
    found = [each for each in outcomes(one("label_studio/ranker", stem)) if not isinstance(each, Dropped)]
    wanted = []
    for each in expected["judgements"]:
        data = tasks[each["source_id"]]
        texts = {item["id"]: item["body"] for item in data["items"]}
        groups = [[texts[name] for name in group] for group in each.get("groups", [])]
        groups = groups or [[item["body"]] for item in data["items"][::-1]]  # "right" of two
        wanted.append({"prompt": data["prompt"], "rater": each["rater"], "groups": groups})
    items = [
        {
            "prompt": item.prompt[-1]["content"],
            "rater": expected["raters"].get(item.rater, item.rater.split("@")[0]),
            "groups": [[item.responses[at] for at in group] for group in item.groups],
        }
        for item in found
    ]
    assert sorted_by_text(items) == sorted_by_text(wanted)


def test_the_same_annotations_in_another_form_add_nothing(tmp_path):
    ws = Workspace.open(tmp_path / "w")
    first = importing.import_source(ws, str(one("label_studio/pairwise", "json")))
    assert (first.num_new + first.num_added, first.num_contrary) == (16, 0)
    for stem in STUDIO[1:]:
        again = importing.import_source(ws, str(one("label_studio/pairwise", stem)))
        assert (again.num_new, again.num_added, again.num_judged, again.num_corrected) == (0, 0, 0, 0), stem
    events = [event for row in stored.comparisons(ws) for event in row["events"]]
    assert len(events) == 16
    assert {event["rater"] for event in events} == {"1", "5", "6", "7"}
    assert all(event["judged_at"].startswith("2026-11-29T02:4") for event in events)


# Other vendors.


def test_scale_tasks_come_in_turn_by_turn():
    expected = read("scale/expected.json")["judgements"]
    for name in ("v2_tasks.json", "v2_tasks.jsonl"):
        found = outcomes(SHARED / "scale" / name)
        items = [each for each in found if not isinstance(each, Dropped)]
        assert [item.event_id.split("-")[1] for item in items] == [each["task"] for each in expected]
        ids = {"base": 0, "test": 1, "other": 2}
        for item, each in zip(items, expected, strict=True):
            check_scale(item, each, ids)
        assert [str(each) for each in found if isinstance(each, Dropped)] == [
            "pending, not completed",
            "reported as sensitive",
        ]


def check_scale(item, expected, ids):
    if ">" in expected["outcome"]:
        better, worse = (ids[word] for word in expected["outcome"].split(" > "))
        assert (item.kind, item.groups) == ("pair", ((better,), (worse,)))
    else:
        assert item.kind == expected["outcome"]
    assert item.strength == expected.get("strength")
    if "groups" in expected:
        assert [sorted(group) for group in item.groups] == [
            sorted(ids[name] for name in group) for group in expected["groups"]
        ]
    if "rewrite" in expected:
        assert item.rewrites == (expected["rewrite"],)
    if "response" in expected:
        assert item.responses[0] == expected["response"]
    if "system" in expected:
        assert item.prompt[0] == {"role": "system", "content": expected["system"]}
    assert item.rater.startswith("contrib_")


@pytest.mark.parametrize("name", ["tasks_api.json", "tasks_api_keys_are_question_texts.json"])
@pytest.mark.parametrize("has_questions", [False, True])
def test_surge_results_come_in_with_each_worker(tmp_path, name, has_questions):
    expected = read("surge/expected.json")["judgements"]
    shutil.copy(SHARED / "surge" / name, tmp_path)
    if has_questions:
        shutil.copy(SHARED / "surge" / "project_questions.json", tmp_path)
    found = outcomes(tmp_path)
    items = [each for each in found if not isinstance(each, Dropped)]
    assert [(item.rater, position(item), item.strength, list(item.rewrites)) for item in items] == [
        (each["rater"], each["outcome"], each.get("strength"), [each["rewrite"]] if "rewrite" in each else [])
        for each in expected
    ]
    assert [str(each) for each in found if isinstance(each, Dropped)] == ["nobody answered"]


def test_labelbox_annotations_join_their_data_rows(tmp_path):
    expected = read("labelbox/expected.json")["judgements"]
    for name in ("data_rows.json", "import_annotations.ndjson"):
        shutil.copy(SHARED / "labelbox" / name, tmp_path)
    shutil.make_archive(str(tmp_path.parent / "labelbox"), "zip", tmp_path)
    texts = {
        name: message["content"][0]["content"]
        for row in read("labelbox/data_rows.json")
        for name, message in row["row_data"]["messages"].items()
    }
    for source in (tmp_path, tmp_path.parent / "labelbox.zip"):
        items = [each for each in outcomes(source) if not isinstance(each, Dropped)]
        assert [item.event_id for item in items] == [f"labelbox-{each['row']}" for each in expected]
        for item, each in zip(items, expected, strict=True):
            if "groups" in each:
                wanted = [[texts[name] for name in group] for group in each["groups"]]
                assert [[item.responses[at] for at in group] for group in item.groups] == wanted
            else:
                assert item.kind == "both_bad"
            if "contradicts" in each.get("note", ""):
                assert item.warnings
        assert items[0].facts["strength"] == 3


@pytest.mark.parametrize("name", ["records.json", "records_flat.json", "hf_dataset.jsonl", "hf_dataset.parquet"])
def test_argilla_rankings_without_ranks_are_refused_and_what_is_sure_comes_in(name):
    found = outcomes(SHARED / "argilla" / name)
    items = {
        item.prompt[-1]["content"]: item
        for item in found
        if not isinstance(item, Dropped) and item.kind != "demonstration"
    }
    assert {text: (item.kind, item.groups) for text, item in items.items()} == {
        "All tied.": ("ranking", ((0, 1, 2),)),
        "Both bad: capital of Norway?": ("both_bad", ()),
    }
    reasons = [str(each) for each in found if isinstance(each, Dropped)]
    assert "nobody answered" in reasons
    assert ("a draft" in reasons) == ("discarded by the rater" in reasons) == (name != "records.json")


def test_argilla_1x_rankings_have_their_ranks():
    ((item,), _) = kept(SHARED / "argilla" / "feedback_1x_by_hand.json")
    assert (item.kind, item.groups) == ("ranking", ((0, 1), (2,)))


# Our own export.


def test_a_native_export_with_a_ranking_comes_back_to_equality(tmp_path):
    source = SHARED / "native" / "native_export_with_a_ranking.jsonl"
    ws = Workspace.open(tmp_path / "w")
    assert importing.import_source(ws, str(source)).num_new == 6
    before = [json.loads(line) for line in source.read_text(encoding="utf-8").splitlines()]
    after = [json.loads(line) for line in exporting.export_ratings(ws).read_text(encoding="utf-8").splitlines()]
    assert [subset(row, like) for row, like in zip(after, before, strict=True)] == before


def subset(row, like):
    """A row with only the keys of an older one: newer versions add some."""
    if isinstance(like, dict):
        return {name: subset(row[name], value) for name, value in like.items()}
    if isinstance(like, list) and isinstance(row, list):
        return [subset(one, other) for one, other in zip(row, like, strict=True)]
    return row
