"""SQL for leaving out what a person has hidden: prompts, demonstrations and preferences. Nothing is read or written here."""


def is_shown(what: str, column: str) -> str:
    """Return the condition that a text is not hidden.

    Args:
        what: prompts, demonstrations or preferences.
        column: the SQL name of its id.
    """
    return f"NOT EXISTS (SELECT 1 FROM hidden_texts h WHERE h.what = '{what}' AND h.text_id = {column})"


def is_pair_shown(comparison: str, prompt: str) -> str:
    """Return the condition that neither a comparison nor its prompt is hidden; both are SQL names of ids."""
    return f"{is_shown('preferences', comparison)} AND {is_shown('prompts', prompt)}"
