"""The migration of deleted runs and checkpoints: their rows stay, their files leave. Its owner is `models.deletion`."""

STATEMENTS = (
    "ALTER TABLE runs ADD COLUMN deleted_at TEXT",
    "ALTER TABLE checkpoints ADD COLUMN deleted_at TEXT",
    """
CREATE TABLE unfinished_deletions (     -- deletion: files of what is deleted that may still be on the disk
    id INTEGER PRIMARY KEY,
    folder TEXT NOT NULL,           -- relative to the workspace
    files TEXT NOT NULL,            -- JSON list, relative to the folder: these and no others leave
    created_at TEXT NOT NULL
) STRICT""",
)
