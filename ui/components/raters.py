"""How raters are called on the pages."""

WORDS = {
    "person": "your votes",
    "scripted": "the demo's scripted rater",
    "scripted-gold": "the demo's rater for the gold reward model",
}


def words(rater: str) -> str:
    """Return whose votes they are; names of other tools' raters stay."""
    return WORDS.get(rater, rater)


def who(rater: str) -> str:
    """Return who it is."""
    return "you" if rater == "person" else words(rater)
