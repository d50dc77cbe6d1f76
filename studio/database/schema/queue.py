"""The migration of the queue: its order, held and paused runs, a run's lane, and the verified end of its processes."""

STATEMENTS = (
    "ALTER TABLE runs ADD COLUMN place REAL",  # in the queue; NULL: by id
    "ALTER TABLE runs ADD COLUMN pause_requested INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE runs ADD COLUMN lane TEXT NOT NULL DEFAULT ''",  # cpu, gpu0 or gpu0+gpu1
    "ALTER TABLE runs ADD COLUMN advanced_at TEXT",  # when it last made progress
    "ALTER TABLE runs ADD COLUMN gone_at TEXT",  # when its processes were seen gone, and their GPU memory free
    "UPDATE runs SET gone_at = ended_at WHERE ended_at IS NOT NULL",
)
