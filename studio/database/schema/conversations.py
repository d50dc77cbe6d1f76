"""The migration of conversations: trees of turns, and the votes given on pairs of their answers."""

STATEMENTS = (
    """CREATE TABLE conversations (        -- conversations
    id INTEGER PRIMARY KEY,
    title TEXT NOT NULL,            -- empty until something is said
    settings TEXT NOT NULL,         -- JSON: checkpoints, system, sampling, is_blind; for the answers to come
    leaf_id INTEGER,                -- the turn at whose branch it opens
    created_at TEXT NOT NULL,
    changed_at TEXT NOT NULL
) STRICT""",
    "CREATE INDEX conversations_changed ON conversations(changed_at)",
    """CREATE TABLE turns (                -- turns: what a person says, and answers to it; edits and attempts are siblings
    id INTEGER PRIMARY KEY,
    conversation_id INTEGER NOT NULL REFERENCES conversations(id),
    parent_id INTEGER REFERENCES turns(id) CHECK (parent_id < id),
    role TEXT NOT NULL CHECK (role IN ('user', 'assistant')),
    text TEXT NOT NULL,
    attempt INTEGER,                -- of an answer: answers of one attempt are asked together
    place INTEGER,                  -- of an answer: where it is shown in its attempt
    checkpoint TEXT,                -- its name; NULL where a person wrote the text
    settings TEXT,                  -- JSON: the sampling with its seed, and the system prompt it was given under
    num_tokens INTEGER,
    seconds REAL,                   -- of computing, from the first token of the prompt to the last of the answer
    end_reason TEXT CHECK (end_reason IN ('eos', 'length', 'stop', 'stopped', 'failed', 'written')),
                                    -- NULL while it is given, and where whoever stored it was killed
    message TEXT NOT NULL DEFAULT '',   -- why it failed or ended early
    response_id INTEGER REFERENCES responses(id),   -- of an answer that was judged or corrected: what it is there
    created_at TEXT NOT NULL,
    CHECK ((role = 'user') = (attempt IS NULL) AND (attempt IS NULL) = (place IS NULL) AND (attempt IS NULL OR parent_id IS NOT NULL))
) STRICT""",
    "CREATE INDEX turns_conversation ON turns(conversation_id)",
    "CREATE INDEX turns_parent ON turns(parent_id)",
    """CREATE TABLE conversation_votes (   -- turns: the showing that two answers were judged on
    left_id INTEGER PRIMARY KEY REFERENCES turns(id),
    right_id INTEGER NOT NULL UNIQUE REFERENCES turns(id),
    showing_id INTEGER NOT NULL REFERENCES showings(id)
) STRICT""",
    "CREATE INDEX conversation_votes_showing ON conversation_votes(showing_id)",
)
