"""The migration of imports that are brought in piece by piece: the ids of rows that nobody sees yet. Its owner is `database.curtain`."""

STATEMENTS = (
    """
CREATE TABLE unfinished_imports (   -- curtain: rows of an import that is not whole yet, by their ids
    id INTEGER PRIMARY KEY,
    rows_of TEXT NOT NULL CHECK (rows_of IN ('imports', 'prompts', 'responses', 'comparisons', 'rating_events')),
    first INTEGER NOT NULL,
    last INTEGER NOT NULL CHECK (last >= first)
) STRICT""",
)
INDEX = "CREATE UNIQUE INDEX unfinished_imports_first ON unfinished_imports(rows_of, first, last)"
"""The migration that finds the piece to which a row would belong without reading all pieces."""
