"""Richer ratings, as a migration of `studio.database.connection` creates them: rankings, notes, flags, attributes, edits.

SQLite cannot change a CHECK, so `rating_events` is rebuilt and filled; its indexes and triggers are created again as
they were. Three small tables, kept by triggers, save finding the next pair and counting from reading all ratings: their
rows follow from the events, and an archive need not hold them.
"""

from sqlite_utils import Database

_EVENTS = """
CREATE TABLE rating_events_new (    -- ratings
    id INTEGER PRIMARY KEY,
    uuid TEXT NOT NULL UNIQUE,      -- from the client: a resend is one rating
    comparison_id INTEGER NOT NULL REFERENCES comparisons(id),
    showing_id INTEGER REFERENCES showings(id),     -- NULL for imports and edits: left is then slot 0
    outcome TEXT NOT NULL CHECK (outcome IN ('left', 'right', 'tie', 'both_bad', 'ranking', 'skip', 'undo')),
    strength INTEGER CHECK (strength BETWEEN 1 AND 3),
    reason TEXT,
    rater TEXT NOT NULL,
    elapsed_ms INTEGER,
    supersedes INTEGER UNIQUE REFERENCES rating_events(id),
    created_at TEXT NOT NULL,
    ranks TEXT CHECK (ranks IS NULL OR json_type(ranks) = 'array'),     -- rank by screen position: 1 best, equal = tie
    note TEXT,
    flags TEXT CHECK (flags IS NULL OR json_type(flags) = 'object'),    -- unsafe, hallucinated, refused -> screen positions
    attributes TEXT CHECK (attributes IS NULL OR json_type(attributes) = 'object'),
                                    -- helpful, truthful, harmless -> 1 to 7 or null by screen position
    edited_response_id INTEGER REFERENCES responses(id),    -- the ideal answer that was written over the other one
    CHECK ((outcome IN ('left', 'right')) OR strength IS NULL),
    CHECK ((outcome = 'ranking') = (ranks IS NOT NULL))
) STRICT"""

_VIEW = """
CREATE VIEW ratings AS              -- the event of each chain that counts now; left and right are positions 0 and 1
    SELECT e.*, coalesce(s.left_response_id, a.response_id) AS left_id, coalesce(s.right_response_id, b.response_id) AS right_id,
        coalesce(s.response_ids, CASE WHEN s.id IS NOT NULL THEN json_array(s.left_response_id, s.right_response_id) ELSE
            (SELECT json_group_array(response_id) FROM (SELECT c.response_id FROM comparison_responses c
             WHERE c.comparison_id = e.comparison_id ORDER BY c.slot)) END) AS response_ids     -- JSON, by screen position
    FROM rating_events e
    LEFT JOIN showings s ON s.id = e.showing_id
    JOIN comparison_responses a ON a.comparison_id = e.comparison_id AND a.slot = 0
    JOIN comparison_responses b ON b.comparison_id = e.comparison_id AND b.slot = 1
    WHERE e.outcome != 'undo' AND NOT EXISTS (SELECT 1 FROM rating_events n WHERE n.supersedes = e.id)"""

_DEMONSTRATIONS = """
CREATE VIEW demonstrations AS       -- what SFT may learn from: an ideal answer whose edit was undone is none
    SELECT r.* FROM responses r WHERE r.kind = 'demonstration'
    AND (r.edited_from IS NULL OR EXISTS (SELECT 1 FROM ratings g WHERE g.edited_response_id = r.id))"""

_COLUMNS = (
    "ALTER TABLE showings ADD COLUMN response_ids TEXT CHECK (response_ids IS NULL OR json_type(response_ids) = 'array')",
    "ALTER TABLE responses ADD COLUMN edited_from INTEGER REFERENCES responses(id)",
    "CREATE INDEX rating_events_showing ON rating_events(showing_id, id)",
    "CREATE INDEX rating_events_when ON rating_events(created_at)",
    "CREATE INDEX rating_events_edited ON rating_events(edited_response_id) WHERE edited_response_id IS NOT NULL",
)

_KEPT_BY_TRIGGERS = (
    """
CREATE TABLE waiting_comparisons (  -- comparisons reads it: those nobody has judged
    comparison_id INTEGER PRIMARY KEY REFERENCES comparisons(id),
    run_id INTEGER
) STRICT""",
    "CREATE INDEX waiting_comparisons_newest ON waiting_comparisons(run_id DESC, comparison_id)",
    "INSERT INTO waiting_comparisons SELECT id, run_id FROM comparisons c"
    " WHERE NOT EXISTS (SELECT 1 FROM rating_events e WHERE e.comparison_id = c.id)",
    "CREATE TRIGGER comparisons_wait AFTER INSERT ON comparisons"
    " BEGIN INSERT INTO waiting_comparisons VALUES (new.id, new.run_id); END",
    "CREATE TRIGGER rating_events_end_wait AFTER INSERT ON rating_events"
    " BEGIN DELETE FROM waiting_comparisons WHERE comparison_id = new.comparison_id; END",
    """
CREATE TABLE undone_showings (      -- comparisons reads it: those whose rating was taken back and not given again
    showing_id INTEGER PRIMARY KEY REFERENCES showings(id),
    event_id INTEGER NOT NULL REFERENCES rating_events(id)
) STRICT""",
    "INSERT INTO undone_showings SELECT e.showing_id, e.id FROM rating_events e WHERE e.outcome = 'undo'"
    " AND e.showing_id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM rating_events n WHERE n.supersedes = e.id)",
    "CREATE TRIGGER rating_events_undo AFTER INSERT ON rating_events WHEN new.outcome = 'undo' AND new.showing_id IS NOT NULL"
    " BEGIN INSERT OR REPLACE INTO undone_showings VALUES (new.showing_id, new.id); END",
    "CREATE TRIGGER rating_events_redo AFTER INSERT ON rating_events WHEN new.outcome != 'undo'"
    " BEGIN DELETE FROM undone_showings WHERE showing_id = new.showing_id; END",
    """
CREATE TABLE rating_tallies (       -- ratings reads it: how many ratings count
    outcome TEXT NOT NULL,
    rater TEXT NOT NULL,
    number INTEGER NOT NULL,
    PRIMARY KEY (outcome, rater)
) STRICT, WITHOUT ROWID""",
    "INSERT INTO rating_tallies SELECT outcome, rater, count(*) FROM ratings GROUP BY outcome, rater",
    "CREATE TRIGGER rating_events_tally AFTER INSERT ON rating_events WHEN new.outcome != 'undo' BEGIN"
    " INSERT INTO rating_tallies VALUES (new.outcome, new.rater, 1) ON CONFLICT DO UPDATE SET number = number + 1; END",
    "CREATE TRIGGER rating_events_untally AFTER INSERT ON rating_events WHEN new.supersedes IS NOT NULL BEGIN"
    " UPDATE rating_tallies SET number = number - 1"
    " WHERE (outcome, rater) = (SELECT e.outcome, e.rater FROM rating_events e WHERE e.id = new.supersedes); END",
)


def enrich(db: Database) -> None:
    """Bring the tables of ratings to this version; the caller has switched foreign keys off."""
    kept = [
        row["sql"]
        for row in db.query(
            "SELECT sql FROM sqlite_master WHERE tbl_name = 'rating_events' AND type IN ('index', 'trigger') AND sql IS NOT NULL"
            " ORDER BY type"
        )
    ]
    names = ", ".join(row["name"] for row in db.query("SELECT name FROM pragma_table_info('rating_events')"))
    db.execute("DROP VIEW ratings")
    db.execute(_EVENTS)
    db.execute(f"INSERT INTO rating_events_new ({names}) SELECT {names} FROM rating_events ORDER BY id")
    db.execute("DROP TABLE rating_events")
    db.execute("ALTER TABLE rating_events_new RENAME TO rating_events")
    for statement in (*_COLUMNS[:2], _VIEW, _DEMONSTRATIONS, *kept, *_COLUMNS[2:], *_KEPT_BY_TRIGGERS):
        db.execute(statement)
    broken = list(db.query("PRAGMA foreign_key_check"))
    assert not broken, broken
