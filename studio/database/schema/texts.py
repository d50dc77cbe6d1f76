"""The migrations of texts that are hidden or edited, and of finding where a text came from. Their owner is `preferences.texts`."""

STATEMENTS = (
    """
CREATE TABLE text_events (          -- texts: what a person did with a text; the newest hide or show tells whether it is hidden
    id INTEGER PRIMARY KEY,
    what TEXT NOT NULL CHECK (what IN ('prompts', 'demonstrations', 'preferences')),
    text_id INTEGER NOT NULL,       -- of a prompt, of a demonstration's response, of a preference's comparison
    action TEXT NOT NULL CHECK (action IN ('hide', 'show', 'category')),
    before TEXT,                    -- the category before and after
    after TEXT,
    rater TEXT NOT NULL,
    created_at TEXT NOT NULL,
    CHECK ((action = 'category') = (before IS NOT NULL) AND (action = 'category') = (after IS NOT NULL)),
    CHECK (action != 'category' OR what = 'prompts')
) STRICT""",
    "CREATE INDEX text_events_text ON text_events(what, text_id)",
    """
CREATE TABLE hidden_texts (         -- texts reads it; the triggers write it
    what TEXT NOT NULL,
    text_id INTEGER NOT NULL,
    PRIMARY KEY (what, text_id)
) STRICT, WITHOUT ROWID""",
    """
CREATE TRIGGER text_events_hide AFTER INSERT ON text_events WHEN new.action = 'hide'
BEGIN INSERT OR IGNORE INTO hidden_texts VALUES (new.what, new.text_id); END""",
    """
CREATE TRIGGER text_events_show AFTER INSERT ON text_events WHEN new.action = 'show'
BEGIN DELETE FROM hidden_texts WHERE what = new.what AND text_id = new.text_id; END""",
    "DROP VIEW demonstrations",
    """CREATE VIEW all_demonstrations AS   -- hidden ones too: no ideal answer whose edit was undone, none that was corrected
    SELECT r.* FROM responses r WHERE r.kind = 'demonstration'
    AND (r.edited_from IS NULL OR EXISTS (SELECT 1 FROM ratings g WHERE g.edited_response_id = r.id))
    AND (NOT EXISTS (SELECT 1 FROM demonstration_events e WHERE e.response_id = r.id) OR EXISTS
        (SELECT 1 FROM demonstration_events e WHERE e.response_id = r.id
         AND NOT EXISTS (SELECT 1 FROM demonstration_events n WHERE n.supersedes = e.id)))""",
    """CREATE VIEW demonstrations AS       -- what SFT may learn from
    SELECT r.* FROM all_demonstrations r
    WHERE NOT EXISTS (SELECT 1 FROM hidden_texts h WHERE h.what = 'demonstrations' AND h.text_id = r.id)
    AND NOT EXISTS (SELECT 1 FROM hidden_texts h WHERE h.what = 'prompts' AND h.text_id = r.prompt_id)""",
)
APPEND_ONLY = "text_events"
IMPORT_ROWS = """
CREATE TABLE import_rows (          -- datasets.taking_back: rows that came with an import, besides its prompts and responses, by their ids
    import_id INTEGER NOT NULL REFERENCES imports(id),
    rows_of TEXT NOT NULL CHECK (rows_of IN ('comparisons', 'rating_events', 'showings', 'demonstration_events')),
    first INTEGER NOT NULL,
    last INTEGER NOT NULL CHECK (last >= first),
    PRIMARY KEY (rows_of, first)
) STRICT, WITHOUT ROWID"""
"""The migration that remembers what came with an import."""
IMPORT_NOTED = "ALTER TABLE imports ADD COLUMN is_noted INTEGER NOT NULL DEFAULT 0 CHECK (is_noted IN (0, 1))"
"""Whether `import_rows` has all that came with an import."""
UNDONE = tuple(
    f"ALTER TABLE {table} ADD COLUMN is_undo INTEGER NOT NULL DEFAULT 0 CHECK (is_undo IN (0, 1))"
    for table in ("text_events", "demonstration_events")
)
"""The migration that marks changes which took back an earlier one."""
INDEXES = (
    "CREATE INDEX responses_demonstrations ON responses(id) WHERE kind = 'demonstration'",
    "CREATE INDEX responses_samples ON responses(id) WHERE kind = 'sample'",
    "CREATE INDEX responses_import ON responses(import_id) WHERE import_id IS NOT NULL",
    "CREATE INDEX prompts_import ON prompts(import_id) WHERE import_id IS NOT NULL",
)
"""The migration that lists demonstrations, counts samples, and finds the texts of an import, without reading the others."""
