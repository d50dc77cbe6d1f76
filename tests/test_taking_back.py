"""An import that is taken back leaves nothing, as long as nothing was trained or rated on it; else it stays whole."""

import json

import pytest

from modules.config import PPOConfig, RewardConfig, SampleConfig, SFTConfig
from studio.annotation import history
from studio.cli import main
from studio.database import curtain
from studio.datasets import archive, batches, importing, publishing, starter, taking_back
from studio.errors import DataError
from studio.preferences import comparisons, prompts, ratings, text_search, texts
from studio.workspace import Workspace
from tests.support import earlier, stored
from tests.ui import filling

ANSWERED = [{"prompt": f"Question {n}?", "response": f"Answer {n}.", "split": "train"} for n in range(30)]
JUDGED = [{"prompt": f"Other {n}?", "chosen": f"good {n}", "rejected": f"bad {n}", "rater": "ann"} for n in range(20)]
BESIDE = ("_sqlite_migrations", "sqlite_sequence")


@pytest.fixture
def ws(tmp_path):
    return Workspace.open(tmp_path / "studio")


def bring(ws, tmp_path, name, rows):
    path = tmp_path / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return importing.import_source(ws, str(path)).import_id


def everything(ws):
    """All rows of all tables, the search index by what it finds."""
    with ws.read() as db:
        tables = {
            name: list(db.query(f"SELECT * FROM {name}"))
            for name in db.table_names()
            if name not in BESIDE and "_search" not in name
        }
        tables["rating_tallies"] = [row for row in tables["rating_tallies"] if row["number"]]
        found = [db.execute(f"SELECT rowid FROM {index} WHERE {index} MATCH '\"tio\" OR \"goo\" OR \"Ans\"'").fetchall()
                 for index in ("prompt_search", "response_search")]  # fmt: skip
        for index in ("prompt_search", "response_search"):
            db.execute(f"INSERT INTO {index} ({index}) VALUES ('integrity-check')")
        return tables | {"found": found}


@pytest.mark.parametrize("is_large", [False, True])
def test_what_is_taken_back_leaves_as_if_it_had_never_come(ws, tmp_path, monkeypatch, is_large):
    if is_large:
        monkeypatch.setattr(publishing, "LARGE", 10)
        monkeypatch.setattr(publishing, "FIRST_PIECE", 7)
        for name in ("GRACE_S", "PAUSE_S"):
            monkeypatch.setattr(publishing, name, 0)
    stored.written(ws, prompts.add_demonstration, [{"role": "user", "content": "Question 3?"}], "Own answer.")
    before = everything(ws)
    ids = [bring(ws, tmp_path, name, rows) for name, rows in (("a.jsonl", ANSWERED), ("b.jsonl", JUDGED))]
    text_search.catch_up(ws)
    stored.written(ws, texts.hide, "preferences", 3)
    stored.written(ws, texts.hide, "demonstrations", 5)
    for import_id in ids:
        said = taking_back.take_back(ws, import_id)
    assert "20 prompts, 40 answers, 20 pairs, 20 judgements left the workspace" in said
    assert everything(ws) == before
    again = importing.import_source(ws, str(tmp_path / "b.jsonl"), importing.Request(category="moved"))
    assert not again.is_repeat
    assert set(stored.read(ws, prompts.list_categories)) == {"", "moved"}
    assert stored.read(ws, history.count, history.Filter(search="good 7")) == 1
    assert stored.read(ws, ratings.summary)["rated"] == 20


def test_the_starter_kit_is_taken_back_too(ws):
    before = everything(ws)
    stored.written(ws, starter.load)
    taking_back.take_back(ws, 1)
    assert everything(ws) == before
    assert not stored.read(ws, starter.is_loaded)


def refused(ws, import_id, words):
    before = everything(ws)
    with pytest.raises(DataError, match=words) as error:
        taking_back.take_back(ws, import_id)
    assert everything(ws) == before
    return str(error.value)


def test_it_is_refused_with_the_names_of_what_depends_on_it(ws, tmp_path):
    answered, judged = bring(ws, tmp_path, "a.jsonl", ANSWERED), bring(ws, tmp_path, "b.jsonl", JUDGED)
    with ws.write() as db:
        texts.edit(db, 1, "A better one.")
    assert "other versions: 1" in refused(ws, answered, "were written or edited here or came with another import: 1")
    snapshot = stored.freeze(ws)
    refused(ws, judged, f"snapshot-{snapshot.id} holds its preferences")
    sft = filling.add_checkpoint(ws, filling.add_run(ws, SFTConfig()))
    refused(ws, answered, "sft-1 may have learned from its demonstrations")
    filling.add_pairs(ws, [1, 2], sft, run=filling.add_run(ws, SampleConfig()))
    refused(ws, answered, r"sft-1@\d+ answered its prompts")
    filling.add_checkpoint(ws, filling.add_run(ws, RewardConfig()))
    filling.add_run(ws, PPOConfig())
    refused(ws, answered, "ppo-1 may have learned on its prompts")
    refused(ws, 9, "There is no import 9")


def test_a_rating_of_its_pairs_or_a_judgement_of_others_keeps_it(ws, tmp_path):
    unrated = [{"prompt": f"Pair {n}?", "response_a": "a", "response_b": "b"} for n in range(3)]
    opened = bring(ws, tmp_path, "open.jsonl", unrated)
    same = [{"prompt": "Pair 0?", "chosen": "a", "rejected": "b"}]
    later = bring(ws, tmp_path, "later.jsonl", same)
    refused(ws, opened, "ratings of its pairs that were given since: 1")
    refused(ws, later, "pairs that were here before and that it judged: 1")
    fresh = bring(ws, tmp_path, "fresh.jsonl", [row | {"prompt": "New " + row["prompt"]} for row in unrated])
    showing = stored.written(ws, comparisons.next_showing)
    assert showing is not None
    other = bring(ws, tmp_path, "other.jsonl", [{"prompt": "Alone?"}])
    taking_back.take_back(ws, other)
    stored.written(ws, ratings.record, showing.id, "left")
    with ws.read() as db:
        is_fresh = batches.brought(db, fresh)["pairs"] == 3 and showing.messages[-1]["content"].startswith("New")
    refused(ws, fresh if is_fresh else opened, "given since")


def test_an_import_of_an_earlier_version_says_why_it_stays(tmp_path):
    root = tmp_path / "before"
    with earlier.written(root, "m081_hidden_texts") as db:
        db.execute(
            "INSERT INTO imports VALUES (1, 'old.jsonl', 'x', 'prompts', 1, '{}', '2026-01-01T00:00:00.000+00:00')"
        )
    refused(Workspace.open(root), 1, "an earlier version of the studio")


def test_a_take_back_that_is_killed_is_finished_by_whoever_comes_next(ws, tmp_path, monkeypatch):
    before = everything(ws)
    number = bring(ws, tmp_path, "b.jsonl", JUDGED)
    real, calls = curtain.take_out, []

    def die(db, size):
        calls.append(size)
        if len(calls) > 1:
            raise KeyboardInterrupt
        return real(db, size)

    monkeypatch.setattr(curtain, "take_out", die)
    with pytest.raises(KeyboardInterrupt):
        taking_back.take_back(ws, number)
    monkeypatch.undo()
    assert stored.read(ws, prompts.counts)["prompts"] == 0, "nobody sees what is still to be deleted"
    publishing.take_out_leftovers(ws)
    assert everything(ws) == before


def test_what_came_with_an_import_travels_in_an_archive(ws, tmp_path, capsys):
    bring(ws, tmp_path, "b.jsonl", JUDGED)
    other = Workspace.open(tmp_path / "other")
    archive.read(other, archive.write(ws).path)
    text_search.catch_up(other)
    assert main(["data", "imports", "--workspace", str(other.root)]) == 0
    assert (
        "b.jsonl: 20 rows of preferences kept, 0 dropped; 20 prompts, 40 answers, 20 pairs" in capsys.readouterr().out
    )
    assert main(["data", "take-back", "1", "--workspace", str(other.root)]) == 0
    assert stored.read(other, prompts.counts)["prompts"] == 0
    assert main(["data", "take-back", "1", "--workspace", str(other.root)]) == 1
