"""The tables of evaluations: suites, their items, and what each checkpoint did with each item.

A suite's row holds its conditions (template, number of samples, seed, length, classifier), so two results of one suite were got in
the same way and may be paired. Triggers refuse UPDATE and DELETE.
"""

STATEMENTS = (
    """
CREATE TABLE evaluation_suites (    -- evaluation.results: a suite under conditions; other items or conditions are another row
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    title TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('choice', 'pair', 'truth', 'text', 'prompt', 'task')),
    conditions TEXT NOT NULL,       -- JSON
    fingerprint TEXT NOT NULL UNIQUE,
    created_at TEXT NOT NULL
) STRICT""",
    """
CREATE TABLE evaluation_items (     -- evaluation.results
    id INTEGER PRIMARY KEY,
    suite_id INTEGER NOT NULL REFERENCES evaluation_suites(id),
    place INTEGER NOT NULL,
    cluster TEXT NOT NULL,          -- items of one name are resampled together; empty: each by itself
    content TEXT NOT NULL,          -- JSON
    UNIQUE (suite_id, place)
) STRICT""",
    """
CREATE TABLE evaluation_results (   -- evaluation.results: never measured twice, so a resumed run goes on where it was
    id INTEGER PRIMARY KEY,
    item_id INTEGER NOT NULL REFERENCES evaluation_items(id),
    subject TEXT NOT NULL,          -- a checkpoint, or base:NAME for a pretrained model
    sample INTEGER NOT NULL,        -- 0, 1, ... of sampled answers
    role TEXT NOT NULL,             -- of the backbone, active while it was measured
    base_fingerprint TEXT NOT NULL,
    checkpoint_id INTEGER REFERENCES checkpoints(id),
    run_id INTEGER NOT NULL REFERENCES runs(id),
    scores TEXT NOT NULL,           -- JSON
    text TEXT,                      -- a sampled answer
    created_at TEXT NOT NULL,
    UNIQUE (item_id, subject, sample)
) STRICT""",
    "CREATE INDEX evaluation_results_subject ON evaluation_results(subject)",
    "CREATE INDEX evaluation_results_run ON evaluation_results(run_id)",
)

TABLES = ("evaluation_suites", "evaluation_items", "evaluation_results")
