"""The migration of lists in pages: indexes that make counts and pages of runs independent of how many there are."""

STATEMENTS = (
    "CREATE INDEX runs_state ON runs(state)",
    "CREATE INDEX runs_stage ON runs(stage, state)",
    "CREATE INDEX runs_ended ON runs(ended_at)",
    "CREATE INDEX runs_ending ON runs(gone_at) WHERE gone_at IS NULL",
)
