"""Second looks at votes against a confident reward model, as a migration of `studio.database.connection` creates them.

`contradictions` is kept by a trigger: its rows follow from the events, and an archive need not hold them. So the most
confident ones are found without reading all ratings. A repeat with a prediction is a second look: the first vote contradicts it.
"""

APPEND_ONLY = "settlements"
_SIDE = "CASE WHEN ({0}.outcome = 'left') = (s.left_response_id = f.response_id) THEN q.preference ELSE 1 - q.preference END"
_FROM = (
    " FROM showings s JOIN comparison_responses f ON f.comparison_id = s.comparison_id AND f.slot = 0"
    " JOIN predictions q ON q.id = (SELECT max(id) FROM predictions WHERE comparison_id = s.comparison_id AND preference IS NOT NULL)"
)
_IS_FIRST = "NOT EXISTS (SELECT 1 FROM session_items i WHERE i.showing_id = s.id AND i.arm = 'repeat')"

STATEMENTS = (
    "ALTER TABLE session_items ADD COLUMN prediction_id INTEGER REFERENCES predictions(id)"
    " CHECK (prediction_id IS NULL OR arm = 'repeat')",
    "CREATE INDEX session_items_second_looks ON session_items(session_id) WHERE prediction_id IS NOT NULL",
    """
CREATE TABLE settlements (          -- disagreements: what a person said of the two votes, after a second look
    id INTEGER PRIMARY KEY,
    uuid TEXT NOT NULL UNIQUE,      -- from the client: a resend is one answer
    showing_id INTEGER NOT NULL REFERENCES showings(id),                -- the second look
    outcome TEXT NOT NULL CHECK (outcome IN ('slip', 'model', 'gap', 'later', 'undo')),
    first_event_id INTEGER NOT NULL REFERENCES rating_events(id),       -- the vote that contradicts the reward model
    second_event_id INTEGER NOT NULL REFERENCES rating_events(id),      -- the blind one on the second look
    correction_id INTEGER UNIQUE REFERENCES rating_events(id),          -- of the first vote to the second
    guideline_id INTEGER REFERENCES guidelines(id),                     -- the version that was written for it
    last_event_id INTEGER NOT NULL REFERENCES rating_events(id),        -- the newest event then, for the order of undo
    supersedes INTEGER UNIQUE REFERENCES settlements(id),
    rater TEXT NOT NULL,
    created_at TEXT NOT NULL,
    CHECK ((outcome = 'slip') = (correction_id IS NOT NULL)),
    CHECK (outcome = 'gap' OR guideline_id IS NULL),
    CHECK ((outcome = 'undo') = (supersedes IS NOT NULL))
) STRICT""",
    "CREATE INDEX settlements_showing ON settlements(showing_id)",
    """
CREATE VIEW settled AS              -- the answers that were not taken back
    SELECT t.*, i.repeat_of, i.session_id, i.prompt_id FROM settlements t JOIN session_items i ON i.showing_id = t.showing_id
    WHERE t.outcome != 'undo' AND NOT EXISTS (SELECT 1 FROM settlements n WHERE n.supersedes = t.id)""",
    """
CREATE TABLE contradictions (       -- disagreements reads it: votes that count on pairs of which a reward model had preferred the other answer
    showing_id INTEGER PRIMARY KEY REFERENCES showings(id),
    event_id INTEGER NOT NULL REFERENCES rating_events(id),
    rater TEXT NOT NULL,
    prediction_id INTEGER NOT NULL REFERENCES predictions(id),      -- of the newest reward model that had predicted it
    probability REAL NOT NULL       -- that it gave the preferred answer, below one half
) STRICT""",
    "CREATE INDEX contradictions_surest ON contradictions(probability, showing_id, rater)",
    f"INSERT INTO contradictions SELECT s.id, e.id, e.rater, q.id, {_SIDE.format('e')}{_FROM}"
    " JOIN rating_events e ON e.showing_id = s.id AND e.outcome IN ('left', 'right') AND NOT e.is_imported"
    " AND NOT EXISTS (SELECT 1 FROM rating_events n WHERE n.supersedes = e.id)"
    f" WHERE {_SIDE.format('e')} < 0.5 AND {_IS_FIRST}",
    "CREATE TRIGGER rating_events_contradict AFTER INSERT ON rating_events WHEN new.showing_id IS NOT NULL AND NOT new.is_imported"
    " BEGIN DELETE FROM contradictions WHERE showing_id = new.showing_id;"
    f" INSERT INTO contradictions SELECT s.id, new.id, new.rater, q.id, {_SIDE.format('new')}{_FROM}"
    f" WHERE s.id = new.showing_id AND new.outcome IN ('left', 'right') AND {_SIDE.format('new')} < 0.5 AND {_IS_FIRST}; END",
)
