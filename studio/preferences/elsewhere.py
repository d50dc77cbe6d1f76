"""Joins what was judged in other tools: a comparison leaves blind, in a stored order, and its judgement comes back to it.

The order is a showing of the rater `elsewhere`. Two texts travel with each item: which comparison of which workspace it
is, and the digests of its responses in the order shown. A judgement that returns gets a showing of its own in that
order, so that "left" stays what its rater saw. Neither text tells which model gave which response.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlite_utils import Database

from studio.errors import DataError
from studio.preferences import comparisons, prompts, ratings
from studio.preferences.comparisons import Showing
from studio.preferences.judgements import NO_REMARKS, Remarks
from studio.preferences.ratings import Rating
from studio.preferences.vocabulary import Outcome

RATER = "elsewhere"
COMPARISON, ORDER, PROMPT = "rlhf_studio_comparison", "rlhf_studio_order", "rlhf_studio_prompt"
"""The keys in an item's metadata."""
_OWN_RATERS = ("person", RATER)
_UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_LONGEST_NAME = 200


@dataclass(frozen=True)
class Joined:
    """A comparison of this workspace, with its responses in the order that the rater saw."""

    comparison_id: int
    prompt_id: int
    response_ids: tuple[int, ...]


def send(db: Database, comparison_id: int) -> tuple[Showing, dict[str, str]]:
    """Return a comparison as others will see it, and the metadata that brings its judgement back.

    The order is drawn and stored the first time, and stays the same in every later export. Needs a write transaction.
    """
    showing_id = comparisons.find_showing(db, comparison_id, RATER) or comparisons.add_showing(db, comparison_id, RATER)
    showing = comparisons.get_showing(db, showing_id)
    assert showing is not None
    digests = ",".join(_digest(text) for text in showing.texts)
    return showing, {COMPARISON: f"{prompts.mark(db)}-{comparison_id}", ORDER: digests}


def send_prompt(db: Database, prompt_id: int) -> dict[str, str]:
    """Return the metadata of a prompt that others are to answer."""
    return {PROMPT: f"{prompts.mark(db)}-{prompt_id}"}


def find(db: Database, metadata: Mapping[str, Any]) -> Joined | None:
    """Return the comparison that an item's metadata names; None where it names none of this workspace.

    Without the order (a tool that keeps only the id), the stored order is taken.

    Raises:
        DataError: it names a comparison that is not here, or other responses.
    """
    comparison_id = _own_id(db, metadata.get(COMPARISON))
    if comparison_id is None:
        return None
    showing_id = comparisons.find_showing(db, comparison_id, RATER)
    showing = comparisons.get_showing(db, showing_id) if showing_id else None
    if showing is None:
        raise DataError(f"comparison {comparison_id} was never given out by this workspace")
    ids = showing.response_ids
    if order := metadata.get(ORDER):
        ids = _in_order(showing, str(order))
    return Joined(comparison_id, showing.prompt_id, ids)


def find_prompt(db: Database, metadata: Mapping[str, Any]) -> int | None:
    """Return the prompt that an item's metadata names; None where it names none of this workspace.

    Raises:
        DataError: it names a prompt that is not here.
    """
    prompt_id = _own_id(db, metadata.get(PROMPT))
    if prompt_id is not None and not prompts.exists(db, prompt_id):
        raise DataError(f"prompt {prompt_id} is not in this workspace")
    return prompt_id


def record(
    db: Database,
    joined: Joined,
    outcome: Outcome,
    *,
    rater: str,
    uuid: str,
    showing_id: int | None = None,
    strength: int | None = None,
    reason: str | None = None,
    ranks: Sequence[int] | None = None,
    remarks: Remarks = NO_REMARKS,
    elapsed_ms: int | None = None,
    judged_at: str | None = None,
) -> Rating:
    """Record what a rater elsewhere said, by the position shown there, inside the caller's transaction.

    The rater gets a showing of the comparison in that order; or, after `undo.take_back`, `showing_id` is judged
    again. The same uuid again returns the event recorded first.

    Raises:
        RatingError: the judgement does not fit the comparison.
    """
    if again := ratings.find_event(db, uuid):
        return again
    if showing_id is None:
        showing_id = show(db, joined.comparison_id, rater, joined.response_ids)
    return ratings.record(
        db,
        showing_id,
        outcome,
        strength=strength,
        reason=reason,
        ranks=ranks,
        remarks=remarks,
        uuid=uuid,
        elapsed_ms=elapsed_ms,
        judged_at=judged_at,
    )


def show(db: Database, comparison_id: int, rater: str, order: Sequence[int]) -> int:
    """Store that a rater saw a comparison elsewhere, its responses in this order; returns the showing's id."""
    return comparisons.add_showing(db, comparison_id, rater_name(rater), order=order)


def rater_name(name: str) -> str:
    """Return a rater's name as it is stored: printable, and none of the names that this studio gives by itself."""
    shown = _UNSEEN.sub(" ", name).strip()[:_LONGEST_NAME]
    return f"{shown} (elsewhere)" if shown in _OWN_RATERS else shown or "somebody (elsewhere)"


def _own_id(db: Database, key: Any) -> int | None:
    mark, _, number = str(key or "").rpartition("-")
    is_own = mark and mark == prompts.mark(db) and re.fullmatch(r"[1-9][0-9]{0,17}", number)
    return int(number) if is_own else None


def _in_order(showing: Showing, order: str) -> tuple[int, ...]:
    """Return the responses' ids in the order of these digests; of equal texts, the stored order decides."""
    left = list(zip(map(_digest, showing.texts), showing.response_ids, strict=True))
    ids: list[int] = []
    for digest in order.split(","):
        found = next((each for each in left if each[0] == digest.strip()), None)
        if found is None:
            raise DataError(f"comparison {showing.comparison_id} has other responses than the returned item")
        left.remove(found)
        ids.append(found[1])
    if left:
        raise DataError(f"comparison {showing.comparison_id} has more responses than the returned item")
    return tuple(ids)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]
