"""Lets a pretrained model answer prompts, as a migration of `studio.database.connection` does it.

Its answers have no checkpoint: `model` names it, as base:NAME. SQLite cannot change a CHECK, so the table is made again.
"""

from sqlite_utils import Database

_RESPONSES = """
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
) STRICT"""


def let_base_answer(db: Database) -> None:
    """Make the table of responses again; the caller has switched foreign keys off. Others refer to it by its name."""
    kept = [
        row["sql"]
        for row in db.query(
            "SELECT sql FROM sqlite_master WHERE tbl_name = 'responses' AND type IN ('index', 'trigger') AND sql IS NOT NULL"
            " ORDER BY type"
        )
    ]
    names = ", ".join(row["name"] for row in db.query("SELECT name FROM pragma_table_info('responses')"))
    db.execute(f"CREATE TABLE responses_kept AS SELECT {names} FROM responses")
    db.execute("DROP TABLE responses")
    db.execute(_RESPONSES)
    db.execute(f"INSERT INTO responses ({names}) SELECT {names} FROM responses_kept ORDER BY id")
    db.execute("DROP TABLE responses_kept")
    for statement in kept:
        db.execute(statement)
