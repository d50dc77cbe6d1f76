"""The migration of the search: trigram indexes of prompts and answers, kept by triggers. Queries: `text_search`."""

_TURNS = (
    "CASE WHEN json_valid({row}messages) THEN (SELECT group_concat(value ->> 'content', char(10)) FROM json_each({row}messages))"
    " ELSE {row}messages END"
)
STATEMENTS = (
    "CREATE VIRTUAL TABLE prompt_search USING fts5(text, content = '', columnsize = 0, tokenize = 'trigram')",
    f"INSERT INTO prompt_search (rowid, text) SELECT id, {_TURNS.format(row='')} FROM prompts",
    "CREATE TRIGGER prompts_are_found AFTER INSERT ON prompts BEGIN"
    f" INSERT INTO prompt_search (rowid, text) VALUES (new.id, {_TURNS.format(row='new.')}); END",
    "CREATE VIRTUAL TABLE response_search USING fts5(text, content = '', columnsize = 0, tokenize = 'trigram')",
    "INSERT INTO response_search (rowid, text) SELECT id, text FROM responses",
    "CREATE TRIGGER responses_are_found AFTER INSERT ON responses BEGIN"
    " INSERT INTO response_search (rowid, text) VALUES (new.id, new.text); END",
    "CREATE INDEX comparison_responses_response ON comparison_responses(response_id)",
)
"""The migration. Prompts and responses are never changed, so no other trigger is needed; those that leave are taken out by `FORGET`."""

BETWEEN = {
    "prompts": f"INSERT INTO prompt_search (rowid, text) SELECT id, {_TURNS.format(row='')} FROM main.prompts WHERE id BETWEEN ? AND ?",
    "responses": "INSERT INTO response_search (rowid, text) SELECT id, text FROM main.responses WHERE id BETWEEN ? AND ?",
}
"""What the triggers do, for all texts of a table from an id to another."""

FORGET = {
    "prompts": f"INSERT INTO prompt_search (prompt_search, rowid, text) SELECT 'delete', id, {_TURNS.format(row='')} FROM main.prompts"
    " WHERE id BETWEEN ? AND ?",
    "responses": "INSERT INTO response_search (response_search, rowid, text) SELECT 'delete', id, text FROM main.responses"
    " WHERE id BETWEEN ? AND ?",
}
"""Takes all texts of a table from an id to another out of its index; they must be in it, and as they were put there."""

BACKLOG = """CREATE TABLE search_backlog (       -- text_search: texts of long imports that wait to be indexed
    id INTEGER PRIMARY KEY,
    texts TEXT NOT NULL CHECK (texts IN ('prompts', 'responses')),
    next INTEGER NOT NULL,
    last INTEGER NOT NULL
) STRICT"""

IS_SHORT = "length(text) < 3"
"""Responses without a trigram."""
IS_SHORT_PROMPT = "length(messages) < 64"
"""Prompts whose turns may be without a trigram: the JSON of one turn of two letters takes 36 characters."""
SHORT = (
    f"CREATE INDEX responses_short ON responses(id) WHERE {IS_SHORT}",
    f"CREATE INDEX prompts_short ON prompts(id) WHERE {IS_SHORT_PROMPT}",
)
"""The migration that finds them without reading the others."""
