"""The migration of settings that were changed while a run went on. Its owner is `runs.steering`."""

STATEMENTS = (
    """
CREATE TABLE steering (                 -- steering: another value of a setting of a run that goes on
    id INTEGER PRIMARY KEY,
    run_id INTEGER NOT NULL REFERENCES runs(id),
    name TEXT NOT NULL,
    value REAL NOT NULL,
    asked_at TEXT NOT NULL,
    due_step INTEGER,               -- the step after which the run that this one repeats took it; NULL: at once
    step INTEGER                    -- steps done when it was taken; NULL until then
) STRICT""",
    "CREATE INDEX steering_run ON steering(run_id, step)",
)
