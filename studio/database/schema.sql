CREATE VIEW all_demonstrations AS   -- hidden ones too: no ideal answer whose edit was undone, none that was corrected
    SELECT r.* FROM responses r WHERE r.kind = 'demonstration'
    AND (r.edited_from IS NULL OR EXISTS (SELECT 1 FROM ratings g WHERE g.edited_response_id = r.id))
    AND (NOT EXISTS (SELECT 1 FROM demonstration_events e WHERE e.response_id = r.id) OR EXISTS
        (SELECT 1 FROM demonstration_events e WHERE e.response_id = r.id
         AND NOT EXISTS (SELECT 1 FROM demonstration_events n WHERE n.supersedes = e.id)));
CREATE TABLE checkpoint_notes (         -- notes
    checkpoint_id INTEGER PRIMARY KEY REFERENCES checkpoints(id),
    note TEXT NOT NULL,
    tags TEXT NOT NULL,             -- JSON list, in the order in which they were given
    is_pinned INTEGER NOT NULL CHECK (is_pinned IN (0, 1)),
    changed_at TEXT NOT NULL
) STRICT;
CREATE TABLE checkpoints (          -- checkpoints: a row means a complete folder
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,      -- run name @ step
    run_id INTEGER NOT NULL REFERENCES runs(id),
    step INTEGER NOT NULL,
    folder TEXT NOT NULL,           -- relative to the workspace
    base_model TEXT NOT NULL,
    base_fingerprint TEXT NOT NULL,
    metrics TEXT NOT NULL,          -- JSON: the newest value of each eval metric
    created_at TEXT NOT NULL
, is_chosen INTEGER NOT NULL DEFAULT 0 CHECK (is_chosen IN (0, 1)), deleted_at TEXT) STRICT;
CREATE UNIQUE INDEX checkpoints_one_chosen ON checkpoints(run_id) WHERE is_chosen;
CREATE INDEX checkpoints_run ON checkpoints(run_id, step);
CREATE TABLE comparison_responses ( -- comparisons
    comparison_id INTEGER NOT NULL REFERENCES comparisons(id),
    slot INTEGER NOT NULL,
    response_id INTEGER NOT NULL REFERENCES responses(id),
    PRIMARY KEY (comparison_id, slot)
) STRICT;
CREATE INDEX comparison_responses_response ON comparison_responses(response_id);
CREATE TABLE comparisons (          -- comparisons
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,       -- prompt and response ids: the same pair is never put up twice
    prompt_id INTEGER NOT NULL REFERENCES prompts(id),
    run_id INTEGER REFERENCES runs(id),     -- the sampling run; NULL for imports
    created_at TEXT NOT NULL
) STRICT;
CREATE INDEX comparisons_run ON comparisons(run_id DESC, id);
CREATE TRIGGER comparisons_wait AFTER INSERT ON comparisons BEGIN INSERT INTO waiting_comparisons VALUES (new.id, new.run_id); END;
CREATE TABLE contradictions (       -- disagreements reads it: votes that count on pairs of which a reward model had preferred the other answer
    showing_id INTEGER PRIMARY KEY REFERENCES showings(id),
    event_id INTEGER NOT NULL REFERENCES rating_events(id),
    rater TEXT NOT NULL,
    prediction_id INTEGER NOT NULL REFERENCES predictions(id),      -- of the newest reward model that had predicted it
    probability REAL NOT NULL       -- that it gave the preferred answer, below one half
) STRICT;
CREATE INDEX contradictions_surest ON contradictions(probability, showing_id, rater);
CREATE TABLE conversation_votes (   -- turns: the showing that two answers were judged on
    left_id INTEGER PRIMARY KEY REFERENCES turns(id),
    right_id INTEGER NOT NULL UNIQUE REFERENCES turns(id),
    showing_id INTEGER NOT NULL REFERENCES showings(id)
) STRICT;
CREATE INDEX conversation_votes_showing ON conversation_votes(showing_id);
CREATE TABLE conversations (        -- conversations
    id INTEGER PRIMARY KEY,
    title TEXT NOT NULL,            -- empty until something is said
    settings TEXT NOT NULL,         -- JSON: checkpoints, system, sampling, is_blind; for the answers to come
    leaf_id INTEGER,                -- the turn at whose branch it opens
    created_at TEXT NOT NULL,
    changed_at TEXT NOT NULL
) STRICT;
CREATE INDEX conversations_changed ON conversations(changed_at);
CREATE TABLE demonstration_events (   -- demonstrations: an answer that a person wrote elsewhere, or a later version of it
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,             -- the source's own name of it
    response_id INTEGER NOT NULL REFERENCES responses(id),
    rater TEXT NOT NULL,
    judged_at TEXT,
    supersedes INTEGER UNIQUE REFERENCES demonstration_events(id) CHECK (supersedes < id),
    created_at TEXT NOT NULL
, is_undo INTEGER NOT NULL DEFAULT 0 CHECK (is_undo IN (0, 1))) STRICT;
CREATE INDEX demonstration_events_response ON demonstration_events(response_id);
CREATE TRIGGER demonstration_events_refuse_delete BEFORE DELETE ON demonstration_events BEGIN SELECT RAISE(ABORT, 'demonstration_events is append-only'); END;
CREATE TRIGGER demonstration_events_refuse_update BEFORE UPDATE ON demonstration_events BEGIN SELECT RAISE(ABORT, 'demonstration_events is append-only'); END;
CREATE VIEW demonstrations AS       -- what SFT may learn from
    SELECT r.* FROM all_demonstrations r
    WHERE NOT EXISTS (SELECT 1 FROM hidden_texts h WHERE h.what = 'demonstrations' AND h.text_id = r.id)
    AND NOT EXISTS (SELECT 1 FROM hidden_texts h WHERE h.what = 'prompts' AND h.text_id = r.prompt_id);
CREATE TABLE drafts (               -- prompts: text typed into the page and not yet saved
    name TEXT PRIMARY KEY,
    text TEXT NOT NULL
) STRICT;
CREATE TABLE evaluation_items (     -- evaluation.results
    id INTEGER PRIMARY KEY,
    suite_id INTEGER NOT NULL REFERENCES evaluation_suites(id),
    place INTEGER NOT NULL,
    cluster TEXT NOT NULL,          -- items of one name are resampled together; empty: each by itself
    content TEXT NOT NULL,          -- JSON
    UNIQUE (suite_id, place)
) STRICT;
CREATE TRIGGER evaluation_items_refuse_delete BEFORE DELETE ON evaluation_items BEGIN SELECT RAISE(ABORT, 'evaluation_items is append-only'); END;
CREATE TRIGGER evaluation_items_refuse_update BEFORE UPDATE ON evaluation_items BEGIN SELECT RAISE(ABORT, 'evaluation_items is append-only'); END;
CREATE TABLE evaluation_results (   -- evaluation.results: never measured twice, so a resumed run goes on where it was
    id INTEGER PRIMARY KEY,
    item_id INTEGER NOT NULL REFERENCES evaluation_items(id),
    subject TEXT NOT NULL,          -- a checkpoint, or base:NAME for a pretrained model
    sample INTEGER NOT NULL,        -- 0, 1, ... of sampled answers
    role TEXT NOT NULL,             -- of the backbone, active while it was measured
    base_fingerprint TEXT NOT NULL,
    checkpoint_id INTEGER REFERENCES checkpoints(id),
    run_id INTEGER NOT NULL REFERENCES runs(id),
    scores TEXT NOT NULL,           -- JSON
    text TEXT,                      -- a sampled answer
    created_at TEXT NOT NULL,
    UNIQUE (item_id, subject, sample)
) STRICT;
CREATE INDEX evaluation_results_run ON evaluation_results(run_id);
CREATE INDEX evaluation_results_subject ON evaluation_results(subject);
CREATE TRIGGER evaluation_results_refuse_delete BEFORE DELETE ON evaluation_results BEGIN SELECT RAISE(ABORT, 'evaluation_results is append-only'); END;
CREATE TRIGGER evaluation_results_refuse_update BEFORE UPDATE ON evaluation_results BEGIN SELECT RAISE(ABORT, 'evaluation_results is append-only'); END;
CREATE TABLE evaluation_suites (    -- evaluation.results: a suite under conditions; other items or conditions are another row
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    title TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('choice', 'pair', 'truth', 'text', 'prompt', 'task')),
    conditions TEXT NOT NULL,       -- JSON
    fingerprint TEXT NOT NULL UNIQUE,
    created_at TEXT NOT NULL
) STRICT;
CREATE TRIGGER evaluation_suites_refuse_delete BEFORE DELETE ON evaluation_suites BEGIN SELECT RAISE(ABORT, 'evaluation_suites is append-only'); END;
CREATE TRIGGER evaluation_suites_refuse_update BEFORE UPDATE ON evaluation_suites BEGIN SELECT RAISE(ABORT, 'evaluation_suites is append-only'); END;
CREATE TABLE guidelines (           -- guidelines: a version is its id
    id INTEGER PRIMARY KEY,
    text TEXT NOT NULL,
    created_at TEXT NOT NULL
) STRICT;
CREATE TRIGGER guidelines_refuse_delete BEFORE DELETE ON guidelines BEGIN SELECT RAISE(ABORT, 'guidelines is append-only'); END;
CREATE TRIGGER guidelines_refuse_update BEFORE UPDATE ON guidelines BEGIN SELECT RAISE(ABORT, 'guidelines is append-only'); END;
CREATE TABLE handed_on (                -- checkpoints
    run_id INTEGER PRIMARY KEY REFERENCES runs(id),
    checkpoint_id INTEGER NOT NULL REFERENCES checkpoints(id),
    changed_at TEXT NOT NULL
) STRICT;
CREATE TRIGGER handed_on_of_its_run BEFORE INSERT ON handed_on
WHEN NOT EXISTS (SELECT 1 FROM checkpoints WHERE id = NEW.checkpoint_id AND run_id = NEW.run_id)
BEGIN SELECT RAISE(ABORT, 'handed_on names a checkpoint of another run'); END;
CREATE TABLE hidden_texts (         -- texts reads it; the triggers write it
    what TEXT NOT NULL,
    text_id INTEGER NOT NULL,
    PRIMARY KEY (what, text_id)
) STRICT, WITHOUT ROWID;
CREATE TABLE import_maps (         -- mapping: columns that a person mapped, to be offered again
    structure TEXT PRIMARY KEY,     -- sha256 of the sorted columns
    columns TEXT NOT NULL,          -- JSON list
    mapped TEXT NOT NULL,           -- JSON: our name -> the file's
    created_at TEXT NOT NULL
) STRICT;
CREATE TABLE import_rows (          -- datasets.taking_back: rows that came with an import, besides its prompts and responses, by their ids
    import_id INTEGER NOT NULL REFERENCES imports(id),
    rows_of TEXT NOT NULL CHECK (rows_of IN ('comparisons', 'rating_events', 'showings', 'demonstration_events')),
    first INTEGER NOT NULL,
    last INTEGER NOT NULL CHECK (last >= first),
    PRIMARY KEY (rows_of, first)
) STRICT, WITHOUT ROWID;
CREATE TABLE imports (              -- prompts
    id INTEGER PRIMARY KEY,
    source TEXT NOT NULL,           -- file name or data set id
    sha256 TEXT NOT NULL,           -- of the raw bytes, or of the rows of a data set
    kind TEXT NOT NULL,             -- demonstrations | preferences | prompts
    kept INTEGER NOT NULL,
    dropped TEXT NOT NULL,          -- JSON: reason -> count
    created_at TEXT NOT NULL
, is_noted INTEGER NOT NULL DEFAULT 0 CHECK (is_noted IN (0, 1))) STRICT;
CREATE TABLE label_studio_answers (    -- label_studio.tables: the version of an annotation that was read last
    id INTEGER PRIMARY KEY,
    label_studio_task_id INTEGER NOT NULL REFERENCES label_studio_tasks(id),
    annotation_id INTEGER NOT NULL, -- the server's
    version TEXT NOT NULL,          -- its time of change, says the server; empty: it is gone there
    showing_id INTEGER REFERENCES showings(id),     -- of its judgement; NULL where nothing was recorded
    created_at TEXT NOT NULL,
    UNIQUE (label_studio_task_id, annotation_id)
) STRICT;
CREATE TABLE label_studio_projects (   -- label_studio.tables
    id INTEGER PRIMARY KEY,
    url TEXT NOT NULL,
    project_id INTEGER NOT NULL,    -- the server's
    born TEXT NOT NULL,             -- when, says the server: a server made again counts its ids from 1 again
    title TEXT NOT NULL,
    what TEXT NOT NULL CHECK (what IN ('pairs', 'rankings', 'prompts')),
    created_at TEXT NOT NULL,
    UNIQUE (url, project_id, born)
) STRICT;
CREATE TABLE label_studio_tasks (      -- label_studio.tables: a task that was seen on the server
    id INTEGER PRIMARY KEY,
    label_studio_project_id INTEGER NOT NULL REFERENCES label_studio_projects(id),
    task_id INTEGER NOT NULL,       -- the server's
    comparison_id INTEGER REFERENCES comparisons(id),
    prompt_id INTEGER REFERENCES prompts(id),
    created_at TEXT NOT NULL,
    UNIQUE (label_studio_project_id, task_id),
    CHECK ((comparison_id IS NULL) <> (prompt_id IS NULL))
) STRICT;
CREATE TABLE learning_curves (      -- insights.learning_curves: other settings, labels or held-out votes are another row
    id INTEGER PRIMARY KEY,
    num_labels INTEGER NOT NULL CHECK (num_labels > 0),
    held_out TEXT NOT NULL,         -- JSON: the prompt of each held-out vote
    fingerprint TEXT NOT NULL UNIQUE,
    created_at TEXT NOT NULL
, arm TEXT CHECK (arm IN ('random', 'active')), random_id INTEGER REFERENCES learning_curves(id) CHECK (random_id < id AND (random_id IS NOT NULL) = (arm IS 'active'))) STRICT;
CREATE TRIGGER learning_curves_refuse_delete BEFORE DELETE ON learning_curves BEGIN SELECT RAISE(ABORT, 'learning_curves is append-only'); END;
CREATE TRIGGER learning_curves_refuse_update BEFORE UPDATE ON learning_curves BEGIN SELECT RAISE(ABORT, 'learning_curves is append-only'); END;
CREATE TABLE learning_results (     -- insights.learning_curves: one reward model, which was not kept
    id INTEGER PRIMARY KEY,
    curve_id INTEGER NOT NULL REFERENCES learning_curves(id),
    run_id INTEGER NOT NULL REFERENCES runs(id),
    size INTEGER NOT NULL CHECK (size > 0),     -- labels that it was trained on
    seed INTEGER NOT NULL CHECK (seed >= 0),
    hits TEXT NOT NULL,             -- 1 or 0 for each held-out vote: whether it was right
    created_at TEXT NOT NULL,
    UNIQUE (curve_id, size, seed)
) STRICT;
CREATE INDEX learning_results_run ON learning_results(run_id);
CREATE TRIGGER learning_results_refuse_delete BEFORE DELETE ON learning_results BEGIN SELECT RAISE(ABORT, 'learning_results is append-only'); END;
CREATE TRIGGER learning_results_refuse_update BEFORE UPDATE ON learning_results BEGIN SELECT RAISE(ABORT, 'learning_results is append-only'); END;
CREATE TABLE metric_stretches (     -- metrics reads it; the trigger writes it
    run_id INTEGER NOT NULL REFERENCES runs(id),
    name TEXT NOT NULL,
    size INTEGER NOT NULL,          -- steps in a stretch
    stretch INTEGER NOT NULL,       -- step / size
    step INTEGER NOT NULL,          -- the last one in it
    num INTEGER NOT NULL,
    total REAL NOT NULL,
    low REAL NOT NULL,
    high REAL NOT NULL,
    PRIMARY KEY (run_id, name, size, stretch)
) STRICT, WITHOUT ROWID;
CREATE TABLE metrics (              -- metrics
    id INTEGER PRIMARY KEY,
    run_id INTEGER NOT NULL REFERENCES runs(id),
    step INTEGER NOT NULL,
    name TEXT NOT NULL,
    value REAL,
    at TEXT NOT NULL
) STRICT;
CREATE INDEX metrics_newest ON metrics(run_id);
CREATE INDEX metrics_run ON metrics(run_id, name, step);
CREATE TRIGGER metrics_stretch AFTER INSERT ON metrics WHEN new.value IS NOT NULL BEGIN INSERT INTO metric_stretches SELECT new.run_id, new.name, size, new.step / size, new.step, 1, new.value, new.value, new.value FROM (SELECT 16 AS size UNION ALL SELECT 128 AS size UNION ALL SELECT 1024 AS size UNION ALL SELECT 8192 AS size) WHERE true ON CONFLICT DO UPDATE SET step = max(step, excluded.step), num = num + 1, total = total + excluded.total, low = min(low, excluded.low), high = max(high, excluded.high); END;
CREATE TABLE open_showings (        -- comparisons reads it; the triggers write it
    showing_id INTEGER PRIMARY KEY REFERENCES showings(id)
) STRICT;
CREATE TABLE prediction_views (     -- predictions: that a person saw a prediction, and after which vote
    id INTEGER PRIMARY KEY,
    prediction_id INTEGER NOT NULL REFERENCES predictions(id),
    showing_id INTEGER NOT NULL REFERENCES showings(id),
    event_id INTEGER NOT NULL UNIQUE REFERENCES rating_events(id),
    created_at TEXT NOT NULL
) STRICT;
CREATE INDEX prediction_views_showing ON prediction_views(showing_id);
CREATE TRIGGER prediction_views_refuse_delete BEFORE DELETE ON prediction_views BEGIN SELECT RAISE(ABORT, 'prediction_views is append-only'); END;
CREATE TRIGGER prediction_views_refuse_update BEFORE UPDATE ON prediction_views BEGIN SELECT RAISE(ABORT, 'prediction_views is append-only'); END;
CREATE TABLE predictions (          -- predictions: what a reward model thought of a comparison before any vote on it
    id INTEGER PRIMARY KEY,
    comparison_id INTEGER NOT NULL REFERENCES comparisons(id),
    checkpoint_id INTEGER NOT NULL REFERENCES checkpoints(id),
    scores TEXT NOT NULL,           -- JSON: for each slot the score of each member of the ensemble
    preference REAL,                -- probability that slot 0 is the better one; NULL for more than two responses
    uncertainty REAL NOT NULL,
    uncertainty_kind TEXT NOT NULL CHECK (uncertainty_kind IN ('spread', 'closeness')),
    created_at TEXT NOT NULL,
    UNIQUE (comparison_id, checkpoint_id)
) STRICT;
CREATE TRIGGER predictions_come_before_votes BEFORE INSERT ON predictions WHEN EXISTS (SELECT 1 FROM rating_events e WHERE e.comparison_id = new.comparison_id) BEGIN SELECT RAISE(ABORT, 'a prediction comes before the first vote'); END;
CREATE TRIGGER predictions_refuse_delete BEFORE DELETE ON predictions BEGIN SELECT RAISE(ABORT, 'predictions is append-only'); END;
CREATE TRIGGER predictions_refuse_update BEFORE UPDATE ON predictions BEGIN SELECT RAISE(ABORT, 'predictions is append-only'); END;
CREATE VIRTUAL TABLE prompt_search USING fts5(text, content = '', columnsize = 0, tokenize = 'trigram');
CREATE TABLE prompts (              -- prompts
    id INTEGER PRIMARY KEY,
    hash TEXT NOT NULL UNIQUE,      -- sha256 of the messages
    messages TEXT NOT NULL,         -- JSON list of {role, content}, ends with a user turn
    category TEXT NOT NULL DEFAULT '',
    split TEXT NOT NULL CHECK (split IN ('train', 'validation', 'test')),   -- fixed at birth
    reference TEXT NOT NULL DEFAULT '{}',   -- JSON: what a scripted rater knows
    import_id INTEGER REFERENCES imports(id),
    created_at TEXT NOT NULL
) STRICT;
CREATE INDEX prompts_import ON prompts(import_id) WHERE import_id IS NOT NULL;
CREATE INDEX prompts_short ON prompts(id) WHERE length(messages) < 64;
CREATE INDEX prompts_split ON prompts(split, category);
CREATE TRIGGER prompts_are_found AFTER INSERT ON prompts BEGIN INSERT INTO prompt_search (rowid, text) VALUES (new.id, CASE WHEN json_valid(new.messages) THEN (SELECT group_concat(value ->> 'content', char(10)) FROM json_each(new.messages)) ELSE new.messages END); END;
CREATE TRIGGER prompts_are_immutable BEFORE UPDATE OF hash, messages, split ON prompts
BEGIN SELECT RAISE(ABORT, 'prompts are immutable'); END;
CREATE TABLE "rating_events" (    -- ratings
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
    edited_response_id INTEGER REFERENCES responses(id), restores INTEGER REFERENCES rating_events(id) CHECK (restores < id), is_imported INTEGER NOT NULL DEFAULT 0 CHECK (is_imported IN (0, 1)), judged_at TEXT, margin REAL, facts TEXT CHECK (facts IS NULL OR json_type(facts) = 'object'),    -- the ideal answer that was written over the other one
    CHECK ((outcome IN ('left', 'right')) OR strength IS NULL),
    CHECK ((outcome = 'ranking') = (ranks IS NOT NULL))
) STRICT;
CREATE INDEX rating_events_comparison ON rating_events(comparison_id);
CREATE INDEX rating_events_edited ON rating_events(edited_response_id) WHERE edited_response_id IS NOT NULL;
CREATE INDEX rating_events_imported ON rating_events(comparison_id) WHERE is_imported;
CREATE UNIQUE INDEX rating_events_one_start ON rating_events(showing_id) WHERE supersedes IS NULL;
CREATE INDEX rating_events_showing ON rating_events(showing_id, id);
CREATE INDEX rating_events_undone ON rating_events(id) WHERE outcome = 'undo';
CREATE INDEX rating_events_when ON rating_events(created_at);
CREATE TRIGGER rating_events_close AFTER INSERT ON rating_events WHEN new.supersedes IS NULL BEGIN DELETE FROM open_showings WHERE showing_id = new.showing_id; END;
CREATE TRIGGER rating_events_contradict AFTER INSERT ON rating_events WHEN new.showing_id IS NOT NULL AND NOT new.is_imported BEGIN DELETE FROM contradictions WHERE showing_id = new.showing_id; INSERT INTO contradictions SELECT s.id, new.id, new.rater, q.id, CASE WHEN (new.outcome = 'left') = (s.left_response_id = f.response_id) THEN q.preference ELSE 1 - q.preference END FROM showings s JOIN comparison_responses f ON f.comparison_id = s.comparison_id AND f.slot = 0 JOIN predictions q ON q.id = (SELECT max(id) FROM predictions WHERE comparison_id = s.comparison_id AND preference IS NOT NULL) WHERE s.id = new.showing_id AND new.outcome IN ('left', 'right') AND CASE WHEN (new.outcome = 'left') = (s.left_response_id = f.response_id) THEN q.preference ELSE 1 - q.preference END < 0.5 AND NOT EXISTS (SELECT 1 FROM session_items i WHERE i.showing_id = s.id AND i.arm = 'repeat'); END;
CREATE TRIGGER rating_events_end_wait AFTER INSERT ON rating_events BEGIN DELETE FROM waiting_comparisons WHERE comparison_id = new.comparison_id; END;
CREATE TRIGGER rating_events_redo AFTER INSERT ON rating_events WHEN new.outcome != 'undo' BEGIN DELETE FROM undone_showings WHERE showing_id = new.showing_id; END;
CREATE TRIGGER rating_events_refuse_delete BEFORE DELETE ON rating_events BEGIN SELECT RAISE(ABORT, 'rating_events is append-only'); END;
CREATE TRIGGER rating_events_refuse_update BEFORE UPDATE ON rating_events BEGIN SELECT RAISE(ABORT, 'rating_events is append-only'); END;
CREATE TRIGGER rating_events_tally AFTER INSERT ON rating_events WHEN new.outcome != 'undo' BEGIN INSERT INTO rating_tallies VALUES (new.outcome, new.rater, 1) ON CONFLICT DO UPDATE SET number = number + 1; END;
CREATE TRIGGER rating_events_undo AFTER INSERT ON rating_events WHEN new.outcome = 'undo' AND new.showing_id IS NOT NULL BEGIN INSERT OR REPLACE INTO undone_showings VALUES (new.showing_id, new.id); END;
CREATE TRIGGER rating_events_untally AFTER INSERT ON rating_events WHEN new.supersedes IS NOT NULL BEGIN UPDATE rating_tallies SET number = number - 1 WHERE (outcome, rater) = (SELECT e.outcome, e.rater FROM rating_events e WHERE e.id = new.supersedes); END;
CREATE TABLE rating_tallies (       -- ratings reads it: how many ratings count
    outcome TEXT NOT NULL,
    rater TEXT NOT NULL,
    number INTEGER NOT NULL,
    PRIMARY KEY (outcome, rater)
) STRICT, WITHOUT ROWID;
CREATE VIEW ratings AS              -- the event of each chain that counts now; left and right are positions 0 and 1
    SELECT e.*, coalesce(s.left_response_id, a.response_id) AS left_id, coalesce(s.right_response_id, b.response_id) AS right_id,
        coalesce(s.response_ids, CASE WHEN s.id IS NOT NULL THEN json_array(s.left_response_id, s.right_response_id) ELSE
            (SELECT json_group_array(response_id) FROM (SELECT c.response_id FROM comparison_responses c
             WHERE c.comparison_id = e.comparison_id ORDER BY c.slot)) END) AS response_ids     -- JSON, by screen position
    FROM rating_events e
    LEFT JOIN showings s ON s.id = e.showing_id
    JOIN comparison_responses a ON a.comparison_id = e.comparison_id AND a.slot = 0
    JOIN comparison_responses b ON b.comparison_id = e.comparison_id AND b.slot = 1
    WHERE e.outcome != 'undo' AND NOT EXISTS (SELECT 1 FROM rating_events n WHERE n.supersedes = e.id);
CREATE VIRTUAL TABLE response_search USING fts5(text, content = '', columnsize = 0, tokenize = 'trigram');
CREATE TABLE responses (            -- prompts
    id INTEGER PRIMARY KEY,
    prompt_id INTEGER NOT NULL REFERENCES prompts(id),
    text TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('demonstration', 'sample', 'import')),
    checkpoint_id INTEGER REFERENCES checkpoints(id),
    run_id INTEGER REFERENCES runs(id),
    sampling TEXT,                  -- JSON: temperature, top_p, top_k, max_new_tokens, seed
    token_ids TEXT,                 -- JSON list: the ids as sampled
    end_reason TEXT CHECK (end_reason IN ('eos', 'length')),
    import_id INTEGER REFERENCES imports(id),
    created_at TEXT NOT NULL,
    edited_from INTEGER REFERENCES responses(id),
    model TEXT,                     -- who wrote an import, as its file says; base:NAME of a sample by a pretrained model
    CHECK (kind != 'sample' OR (sampling IS NOT NULL AND (checkpoint_id IS NOT NULL OR coalesce(model, '') GLOB 'base:?*')))
) STRICT;
CREATE INDEX responses_demonstrations ON responses(id) WHERE kind = 'demonstration';
CREATE INDEX responses_import ON responses(import_id) WHERE import_id IS NOT NULL;
CREATE INDEX responses_prompt ON responses(prompt_id, kind);
CREATE INDEX responses_samples ON responses(id) WHERE kind = 'sample';
CREATE INDEX responses_short ON responses(id) WHERE length(text) < 3;
CREATE TRIGGER responses_are_found AFTER INSERT ON responses BEGIN INSERT INTO response_search (rowid, text) VALUES (new.id, new.text); END;
CREATE TRIGGER responses_refuse_delete BEFORE DELETE ON responses BEGIN SELECT RAISE(ABORT, 'responses is append-only'); END;
CREATE TRIGGER responses_refuse_update BEFORE UPDATE ON responses BEGIN SELECT RAISE(ABORT, 'responses is append-only'); END;
CREATE TABLE rollouts (             -- rollouts: one response of a PPO iteration
    id INTEGER PRIMARY KEY,
    run_id INTEGER NOT NULL REFERENCES runs(id),
    iteration INTEGER NOT NULL,     -- sampled by the policy after iteration - 1 updates
    prompt_id INTEGER NOT NULL REFERENCES prompts(id),
    response TEXT NOT NULL,
    score REAL NOT NULL,            -- raw
    shaped_score REAL NOT NULL,     -- centred, clipped and penalised
    components TEXT NOT NULL,       -- JSON: component of a mixed reward -> raw score
    kl REAL NOT NULL,               -- from the reference, summed over the response, in nats
    num_tokens INTEGER NOT NULL,
    end_reason TEXT NOT NULL CHECK (end_reason IN ('eos', 'length')),
    tokens BLOB NOT NULL            -- ids and numbers per token, packed by rollouts
) STRICT;
CREATE INDEX rollouts_kl ON rollouts(kl);
CREATE INDEX rollouts_length ON rollouts(num_tokens);
CREATE INDEX rollouts_prompt ON rollouts(prompt_id);
CREATE INDEX rollouts_run ON rollouts(run_id, iteration);
CREATE INDEX rollouts_score ON rollouts(score);
CREATE TABLE run_parents (          -- runs
    run_id INTEGER NOT NULL REFERENCES runs(id),
    role TEXT NOT NULL,             -- sft, reward, policy, opponent
    checkpoint_id INTEGER NOT NULL REFERENCES checkpoints(id),
    PRIMARY KEY (run_id, role)
) STRICT;
CREATE TABLE runs (                 -- runs
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,      -- sft-1, reward-2, ppo-2, sample-3
    stage TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('queued', 'running', 'finished', 'stopped', 'failed', 'lost')),
    config TEXT NOT NULL,           -- JSON, as in the run folder
    snapshot_id INTEGER REFERENCES snapshots(id),
    resumed_from INTEGER REFERENCES checkpoints(id),
    revision TEXT NOT NULL,         -- of the code
    pid INTEGER,
    pid_started REAL,               -- process start time: a pid alone can be somebody else's
    heartbeat_at TEXT,
    stop_requested INTEGER NOT NULL DEFAULT 0,
    message TEXT NOT NULL DEFAULT '',
    progress REAL NOT NULL DEFAULT 0,
    progress_text TEXT NOT NULL DEFAULT '',
    created_at TEXT NOT NULL,
    started_at TEXT,
    ended_at TEXT
, place REAL, pause_requested INTEGER NOT NULL DEFAULT 0, lane TEXT NOT NULL DEFAULT '', advanced_at TEXT, gone_at TEXT, starter TEXT NOT NULL DEFAULT '' CHECK (starter IN ('', 'studio', 'others')), paused_at TEXT, is_fault INTEGER NOT NULL DEFAULT 0 CHECK (is_fault IN (0, 1)), mark TEXT NOT NULL DEFAULT '', boot TEXT NOT NULL DEFAULT '', environment TEXT NOT NULL DEFAULT '{}', deleted_at TEXT) STRICT;
CREATE INDEX runs_ended ON runs(ended_at);
CREATE INDEX runs_ending ON runs(gone_at) WHERE gone_at IS NULL;
CREATE INDEX runs_stage ON runs(stage, state);
CREATE INDEX runs_state ON runs(state);
CREATE TABLE samples (              -- metrics
    id INTEGER PRIMARY KEY,
    run_id INTEGER NOT NULL REFERENCES runs(id),
    step INTEGER NOT NULL,
    prompt TEXT NOT NULL,
    response TEXT NOT NULL,
    score REAL,
    kl REAL,
    end_reason TEXT,
    at TEXT NOT NULL
, components TEXT) STRICT;
CREATE INDEX samples_run ON samples(run_id, step);
CREATE TABLE search_backlog (       -- text_search: texts of long imports that wait to be indexed
    id INTEGER PRIMARY KEY,
    texts TEXT NOT NULL CHECK (texts IN ('prompts', 'responses')),
    next INTEGER NOT NULL,
    last INTEGER NOT NULL
) STRICT;
CREATE TABLE session_events (       -- sessions: the newest one is the session's state
    id INTEGER PRIMARY KEY,
    session_id INTEGER NOT NULL REFERENCES sessions(id),
    kind TEXT NOT NULL CHECK (kind IN ('started', 'paused', 'resumed', 'ended')),
    num_given INTEGER NOT NULL,     -- votes that counted then
    created_at TEXT NOT NULL
) STRICT;
CREATE INDEX session_events_session ON session_events(session_id);
CREATE TRIGGER session_events_refuse_delete BEFORE DELETE ON session_events BEGIN SELECT RAISE(ABORT, 'session_events is append-only'); END;
CREATE TRIGGER session_events_refuse_update BEFORE UPDATE ON session_events BEGIN SELECT RAISE(ABORT, 'session_events is append-only'); END;
CREATE TABLE session_items (        -- sessions: what was shown in a session, and why it was chosen
    showing_id INTEGER PRIMARY KEY REFERENCES showings(id),
    session_id INTEGER NOT NULL REFERENCES sessions(id),
    position INTEGER NOT NULL,
    prompt_id INTEGER NOT NULL REFERENCES prompts(id),
    arm TEXT NOT NULL CHECK (arm IN ('random', 'uncertainty', 'margin', 'information', 'diversity', 'newest', 'repeat')),
    probability REAL NOT NULL CHECK (probability > 0 AND probability <= 1),     -- of this item in this draw
    score REAL,                     -- what the choice looked at, where it had one
    score_kind TEXT CHECK (score_kind IN ('spread', 'closeness', 'information', 'rarity')),
    repeat_of INTEGER REFERENCES showings(id),
    is_swapped INTEGER CHECK (is_swapped IN (0, 1)),
    guideline_id INTEGER REFERENCES guidelines(id),     -- in force when it was shown
    created_at TEXT NOT NULL,
    prediction_id INTEGER REFERENCES predictions(id) CHECK (prediction_id IS NULL OR arm = 'repeat'),
    UNIQUE (session_id, position),
    CHECK ((arm = 'repeat') = (repeat_of IS NOT NULL) AND (arm = 'repeat') = (is_swapped IS NOT NULL))
) STRICT;
CREATE INDEX session_items_repeats ON session_items(repeat_of) WHERE repeat_of IS NOT NULL;
CREATE INDEX session_items_second_looks ON session_items(session_id) WHERE prediction_id IS NOT NULL;
CREATE TRIGGER session_items_refuse_delete BEFORE DELETE ON session_items BEGIN SELECT RAISE(ABORT, 'session_items is append-only'); END;
CREATE TRIGGER session_items_refuse_update BEFORE UPDATE ON session_items BEGIN SELECT RAISE(ABORT, 'session_items is append-only'); END;
CREATE TABLE session_queue (        -- pair_selection: drawn for a session and not shown yet
    id INTEGER PRIMARY KEY,
    session_id INTEGER NOT NULL REFERENCES sessions(id),
    comparison_id INTEGER NOT NULL REFERENCES comparisons(id),
    prompt_id INTEGER NOT NULL REFERENCES prompts(id),
    arm TEXT NOT NULL,
    probability REAL NOT NULL,
    score REAL,
    score_kind TEXT,
    num_behind INTEGER NOT NULL     -- that could have been drawn and were not
) STRICT;
CREATE INDEX session_queue_session ON session_queue(session_id);
CREATE TABLE session_runs (         -- sessions: sampling runs that a session started by itself
    session_id INTEGER NOT NULL REFERENCES sessions(id),
    run_id INTEGER NOT NULL REFERENCES runs(id),
    PRIMARY KEY (session_id, run_id)
) STRICT;
CREATE TRIGGER session_runs_refuse_delete BEFORE DELETE ON session_runs BEGIN SELECT RAISE(ABORT, 'session_runs is append-only'); END;
CREATE TRIGGER session_runs_refuse_update BEFORE UPDATE ON session_runs BEGIN SELECT RAISE(ABORT, 'session_runs is append-only'); END;
CREATE TABLE sessions (             -- sessions
    id INTEGER PRIMARY KEY,
    rater TEXT NOT NULL,
    config TEXT NOT NULL,           -- JSON: SessionConfig, its names filled in
    guideline_id INTEGER REFERENCES guidelines(id),     -- in force at the start
    seed INTEGER NOT NULL,          -- of every draw of the session
    created_at TEXT NOT NULL
, reason TEXT NOT NULL DEFAULT '') STRICT;
CREATE TRIGGER sessions_refuse_delete BEFORE DELETE ON sessions BEGIN SELECT RAISE(ABORT, 'sessions is append-only'); END;
CREATE TRIGGER sessions_refuse_update BEFORE UPDATE ON sessions BEGIN SELECT RAISE(ABORT, 'sessions is append-only'); END;
CREATE VIEW settled AS              -- the answers that were not taken back
    SELECT t.*, i.repeat_of, i.session_id, i.prompt_id FROM settlements t JOIN session_items i ON i.showing_id = t.showing_id
    WHERE t.outcome != 'undo' AND NOT EXISTS (SELECT 1 FROM settlements n WHERE n.supersedes = t.id);
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
) STRICT;
CREATE INDEX settlements_showing ON settlements(showing_id);
CREATE TRIGGER settlements_refuse_delete BEFORE DELETE ON settlements BEGIN SELECT RAISE(ABORT, 'settlements is append-only'); END;
CREATE TRIGGER settlements_refuse_update BEFORE UPDATE ON settlements BEGIN SELECT RAISE(ABORT, 'settlements is append-only'); END;
CREATE TABLE showings (             -- comparisons: what the eye saw, written before it was shown
    id INTEGER PRIMARY KEY,
    comparison_id INTEGER NOT NULL REFERENCES comparisons(id),
    left_response_id INTEGER NOT NULL REFERENCES responses(id),
    right_response_id INTEGER NOT NULL REFERENCES responses(id),
    seed INTEGER NOT NULL,
    rater TEXT NOT NULL,
    created_at TEXT NOT NULL
, response_ids TEXT CHECK (response_ids IS NULL OR json_type(response_ids) = 'array')) STRICT;
CREATE INDEX showings_comparison ON showings(comparison_id);
CREATE TRIGGER showings_open AFTER INSERT ON showings BEGIN INSERT INTO open_showings VALUES (new.id); END;
CREATE TRIGGER showings_refuse_delete BEFORE DELETE ON showings BEGIN SELECT RAISE(ABORT, 'showings is append-only'); END;
CREATE TRIGGER showings_refuse_update BEFORE UPDATE ON showings BEGIN SELECT RAISE(ABORT, 'showings is append-only'); END;
CREATE TABLE snapshot_rows (        -- snapshots
    snapshot_id INTEGER NOT NULL REFERENCES snapshots(id),
    position INTEGER NOT NULL,
    rating_id INTEGER NOT NULL REFERENCES rating_events(id),
    chosen_id INTEGER NOT NULL REFERENCES responses(id),
    rejected_id INTEGER NOT NULL REFERENCES responses(id),
    target_p REAL NOT NULL,
    margin REAL NOT NULL,
    weight REAL NOT NULL,
    PRIMARY KEY (snapshot_id, position)
) STRICT;
CREATE TRIGGER snapshot_rows_refuse_delete BEFORE DELETE ON snapshot_rows BEGIN SELECT RAISE(ABORT, 'snapshot_rows is append-only'); END;
CREATE TRIGGER snapshot_rows_refuse_update BEFORE UPDATE ON snapshot_rows BEGIN SELECT RAISE(ABORT, 'snapshot_rows is append-only'); END;
CREATE TABLE snapshots (            -- snapshots
    id INTEGER PRIMARY KEY,
    recipe TEXT NOT NULL,           -- JSON
    sha256 TEXT NOT NULL UNIQUE,
    row_count INTEGER NOT NULL,
    created_at TEXT NOT NULL
) STRICT;
CREATE TRIGGER snapshots_refuse_delete BEFORE DELETE ON snapshots BEGIN SELECT RAISE(ABORT, 'snapshots is append-only'); END;
CREATE TRIGGER snapshots_refuse_update BEFORE UPDATE ON snapshots BEGIN SELECT RAISE(ABORT, 'snapshots is append-only'); END;
CREATE TABLE steering (                 -- steering: another value of a setting of a run that goes on
    id INTEGER PRIMARY KEY,
    run_id INTEGER NOT NULL REFERENCES runs(id),
    name TEXT NOT NULL,
    value REAL NOT NULL,
    asked_at TEXT NOT NULL,
    due_step INTEGER,               -- the step after which the run that this one repeats took it; NULL: at once
    step INTEGER                    -- steps done when it was taken; NULL until then
) STRICT;
CREATE INDEX steering_run ON steering(run_id, step);
CREATE TABLE text_events (          -- texts: what a person did with a text; the newest hide or show tells whether it is hidden
    id INTEGER PRIMARY KEY,
    what TEXT NOT NULL CHECK (what IN ('prompts', 'demonstrations', 'preferences')),
    text_id INTEGER NOT NULL,       -- of a prompt, of a demonstration's response, of a preference's comparison
    action TEXT NOT NULL CHECK (action IN ('hide', 'show', 'category')),
    before TEXT,                    -- the category before and after
    after TEXT,
    rater TEXT NOT NULL,
    created_at TEXT NOT NULL, is_undo INTEGER NOT NULL DEFAULT 0 CHECK (is_undo IN (0, 1)),
    CHECK ((action = 'category') = (before IS NOT NULL) AND (action = 'category') = (after IS NOT NULL)),
    CHECK (action != 'category' OR what = 'prompts')
) STRICT;
CREATE INDEX text_events_text ON text_events(what, text_id);
CREATE TRIGGER text_events_hide AFTER INSERT ON text_events WHEN new.action = 'hide'
BEGIN INSERT OR IGNORE INTO hidden_texts VALUES (new.what, new.text_id); END;
CREATE TRIGGER text_events_refuse_delete BEFORE DELETE ON text_events BEGIN SELECT RAISE(ABORT, 'text_events is append-only'); END;
CREATE TRIGGER text_events_refuse_update BEFORE UPDATE ON text_events BEGIN SELECT RAISE(ABORT, 'text_events is append-only'); END;
CREATE TRIGGER text_events_show AFTER INSERT ON text_events WHEN new.action = 'show'
BEGIN DELETE FROM hidden_texts WHERE what = new.what AND text_id = new.text_id; END;
CREATE TABLE token_texts (          -- rollouts: how the tokens of a run's rollouts read
    run_id INTEGER NOT NULL REFERENCES runs(id),
    token_id INTEGER NOT NULL,
    text TEXT NOT NULL,
    PRIMARY KEY (run_id, token_id)
) STRICT, WITHOUT ROWID;
CREATE TABLE turns (                -- turns: what a person says, and answers to it; edits and attempts are siblings
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
) STRICT;
CREATE INDEX turns_conversation ON turns(conversation_id);
CREATE INDEX turns_parent ON turns(parent_id);
CREATE TABLE undone_showings (      -- comparisons reads it: those whose rating was taken back and not given again
    showing_id INTEGER PRIMARY KEY REFERENCES showings(id),
    event_id INTEGER NOT NULL REFERENCES rating_events(id)
) STRICT;
CREATE TABLE unfinished_deletions (     -- deletion: files of what is deleted that may still be on the disk
    id INTEGER PRIMARY KEY,
    folder TEXT NOT NULL,           -- relative to the workspace
    files TEXT NOT NULL,            -- JSON list, relative to the folder: these and no others leave
    created_at TEXT NOT NULL
) STRICT;
CREATE TABLE unfinished_imports (   -- curtain: rows of an import that is not whole yet, by their ids
    id INTEGER PRIMARY KEY,
    rows_of TEXT NOT NULL CHECK (rows_of IN ('imports', 'prompts', 'responses', 'comparisons', 'rating_events')),
    first INTEGER NOT NULL,
    last INTEGER NOT NULL CHECK (last >= first)
) STRICT;
CREATE UNIQUE INDEX unfinished_imports_first ON unfinished_imports(rows_of, first, last);
CREATE TABLE waiting_comparisons (  -- comparisons reads it: those nobody has judged
    comparison_id INTEGER PRIMARY KEY REFERENCES comparisons(id),
    run_id INTEGER
) STRICT;
CREATE INDEX waiting_comparisons_newest ON waiting_comparisons(run_id DESC, comparison_id);
