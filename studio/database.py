"""The SQLite file of a workspace: its schema as migrations, and how a connection is opened.

STRICT tables, WAL, ``synchronous=FULL`` (an acknowledged rating survives a power cut), foreign keys on. Ratings, responses
and showings are append-only: triggers refuse UPDATE and DELETE. Each table is read and written by one module only; the
name of that module stands beside it.
"""

import sqlite3
from pathlib import Path

from sqlite_utils import Database, Migrations

from studio import faults, schema_curves, schema_queue, schema_rating, schema_sessions
from studio.errors import WorkspaceError

BUSY_TIMEOUT_S = 40.0
"""A backup or a browser of databases may hold the file for half a minute: that delays, and no more."""

migrations = Migrations("rlhf-studio")


@migrations()
def m001_first_schema(db: Database) -> None:
    """Prompts, responses, comparisons, showings, ratings, snapshots, runs, metrics, samples, checkpoints."""
    db.executescript(_FIRST_SCHEMA)
    for table in ("responses", "showings", "rating_events", "snapshots", "snapshot_rows"):
        _refuse_changes(db, table)


@migrations()
def m002_chosen_checkpoint(db: Database) -> None:
    """Mark the checkpoint that a run hands on where it is not its last one."""
    db.execute("ALTER TABLE checkpoints ADD COLUMN is_chosen INTEGER NOT NULL DEFAULT 0 CHECK (is_chosen IN (0, 1))")
    db.execute("CREATE UNIQUE INDEX checkpoints_one_chosen ON checkpoints(run_id) WHERE is_chosen")


@migrations()
def m003_rollouts(db: Database) -> None:
    """Responses of PPO with their numbers per token; the components of a sample's score."""
    for statement in _ROLLOUTS:
        db.execute(statement)


@migrations()
def m004_open_showings(db: Database) -> None:
    """Keep the showings nobody has judged yet in a table of their own: finding the next pair then reads a few rows, not all."""
    for statement in _OPEN_SHOWINGS:
        db.execute(statement)


@migrations()
def m005_sessions(db: Database) -> None:
    """Guidelines, sessions and what they showed, predictions made before a vote."""
    for statement in schema_sessions.SESSIONS:
        db.execute(statement)
    for table in schema_sessions.APPEND_ONLY:
        _refuse_changes(db, table)


@migrations()
def m006_richer_ratings(db: Database) -> None:
    """Rankings, notes, flags, attributes and edits; what waits, what was undone and the counts, kept by triggers."""
    schema_rating.enrich(db)


@migrations()
def m007_queue(db: Database) -> None:
    """Order and pauses of the queue, where a run works, and the verified end of its processes."""
    for statement in schema_queue.STATEMENTS:
        db.execute(statement)


@migrations()
def m008_curves(db: Database) -> None:
    """Means of stretches of steps beside the metrics: a curve of 100,000 points is then read in a few hundred rows."""
    for statement in schema_curves.STATEMENTS:
        db.execute(statement)


@migrations()
def m009_predictions_come_first(db: Database) -> None:
    """Refuse a prediction of what was judged already. After m006, which rebuilds a table that this names."""
    for statement in schema_sessions.GUARDS:
        db.execute(statement)


def _refuse_changes(db: Database, table: str) -> None:
    """Make a table append-only."""
    for action in ("UPDATE", "DELETE"):
        db.execute(
            f"CREATE TRIGGER {table}_refuse_{action.lower()} BEFORE {action} ON {table} "
            f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
        )


_FIRST_SCHEMA = """
CREATE TABLE imports (              -- studio.prompts
    id INTEGER PRIMARY KEY,
    source TEXT NOT NULL,           -- file name or data set id
    sha256 TEXT NOT NULL,           -- of the raw bytes, or of the rows of a data set
    kind TEXT NOT NULL,             -- demonstrations | preferences | prompts
    kept INTEGER NOT NULL,
    dropped TEXT NOT NULL,          -- JSON: reason -> count
    created_at TEXT NOT NULL
) STRICT;

CREATE TABLE prompts (              -- studio.prompts
    id INTEGER PRIMARY KEY,
    hash TEXT NOT NULL UNIQUE,      -- sha256 of the messages
    messages TEXT NOT NULL,         -- JSON list of {role, content}, ends with a user turn
    category TEXT NOT NULL DEFAULT '',
    split TEXT NOT NULL CHECK (split IN ('train', 'validation', 'test')),   -- fixed at birth
    reference TEXT NOT NULL DEFAULT '{}',   -- JSON: what a scripted rater knows
    import_id INTEGER REFERENCES imports(id),
    created_at TEXT NOT NULL
) STRICT;
CREATE INDEX prompts_split ON prompts(split, category);
CREATE TRIGGER prompts_are_immutable BEFORE UPDATE OF hash, messages, split ON prompts
BEGIN SELECT RAISE(ABORT, 'prompts are immutable'); END;

CREATE TABLE responses (            -- studio.prompts
    id INTEGER PRIMARY KEY,
    prompt_id INTEGER NOT NULL REFERENCES prompts(id),
    text TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('demonstration', 'sample', 'import')),
    checkpoint_id INTEGER REFERENCES checkpoints(id),
    run_id INTEGER REFERENCES runs(id),
    sampling TEXT,                  -- JSON: temperature, top_p, top_k, max_new_tokens, seed
    token_ids TEXT,                 -- JSON list: the ids as sampled
    end_reason TEXT CHECK (end_reason IN ('eos', 'length')),
    import_id INTEGER REFERENCES imports(id),
    created_at TEXT NOT NULL,
    CHECK (kind != 'sample' OR (checkpoint_id IS NOT NULL AND sampling IS NOT NULL))
) STRICT;
CREATE INDEX responses_prompt ON responses(prompt_id, kind);

CREATE TABLE comparisons (          -- studio.comparisons
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,       -- prompt and response ids: the same pair is never put up twice
    prompt_id INTEGER NOT NULL REFERENCES prompts(id),
    run_id INTEGER REFERENCES runs(id),     -- the sampling run; NULL for imports
    created_at TEXT NOT NULL
) STRICT;

CREATE INDEX comparisons_run ON comparisons(run_id DESC, id);

CREATE TABLE comparison_responses ( -- studio.comparisons
    comparison_id INTEGER NOT NULL REFERENCES comparisons(id),
    slot INTEGER NOT NULL,
    response_id INTEGER NOT NULL REFERENCES responses(id),
    PRIMARY KEY (comparison_id, slot)
) STRICT;

CREATE TABLE showings (             -- studio.comparisons: what the eye saw, written before it was shown
    id INTEGER PRIMARY KEY,
    comparison_id INTEGER NOT NULL REFERENCES comparisons(id),
    left_response_id INTEGER NOT NULL REFERENCES responses(id),
    right_response_id INTEGER NOT NULL REFERENCES responses(id),
    seed INTEGER NOT NULL,
    rater TEXT NOT NULL,
    created_at TEXT NOT NULL
) STRICT;
CREATE INDEX showings_comparison ON showings(comparison_id);

CREATE TABLE rating_events (        -- studio.ratings
    id INTEGER PRIMARY KEY,
    uuid TEXT NOT NULL UNIQUE,      -- from the client: a resend is one rating
    comparison_id INTEGER NOT NULL REFERENCES comparisons(id),
    showing_id INTEGER REFERENCES showings(id),     -- NULL for imports: left is then slot 0
    outcome TEXT NOT NULL CHECK (outcome IN ('left', 'right', 'tie', 'both_bad', 'skip', 'undo')),
    strength INTEGER CHECK (strength BETWEEN 1 AND 3),
    reason TEXT,
    rater TEXT NOT NULL,
    elapsed_ms INTEGER,
    supersedes INTEGER UNIQUE REFERENCES rating_events(id),
    created_at TEXT NOT NULL,
    CHECK ((outcome IN ('left', 'right')) OR strength IS NULL)
) STRICT;
CREATE INDEX rating_events_comparison ON rating_events(comparison_id);
CREATE INDEX rating_events_undone ON rating_events(id) WHERE outcome = 'undo';
CREATE UNIQUE INDEX rating_events_one_start ON rating_events(showing_id) WHERE supersedes IS NULL;

CREATE VIEW ratings AS              -- the event of each chain that counts now
    SELECT e.*, coalesce(s.left_response_id, a.response_id) AS left_id, coalesce(s.right_response_id, b.response_id) AS right_id
    FROM rating_events e
    LEFT JOIN showings s ON s.id = e.showing_id
    JOIN comparison_responses a ON a.comparison_id = e.comparison_id AND a.slot = 0
    JOIN comparison_responses b ON b.comparison_id = e.comparison_id AND b.slot = 1
    WHERE e.outcome != 'undo' AND NOT EXISTS (SELECT 1 FROM rating_events n WHERE n.supersedes = e.id);

CREATE TABLE snapshots (            -- studio.snapshots
    id INTEGER PRIMARY KEY,
    recipe TEXT NOT NULL,           -- JSON
    sha256 TEXT NOT NULL UNIQUE,
    row_count INTEGER NOT NULL,
    created_at TEXT NOT NULL
) STRICT;

CREATE TABLE snapshot_rows (        -- studio.snapshots
    snapshot_id INTEGER NOT NULL REFERENCES snapshots(id),
    position INTEGER NOT NULL,
    rating_id INTEGER NOT NULL REFERENCES rating_events(id),
    chosen_id INTEGER NOT NULL REFERENCES responses(id),
    rejected_id INTEGER NOT NULL REFERENCES responses(id),
    target_p REAL NOT NULL,
    margin REAL NOT NULL,
    weight REAL NOT NULL,
    PRIMARY KEY (snapshot_id, position)
) STRICT;

CREATE TABLE runs (                 -- studio.runs
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,      -- sft-1, reward-2, ppo-2, sample-3
    stage TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('queued', 'running', 'finished', 'stopped', 'failed', 'lost')),
    config TEXT NOT NULL,           -- JSON, as in the run folder
    snapshot_id INTEGER REFERENCES snapshots(id),
    resumed_from INTEGER REFERENCES checkpoints(id),
    revision TEXT NOT NULL,         -- of the code
    pid INTEGER,
    pid_started REAL,               -- process start time: a pid alone can be somebody else's
    heartbeat_at TEXT,
    stop_requested INTEGER NOT NULL DEFAULT 0,
    message TEXT NOT NULL DEFAULT '',
    progress REAL NOT NULL DEFAULT 0,
    progress_text TEXT NOT NULL DEFAULT '',
    created_at TEXT NOT NULL,
    started_at TEXT,
    ended_at TEXT
) STRICT;

CREATE TABLE run_parents (          -- studio.runs
    run_id INTEGER NOT NULL REFERENCES runs(id),
    role TEXT NOT NULL,             -- sft, reward, policy, opponent
    checkpoint_id INTEGER NOT NULL REFERENCES checkpoints(id),
    PRIMARY KEY (run_id, role)
) STRICT;

CREATE TABLE metrics (              -- studio.metrics
    id INTEGER PRIMARY KEY,
    run_id INTEGER NOT NULL REFERENCES runs(id),
    step INTEGER NOT NULL,
    name TEXT NOT NULL,
    value REAL,
    at TEXT NOT NULL
) STRICT;
CREATE INDEX metrics_run ON metrics(run_id, name, step);

CREATE TABLE samples (              -- studio.metrics
    id INTEGER PRIMARY KEY,
    run_id INTEGER NOT NULL REFERENCES runs(id),
    step INTEGER NOT NULL,
    prompt TEXT NOT NULL,
    response TEXT NOT NULL,
    score REAL,
    kl REAL,
    end_reason TEXT,
    at TEXT NOT NULL
) STRICT;
CREATE INDEX samples_run ON samples(run_id, step);

CREATE TABLE checkpoints (          -- studio.checkpoints: a row means a complete folder
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,      -- run name @ step
    run_id INTEGER NOT NULL REFERENCES runs(id),
    step INTEGER NOT NULL,
    folder TEXT NOT NULL,           -- relative to the workspace
    base_model TEXT NOT NULL,
    base_fingerprint TEXT NOT NULL,
    metrics TEXT NOT NULL,          -- JSON: the newest value of each eval metric
    created_at TEXT NOT NULL
) STRICT;
CREATE INDEX checkpoints_run ON checkpoints(run_id, step);

CREATE TABLE drafts (               -- studio.prompts: text typed into the page and not yet saved
    name TEXT PRIMARY KEY,
    text TEXT NOT NULL
) STRICT;
"""

_ROLLOUTS = (
    """
CREATE TABLE rollouts (             -- studio.rollouts: one response of a PPO iteration
    id INTEGER PRIMARY KEY,
    run_id INTEGER NOT NULL REFERENCES runs(id),
    iteration INTEGER NOT NULL,     -- sampled by the policy after iteration - 1 updates
    prompt_id INTEGER NOT NULL REFERENCES prompts(id),
    response TEXT NOT NULL,
    score REAL NOT NULL,            -- raw
    shaped_score REAL NOT NULL,     -- centred, clipped and penalised
    components TEXT NOT NULL,       -- JSON: component of a mixed reward -> raw score
    kl REAL NOT NULL,               -- from the reference, summed over the response, in nats
    num_tokens INTEGER NOT NULL,
    end_reason TEXT NOT NULL CHECK (end_reason IN ('eos', 'length')),
    tokens BLOB NOT NULL            -- ids and numbers per token, packed by studio.rollouts
) STRICT""",
    "CREATE INDEX rollouts_run ON rollouts(run_id, iteration)",
    """
CREATE TABLE token_texts (          -- studio.rollouts: how the tokens of a run's rollouts read
    run_id INTEGER NOT NULL REFERENCES runs(id),
    token_id INTEGER NOT NULL,
    text TEXT NOT NULL,
    PRIMARY KEY (run_id, token_id)
) STRICT, WITHOUT ROWID""",
    "ALTER TABLE samples ADD COLUMN components TEXT",
)


_OPEN_SHOWINGS = (
    """
CREATE TABLE open_showings (        -- studio.comparisons reads it; the triggers write it
    showing_id INTEGER PRIMARY KEY REFERENCES showings(id)
) STRICT
""",
    "INSERT INTO open_showings SELECT s.id FROM showings s WHERE NOT EXISTS"
    " (SELECT 1 FROM rating_events e WHERE e.showing_id = s.id AND e.supersedes IS NULL)",
    "CREATE TRIGGER showings_open AFTER INSERT ON showings BEGIN INSERT INTO open_showings VALUES (new.id); END",
    "CREATE TRIGGER rating_events_close AFTER INSERT ON rating_events WHEN new.supersedes IS NULL"
    " BEGIN DELETE FROM open_showings WHERE showing_id = new.showing_id; END",
)


def connect(path: Path) -> Database:
    """Open the database file; the caller closes it.

    Raises:
        WorkspaceError: the file cannot be opened.
    """
    try:
        connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S)
        db = Database(connection, strict=True)
        db.execute("PRAGMA foreign_keys = ON")
        db.execute("PRAGMA synchronous = FULL")
    except sqlite3.DatabaseError as error:
        raise _refusal(path, error) from error
    return db


def migrate(path: Path) -> None:
    """Create the schema or bring it up to date.

    Raises:
        WorkspaceError: the file is damaged, not a database, or was written by a newer version of the studio.
    """
    db = connect(path)
    try:
        db.enable_wal()
        db.execute("PRAGMA foreign_keys = OFF")  # a migration may make a table anew; it checks them itself
        unknown = {m.name for m in migrations.applied(db)} - set(known_migrations())
        if unknown:
            raise WorkspaceError(
                f"The database {path.name} was written by a newer version of RLHF Studio (it has {', '.join(sorted(unknown))}). "
                "Update the studio, or choose another workspace."
            )
        migrations.apply(db)
    except sqlite3.DatabaseError as error:
        raise _refusal(path, error) from error
    finally:
        db.close()


def known_migrations() -> list[str]:
    """The names of this version's migrations, in their order."""
    return sorted(name for name, value in globals().items() if name.startswith("m0") and callable(value))


def _refusal(path: Path, error: sqlite3.DatabaseError) -> WorkspaceError:
    return WorkspaceError(
        faults.of_database(error, path.name, BUSY_TIMEOUT_S)
        or f"The file {path.name} is not a usable database ({error}). Restore it from a backup or choose another workspace."
    )


def quick_check(path: Path) -> str:
    """What SQLite says of the file's soundness: ok, or the first fault it found."""
    db = connect(path)
    try:
        return str(next(iter(db.query("PRAGMA quick_check(1)")))["quick_check"])
    except sqlite3.DatabaseError as error:
        return str(error)
    finally:
        db.close()
