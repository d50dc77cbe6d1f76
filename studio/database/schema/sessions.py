"""The rating room's tables, without the ratings, as migrations of `studio.database.connection` create them.

Triggers refuse UPDATE and DELETE on what is written once. Only `session_queue` is a working list, which can be drawn
again from the rest and so is in no archive.
"""

from sqlite_utils import Database

SESSIONS = (
    """
CREATE TABLE guidelines (           -- guidelines: a version is its id
    id INTEGER PRIMARY KEY,
    text TEXT NOT NULL,
    created_at TEXT NOT NULL
) STRICT""",
    """
CREATE TABLE sessions (             -- sessions
    id INTEGER PRIMARY KEY,
    rater TEXT NOT NULL,
    config TEXT NOT NULL,           -- JSON: SessionConfig, its names filled in
    guideline_id INTEGER REFERENCES guidelines(id),     -- in force at the start
    seed INTEGER NOT NULL,          -- of every draw of the session
    created_at TEXT NOT NULL
) STRICT""",
    """
CREATE TABLE session_events (       -- sessions: the newest one is the session's state
    id INTEGER PRIMARY KEY,
    session_id INTEGER NOT NULL REFERENCES sessions(id),
    kind TEXT NOT NULL CHECK (kind IN ('started', 'paused', 'resumed', 'ended')),
    num_given INTEGER NOT NULL,     -- votes that counted then
    created_at TEXT NOT NULL
) STRICT""",
    "CREATE INDEX session_events_session ON session_events(session_id)",
    """
CREATE TABLE session_items (        -- sessions: what was shown in a session, and why it was chosen
    showing_id INTEGER PRIMARY KEY REFERENCES showings(id),
    session_id INTEGER NOT NULL REFERENCES sessions(id),
    position INTEGER NOT NULL,
    prompt_id INTEGER NOT NULL REFERENCES prompts(id),
    arm TEXT NOT NULL CHECK (arm IN ('random', 'uncertainty', 'newest', 'repeat')),
    probability REAL NOT NULL CHECK (probability > 0 AND probability <= 1),     -- of this item in this draw
    score REAL,                     -- what the choice looked at, where it had a prediction
    score_kind TEXT CHECK (score_kind IN ('spread', 'closeness')),
    repeat_of INTEGER REFERENCES showings(id),
    is_swapped INTEGER CHECK (is_swapped IN (0, 1)),
    guideline_id INTEGER REFERENCES guidelines(id),     -- in force when it was shown
    created_at TEXT NOT NULL,
    UNIQUE (session_id, position),
    CHECK ((arm = 'repeat') = (repeat_of IS NOT NULL) AND (arm = 'repeat') = (is_swapped IS NOT NULL))
) STRICT""",
    "CREATE INDEX session_items_repeats ON session_items(repeat_of) WHERE repeat_of IS NOT NULL",
    """
CREATE TABLE session_runs (         -- sessions: sampling runs that a session started by itself
    session_id INTEGER NOT NULL REFERENCES sessions(id),
    run_id INTEGER NOT NULL REFERENCES runs(id),
    PRIMARY KEY (session_id, run_id)
) STRICT""",
    """
CREATE TABLE session_queue (        -- pair_selection: drawn for a session and not shown yet
    id INTEGER PRIMARY KEY,
    session_id INTEGER NOT NULL REFERENCES sessions(id),
    comparison_id INTEGER NOT NULL REFERENCES comparisons(id),
    prompt_id INTEGER NOT NULL REFERENCES prompts(id),
    arm TEXT NOT NULL,
    probability REAL NOT NULL,
    score REAL,
    score_kind TEXT,
    num_behind INTEGER NOT NULL     -- that could have been drawn and were not
) STRICT""",
    "CREATE INDEX session_queue_session ON session_queue(session_id)",
    """
CREATE TABLE predictions (          -- predictions: what a reward model thought of a comparison before any vote on it
    id INTEGER PRIMARY KEY,
    comparison_id INTEGER NOT NULL REFERENCES comparisons(id),
    checkpoint_id INTEGER NOT NULL REFERENCES checkpoints(id),
    scores TEXT NOT NULL,           -- JSON: for each slot the score of each member of the ensemble
    preference REAL,                -- probability that slot 0 is the better one; NULL for more than two responses
    uncertainty REAL NOT NULL,
    uncertainty_kind TEXT NOT NULL CHECK (uncertainty_kind IN ('spread', 'closeness')),
    created_at TEXT NOT NULL,
    UNIQUE (comparison_id, checkpoint_id)
) STRICT""",
    """
CREATE TABLE prediction_views (     -- predictions: that a person saw a prediction, and after which vote
    id INTEGER PRIMARY KEY,
    prediction_id INTEGER NOT NULL REFERENCES predictions(id),
    showing_id INTEGER NOT NULL REFERENCES showings(id),
    event_id INTEGER NOT NULL UNIQUE REFERENCES rating_events(id),
    created_at TEXT NOT NULL
) STRICT""",
    "CREATE INDEX prediction_views_showing ON prediction_views(showing_id)",
)

APPEND_ONLY = (
    "guidelines",
    "sessions",
    "session_events",
    "session_items",
    "session_runs",
    "predictions",
    "prediction_views",
)

GUARDS = (
    "CREATE TRIGGER predictions_come_before_votes BEFORE INSERT ON predictions"
    " WHEN EXISTS (SELECT 1 FROM rating_events e WHERE e.comparison_id = new.comparison_id)"
    " BEGIN SELECT RAISE(ABORT, 'a prediction comes before the first vote'); END",
)
"""They name `rating_events`, which an older migration rebuilds, so they are created after it."""


_ITEMS = """
CREATE TABLE session_items (        -- sessions: what was shown in a session, and why it was chosen
    showing_id INTEGER PRIMARY KEY REFERENCES showings(id),
    session_id INTEGER NOT NULL REFERENCES sessions(id),
    position INTEGER NOT NULL,
    prompt_id INTEGER NOT NULL REFERENCES prompts(id),
    arm TEXT NOT NULL CHECK (arm IN ('random', 'uncertainty', 'margin', 'information', 'diversity', 'newest', 'repeat')),
    probability REAL NOT NULL CHECK (probability > 0 AND probability <= 1),     -- of this item in this draw
    score REAL,                     -- what the choice looked at, where it had one
    score_kind TEXT CHECK (score_kind IN ('spread', 'closeness', 'information', 'rarity')),
    repeat_of INTEGER REFERENCES showings(id),
    is_swapped INTEGER CHECK (is_swapped IN (0, 1)),
    guideline_id INTEGER REFERENCES guidelines(id),     -- in force when it was shown
    created_at TEXT NOT NULL,
    prediction_id INTEGER REFERENCES predictions(id) CHECK (prediction_id IS NULL OR arm = 'repeat'),
    UNIQUE (session_id, position),
    CHECK ((arm = 'repeat') = (repeat_of IS NOT NULL) AND (arm = 'repeat') = (is_swapped IS NOT NULL))
) STRICT"""
REASON = "ALTER TABLE sessions ADD COLUMN reason TEXT NOT NULL DEFAULT ''"
"""In words, what an auto choice went by; empty where the person chose."""


def widen_items(db: Database) -> None:
    """Let items be chosen by more strategies: make their table again. Nothing refers to it but views and triggers, by its name."""
    kept = [
        row["sql"]
        for row in db.query(
            "SELECT sql FROM sqlite_master WHERE tbl_name = 'session_items' AND type IN ('index', 'trigger') AND sql IS NOT NULL"
            " ORDER BY type"
        )
    ]
    names = ", ".join(row["name"] for row in db.query("SELECT name FROM pragma_table_info('session_items')"))
    db.execute(f"CREATE TABLE session_items_kept AS SELECT {names} FROM session_items")
    db.execute("DROP TABLE session_items")
    db.execute(_ITEMS)
    db.execute(f"INSERT INTO session_items ({names}) SELECT {names} FROM session_items_kept ORDER BY showing_id")
    db.execute("DROP TABLE session_items_kept")
    for statement in kept:
        db.execute(statement)
