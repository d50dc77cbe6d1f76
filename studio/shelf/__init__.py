"""Runs and checkpoints where there are thousands: counts, pages and searches that read a few rows each.

The tables belong to `studio.runs` and `studio.checkpoints`; these modules only read them, for pages that are drawn often.
"""

SCHEMA = (
    "CREATE INDEX runs_state ON runs(state)",
    "CREATE INDEX runs_stage ON runs(stage, state)",
    "CREATE INDEX runs_ended ON runs(ended_at)",
    "CREATE INDEX runs_ending ON runs(gone_at) WHERE gone_at IS NULL",
)
"""The migration that makes these reads independent of how many runs there are."""
PAGE = 50
"""Rows of one page."""
