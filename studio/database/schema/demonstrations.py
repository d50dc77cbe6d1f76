"""The migration of demonstrations that were written elsewhere: which answer of which source each is, and what corrected it."""

STATEMENTS = (
    """CREATE TABLE demonstration_events (   -- demonstrations: an answer that a person wrote elsewhere, or a later version of it
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,             -- the source's own name of it
    response_id INTEGER NOT NULL REFERENCES responses(id),
    rater TEXT NOT NULL,
    judged_at TEXT,
    supersedes INTEGER UNIQUE REFERENCES demonstration_events(id) CHECK (supersedes < id),
    created_at TEXT NOT NULL
) STRICT""",
    "CREATE INDEX demonstration_events_response ON demonstration_events(response_id)",
    "DROP VIEW demonstrations",
    """CREATE VIEW demonstrations AS       -- what SFT may learn from: no ideal answer whose edit was undone, none that was corrected elsewhere
    SELECT r.* FROM responses r WHERE r.kind = 'demonstration'
    AND (r.edited_from IS NULL OR EXISTS (SELECT 1 FROM ratings g WHERE g.edited_response_id = r.id))
    AND (NOT EXISTS (SELECT 1 FROM demonstration_events e WHERE e.response_id = r.id) OR EXISTS
        (SELECT 1 FROM demonstration_events e WHERE e.response_id = r.id
         AND NOT EXISTS (SELECT 1 FROM demonstration_events n WHERE n.supersedes = e.id)))""",
)
APPEND_ONLY = "demonstration_events"
