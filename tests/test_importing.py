"""Import: what is recognised, what is kept, why rows are dropped, and that a refused file leaves nothing behind."""

import csv
import gzip
import importlib
import json
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from modules.model import hub
from studio.datasets import importing, starter
from studio.datasets.plan import Request
from studio.errors import ImportRefused
from studio.preferences import comparisons, prompts, ratings
from studio.workspace import Workspace
from tests.support import stored

SHARED = Path(__file__).parent.parent.parent / "shared" / "data"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="the real data in ../shared/data are not here")


@pytest.fixture
def ws(tmp_path):
    return Workspace.open(tmp_path / "workspace")


def jsonl(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def user(text):
    return {"role": "user", "content": text}


def assistant(text):
    return {"role": "assistant", "content": text}


PAIR = {"prompt": "Name a prime.", "chosen": "7", "rejected": "9"}


# Formats.


def test_hh_transcripts_split_into_the_shared_prompt_and_two_responses(tmp_path):
    start = "\n\nHuman: Hi\n\nAssistant: Hello.\n\nHuman: Name a prime.\n\nAssistant: "
    found = importing.preview(jsonl(tmp_path / "hh.jsonl", {"chosen": f"{start}7", "rejected": f"{start}9"}))
    assert (found.kind, found.format, found.num_kept) == ("preferences", "Anthropic HH transcripts", 1)
    example = found.examples[0]
    assert example["messages"] == [user("Hi"), assistant("Hello."), user("Name a prime.")]
    assert (example["chosen"], example["rejected"]) == ("7", "9")


@pytest.mark.parametrize(
    ("chosen", "rejected", "reason"),
    [
        ("\n\nHuman: A\n\nAssistant: x", "\n\nHuman: B\n\nAssistant: y", "prompts of the two sides differ"),
        (
            "\n\nHuman: A\n\nAssistant: x\n\nHuman: C\n\nAssistant: z",
            "\n\nHuman: A\n\nAssistant: y",
            "prompts of the two sides differ",
        ),
        ("\n\nHuman: A\n\nAssistant: ", "\n\nHuman: A\n\nAssistant: y", "empty response"),
        ("\n\nHuman: A\n\nAssistant: y", "\n\nHuman: A\n\nAssistant: y", "chosen and rejected are the same"),
        (
            "\n\nHuman: A\n\nAssistant: x\n\nHuman: B",
            "\n\nHuman: A\n\nAssistant: y\n\nHuman: B",
            "does not end with an assistant turn",
        ),
        ("\n\nHuman: A\n\nAssistant: x", "y", "text before the first turn"),
    ],
)
def test_a_transcript_that_does_not_fit_is_dropped_with_its_reason(tmp_path, chosen, rejected, reason):
    good = {"chosen": "\n\nHuman: A\n\nAssistant: 1", "rejected": "\n\nHuman: A\n\nAssistant: 2"}
    found = importing.preview(jsonl(tmp_path / "hh.jsonl", good, {"chosen": chosen, "rejected": rejected}))
    assert found.dropped == {reason: 1}
    assert (found.num_rows, found.num_kept) == (2, 1)


@pytest.mark.parametrize(
    "row",
    [
        PAIR,
        {"prompt": [user("Name a prime.")], "chosen": [assistant("7")], "rejected": [assistant("9")]},
        {"chosen": [user("Name a prime."), assistant("7")], "rejected": [user("Name a prime."), assistant("9")]},
        {"prompt": [user("Name a prime.")], "chosen": "7", "rejected": "9"},
        {"prompt": "Name a prime.", "chosen": [user("Name a prime."), assistant("7")], "rejected": [user("Name a prime."), assistant("9")]},
        {"prompt": "\n\nHuman: Name a prime.\n\nAssistant:", "chosen": " 7", "rejected": " 9"},
        {"chosen": "\n\nHuman: Name a prime.\n\nAssistant: 7", "rejected": "\n\nHuman: Name a prime.\n\nAssistant: 9"},
        {"chosen": "Name a prime. 7", "rejected": "Name a prime. 9"},
        {"prompt": "Name a prime.", "response_a": "7", "response_b": "9", "preference": "A"},
        {"prompt": "Name a prime.", "response_a": "9", "response_b": "7", "winner": "response_b"},
    ],
)  # fmt: skip
def test_each_way_of_writing_a_preference_gives_the_same_preference(tmp_path, row):
    example = importing.preview(jsonl(tmp_path / "pairs.jsonl", row)).examples[0]
    assert example["messages"] == [user("Name a prime.")]
    assert (example["chosen"], example["rejected"], example["outcome"]) == ("7", "9", "left")


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [user("Name a prime."), assistant("7")]},
        {"conversations": [{"from": "human", "value": "Name a prime."}, {"from": "gpt", "value": "7"}]},
        {"prompt": "Name a prime.", "response": "7"},
        {"prompt": "Name a prime.", "completion": "7", "label": True},
        {"prompt": [user("Name a prime.")], "completion": [assistant("7")]},
        {"instruction": "Name a prime.", "input": "", "output": "7"},
        {"messages": [user([{"type": "text", "text": "Name a prime."}]), assistant("7")]},
    ],
)
def test_each_way_of_writing_a_demonstration_gives_the_same_demonstration(tmp_path, row):
    found = importing.preview(jsonl(tmp_path / "demonstrations.jsonl", row))
    assert found.kind == "demonstrations"
    assert found.examples[0]["messages"] == [user("Name a prime.")]
    assert found.examples[0]["response"] == "7"


def test_an_alpaca_input_follows_its_instruction(tmp_path):
    row = {"instruction": "Translate.", "input": "cheval", "output": "horse"}
    example = importing.preview(jsonl(tmp_path / "alpaca.jsonl", row)).examples[0]
    assert example["messages"] == [user("Translate.\ncheval")]


@pytest.mark.parametrize("row", [{"prompt": "Name a prime."}, {"messages": [user("Name a prime.")]}])
def test_rows_without_a_response_are_prompts(tmp_path, row):
    found = importing.preview(jsonl(tmp_path / "prompts.jsonl", row))
    assert (found.kind, found.examples[0]["messages"]) == ("prompts", [user("Name a prime.")])


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"messages": [user("Hi"), assistant("Hello"), user("Bye")]}, "does not end with an assistant turn"),
        ({"messages": [user("Hi"), assistant("  ")]}, "empty response"),
        ({"messages": [user(""), assistant("Hello")]}, "empty turn"),
        ({"messages": [assistant("Hello")]}, "empty prompt"),
        (
            {"messages": [user("Hi"), assistant("Hello"), assistant("Hello?")]},
            "the prompt does not end with a user turn",
        ),
        ({"messages": [user("Hi"), {"role": "tool", "content": "x"}, assistant("Hello")]}, "a turn has the role tool"),
        ({"messages": [user("Hi"), {"role": "assistant", "content": [{"type": "image"}]}]}, "a turn is not text"),
        ({"messages": ["Hi", "Hello"]}, "a turn has no role"),
        ({"messages": []}, "no turns"),
        ({"messages": None}, "no turns"),
        ({"messages": [user("Hi"), assistant("\ud800")]}, "text is not valid Unicode"),
        ({"messages": [user("Good"), assistant("one")]}, "duplicate"),
    ],
)
def test_a_conversation_that_does_not_fit_is_dropped_with_its_reason(tmp_path, row, reason):
    good = {"messages": [user("Good"), assistant("one")]}
    assert importing.preview(jsonl(tmp_path / "chat.jsonl", good, row)).dropped == {reason: 1}


@pytest.mark.parametrize(
    ("extra", "reason"),
    [
        ({"chosen": "9", "rejected": "7"}, "the same pair with another preference came before"),
        ({}, "duplicate"),
        ({"chosen": "8", "strength": 4}, "strength is not 1, 2 or 3"),
        ({"chosen": "8", "margin": "much"}, "margin is not a number"),
        ({"prompt": " "}, "empty prompt"),
        ({"rejected": None}, "empty response"),
    ],
)
def test_a_preference_that_does_not_fit_is_dropped_with_its_reason(tmp_path, extra, reason):
    assert importing.preview(jsonl(tmp_path / "pairs.jsonl", PAIR, PAIR | extra)).dropped == {reason: 1}


def test_a_completion_labelled_as_bad_is_no_demonstration(tmp_path):
    rows = [{"prompt": "a", "completion": "b", "label": True}, {"prompt": "a", "completion": "c", "label": False}]
    assert importing.preview(jsonl(tmp_path / "kto.jsonl", *rows)).dropped == {"labelled as a bad response": 1}


def test_jsonl_gzip_json_csv_and_parquet_give_the_same_rows(tmp_path):
    rows = [PAIR, {"prompt": 'Say "hi",\nplease', "chosen": "Hi, there", "rejected": "no"}]
    jsonl(tmp_path / "a.jsonl", *rows)
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress((tmp_path / "a.jsonl").read_bytes()))
    (tmp_path / "a.json").write_text(json.dumps(rows))
    (tmp_path / "wrapped.json").write_text(json.dumps({"data": rows}))
    (tmp_path / "lines.json").write_text((tmp_path / "a.jsonl").read_text())
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    with (tmp_path / "a.csv").open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.DictWriter(file, list(PAIR))
        writer.writeheader()
        writer.writerows(rows)
    names = ("a.jsonl", "a.jsonl.gz", "a.json", "wrapped.json", "lines.json", "a.parquet", "a.csv")
    found = [importing.preview(str(tmp_path / name)).examples for name in names]
    assert len(found[0]) == 2
    assert all(examples == found[0] for examples in found)


def test_turns_in_a_csv_cell_are_read_from_their_json(tmp_path):
    with (tmp_path / "a.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["messages"], [json.dumps([user("Hi"), assistant("Hello")])]])
    assert importing.preview(str(tmp_path / "a.csv")).examples[0]["response"] == "Hello"


def test_a_saved_dataset_folder_is_read_with_its_splits(tmp_path, ws):
    datasets = importlib.import_module("datasets")
    parts = {
        "train": datasets.Dataset.from_list([PAIR]),
        "test": datasets.Dataset.from_list([PAIR | {"prompt": "Another one."}]),
    }
    datasets.DatasetDict(parts).save_to_disk(str(tmp_path / "saved"))
    assert importing.import_source(ws, str(tmp_path / "saved")).num_new == 2
    assert [row["split"] for row in stored.read(ws, prompts.list_prompts)] == ["train", "test"]


def test_a_folder_of_data_files_is_read_with_the_splits_in_their_names(tmp_path, ws):
    (tmp_path / "folder" / "data").mkdir(parents=True)
    jsonl(tmp_path / "folder" / "data" / "train-00000.jsonl", PAIR)
    jsonl(tmp_path / "folder" / "data" / "validation.jsonl", PAIR | {"prompt": "Another one."})
    (tmp_path / "folder" / "dataset_infos.json").write_text("{}")
    assert importing.import_source(ws, str(tmp_path / "folder")).num_new == 2
    assert [row["split"] for row in stored.read(ws, prompts.list_prompts)] == ["train", "validation"]


def test_a_hub_id_goes_to_load_dataset(monkeypatch, ws):
    datasets = importlib.import_module("datasets")
    asked = []

    def load_dataset(name, config):
        asked.append((name, config))
        return datasets.DatasetDict(train=datasets.Dataset.from_list([PAIR | {"score": 1.0}]))

    monkeypatch.setattr(hub, "is_reachable", lambda: True)
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    assert importing.import_source(ws, "owner/pairs:small").num_new == 1
    assert asked == [("owner/pairs", "small")]
    assert stored.read(ws, prompts.list_imports)[0]["source"] == "owner/pairs:small"


def test_a_hub_that_does_not_answer_is_asked_once_and_its_library_then_uses_what_it_has_stored(monkeypatch):
    datasets = importlib.import_module("datasets")
    huggingface_hub = importlib.import_module("huggingface_hub")
    asked = []

    class Session:
        def head(self, address, timeout):
            asked.append((address, timeout))
            raise ConnectionError("no network")

    def load_dataset(*_):
        offline = (datasets.config.HF_HUB_OFFLINE, huggingface_hub.constants.HF_HUB_OFFLINE)
        raise ConnectionError(f"not stored here, offline {offline}")

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.utils, "get_session", Session)
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(ImportRefused, match=r"not stored here, offline \(True, True\). Check the network"):
        importing.preview("owner/pairs")
    assert asked == [(huggingface_hub.constants.ENDPOINT, 5.0)]
    assert not huggingface_hub.constants.HF_HUB_OFFLINE, "the next one is asked again"


def test_an_unreachable_hub_is_a_clear_sentence(monkeypatch):
    datasets = importlib.import_module("datasets")

    def fail(*_):
        raise ConnectionError("Couldn't reach 'owner/pairs' on the Hub")

    monkeypatch.setattr(datasets, "load_dataset", fail)
    with pytest.raises(ImportRefused, match=r"no folder owner/pairs here.*could not be fetched.*Check the network"):
        importing.preview("owner/pairs")


# What an import stores.


def test_preferences_become_prompts_responses_comparisons_and_ratings(tmp_path, ws):
    rows = [
        PAIR | {"category": "maths", "split": "train", "strength": 3},
        {"prompt": "Name a colour.", "chosen": "Red", "rejected": "Cow", "split": "test", "margin": 0.33},
    ]
    result = importing.import_source(ws, jsonl(tmp_path / "pairs.jsonl", *rows))
    assert (result.num_rows, result.num_kept, result.num_new, result.dropped) == (2, 2, 2, {})
    assert [(row["category"], row["split"]) for row in stored.read(ws, prompts.list_prompts)] == [
        ("maths", "train"),
        ("", "test"),
    ]
    assert stored.read(ws, ratings.summary) | {"left": 2, "rated": 2, "import": 2, "person": 0} == stored.read(
        ws, ratings.summary
    )
    assert [event["strength"] for event in stored.read(ws, ratings.list_events)] == [3, 2]
    snapshot = stored.freeze(ws, ties="half", use_strength=False)
    trained = stored.training_rows(ws, snapshot.id)
    assert [(row["chosen"], row["rejected"], row["split"]) for row in trained] == [
        ("7", "9", "train"),
        ("Red", "Cow", "test"),
    ]
    assert stored.written(ws, comparisons.next_showing) is None


def test_labelled_pairs_bring_ties_and_pairs_that_are_still_to_be_rated(tmp_path, ws):
    pairs = [
        {"prompt": f"Question {number}", "response_a": "x", "response_b": "y", "preference": label}
        for number, label in enumerate(["tie", "both_bad", None, "b", "perhaps"])
    ]
    result = importing.import_source(ws, jsonl(tmp_path / "pairs.jsonl", *pairs))
    assert result.dropped == {"unknown preference 'perhaps'": 1}
    summary = stored.read(ws, ratings.summary)
    assert (summary["tie"], summary["both_bad"], summary["left"], summary["right"]) == (1, 1, 1, 0)
    showing = stored.written(ws, comparisons.next_showing)
    assert showing is not None
    assert showing.messages == [user("Question 2")]


def test_the_preview_and_the_import_count_the_same(tmp_path, ws):
    path = jsonl(tmp_path / "pairs.jsonl", PAIR, PAIR, PAIR | {"chosen": ""}, PAIR | {"chosen": "9"})
    looked, done = importing.preview(path), importing.import_source(ws, path)
    for name in ("source", "kind", "format", "num_rows", "num_kept", "dropped"):
        assert getattr(looked, name) == getattr(done, name)
    assert looked.num_kept + sum(looked.dropped.values()) == looked.num_rows
    assert stored.read(ws, prompts.list_imports)[0]["dropped"] == done.dropped


def test_the_same_file_a_second_time_adds_nothing_and_says_so(tmp_path, ws):
    path = jsonl(tmp_path / "pairs.jsonl", PAIR)
    first = importing.import_source(ws, path)
    again = importing.import_source(ws, path)
    assert (again.num_new, again.is_repeat, again.import_id) == (0, True, first.import_id)
    assert again.sentence == "pairs.jsonl was imported before as preferences; nothing was added."
    assert len(stored.read(ws, prompts.list_imports)) == 1


def test_rows_of_another_file_that_are_known_already_are_not_new(tmp_path, ws):
    importing.import_source(ws, jsonl(tmp_path / "one.jsonl", PAIR))
    result = importing.import_source(ws, jsonl(tmp_path / "two.jsonl", PAIR, PAIR | {"prompt": "Other"}))
    assert (result.num_kept, result.num_new) == (2, 1)
    assert "1 were already here" in result.sentence
    assert stored.read(ws, comparisons.counts)["comparisons"] == 2


def test_preferences_also_serve_as_demonstrations_and_as_prompts(tmp_path, ws):
    path = jsonl(tmp_path / "pairs.jsonl", PAIR)
    assert importing.import_source(ws, path, Request("prompts")).num_new == 1
    assert importing.import_source(ws, path, Request("demonstrations")).num_new == 1
    assert [found.response for found in stored.read(ws, prompts.list_demonstrations)] == ["7"]
    assert stored.read(ws, comparisons.counts)["comparisons"] == 0


def test_a_category_and_a_split_can_be_given_for_all_rows(tmp_path, ws):
    rows = [{"prompt": f"Question {number}", "response": "x", "split": "train"} for number in range(3)]
    importing.import_source(ws, jsonl(tmp_path / "d.jsonl", *rows), Request(category="quiz", split="test"))
    assert {(row["category"], row["split"]) for row in stored.read(ws, prompts.list_prompts)} == {("quiz", "test")}


# What is refused.


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("broken.jsonl", b'{"prompt": "a"}\n\n{"prompt": "b"\n{"prompt": "c"}\n', r"broken\.jsonl, line 3: broken JSON .*Expecting"),
        ("list.jsonl", b'{"prompt": "a"}\n[1]\n', r"list\.jsonl, line 2: holds a list where an object"),
        ("empty.jsonl", b"", r"empty\.jsonl is empty"),
        ("blank.jsonl", b"\n \n", r"blank\.jsonl holds no rows"),
        ("empty.json", b"[]", r"empty\.json holds no rows"),
        ("broken.json", b'[{"prompt": "a"},\n{"prompt": }]', r"broken\.json, line 2: broken JSON"),
        ("number.json", b"5", r"number\.json holds a number where a list"),
        ("latin.csv", "prompt\ncaf\xe9\n".encode("latin-1"), r"latin\.csv, line 2: the text is not UTF-8"),
        ("wide.csv", b"prompt\na,b\n", r"wide\.csv, line 2: has more cells than the header"),
        ("cut.jsonl.gz", gzip.compress(b'{"prompt": "a"}\n' * 99, mtime=0)[:-12], r"cut\.jsonl\.gz is not a whole gzip file"),
        ("cut.parquet", b"PAR1 and nothing more", r"cut\.parquet is not a whole Parquet file"),
        ("notes.txt", b"prompt", r"notes\.txt is not of a known type\. Known types: \.jsonl"),
        ("other.jsonl", b'{"question": "a", "answer": "b"}\n', r"has the columns question, answer\. Needed .*chosen and rejected"),
        ("bad.jsonl", b'{"messages": []}\n', r"No row of bad\.jsonl can be used as prompts; 1 dropped: empty prompt \(1\)"),
    ],
    ids=lambda value: value if isinstance(value, str) and " " not in value else "",
)  # fmt: skip
def test_a_bad_file_is_refused_as_a_whole_with_file_line_and_cause(tmp_path, ws, name, content, sentence):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ImportRefused, match=sentence):
        importing.import_source(ws, str(tmp_path / name))
    assert stored.read(ws, prompts.counts)["prompts"] == 0
    assert stored.read(ws, prompts.list_imports) == []


def test_demonstrations_cannot_be_read_as_preferences(tmp_path):
    path = jsonl(tmp_path / "d.jsonl", {"prompt": "a", "response": "b"})
    with pytest.raises(
        ImportRefused, match=r"has the columns prompt, response\. Needed for preferences: chosen and rejected"
    ):
        importing.preview(path, Request("preferences"))


def test_a_missing_file_is_refused_without_asking_the_hub(tmp_path):
    with pytest.raises(ImportRefused, match=r"There is no file or folder .*missing\.jsonl"):
        importing.preview(str(tmp_path / "missing.jsonl"))


def test_a_folder_of_two_kinds_is_refused(tmp_path):
    jsonl(tmp_path / "a.jsonl", PAIR)
    jsonl(tmp_path / "b.jsonl", {"prompt": "a", "response": "b"})
    with pytest.raises(
        ImportRefused, match=r"several kinds of data: a\.jsonl \(preferences\), b\.jsonl \(demonstrations\)"
    ):
        importing.preview(str(tmp_path))


@pytest.mark.parametrize("at", ["publish", "record_import"])
def test_an_import_that_fails_midway_leaves_nothing_behind(tmp_path, ws, monkeypatch, at):
    rows = [PAIR | {"prompt": f"Question {number}"} for number in range(5)]
    path = jsonl(tmp_path / "pairs.jsonl", *rows, rows[0] | {"rater": "zoe"})  # the last one is stored by itself

    def fail(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(ratings, at, fail)
    with pytest.raises(KeyboardInterrupt):
        importing.import_source(ws, path)
    assert (
        stored.read(ws, prompts.counts)["prompts"],
        stored.read(ws, comparisons.counts)["comparisons"],
        stored.read(ws, prompts.list_imports),
    ) == (
        0,
        0,
        [],
    )


def test_ten_thousand_preferences_come_in_within_seconds(tmp_path, ws):
    text = "a response of ordinary length, repeated a few times over; " * 8
    rows = ({"prompt": f"Question {n}", "chosen": f"{text}{n}", "rejected": f"{n}{text}"} for n in range(10_000))
    path = jsonl(tmp_path / "many.jsonl", *rows)
    started = time.process_time()
    assert importing.import_source(ws, path).num_new == 10_000
    assert time.process_time() - started < 25  # 3 to 4 s on a quiet machine, 16 at a load of 30


# The starter kit and real data.


def test_the_starter_kit_loads_once_with_splits_categories_and_references(ws):
    stored.written(ws, starter.load)
    before = stored.read(ws, prompts.counts)
    stored.written(ws, starter.load)
    assert stored.read(ws, prompts.counts) == before
    assert before["demonstrations_train"] > 100
    rows = stored.read(ws, prompts.list_prompts)
    assert {row["split"] for row in rows} == {"train", "validation", "test"}
    assert any(row["reference"] for row in rows)
    assert "story" in stored.read(ws, prompts.list_categories)


@needs_shared
def test_the_published_hh_file_keeps_exactly_the_rows_of_its_cleaned_version(ws):
    raw = importing.import_source(ws, str(SHARED / "prefs" / "hh_rlhf_helpful_base.raw.jsonl.gz"))
    assert (raw.num_rows, raw.num_new) == (2354, 2339)
    assert raw.dropped == {
        "prompts of the two sides differ": 9,
        "empty response": 4,
        "chosen and rejected are the same": 2,
    }
    for part, num_rows in (("train", 1997), ("test", 342)):
        cleaned = importing.import_source(ws, str(SHARED / "prefs" / f"hh_helpful_base.{part}.jsonl"))
        assert (cleaned.num_kept, cleaned.num_new) == (num_rows, 0)  # the same prompts, texts and choices


@needs_shared
@pytest.mark.parametrize(
    ("name", "kind", "num_kept"),
    [
        ("prefs/fgrlhf_qa.jsonl", "preferences", 2616),
        ("prefs/polite.train.jsonl", "preferences", 924),
        ("prefs/polite.test.jsonl", "preferences", 170),
        ("sft/oasst1_valid_en.jsonl", "demonstrations", 419),
        ("sft/rasbt_instruct_1100.jsonl", "demonstrations", 1100),
        ("sft/self_instruct_human.jsonl", "demonstrations", 427),
    ],
)
def test_the_real_files_are_recognised_and_kept_whole(name, kind, num_kept):
    found = importing.preview(str(SHARED / name))
    assert (found.kind, found.num_kept, found.dropped) == (kind, num_kept, {})
