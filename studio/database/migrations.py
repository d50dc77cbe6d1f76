"""The migrations of a workspace's schema; the resulting schema is in `schema.sql`.

STRICT tables. Ratings, responses and showings are append-only: triggers refuse UPDATE and DELETE. Each table is read
and written by one module only; the module's name is next to it.
"""

import json
import sqlite3
from collections.abc import Iterator

from sqlite_utils import Database, Migrations

from studio.database.schema import (
    checkpoint_notes,
    conversations,
    curves,
    deletions,
    demonstrations,
    disagreements,
    evaluations,
    facts,
    first,
    handed_on,
    imported,
    label_studio,
    learning,
    pages,
    processes,
    queue,
    ratings,
    responses,
    restores,
    rollout_indexes,
    search,
    sessions,
    steering,
    texts,
    unfinished,
)

ALL = Migrations("rlhf-studio")


@ALL()
def m001_first_schema(db: Database) -> None:
    """Create prompts, responses, comparisons, showings, ratings, snapshots, runs, metrics, samples, checkpoints."""
    for statement in _statements(first.FIRST):
        db.execute(statement)
    for table in ("responses", "showings", "rating_events", "snapshots", "snapshot_rows"):
        _refuse_changes(db, table)


@ALL()
def m002_chosen_checkpoint(db: Database) -> None:
    """Mark the checkpoint that a run hands on, where it is not the run's last one."""
    db.execute("ALTER TABLE checkpoints ADD COLUMN is_chosen INTEGER NOT NULL DEFAULT 0 CHECK (is_chosen IN (0, 1))")
    db.execute("CREATE UNIQUE INDEX checkpoints_one_chosen ON checkpoints(run_id) WHERE is_chosen")


@ALL()
def m003_rollouts(db: Database) -> None:
    """Store responses of PPO with their numbers per token; the components of a sample's score."""
    for statement in first.ROLLOUTS:
        db.execute(statement)


@ALL()
def m004_open_showings(db: Database) -> None:
    """Keep the showings nobody has judged yet in their own table: finding the next pair then reads only a few rows."""
    for statement in first.OPEN_SHOWINGS:
        db.execute(statement)


@ALL()
def m005_sessions(db: Database) -> None:
    """Add guidelines, sessions and their items, and predictions made before a vote."""
    for statement in sessions.SESSIONS:
        db.execute(statement)
    for table in sessions.APPEND_ONLY:
        _refuse_changes(db, table)


@ALL()
def m006_richer_ratings(db: Database) -> None:
    """Add rankings, notes, flags, attributes and edits; triggers keep what waits, what was undone and the counts."""
    ratings.enrich(db)


@ALL()
def m007_queue(db: Database) -> None:
    """Add the queue's order and pauses, a run's lane, and the verified end of its processes."""
    for statement in queue.STATEMENTS:
        db.execute(statement)


@ALL()
def m008_curves(db: Database) -> None:
    """Add means of stretches of steps: a curve of 100,000 points is then read in a few hundred rows."""
    for statement in curves.STATEMENTS:
        db.execute(statement)


@ALL()
def m009_predictions_come_first(db: Database) -> None:
    """Refuse a prediction of a judged comparison. After m006, which rebuilds a table that this names."""
    for statement in sessions.GUARDS:
        db.execute(statement)


@ALL()
def m010_processes_of_runs(db: Database) -> None:
    """Add columns for a run's starter, the mark of its processes, and paused and faulty runs."""
    for statement in processes.STATEMENTS:
        db.execute(statement)


@ALL()
def m011_search(db: Database) -> None:
    """Index the texts of prompts and answers, so that a search need not read all. After m006, which names responses."""
    for statement in search.STATEMENTS:
        db.execute(statement)


@ALL()
def m012_restored_judgements(db: Database) -> None:
    """Store in a column, not in the uuid, which judgement an event lets count again."""
    restores.add(db)


@ALL()
def m015_many_runs(db: Database) -> None:
    """Find the active runs, and count the others, without reading all of them."""
    for statement in pages.STATEMENTS:
        db.execute(statement)


@ALL()
def m020_imported_judgements(db: Database) -> None:
    """Store in a column, not in the uuid, that a judgement came in with a file."""
    imported.add(db)


@ALL()
def m021_facts_of_imports(db: Database) -> None:
    """Store when an imported judgement was given, its raw margin and its other facts, and the model of an imported response."""
    for statement in facts.STATEMENTS:
        db.execute(statement)


@ALL()
def m022_evaluations(db: Database) -> None:
    """Add suites, their items, and the results of checkpoints on each item."""
    for statement in evaluations.STATEMENTS:
        db.execute(statement)
    for table in evaluations.TABLES:
        _refuse_changes(db, table)


@ALL()
def m023_short_texts(db: Database) -> None:
    """Index the texts that are too short for the search's trigrams."""
    for statement in search.SHORT:
        db.execute(statement)


@ALL()
def m031_label_studio(db: Database) -> None:
    """Remember what was pushed to a server of Label Studio, and which answers came back."""
    for statement in label_studio.STATEMENTS:
        db.execute(statement)


@ALL()
def m041_search_backlog(db: Database) -> None:
    """Remember which texts of a long import are not indexed yet."""
    db.execute(search.BACKLOG)


@ALL()
def m042_demonstration_events(db: Database) -> None:
    """Remember which answer elsewhere a demonstration is, so that a later version takes its place."""
    for statement in demonstrations.STATEMENTS:
        db.execute(statement)
    _refuse_changes(db, demonstrations.APPEND_ONLY)


@ALL()
def m043_conversations(db: Database) -> None:
    """Add conversations with checkpoints: trees of turns, and the votes on pairs of answers."""
    for statement in conversations.STATEMENTS:
        db.execute(statement)


@ALL()
def m051_unfinished_imports(db: Database) -> None:
    """Remember which rows belong to an import that is not whole yet, so that nobody sees them."""
    for statement in unfinished.STATEMENTS:
        db.execute(statement)


@ALL()
def m052_pieces_of_imports(db: Database) -> None:
    """Find the piece of an unfinished import to which a row would belong."""
    db.execute(unfinished.INDEX)


@ALL()
def m061_disagreements(db: Database) -> None:
    """Add second looks at votes against a confident reward model, and what became of them."""
    for statement in disagreements.STATEMENTS:
        db.execute(statement)
    _refuse_changes(db, disagreements.APPEND_ONLY)


@ALL()
def m065_learning_curves(db: Database) -> None:
    """Add learning curves: where reward models of growing size were right."""
    for statement in learning.STATEMENTS:
        db.execute(statement)
    for table in learning.TABLES:
        _refuse_changes(db, table)


@ALL()
def m071_deletions(db: Database) -> None:
    """Mark runs and checkpoints whose files were deleted, and remember which files are still to leave the disk."""
    for statement in deletions.STATEMENTS:
        db.execute(statement)


@ALL()
def m072_checkpoint_notes(db: Database) -> None:
    """Let people give checkpoints a note and tags, and pin them."""
    for statement in checkpoint_notes.STATEMENTS:
        db.execute(statement)


@ALL()
def m073_handed_on(db: Database) -> None:
    """Let people choose the checkpoint that a run hands on."""
    for statement in handed_on.STATEMENTS:
        db.execute(statement)


@ALL()
def m074_steering(db: Database) -> None:
    """Remember settings that were changed while a run went on."""
    for statement in steering.STATEMENTS:
        db.execute(statement)


@ALL()
def m081_hidden_texts(db: Database) -> None:
    """Let people hide texts and change categories, and remember it."""
    for statement in texts.STATEMENTS:
        db.execute(statement)
    _refuse_changes(db, texts.APPEND_ONLY)


@ALL()
def m082_listed_texts(db: Database) -> None:
    """List demonstrations, and the texts of an import, without reading the others."""
    for statement in texts.INDEXES:
        db.execute(statement)


@ALL()
def m083_rows_of_imports(db: Database) -> None:
    """Remember which rows came with an import, so that it can be taken back."""
    db.execute(texts.IMPORT_ROWS)
    db.execute(texts.IMPORT_NOTED)


@ALL()
def m085_rollout_indexes(db: Database) -> None:
    """Find and sort the rollouts of all runs without reading each."""
    for statement in rollout_indexes.STATEMENTS:
        db.execute(statement)


@ALL()
def m088_strategies(db: Database) -> None:
    """Let sessions choose pairs by more strategies, and remember what an automatic choice went by."""
    sessions.widen_items(db)
    db.execute(sessions.REASON)


@ALL()
def m089_arms(db: Database) -> None:
    """Tell learning curves of pairs that were chosen from those of pairs that were drawn at random."""
    for statement in learning.ARMS:
        db.execute(statement)


@ALL()
def m090_undone_texts(db: Database) -> None:
    """Tell an undo from a change that happens to lead back, so that one undo after another goes further back."""
    for statement in texts.UNDONE:
        db.execute(statement)


@ALL()
def m091_base_answers(db: Database) -> None:
    """Let the pretrained model answer too, which is no checkpoint."""
    responses.let_base_answer(db)


def _statements(script: str) -> Iterator[str]:
    """Yield the statements of a script one by one: `executescript` would commit the open transaction."""
    kept = ""
    for line in script.splitlines(keepends=True):
        kept += line
        if sqlite3.complete_statement(kept):
            yield kept
            kept = ""


def _refuse_changes(db: Database, table: str) -> None:
    """Make a table append-only."""
    for action in ("UPDATE", "DELETE"):
        db.execute(
            f"CREATE TRIGGER {table}_refuse_{action.lower()} BEFORE {action} ON {table} "
            f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
        )


def names() -> list[str]:
    """Return the names of this version's migrations, in their order."""
    return sorted(name for name, value in globals().items() if name.startswith("m0") and callable(value))


def present(db: Database) -> str:
    """Return a database's schema as SQL: tables with their indexes and triggers, by name."""
    shadows = [row["name"] for row in db.query("SELECT name FROM pragma_table_list WHERE type = 'shadow'")]
    rows = db.query(
        "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND tbl_name NOT LIKE '%sqlite_%' AND name NOT IN"
        " (SELECT value FROM json_each(?)) ORDER BY tbl_name, type <> 'table' AND type <> 'view', type, name",
        [json.dumps(shadows)],
    )
    return "".join(f"{row['sql'].strip()};\n" for row in rows)


if __name__ == "__main__":
    fresh = Database(memory=True)
    ALL.apply(fresh)
    print(present(fresh), end="")
