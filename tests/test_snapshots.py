"""Snapshots, the archive, the history: what was rated is frozen by a recipe, carried elsewhere whole, found again and corrected."""

import json
import sqlite3
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pytest

from modules.config import (
    DPOConfig,
    EvaluateConfig,
    PPOConfig,
    RewardConfig,
    SampleConfig,
    SFTConfig,
    categories,
    listed,
)
from studio import workspace
from studio.annotation import history, predictions, sessions
from studio.annotation.history import Filter
from studio.annotation.session_config import SessionConfig
from studio.cli import main
from studio.database import connection
from studio.datasets import archive
from studio.datasets.untrusted_rows import as_archived
from studio.errors import DataError, ImportRefused, RatingError, RunError
from studio.evaluation import results
from studio.evaluation.results import Result, Subject
from studio.files import folders
from studio.models import checkpoints
from studio.preferences import comparisons, judgements, prompts, ratings, snapshot_changes, snapshots, undo, unseen
from studio.preferences.judgements import Remarks
from studio.preferences.prompts import NewPrompt
from studio.preferences.snapshots import Recipe
from studio.runs import memory_fit, prepare, runs
from studio.workspace import Workspace, now
from tests.support import curves, stored
from tests.ui import filling


@pytest.fixture
def ws(tmp_path):
    return Workspace.open(tmp_path / "workspace")


def add(ws, number, texts=("one", "two"), category="", split="train"):
    """A comparison of imported answers; returns its id."""
    with ws.write() as db:
        new = NewPrompt([{"role": "user", "content": f"Question {number}"}], category, split)
        prompt_id = prompts.add_prompt(db, new)
        ids = [prompts.add_response(db, prompt_id, f"{text} {number}", "import") for text in texts]
        found = comparisons.add_comparison(db, prompt_id, ids)
    assert found is not None
    return found


def rate(ws, outcome, **facts):
    showing = stored.written(ws, comparisons.next_showing)
    assert showing is not None
    return stored.written(ws, ratings.record, showing.id, outcome, **facts)


def rate_for(ws, winner, strength=None):
    """A vote for the answer that begins so, wherever it stands."""
    showing = stored.written(ws, comparisons.next_showing)
    assert showing is not None
    return stored.written(
        ws, ratings.record, showing.id, "left" if showing.left.startswith(winner) else "right", strength=strength
    )


def rank(ws, order):
    """A ranking by the first word of each answer; `order` is word to rank."""
    showing = stored.written(ws, comparisons.next_showing)
    assert showing is not None
    return stored.written(
        ws, ratings.record, showing.id, "ranking", ranks=[order[text.split()[0]] for text in showing.texts]
    )


def freeze(ws, **recipe):
    return stored.training_rows(ws, stored.freeze(ws, Recipe(**recipe)).id)


# Recipes.


def test_a_ranking_becomes_all_its_pairs_with_weights_that_sum_to_one(ws):
    add(ws, 0, ("a", "b", "c", "d"))
    rank(ws, {"a": 2, "b": 1, "c": 3, "d": 3})
    rows = freeze(ws)
    assert [(row["chosen"][0], row["rejected"][0], row["target_p"]) for row in rows] == [
        ("b", "a", 1.0), ("a", "c", 1.0), ("a", "d", 1.0), ("b", "c", 1.0), ("b", "d", 1.0), ("c", "d", 0.5)
    ]  # fmt: skip
    assert [row["weight"] for row in rows] == [pytest.approx(1 / 6)] * 6
    without = freeze(ws, ties="drop")
    assert len(without) == 5
    assert {row["weight"] for row in without} == {1 / 6}, "the pair that is left out counts on"


def test_a_ranking_gives_the_same_snapshot_in_whatever_order_it_stood_on_the_screen(tmp_path):
    found = set()
    for number, order in enumerate(((0, 1, 2, 3), (3, 2, 1, 0), (2, 0, 3, 1))):
        ws = Workspace.open(tmp_path / str(number))
        add(ws, 0, ("a", "b", "c", "d"))
        with ws.write() as db:
            ids = [1 + place for place in order]
            db.execute(
                "INSERT INTO showings (comparison_id, left_response_id, right_response_id, response_ids, seed, rater, created_at)"
                " VALUES (1, ?, ?, ?, 0, 'person', '')",
                [*ids[:2], json.dumps(ids)],
            )
        rank(ws, {"a": 1, "b": 2, "c": 2, "d": 4})
        with ws.read() as db:
            shown = next(db.query("SELECT response_ids FROM showings"))["response_ids"]
        found.add((shown, stored.freeze(ws).sha256))
    assert len(found) == 3, "the orders were to differ"
    assert len({sha256 for _, sha256 in found}) == 1


def test_a_category_with_a_comma_is_asked_for_in_quotes(ws):
    for number, name in enumerate(("poems, short", "poems", "facts")):
        add(ws, number, category=name)
        rate(ws, "left")
    assert len(freeze(ws, categories='"poems, short", facts')) == 2
    assert {row["category"] for row in freeze(ws, categories='"poems, short"')} == {"poems, short"}
    assert Recipe(categories=' facts ,"poems, short"').categories == 'facts,"poems, short"'
    assert Recipe(categories="b, a,").categories == "a,b"
    for names in ({"a", "b"}, {"a, b", 'say "no"', "c"}, {'"'}, set()):
        assert categories(listed(names)) == names


def test_a_recipe_chooses_by_strength_date_and_category(ws):
    for number, (category, strength) in enumerate((("sum", 1), ("sum", 2), ("why", 3), ("why", None))):
        add(ws, number, category=category)
        rate_for(ws, "one", strength)
    assert len(freeze(ws)) == 4
    assert [row["strength"] for row in freeze(ws, weak="drop")] == [2, 3, None]
    assert {row["category"] for row in freeze(ws, categories=" why ")} == {"why"}
    today = stored.read(ws, ratings.list_events)[0]["created_at"][:10]
    assert len(freeze(ws, since=today, until=today)) == 4
    with pytest.raises(DataError, match="No rating fits the recipe"):
        freeze(ws, since="2999-01-01")
    with pytest.raises(ValueError, match="is not a day"):
        Recipe(until="yesterday")


def test_repeats_of_a_session_never_enter_unless_the_recipe_says_so(ws):
    for number in range(30):
        add(ws, number)
    stored.written(ws, sessions.start, SessionConfig(target=30, block_size=100, repeat_share=0.3))
    while showing := stored.written(ws, sessions.next_showing):
        stored.written(ws, ratings.record, showing.id, "left" if showing.left.startswith("one") else "right")
    with ws.read() as db:
        repeats = next(db.query("SELECT count(*) AS n FROM session_items WHERE arm = 'repeat'"))["n"]
    assert repeats >= 5
    assert len(freeze(ws)) == 30 - repeats
    assert len(freeze(ws, repeats="keep")) == 30
    assert len(stored.preferences(ws)) == 30 - repeats, "nor the export for TRL"


def test_what_a_model_has_not_seen_is_what_would_be_trained_on_and_a_note_is_no_news(ws):
    for number in range(3):
        add(ws, number)
    before = [rate_for(ws, "one"), rate_for(ws, "one", strength=1), rate(ws, "tie")]
    when = now()
    count = partial(stored.read, ws, unseen.count)
    assert count(Recipe(), when) == 0
    stored.written(ws, ratings.annotate, before[0].id, Remarks(note="Both are short."))
    assert count(Recipe(), when) == 0
    stored.written(ws, ratings.correct, before[1].id, before[1].outcome, strength=3)
    assert count(Recipe(), when) == 1

    for number, split in enumerate(("train", "train", "train", "test"), 3):
        add(ws, number, split=split)
    rate(ws, "skip", reason="cannot judge")
    rate(ws, "tie")
    rate_for(ws, "two", strength=1)
    rate_for(ws, "two")  # of a held-out prompt: it measures, and trains nothing
    assert count(Recipe(), when) == 3
    assert count(Recipe(ties="drop"), when) == 2
    assert count(Recipe(ties="drop", weak="drop"), when) == 1
    assert count(Recipe(), now()) == 0


def test_a_snapshot_by_a_recipe_of_another_version_says_so_and_what_is_not_known(ws):
    add(ws, 0)
    rate(ws, "left")
    later = replace(stored.freeze(ws), recipe='{"ties": "half", "gone": 1}')
    with pytest.raises(DataError, match=r"snapshot-1 was made by another version.*gone"):
        snapshots.recipe_behind(later)


def test_the_ratings_a_model_was_made_from_are_counted_up_to_a_number(ws):
    add(ws, 0, ("a", "b", "c"))
    add(ws, 1)
    add(ws, 2, split="test")
    rank(ws, {"a": 1, "b": 2, "c": 3})
    rate(ws, "left")
    rate(ws, "left")
    snapshot = stored.freeze(ws)
    assert snapshot.row_count == 5
    assert stored.read(ws, unseen.count_frozen, snapshot.id, 50) == 3
    assert stored.read(ws, unseen.count_frozen, snapshot.id, 1) == 1


def test_the_old_recipes_are_described_and_hashed_as_before():
    assert Recipe().describe() == {"ties": "half", "use_strength": False}
    assert Recipe(use_strength=True, strength_as="soft_label").describe() == {
        "ties": "half",
        "use_strength": "soft_label",
    }
    assert Recipe(strength_as="soft_label").describe() == Recipe().describe()
    assert Recipe(categories="b, a").describe() == {"ties": "half", "use_strength": False, "categories": "a,b"}


def test_two_snapshots_are_compared_pair_by_pair(ws):
    for number, strength in enumerate((1, 3, None)):
        add(ws, number)
        rate_for(ws, "one", strength)
    first = stored.freeze(ws)
    stored.written(ws, ratings.correct, 1, "tie")
    add(ws, 3)
    rate_for(ws, "two")
    second = stored.freeze(ws, Recipe(use_strength=True))
    found = stored.read(ws, snapshot_changes.compare, first.name, second.sha256[:8])
    assert found.recipe == {"use_strength": (False, True)}
    assert (found.num_same, len(found.changed), found.only_first) == (1, 2, [])
    assert [row["prompt"] for row in found.only_second] == ["Question 3"]
    assert [(a["target_p"], b["target_p"]) for a, b in found.changed] == [(1.0, 0.5), (1.0, 1.0)]
    assert stored.read(ws, snapshot_changes.compare, first.id, first.id).num_same == 3
    with pytest.raises(DataError, match="There is no snapshot 'snapshot-9'|There is no snapshot 9"):
        stored.read(ws, snapshots.get, "snapshot-9")


def test_a_reward_run_says_which_snapshot_it_trains_on_and_can_be_given_an_older_one(ws):
    for number in range(4):
        add(ws, number)
        rate_for(ws, "one")
    stored.written(ws, prompts.add_demonstration, [{"role": "user", "content": "Hi"}], "Hello.")
    filling.add_checkpoint(ws, filling.add_run(ws, SFTConfig()))
    old = runs.create(ws, RewardConfig())
    assert (old.config.snapshot, old.snapshot_id) == ("snapshot-1", 1)
    add(ws, 4)
    rate_for(ws, "two")
    assert runs.create(ws, RewardConfig()).config.snapshot == "snapshot-2"
    again = prepare.resolve(ws, RewardConfig(snapshot="snapshot-1"))
    assert again.rows["train"] == runs.read_rows(ws, old.name, "train")
    with pytest.raises(DataError, match="is not a day"):
        prepare.resolve(ws, RewardConfig(rated_since="soon"))


def test_a_look_before_the_start_or_a_refused_start_leaves_nothing_behind_in_the_database(ws):
    stored.written(ws, prompts.add_demonstration, [{"role": "user", "content": "Hi"}], "Hello.")
    sft = stored.read(ws, checkpoints.get, filling.add_checkpoint(ws, filling.add_run(ws, SFTConfig())))
    sft.folder.mkdir(parents=True, exist_ok=True)
    (sft.folder / "meta.json").write_text('{"chat_template": "plain"}')
    add(ws, 0, split="test")
    rate_for(ws, "one")
    before = whole(ws)
    for ask in (prepare.resolve, runs.create):
        with pytest.raises(DataError, match="belong to held-out prompts"):
            ask(ws, RewardConfig())
    assert whole(ws) == before
    for number, texts in enumerate([("one", "two"), ("one", "two", "three")], start=1):
        add(ws, number, texts)
    rate_for(ws, "two", strength=2)
    rank(ws, {"one": 1, "two": 2, "three": 2})
    before = whole(ws)
    seen = prepare.resolve(ws, RewardConfig(use_strength=True))
    stored.read(ws, memory_fit.fit, seen)
    assert whole(ws) == before
    assert (seen.config.snapshot, seen.snapshot_id) == ("", None)
    with ws.write() as db:
        kept = prepare.freeze(db, seen)
    assert kept.rows == seen.rows
    assert kept.config.snapshot == "snapshot-1"


def test_what_a_stage_would_train_on_is_read_with_the_database_opened_once(ws, monkeypatch):
    add(ws, 0)
    rate_for(ws, "one")
    stored.written(ws, prompts.add_demonstration, [{"role": "user", "content": "Hi"}], "Hello.")
    filling.add_checkpoint(ws, filling.add_run(ws, SFTConfig()))
    filling.add_checkpoint(ws, runs.create(ws, RewardConfig()))
    opened = []

    def connect(*given, **named):
        opened.append(given)
        return connection.connect(*given, **named)

    monkeypatch.setattr(workspace, "connection", SimpleNamespace(**vars(connection) | {"connect": connect}))
    for config in (SFTConfig(), RewardConfig(), DPOConfig(), PPOConfig(), SampleConfig(), EvaluateConfig()):
        opened.clear()
        prepare.resolve(ws, config)
        assert len(opened) == 1, type(config).__name__


def test_a_reward_run_whose_folder_cannot_be_written_leaves_no_snapshot_behind(ws, monkeypatch):
    stored.written(ws, prompts.add_demonstration, [{"role": "user", "content": "Hi"}], "Hello.")
    filling.add_checkpoint(ws, filling.add_run(ws, SFTConfig()))
    add(ws, 0)
    rate_for(ws, "one")
    before = whole(ws)
    with monkeypatch.context() as patch:
        patch.setattr(folders, "make_run", lambda *given: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises(RunError, match="No space left on device"):
            runs.create(ws, RewardConfig())
    assert whole(ws) == before
    assert runs.create(ws, RewardConfig()).snapshot_id == 1


def test_a_run_trains_on_the_ratings_that_count_when_it_is_made_not_when_it_was_looked_at(ws):
    stored.written(ws, prompts.add_demonstration, [{"role": "user", "content": "Hi"}], "Hello.")
    filling.add_checkpoint(ws, filling.add_run(ws, SFTConfig()))
    add(ws, 0)
    rate_for(ws, "one")
    seen = prepare.resolve(ws, RewardConfig())
    add(ws, 1)
    rate_for(ws, "two")
    run = runs.create_prepared(ws, seen)
    assert run.config.snapshot == "snapshot-1"
    assert runs.read_rows(ws, run.name, "train") == stored.training_rows(ws, 1)
    assert len(stored.training_rows(ws, 1)) == 2


def whole(ws):
    return stored.tables(ws)


def test_how_a_response_ended_goes_with_it_into_the_rows_of_a_reward_model(ws):
    stored.written(ws, prompts.add_demonstration, [{"role": "user", "content": "Hi"}], "Hello.")
    name = filling.add_checkpoint(ws, filling.add_run(ws, SFTConfig()))
    with ws.write() as db:
        prompt_id = prompts.add_prompt(db, NewPrompt([{"role": "user", "content": "Count"}], "", "train"))
        checkpoint_id = next(db.query("SELECT id FROM checkpoints WHERE name = ?", [name]))["id"]
        made = {"checkpoint_id": checkpoint_id, "sampling": "{}"}
        cut = prompts.add_response(db, prompt_id, "one two", "sample", end_reason="length", **made)
        whole = prompts.add_response(db, prompt_id, "two.", "sample", end_reason="eos", **made)
        written = prompts.add_response(db, prompt_id, "three", "import")
        comparisons.add_comparison(db, prompt_id, [cut, whole, written])
    rank(ws, {"one": 1, "two.": 2, "three": 3})
    ends = {row[side]: row[f"{side}_end_reason"] for row in freeze(ws) for side in ("chosen", "rejected")}
    assert ends == {"one two": "length", "two.": "eos", "three": None}


# The archive.


@pytest.fixture
def full(ws):
    """Everything an archive holds: sessions, repeats, undone and corrected votes, rankings, remarks, predictions, snapshots."""
    add(ws, 20, ("a", "b", "c"), split="test")
    rank(ws, {"a": 1, "b": 2, "c": 2})
    for number in range(14):
        add(ws, number, category="sum" if number % 2 else "why")
    rate_for(ws, "one", 2)
    filling.add_texts(ws, 3)
    sft = filling.add_checkpoint(ws, filling.add_run(ws, SFTConfig()))
    filling.add_pairs(ws, [1], sft)
    reward = filling.add_run(ws, RewardConfig(sft_checkpoint=sft))
    filling.add_checkpoint(ws, reward)
    waiting = stored.read(ws, predictions.pending, 2)
    stored.written(ws, predictions.add, 2, [(row["id"], [[0.3, 1 / 3], [0.0, 1e-17]]) for row in waiting])
    session = stored.written(ws, sessions.start, SessionConfig(repeat_share=0.3, show_predictions=True))
    for number in range(10):
        showing = stored.written(ws, sessions.next_showing)
        assert showing is not None
        vote = stored.written(
            ws, ratings.record, showing.id, "left", remarks=Remarks("naïve → \u2028 note", {"unsafe": [1]})
        )
        stored.written(ws, predictions.reveal, showing.id, vote.id)
        if number % 4 == 0:
            stored.undone(ws)
    stored.written(ws, ratings.correct, vote.id, "both_bad")
    stored.written(ws, sessions.pause, session.id)
    stored.freeze(ws)
    measure(ws, sft)
    curves.fill(ws, (1, 2, 4, 8), num_held_out=3, num_seeds=1)
    return ws


def measure(ws, name):
    """Results of a checkpoint on a suite of two sentence pairs."""
    measured = stored.read(ws, checkpoints.get, name)
    run_id = filling.add_run(ws, EvaluateConfig(checkpoints=name, suites="grammar")).id
    subject = Subject(name, "policy", measured.base_fingerprint, measured.id)
    with ws.write() as db:
        suite = results.keep_suite(db, "grammar", "Grammar", "pair", {}, [{"good": "a", "bad": "b"}] * 2)
        results.add(db, run_id, suite, subject, [Result(n, 0, {"acc": 1.0, "mass": 0.1}) for n in range(2)])


def dump(ws):
    with ws.read() as db:
        return {
            table.name: list(db.query(f"SELECT * FROM {table.name}"))
            for table in db.tables
            if table.name not in ("_sqlite_migrations", "session_queue") and "_search" not in table.name
        }


def test_an_archive_read_into_an_empty_workspace_is_equal_and_gives_the_same_file(full, tmp_path):
    first = archive.write(full)
    assert {table: first.rows.get(table, 0) for table in archive.TABLES if not first.rows.get(table)}.keys() <= {
        "imports", "guidelines", "session_runs", "label_studio_projects", "label_studio_tasks", "label_studio_answers",
        "demonstration_events",  # see test_storing
        "text_events", "import_rows",  # see test_texts and test_taking_back
        "checkpoint_notes", "handed_on", "steering",  # see test_notes
        "settlements",  # see test_disagreements
        "conversations", "turns", "conversation_votes",  # see chat/test_conversations
    }  # fmt: skip
    other = Workspace.open(tmp_path / "other")
    assert archive.is_archive(str(first.path))
    second = archive.read(other, str(first.path))
    assert second.rows == first.rows
    both = [dump(ws) for ws in (other, full)]
    for tables in both:  # what has to do with processes stays behind
        tables["runs"] = [as_archived(row) for row in tables["runs"]]
    assert both[0] == both[1], "the tables kept by triggers too"
    assert archive.write(other).path.read_bytes() == first.path.read_bytes()
    assert stored.freeze(other) == stored.freeze(full)
    assert stored.read(other, sessions.list_all) == stored.read(full, sessions.list_all)


def test_an_archive_holds_every_table_but_those_that_follow_from_others(ws):
    beside = {
        "metrics", "samples", "rollouts", "token_texts", "drafts",  # of runs, or unsaved
        "import_maps",  # how one person's files are read
        "unfinished_imports", "unfinished_deletions",  # work of this workspace that is going on
        "hidden_texts", "open_showings", "waiting_comparisons", "undone_showings", "rating_tallies", "contradictions", "session_queue", "metric_stretches", "search_backlog",  # follow from the rest
    }  # fmt: skip
    with ws.read() as db:
        tables = {name for name in db.table_names() if not name.startswith(("_", "sqlite_"))}
        names = {name for name in tables if "_search" not in name}  # the index follows from the texts
    assert names - set(archive.TABLES) <= beside, "a new table has to be archived, or named here"


def test_an_archive_goes_into_an_empty_workspace_only_and_whole_or_not_at_all(full, tmp_path, capsys):
    path = archive.write(full).path
    with pytest.raises(ImportRefused, match="goes into an empty workspace"):
        archive.read(full, str(path))
    lines = path.read_text(encoding="utf-8").split("\n")
    for number, damage, sentence in (
        (9, lines[9].replace('"table"', '"tabel"'), "is not a row that this version knows"),
        (9, lines[9][:-9], "cannot be read"),
        (1, "", "cannot be read|is incomplete"),
    ):
        broken = tmp_path / "broken.jsonl"
        broken.write_text("\n".join([*lines[:number], damage, *lines[number + 1 :]]), encoding="utf-8")
        other = Workspace.open(tmp_path / "other")
        with pytest.raises(ImportRefused, match=sentence):
            archive.read(other, str(broken))
        assert not any(dump(other).values())
    assert main(["import", str(path), "--workspace", str(tmp_path / "third")]) == 0
    assert "16 comparisons" in capsys.readouterr().out


def test_the_export_commands_print_what_they_wrote(full, capsys):
    for form, words in (("native", "16 comparisons, "), ("archive", "16 comparisons, "), ("trl", " preference")):
        assert main(["export", "ratings", "--format", form, "--workspace", str(full.root)]) == 0
        assert words in capsys.readouterr().out


# History.


def test_the_history_is_searched_filtered_and_read_page_by_page(full):
    everything = stored.read(full, history.find, limit=100)
    assert [entry.id for entry in everything] == sorted((entry.id for entry in everything), reverse=True)
    assert (
        len(everything)
        == stored.read(full, history.count)
        == sum(row["number"] for row in dump(full)["rating_tallies"])
    )
    pages, before = [], None
    while page := stored.read(full, history.find, limit=3, before=before):
        pages += page
        before = page[-1].id
    assert pages == everything
    for wanted, fits in (
        (Filter(search="QUESTION 13"), lambda e: "Question 13" in e.messages[-1]["content"]),
        (Filter(outcome="ranking"), lambda e: e.outcome == "ranking"),
        (Filter(category="sum"), lambda e: e.category == "sum"),
        (Filter(flag="unsafe"), lambda e: "unsafe" in e.flags),
        (Filter(session=1), lambda e: e.session_id == 1),
        (Filter(rater="nobody"), lambda e: False),
        (Filter(since="2999-01-01"), lambda e: False),
    ):
        assert stored.read(full, history.find, wanted, limit=100) == [entry for entry in everything if fits(entry)], (
            wanted
        )
    assert stored.read(full, history.raters) == ["import", "person"] or stored.read(full, history.raters) == ["person"]


def test_a_correction_supersedes_and_the_old_judgement_stays_on_record(ws):
    add(ws, 0)
    first = rate(ws, "left", strength=3, remarks=Remarks("clear"))
    second = stored.written(ws, ratings.correct, first.id, "right", strength=1)
    entry = stored.read(ws, history.get, first.id)
    assert (entry.id, entry.verdict, entry.note) == (second.id, "right slightly better", "clear")
    assert [event["outcome"] for event in stored.read(ws, history.events, second.id)] == ["left", "right"]
    assert stored.read(ws, ratings.summary)["rated"] == 1
    assert stored.read(ws, history.find, Filter(is_changed=True)) == [entry]
    for event, outcome, sentence in (
        (first.id, "tie", "no longer counts"),
        (99, "tie", "There is no rating 99"),
        (second.id, "ranking", "here are 2 responses"),
        (second.id, "better", "is not an outcome"),
    ):
        with pytest.raises(RatingError, match=sentence):
            stored.written(ws, ratings.correct, event, outcome)
    with pytest.raises(sqlite3.IntegrityError), ws.write() as db:
        db.execute("UPDATE rating_events SET outcome = 'tie'")


def test_history_and_snapshots_work_at_the_terminal(full, capsys):
    def cli(*words):
        assert main([*words, "--workspace", str(full.root)]) == 0
        return capsys.readouterr().out

    assert "ratings that fit" in cli("history", "--limit", "2")
    assert "0 of 0 ratings that fit" in cli("history", "--category", "sum", "--since", "2999-01-01")
    for kind, name in (("rater", "nobody"), ("category", "sums"), ("session", "99")):
        assert main(["history", f"--{kind}", name, "--workspace", str(full.root)]) == 1
        said = capsys.readouterr().err
        assert f"There is no {kind} " in said
        assert "There is: " in said
    number = stored.read(full, history.find, Filter(outcome="left"))[0].id
    assert "stays on record" in cli("history", "correct", str(number), "right", "--strength", "2")
    assert "right better" in cli("history", "show", str(number))
    newest = stored.read(full, history.get, number).id
    cli("history", "annotate", str(newest), "--note", "on reflection", "--flags", "unsafe:2")
    assert "note: on reflection" in cli("history", "show", str(number))
    kept = stored.read(full, history.get, number)
    assert (kept.verdict, kept.remarks.flags) == ("right better", {"unsafe": [1]})
    cli("history", "annotate", str(kept.id), "--note", "")
    kept = stored.read(full, history.get, number)
    for words, sentence in (
        (["annotate", str(kept.id)], "Nothing was changed: give --note, --flags or both."),
        (["correct", str(kept.id), "right", "--strength", "2"], f"Rating {kept.id} already says so"),
        (["--since", "2026-11-27", "--until", "2026-11-01"], "the second is before the first"),
    ):
        assert main(["history", *words, "--workspace", str(full.root)]) == 1
        assert sentence in capsys.readouterr().err
    assert stored.read(full, history.get, number) == kept
    assert (stored.read(full, history.get, number).note, stored.read(full, history.get, number).remarks.flags) == (
        "",
        {"unsafe": [1]},
    )
    cli("snapshots", "freeze", "--set", "ties=drop")
    assert "recipe: ties is half in the first and drop in the second" in cli("snapshots", "diff", "2", "3")
    assert "snapshot-3: " in cli("snapshots")
    assert "agrees with itself" in cli("session", "card")
    assert "Session 1: " in cli("session")


def test_undoing_a_correction_lets_the_earlier_judgement_count_again_step_by_step(ws):
    add(ws, 0)
    first = rate(ws, "left", strength=3, remarks=Remarks("clear"))
    second = stored.written(ws, ratings.correct, first.id, "right", strength=1)
    stored.written(
        ws, ratings.correct, second.id, "left", strength=3
    )  # by hand what it was at first: still a step of its own

    def counts():
        return [(entry.outcome, entry.strength, entry.note) for entry in stored.read(ws, history.find)]

    steps = [[("right", 1, "clear")], [("left", 3, "clear")], []]
    for step in steps:
        taken = stored.undone(ws)
        assert counts() == step
        with ws.read() as db:
            assert (undo.counting(db, taken) is not None) == bool(step)
    assert stored.undone(ws) is None
    assert stored.read(ws, ratings.summary)["rated"] == 0
    assert stored.written(ws, comparisons.next_showing).id == first.showing_id, "the pair is open again"
    with ws.read() as db:
        assert [row["id"] for row in db.query("SELECT id FROM rating_events WHERE supersedes IS NULL")] == [first.id]


def test_a_ranking_is_corrected_by_a_line(ws, capsys):
    with ws.write() as db:
        prompt_id = prompts.add_prompt(db, NewPrompt([{"role": "user", "content": "Rank."}]))
        ids = [prompts.add_response(db, prompt_id, f"answer {n}", "import") for n in range(3)]
        comparisons.add_comparison(db, prompt_id, ids)
    first = stored.written(
        ws, ratings.record, stored.written(ws, comparisons.next_showing).id, "ranking", ranks=[1, 2, 3]
    )
    for line, sentence in (("1 1 2", "names each of 3 answers once"), ("1", "names each"), ("4 1 2", "names each")):
        assert main(["history", "correct", str(first.id), "ranking", "--ranks", line, "--workspace", str(ws.root)]) == 1
        assert sentence in capsys.readouterr().err
    assert main(["history", "correct", str(first.id), "ranking", "--ranks", "b a=c", "--workspace", str(ws.root)]) == 0
    assert stored.read(ws, history.get, first.id).verdict == "ranking 2 > 1 = 3"
    assert judgements.parse_ranking(" 3 > 1 ", 3) == [2, 3, 1], "the one left over comes last"
