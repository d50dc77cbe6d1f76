"""The first tables of a workspace and what the next three migrations added to them. Frozen: a change is a new migration."""

FIRST = """
CREATE TABLE imports (              -- prompts
    id INTEGER PRIMARY KEY,
    source TEXT NOT NULL,           -- file name or data set id
    sha256 TEXT NOT NULL,           -- of the raw bytes, or of the rows of a data set
    kind TEXT NOT NULL,             -- demonstrations | preferences | prompts
    kept INTEGER NOT NULL,
    dropped TEXT NOT NULL,          -- JSON: reason -> count
    created_at TEXT NOT NULL
) STRICT;

CREATE TABLE prompts (              -- prompts
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

CREATE TABLE responses (            -- prompts
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

CREATE TABLE comparisons (          -- comparisons
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,       -- prompt and response ids: the same pair is never put up twice
    prompt_id INTEGER NOT NULL REFERENCES prompts(id),
    run_id INTEGER REFERENCES runs(id),     -- the sampling run; NULL for imports
    created_at TEXT NOT NULL
) STRICT;

CREATE INDEX comparisons_run ON comparisons(run_id DESC, id);

CREATE TABLE comparison_responses ( -- comparisons
    comparison_id INTEGER NOT NULL REFERENCES comparisons(id),
    slot INTEGER NOT NULL,
    response_id INTEGER NOT NULL REFERENCES responses(id),
    PRIMARY KEY (comparison_id, slot)
) STRICT;

CREATE TABLE showings (             -- comparisons: what the eye saw, written before it was shown
    id INTEGER PRIMARY KEY,
    comparison_id INTEGER NOT NULL REFERENCES comparisons(id),
    left_response_id INTEGER NOT NULL REFERENCES responses(id),
    right_response_id INTEGER NOT NULL REFERENCES responses(id),
    seed INTEGER NOT NULL,
    rater TEXT NOT NULL,
    created_at TEXT NOT NULL
) STRICT;
CREATE INDEX showings_comparison ON showings(comparison_id);

CREATE TABLE rating_events (        -- ratings
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

CREATE TABLE snapshots (            -- snapshots
    id INTEGER PRIMARY KEY,
    recipe TEXT NOT NULL,           -- JSON
    sha256 TEXT NOT NULL UNIQUE,
    row_count INTEGER NOT NULL,
    created_at TEXT NOT NULL
) STRICT;

CREATE TABLE snapshot_rows (        -- snapshots
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

CREATE TABLE runs (                 -- runs
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

CREATE TABLE run_parents (          -- runs
    run_id INTEGER NOT NULL REFERENCES runs(id),
    role TEXT NOT NULL,             -- sft, reward, policy, opponent
    checkpoint_id INTEGER NOT NULL REFERENCES checkpoints(id),
    PRIMARY KEY (run_id, role)
) STRICT;

CREATE TABLE metrics (              -- metrics
    id INTEGER PRIMARY KEY,
    run_id INTEGER NOT NULL REFERENCES runs(id),
    step INTEGER NOT NULL,
    name TEXT NOT NULL,
    value REAL,
    at TEXT NOT NULL
) STRICT;
CREATE INDEX metrics_run ON metrics(run_id, name, step);

CREATE TABLE samples (              -- metrics
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

CREATE TABLE checkpoints (          -- checkpoints: a row means a complete folder
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

CREATE TABLE drafts (               -- prompts: text typed into the page and not yet saved
    name TEXT PRIMARY KEY,
    text TEXT NOT NULL
) STRICT;
"""

ROLLOUTS = (
    """
CREATE TABLE rollouts (             -- rollouts: one response of a PPO iteration
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
    tokens BLOB NOT NULL            -- ids and numbers per token, packed by rollouts
) STRICT""",
    "CREATE INDEX rollouts_run ON rollouts(run_id, iteration)",
    """
CREATE TABLE token_texts (          -- rollouts: how the tokens of a run's rollouts read
    run_id INTEGER NOT NULL REFERENCES runs(id),
    token_id INTEGER NOT NULL,
    text TEXT NOT NULL,
    PRIMARY KEY (run_id, token_id)
) STRICT, WITHOUT ROWID""",
    "ALTER TABLE samples ADD COLUMN components TEXT",
)


OPEN_SHOWINGS = (
    """
CREATE TABLE open_showings (        -- comparisons reads it; the triggers write it
    showing_id INTEGER PRIMARY KEY REFERENCES showings(id)
) STRICT
""",
    "INSERT INTO open_showings SELECT s.id FROM showings s WHERE NOT EXISTS"
    " (SELECT 1 FROM rating_events e WHERE e.showing_id = s.id AND e.supersedes IS NULL)",
    "CREATE TRIGGER showings_open AFTER INSERT ON showings BEGIN INSERT INTO open_showings VALUES (new.id); END",
    "CREATE TRIGGER rating_events_close AFTER INSERT ON rating_events WHEN new.supersedes IS NULL"
    " BEGIN DELETE FROM open_showings WHERE showing_id = new.showing_id; END",
)
