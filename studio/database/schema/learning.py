"""The tables of learning curves: on which held-out votes reward models of growing size were measured, and where they were right.

A curve's row stands for settings, labels and held-out votes, so what was measured for it is not measured again. Triggers refuse
UPDATE and DELETE.
"""

STATEMENTS = (
    """
CREATE TABLE learning_curves (      -- insights.learning_curves: other settings, labels or held-out votes are another row
    id INTEGER PRIMARY KEY,
    num_labels INTEGER NOT NULL CHECK (num_labels > 0),
    held_out TEXT NOT NULL,         -- JSON: the prompt of each held-out vote
    fingerprint TEXT NOT NULL UNIQUE,
    created_at TEXT NOT NULL
) STRICT""",
    """
CREATE TABLE learning_results (     -- insights.learning_curves: one reward model, which was not kept
    id INTEGER PRIMARY KEY,
    curve_id INTEGER NOT NULL REFERENCES learning_curves(id),
    run_id INTEGER NOT NULL REFERENCES runs(id),
    size INTEGER NOT NULL CHECK (size > 0),     -- labels that it was trained on
    seed INTEGER NOT NULL CHECK (seed >= 0),
    hits TEXT NOT NULL,             -- 1 or 0 for each held-out vote: whether it was right
    created_at TEXT NOT NULL,
    UNIQUE (curve_id, size, seed)
) STRICT""",
    "CREATE INDEX learning_results_run ON learning_results(run_id)",
)

TABLES = ("learning_curves", "learning_results")

ARMS = (
    "ALTER TABLE learning_curves ADD COLUMN arm TEXT CHECK (arm IN ('random', 'active'))",
    "ALTER TABLE learning_curves ADD COLUMN random_id INTEGER REFERENCES learning_curves(id)"
    " CHECK (random_id < id AND (random_id IS NOT NULL) = (arm IS 'active'))",
)
"""How the labels of a curve were chosen, where only such were taken; and of an active one the random one that it stands against."""
