"""Ideal answers: written over an answer on the screen, or for its prompt.

An edit gives a demonstration for SFT and, at once, a preference: the ideal answer over the one it was made from. The pair
on the screen stays open and is still to be judged. Undoing an edit takes back both.
"""

from studio import comparisons, prompts, ratings
from studio.errors import DataError, RatingError
from studio.ratings import Rating
from studio.workspace import Workspace


def edit_to_ideal(
    ws: Workspace, showing_id: int, position: int, text: str, *, uuid: str, elapsed_ms: int | None = None
) -> Rating:
    """Store an ideal answer made from the one at this screen position; one transaction.

    Raises:
        RatingError: there is no such answer on this showing, or nothing was changed.
    """
    text = text.strip()
    with ws.write() as db:
        showing = comparisons.read_showing(db, showing_id)
        if showing is None or not 0 <= position < len(showing.texts):
            raise RatingError("There is no such answer on the screen. Reload the page.")
        if not text or text == showing.texts[position].strip():
            raise RatingError("Nothing was changed, so there is no ideal answer to keep.")
        original = showing.response_ids[position]
        ideal = prompts.add_response(db, showing.prompt_id, text, "demonstration", edited_from=original)
        pair = (ideal, original)
        comparison_id = comparisons.add_comparison(db, showing.prompt_id, pair)
        comparison_id = comparison_id or comparisons.find_comparison(db, showing.prompt_id, pair)
        assert comparison_id is not None
        return ratings.record_edit(db, comparison_id, ideal, uuid=uuid, elapsed_ms=elapsed_ms)


def demonstrate(ws: Workspace, showing_id: int, text: str) -> int:
    """Store an ideal answer to the prompt on the screen, made from none; returns the response's id.

    Raises:
        RatingError: there is no such showing.
        DataError: the answer is empty.
    """
    showing = comparisons.get_showing(ws, showing_id)
    if showing is None:
        raise RatingError("This prompt is not on the screen any more. Reload the page.")
    if not text.strip():
        raise DataError("The answer is empty. Write what the assistant should have said.")
    return prompts.add_demonstration(ws, showing.messages, text, showing.category)
