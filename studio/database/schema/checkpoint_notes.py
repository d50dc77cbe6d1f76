"""The migration of what a person says of a checkpoint: a note, tags, and whether it is pinned. Its owner is `models.notes`."""

STATEMENTS = (
    """
CREATE TABLE checkpoint_notes (         -- notes
    checkpoint_id INTEGER PRIMARY KEY REFERENCES checkpoints(id),
    note TEXT NOT NULL,
    tags TEXT NOT NULL,             -- JSON list, in the order in which they were given
    is_pinned INTEGER NOT NULL CHECK (is_pinned IN (0, 1)),
    changed_at TEXT NOT NULL
) STRICT""",
)
