"""The question after a second look at a vote that a reward model contradicted: what the page's scripts get, and its markup."""

from html import escape
from typing import Any

from studio.annotation import disagreements, guidelines, sessions
from studio.preferences import edits, prompts, vocabulary
from studio.preferences.vocabulary import FOLLOWS, SETTLEMENTS
from studio.workspace import Database
from ui.components.html import key

DRAFT = "gap"


def question(db: Database, rater: str) -> dict[str, Any] | None:
    """Return what is asked now, in the open write transaction that tells the page; None where nothing is."""
    session = sessions.active(db, rater)
    asked = disagreements.ask(db, session.id) if session else None
    if asked is None:
        return None
    showing = asked.showing
    return {
        "id": showing.id,
        "messages": showing.messages,
        "texts": showing.texts,
        "facts": [
            ["Your first vote", asked.first, f"on {asked.first_at[:10]}, with the sides as they are now"],
            ["Your vote now", asked.second, "" if not asked.is_same else "the same answer again"],
            [
                f"{asked.checkpoint} expected",
                f"{asked.expected} better",
                f"{asked.probability:.0%}, before your first vote",
            ],
        ],
        "offered": asked.offered,
        "guideline": guidelines.with_open_line(db),
        "drafts": [
            {"kind": DRAFT, "position": None, "text": text}
            for text in prompts.read_drafts(db, [edits.draft_name(DRAFT, showing.id)]).values()
        ],
    }


def markup() -> str:
    """Return the question without its facts, with a button for each answer."""
    buttons = "".join(
        f'<button type="button" data-settle="{name}">{key(vocabulary.settlement_cap(name))}'
        f"<span>{escape(command.words)}<small>{escape(FOLLOWS[name])}</small></span></button>"
        for name, command in SETTLEMENTS.items()
    )
    return (
        '<section class="second-look" data-part="second-look" aria-label="An earlier vote" hidden><h3>You had judged this pair before</h3>'
        '<p class="quiet">The reward model had been sure of the other answer, so the pair came again, unmarked.</p>'
        '<dl data-part="facts"></dl><p>Why did you and the reward model differ?</p>'
        f'<div class="settlements" role="group" aria-label="Why did you differ?">{buttons}</div></section>'
    )
