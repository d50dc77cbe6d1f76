"""The migration of runs' processes: their starter, their mark, and columns for facts that were texts before."""

STATEMENTS = (
    "ALTER TABLE runs ADD COLUMN starter TEXT NOT NULL DEFAULT '' CHECK (starter IN ('', 'studio', 'others'))",
    "ALTER TABLE runs ADD COLUMN paused_at TEXT",  # since when it waits between two steps
    "ALTER TABLE runs ADD COLUMN is_fault INTEGER NOT NULL DEFAULT 0 CHECK (is_fault IN (0, 1))",
    "ALTER TABLE runs ADD COLUMN mark TEXT NOT NULL DEFAULT ''",  # carried in the environment of its processes
    "ALTER TABLE runs ADD COLUMN boot TEXT NOT NULL DEFAULT ''",  # the start of the machine in which pid was born
    "ALTER TABLE runs ADD COLUMN environment TEXT NOT NULL DEFAULT '{}'",  # JSON: settings of the shell that queued it
    "UPDATE runs SET starter = 'studio' WHERE state = 'queued' AND pid IS NOT NULL",
    "UPDATE runs SET starter = 'others' WHERE state = 'queued' AND pid IS NULL AND heartbeat_at IS NOT NULL",
    "UPDATE runs SET paused_at = heartbeat_at WHERE state = 'running' AND pause_requested AND progress_text LIKE 'paused%'",
    "UPDATE runs SET is_fault = 1 WHERE state = 'stopped' AND message LIKE 'Paused: %'",
)
