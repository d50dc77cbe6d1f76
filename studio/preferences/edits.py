"""Ideal answers: written over an answer on the screen, or for its prompt.

An edit gives a demonstration for SFT and also a preference: the ideal answer over the one it was made from. The pair
on the screen stays open and must still be judged. Undoing an edit takes back both.
"""

import re
from collections.abc import Sequence

from sqlite_utils import Database

from studio.errors import DataError, RatingError
from studio.preferences import comparisons, prompts, ratings
from studio.preferences.ratings import Rating

_LINE_END = re.compile("\r\n?|[\x85\u2028\u2029]")
_AROUND = re.compile("^[\\s\ufeff\u200b\u2060]+|[\\s\ufeff\u200b\u2060]+$")


def bare(text: str) -> str:
    """Return a text without its invisible parts: the kind of its line ends, and the white space around it.

    A page's text field and many editors change line ends by themselves, so that is not an edit by a person.
    """
    return _AROUND.sub("", _LINE_END.sub("\n", text))


def edit_to_ideal(
    db: Database, showing_id: int, position: int, text: str, *, uuid: str, elapsed_ms: int | None = None
) -> Rating:
    """Store an ideal answer made from the one at this screen position.

    Raises:
        RatingError: there is no such answer on this showing, or nothing was changed.
    """
    text = text.strip()
    showing = comparisons.get_showing(db, showing_id)
    if showing is None or not 0 <= position < len(showing.texts):
        raise RatingError("There is no such answer on the screen. Reload the page.")
    if bare(text) in ("", bare(showing.texts[position])):
        raise RatingError("Nothing was changed, so there is no ideal answer to keep.")
    return prefer_ideal(db, showing.prompt_id, showing.response_ids[position], text, uuid=uuid, elapsed_ms=elapsed_ms)


def prefer_ideal(
    db: Database, prompt_id: int, original: int, text: str, *, uuid: str, elapsed_ms: int | None = None
) -> Rating:
    """Store an ideal answer to a prompt, and that it is better than the response it was made from.

    Raises:
        RatingError: it is recorded already.
    """
    ideal = prompts.add_response(db, prompt_id, text, "demonstration", edited_from=original)
    pair = (ideal, original)
    comparison_id = comparisons.add_comparison(db, prompt_id, pair)
    comparison_id = comparison_id or comparisons.find_comparison(db, prompt_id, pair)
    assert comparison_id is not None
    return ratings.record_edit(db, comparison_id, ideal, uuid=uuid, elapsed_ms=elapsed_ms)


def demonstrate(db: Database, showing_id: int, text: str) -> int:
    """Store an ideal answer to the prompt on the screen, written from scratch; returns the response's id.

    Raises:
        RatingError: there is no such showing.
        DataError: the answer is empty.
    """
    showing = comparisons.get_showing(db, showing_id)
    if showing is None:
        raise RatingError("This prompt is not on the screen any more. Reload the page.")
    if not bare(text):
        raise DataError("The answer is empty. Write what the assistant should have said.")
    return prompts.add_demonstration(db, showing.messages, text, showing.category)


def draft_name(kind: str, showing_id: int, position: int | None = None) -> str:
    """Return the name of a showing's draft of this kind: edit, demonstrate, note or remarks."""
    return f"rate-{kind}-{showing_id}-{position}"


def put_back(db: Database, taken: Rating | None, showing_ids: Sequence[int]) -> None:
    """Make the text of an edit taken back a draft again, on those showings that hold the answer it was made from."""
    if taken is None or taken.edited_response_id is None:
        return
    text, original = prompts.read_ideal(db, taken.edited_response_id)
    for showing_id in showing_ids:
        showing = comparisons.get_showing(db, showing_id)
        if showing and original in showing.response_ids:
            prompts.save_draft(db, draft_name("edit", showing_id, showing.response_ids.index(original)), text)
