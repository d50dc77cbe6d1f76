"""Ratings in the field's formats: what each carries is right, what it cannot is counted and told."""

import json
import re
from pathlib import Path

import pytest

from studio import cli
from studio.datasets import importing
from studio.errors import DataError, ExchangeError
from studio.exchange import hub, rating_formats, ratings_files, ratings_out, to_label
from studio.preferences import comparisons, prompts, ratings
from studio.preferences.judgements import Remarks
from studio.preferences.prompts import NewPrompt
from studio.workspace import Workspace
from tests.exchange.reading import kept
from tests.support import stored

SYSTEM = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello é 🐢?"}]
TURNS = [
    {"role": "user", "content": "First"},
    {"role": "assistant", "content": "Yes."},
    {"role": "user", "content": "Second"},
]


@pytest.fixture(scope="module")
def rated(tmp_path_factory):
    """A pair each: much better, worse, tie, both bad, skip, undone, with a system prompt, of turns; and two rankings."""
    ws = Workspace.open(tmp_path_factory.mktemp("rated") / "workspace")
    with ws.write() as db:
        for number in range(8):
            messages = {6: SYSTEM, 7: TURNS}.get(number, [{"role": "user", "content": f"Question {number}"}])
            prompt_id = prompts.add_prompt(db, NewPrompt(messages, f"kind {number % 2}", ("train", "test")[number % 2]))
            pair = [prompts.add_response(db, prompt_id, f"{side} {number}", "import") for side in ("one", "two")]
            comparisons.add_comparison(db, prompt_id, pair)
        for number in range(2):
            prompt_id = prompts.add_prompt(
                db, NewPrompt([{"role": "user", "content": f"Rank {number}"}], split="train")
            )
            three = [prompts.add_response(db, prompt_id, f"{place} {number}", "import") for place in "abc"]
            comparisons.add_comparison(db, prompt_id, three)
    for outcome in ("left", "right", "tie", "both_bad", "skip", "left", "left", "right"):
        showing = stored.written(ws, comparisons.next_showing)
        assert showing is not None
        is_first = showing.comparison_id == 1
        remarks = Remarks(note="fine", flags={"unsafe": [1]}) if is_first else Remarks()
        stored.written(
            ws, ratings.record, showing.id, outcome, strength=3 if is_first else None, remarks=remarks, elapsed_ms=900
        )
        if showing.comparison_id == 6:
            stored.undone(ws)
            stored.written(ws, ratings.record, showing.id, "skip")
    for ranks in ([2, 1, 3], [1, 1, 2]):
        showing = stored.written(ws, comparisons.next_showing)
        assert showing is not None
        stored.written(ws, ratings.record, showing.id, "ranking", ranks=ranks, elapsed_ms=4000)
    return ws


def read(path):
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return json.loads(path.read_text(encoding="utf-8"))


def by_outcome(ws):
    return {row["comparison_id"]: row for row in stored.preferences(ws)}


def texts(row):
    return (row["left"], row["right"]) if row["outcome"] == "left" else (row["right"], row["left"])


def test_trl_has_the_decided_pairs_and_counts_the_rest(rated):
    exported = ratings_out.export(rated, "trl")
    rows, here = read(exported.path), by_outcome(rated)
    assert [(row["chosen"][0]["content"], row["rejected"][0]["content"]) for row in rows] == [
        texts(here[number]) for number in (1, 2, 7, 8)
    ]
    assert rows[0]["strength"] == 3
    assert "margin" not in rows[0]
    loss = read(ratings_out.loss_file(exported.path))
    assert loss == exported.loss
    assert loss["rows"] == exported.num == 4
    assert loss["rows_dropped"] == {"tie": 1, "both_bad": 1, "skip": 2, "ranking": 2, "unrated": 0}
    assert loss["facts_dropped"]["order on the screen"] == 4
    assert loss["facts_dropped"]["time taken"] == 4
    assert loss["facts_dropped"]["note"] == 1
    assert loss["facts_dropped"]["flags"] == 1
    assert "scales" not in loss["facts_dropped"]
    assert loss["facts_dropped"]["events undone or superseded"] == 2
    assert "Left out: tie (1), both bad (1), skip (2), ranking (2)." in exported.sentence


def test_hh_writes_transcripts_and_leaves_out_what_they_cannot_hold(rated):
    exported = ratings_out.export(rated, "hh")
    rows = read(exported.path)
    better, worse = texts(by_outcome(rated)[8])
    before = "\n\nHuman: First\n\nAssistant: Yes.\n\nHuman: Second\n\nAssistant: "
    assert rows[-1] == {"chosen": before + better, "rejected": before + worse}
    assert exported.loss["rows_dropped"]["system prompt"] == 1
    row = {"messages": [{"role": "user", "content": "Say:\n\nHuman: no"}], "texts": ["a", "b"], "outcome": "left"}
    with pytest.raises(rating_formats.Left, match="turn marker"):
        rating_formats.hh(row)


def test_openai_has_the_input_and_both_outputs(rated):
    rows = read(ratings_out.export(rated, "openai").path)
    better, worse = texts(by_outcome(rated)[7])
    assert rows[2] == {
        "input": {"messages": SYSTEM, "tools": [], "parallel_tool_calls": True},
        "preferred_output": [{"role": "assistant", "content": better}],
        "non_preferred_output": [{"role": "assistant", "content": worse}],
    }


def test_arena_keeps_sides_ties_and_raters(rated):
    exported = ratings_out.export(rated, "arena")
    rows = read(exported.path)
    assert [row["winner"] for row in rows] == ["model_a", "model_b", "tie", "tie (bothbad)", "model_a", "model_b"]
    here = by_outcome(rated)[1]
    assert rows[0]["conversation_a"][-1] == {"role": "assistant", "content": here["left"]}
    assert (rows[0]["judge"], rows[-1]["turn"]) == ("person", 2)
    assert exported.loss["rows_dropped"] == {"skip": 2, "ranking": 2, "unrated": 0}
    assert "order on the screen" not in exported.loss["facts_dropped"]
    assert exported.loss["facts_dropped"]["strength"] == 1


def test_ultrafeedback_rates_by_place_and_equal_places_alike(rated):
    exported = ratings_out.export(rated, "ultrafeedback")
    rows = {row["instruction"]: row for row in read(exported.path)}
    ratings_of = {
        name: {each["response"]: each["annotations"]["preference"]["Rating"] for each in row["completions"]}
        for name, row in rows.items()
    }
    for name in ("Rank 0", "Rank 1"):
        here = next(row for row in by_outcome(rated).values() if row["messages"][0]["content"] == name)
        highest = max(here["ranks"])
        assert ratings_of[name] == {
            text: str(highest + 1 - rank) for text, rank in zip(here["texts"], here["ranks"], strict=True)
        }
    assert set(ratings_of["Rank 1"].values()) == {"1", "2"}
    assert set(ratings_of["Question 2"].values()) == {"1"}
    assert exported.loss["rows_dropped"]["several turns or a system prompt"] == 2


def test_argilla_has_verdict_strength_note_and_ranks(rated):
    rows = read(ratings_out.export(rated, "argilla").path)
    values = [{name: given[0]["value"] for name, given in row["responses"].items()} for row in rows]
    assert values[0] == {"preference": "response-1", "strength": "much better", "note": "fine"}
    assert [value.get("preference") for value in values[1:4]] == ["response-2", "tie", "both bad"]
    assert values[-1]["ranking"] == [
        {"value": "response-1", "rank": 1}, {"value": "response-2", "rank": 1}, {"value": "response-3", "rank": 2}
    ]  # fmt: skip


def test_label_studio_has_an_annotation_for_each_pair_and_the_configuration_next_to_it(rated):
    exported = ratings_out.export(rated, "label-studio")
    rows = read(exported.path)
    first = {part["from_name"]: part["value"] for part in rows[0]["annotations"][0]["result"]}
    assert first == {
        "comparison": {"selected": "left"}, "strength": {"choices": ["much better"]}, "note": {"text": ["fine"]}
    }  # fmt: skip
    assert rows[0]["annotations"][0]["lead_time"] == 0.9
    assert [part["value"] for part in rows[2]["annotations"][0]["result"]] == [{"choices": ["tie"]}]
    assert exported.path.with_suffix(".xml").exists()
    rankings = ratings_out.export(rated, "label-studio-rankings")
    (ranked,) = read(rankings.path)
    assert ranked["annotations"][0]["result"][0]["value"]["ranker"] == {"rank": ["2", "1", "3"]}
    assert rankings.loss["rows_dropped"]["ranking with ties"] == 1


def test_parquet_has_every_judgement_with_every_column(rated):
    from pyarrow import parquet

    exported = ratings_out.export(rated, "parquet")
    rows = parquet.read_table(exported.path).to_pylist()
    assert [row["outcome"] for row in rows] == [row["outcome"] for row in stored.preferences(rated)]
    assert rows[0]["strength"] == 3
    assert json.loads(rows[0]["flags"]) == {"unsafe": [1]}
    assert rows[-1]["ranks"] == [1, 1, 2]
    assert rows[7]["messages"] == TURNS
    assert set(exported.loss["rows_dropped"].values()) == {0}


def test_a_datasets_folder_has_a_data_set_for_each_split(rated):
    import datasets

    exported = ratings_out.export(rated, "datasets")
    found = datasets.load_from_disk(str(exported.path))
    assert {str(name): len(rows) for name, rows in found.items()} == {"train": 2, "test": 2}
    assert found["train"][0]["strength"] == 3
    assert ratings_out.loss_file(exported.path).name == "preferences-dataset.loss.json"


@pytest.mark.parametrize("name", ["preferences-dataset", "ratings.parquet"])
def test_a_million_rows_need_no_more_memory_than_some_thousand(tmp_path, name):
    import tracemalloc

    def row(at):
        turn = [{"role": "user", "content": f"{at} {'x' * 2000}"}]
        return {"prompt": turn, "chosen": turn, "rejected": turn, "split": ("train", "test")[at % 2]}

    def flat(at):
        return {"uuid": f"{at} {'x' * 2000}", "messages": row(at)["prompt"]}

    make = row if name.endswith("dataset") else flat
    ratings_files.write(tmp_path / f"warm-{name}", map(make, range(10)))
    tracemalloc.start()
    ratings_files.write(tmp_path / name, map(make, range(12_000)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20_000_000  # of 50 to 75 MB of texts
    assert not list(tmp_path.glob(".rows-*"))


def test_our_own_table_comes_back_with_its_flags_and_scales_and_adds_nothing_where_it_came_from(rated, tmp_path):
    exported = ratings_out.export(rated, "parquet")
    here = importing.import_source(rated, str(exported.path))
    assert (here.num_new, here.num_added, here.num_corrected, here.dropped) == (0, 0, 0, {"skipped": 2})
    other = Workspace.open(tmp_path / "other")
    there = importing.import_source(other, str(exported.path))
    assert (there.format, there.num_new) == ("the studio's own table of ratings", 8)
    first = by_outcome(other)[1]
    assert (first["strength"], first["note"], first["flags"], first["elapsed_ms"]) == (3, "fine", {"unsafe": [1]}, 900)
    table = tmp_path / "a.jsonl"
    row = {
        "comparison_id": 1,
        "outcome": "both_bad",
        "responses": ["x", "y", "z"],
        "messages": TURNS,
        "rater": "zoe",
        "attributes": '{"helpful": [1, 7, 3]}',
    }
    broken = [
        row | {"outcome": "ranking", "ranks": [1]},
        row | {"outcome": "left"},
        row | {"responses": None},
        row | {"messages": []},
    ]
    table.write_text("".join(json.dumps(each) + "\n" for each in (row, *broken)))
    (item,), tally = kept(table)
    assert (item.kind, item.rater, item.scores) == ("both_bad", "zoe", {"helpful": (1, 7, 3)})
    assert sum(tally.dropped.values()) == 4


@pytest.mark.parametrize("form", ["trl", "hh", "openai"])
def test_export_import_export_is_a_fixed_point(rated, tmp_path, form):
    first = ratings_out.export(rated, form)
    other = Workspace.open(tmp_path / "other")
    assert importing.import_source(other, str(first.path)).dropped == {}
    assert ratings_out.export(other, form).path.read_bytes() == first.path.read_bytes()


@pytest.mark.parametrize("form", rating_formats.FORMATS)
def test_each_judgement_that_a_format_holds_comes_back_as_it_was(rated, tmp_path, form):
    exported = ratings_out.export(rated, form)
    other = Workspace.open(tmp_path / "other")
    importing.import_source(other, str(exported.path))
    assert verdicts(other) == {
        name: verdict for name, verdict in verdicts(rated).items() if is_held(form, name, verdict[0])
    }


def verdicts(ws):
    """What each prompt's judgement says: its kind, and the texts from best to worst, equal ones together."""
    found = {}
    for row in stored.preferences(ws):
        ranks = row["ranks"] or {"left": [1, 2], "right": [2, 1]}.get(row["outcome"], [1, 1])
        order = [
            sorted(t for t, r in zip(row["texts"], ranks, strict=True) if r == place) for place in sorted(set(ranks))
        ]
        kind = "pair" if row["outcome"] in ("left", "right") else row["outcome"]
        found[row["messages"][-1]["content"]] = (kind, order)
    return found


def is_held(form, name, kind):
    held = rating_formats.FORMATS[form].outcomes
    is_left_out = {
        "hh": name.startswith("Hello"),
        "ultrafeedback": name in ("Second", "Hello é 🐢?"),
        "label-studio-rankings": name == "Rank 1",
    }
    held = held - {"skip"}  # which is no judgement of a pair, and stays where it was said
    return (kind in held or (kind == "pair" and "left" in held)) and not is_left_out.get(form)


def test_where_a_format_can_hold_nothing_no_file_appears(tmp_path):
    ws = Workspace.open(tmp_path / "workspace")
    for form in rating_formats.FORMATS:
        with pytest.raises(DataError, match="There are no preferences"):
            ratings_out.export(ws, form)
    assert list(ws.exports.iterdir()) == []


@pytest.mark.parametrize("form", rating_formats.FORMATS)
def test_the_terminal_writes_each_format_and_tells_the_loss(rated, capsys, form):
    assert cli.main(["export", "ratings", "--format", form, "--workspace", str(rated.root)]) == 0
    said = capsys.readouterr().out
    assert "Not carried: " in said
    assert rating_formats.FORMATS[form].file in said


def test_the_hub_gets_a_private_data_set_with_a_card_and_only_when_asked(rated, monkeypatch, capsys):
    import huggingface_hub

    calls = []

    class Hub:
        def create_repo(self, name, **more):
            calls.append((name, more))

        def upload_folder(self, **more):
            calls.append(
                (more["repo_id"], sorted(path.name for path in rated.exports.joinpath("hub-prefs").rglob("*")))
            )

    monkeypatch.setattr(huggingface_hub, "HfApi", Hub)
    ratings_out.export(rated, "datasets")
    assert calls == []
    assert cli.main(["export", "ratings", "--push-to-hub", "me/prefs", "--workspace", str(rated.root)]) == 0
    assert "on the hub as me/prefs (private)" in capsys.readouterr().out
    assert calls[0] == ("me/prefs", {"repo_type": "dataset", "private": True, "exist_ok": True})
    assert calls[1][1] == ["README.md", "data", "preferences.loss.json", "test.parquet", "train.parquet"]
    card = (rated.exports / "hub-prefs" / "README.md").read_text()
    assert "| ranking | 2 |" in card
    assert "path: data/train.parquet" in card


def test_the_hubs_refusal_is_a_sentence_and_the_files_stay(rated, monkeypatch):
    import huggingface_hub

    class Hub:
        def create_repo(self, name, **more):
            raise OSError("no connection for hf_abcdefghijklmnopqrstuvwxyz")

    monkeypatch.setattr(huggingface_hub, "HfApi", Hub)
    with pytest.raises(ExchangeError, match=r"did not take me/prefs: no connection for \[hidden\]"):
        hub.push(rated, "me/prefs")
    with pytest.raises(DataError, match="OWNER/NAME"):
        hub.push(rated, "no name")


def test_the_readme_tells_of_each_format_what_it_holds_and_what_it_loses():
    text = (Path(importing.__file__).parent / "README.md").read_text(encoding="utf-8")
    words = {
        "left": "pairs",
        "right": "pairs",
        "tie": "ties",
        "both_bad": "both bad",
        "ranking": "rankings",
        "skip": "skips",
    }
    told = {}
    for name, held, lost in re.findall(r"^\| `([\w-]+)` \| ([^|]+) \| ([^|]+) \|$", text, flags=re.M):
        told[name] = (set(held.split(", ")), set(lost.split(", ")) - {"nothing"})
    assert told == {
        name: ({words[outcome] for outcome in form.outcomes}, set(rating_formats.FACTS) - form.facts)
        for name, form in rating_formats.FORMATS.items()
    }
    outward = [row.split("|")[3] for row in text.split("### What is lost")[0].splitlines() if row.count("|") == 6]
    assert set(re.findall(r"`([\w-]+)`", " ".join(outward))) == set(rating_formats.FORMATS)
    assert sum("tasks" in cell for cell in outward) == len(to_label.FORMATS)
