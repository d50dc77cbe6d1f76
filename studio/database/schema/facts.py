"""The migration that keeps what imported judgements carry: when they were given, a raw margin, the rest as JSON; and mapped columns."""

STATEMENTS = (
    "ALTER TABLE rating_events ADD COLUMN judged_at TEXT",
    "ALTER TABLE rating_events ADD COLUMN margin REAL",
    "ALTER TABLE rating_events ADD COLUMN facts TEXT CHECK (facts IS NULL OR json_type(facts) = 'object')",
    "ALTER TABLE responses ADD COLUMN model TEXT",
    """CREATE TABLE import_maps (         -- mapping: columns that a person mapped, to be offered again
    structure TEXT PRIMARY KEY,     -- sha256 of the sorted columns
    columns TEXT NOT NULL,          -- JSON list
    mapped TEXT NOT NULL,           -- JSON: our name -> the file's
    created_at TEXT NOT NULL
) STRICT""",
)
"""judged_at: UTC, as the source says; margin: how much better, in the source's own unit; facts: scores, flags of no position,
the task's metadata; model: the name of the model that wrote an imported response."""
