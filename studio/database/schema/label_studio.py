"""The migration of Label Studio: projects on a server, the tasks in them, and the answers that came back."""

STATEMENTS = (
    """CREATE TABLE label_studio_projects (   -- label_studio.tables
    id INTEGER PRIMARY KEY,
    url TEXT NOT NULL,
    project_id INTEGER NOT NULL,    -- the server's
    born TEXT NOT NULL,             -- when, says the server: a server made again counts its ids from 1 again
    title TEXT NOT NULL,
    what TEXT NOT NULL CHECK (what IN ('pairs', 'rankings', 'prompts')),
    created_at TEXT NOT NULL,
    UNIQUE (url, project_id, born)
) STRICT""",
    """CREATE TABLE label_studio_tasks (      -- label_studio.tables: a task that was seen on the server
    id INTEGER PRIMARY KEY,
    label_studio_project_id INTEGER NOT NULL REFERENCES label_studio_projects(id),
    task_id INTEGER NOT NULL,       -- the server's
    comparison_id INTEGER REFERENCES comparisons(id),
    prompt_id INTEGER REFERENCES prompts(id),
    created_at TEXT NOT NULL,
    UNIQUE (label_studio_project_id, task_id),
    CHECK ((comparison_id IS NULL) <> (prompt_id IS NULL))
) STRICT""",
    """CREATE TABLE label_studio_answers (    -- label_studio.tables: the version of an annotation that was read last
    id INTEGER PRIMARY KEY,
    label_studio_task_id INTEGER NOT NULL REFERENCES label_studio_tasks(id),
    annotation_id INTEGER NOT NULL, -- the server's
    version TEXT NOT NULL,          -- its time of change, says the server; empty: it is gone there
    showing_id INTEGER REFERENCES showings(id),     -- of its judgement; NULL where nothing was recorded
    created_at TEXT NOT NULL,
    UNIQUE (label_studio_task_id, annotation_id)
) STRICT""",
)
