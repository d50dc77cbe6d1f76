"""Checks a judgement before it is stored: outcome, strength, ranks and remarks. Holds no SQL."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from studio.errors import RatingError
from studio.preferences.vocabulary import ATTRIBUTES, FLAGS, OUTCOMES, SIDES, STRENGTHS

LONGEST_NOTE = 5000
"""Most characters of a note."""


@dataclass(frozen=True)
class Remarks:
    """A rater's remarks on a judgement.

    Attributes:
        note: free text.
        flags: unsafe, hallucinated or refused -> the screen positions (from 0) of the flagged answers.
        attributes: helpful, truthful or harmless -> 1 to 7, or None, by screen position.
    """

    note: str = ""
    flags: Mapping[str, Sequence[int]] = field(default_factory=dict)
    attributes: Mapping[str, Sequence[int | None]] = field(default_factory=dict)


NO_REMARKS = Remarks()


@dataclass(frozen=True)
class Imported:
    """An imported judgement's sides: by slot of its comparison, or by screen position where `showing_id` is given."""

    rater: str = "import"
    uuid: str = ""
    """Empty: the one anonymous judgement of its comparison."""
    showing_id: int | None = None
    ranks: str | None = None
    """JSON, as `judgements.stored_ranks` gives it."""
    margin: float | None = None
    judged_at: str | None = None
    elapsed_ms: int | None = None
    note: str | None = None
    flags: str | None = None
    facts: str | None = None
    """JSON object."""
    supersedes: int | None = None


NOBODY = Imported()


def check_note(note: str) -> str:
    """Return the note as it is stored; refuse a note that is too long, never cut it.

    Raises:
        RatingError: it has too many characters.
    """
    note = note.strip()
    if len(note) > LONGEST_NOTE:
        raise RatingError(
            f"A note has at most {LONGEST_NOTE:,} characters; this one has {len(note):,}. Shorten it, or keep the rest elsewhere."
        )
    return note


def check(outcome: str, strength: int | None) -> None:
    """Refuse an unknown outcome, or a strength that does not fit it."""
    if outcome not in OUTCOMES:
        raise RatingError(f"{outcome!r} is not an outcome; use one of {', '.join(OUTCOMES)}.")
    if strength is not None and (outcome not in SIDES or strength not in STRENGTHS):
        raise RatingError(
            f"Strength {strength} does not go with {outcome}: left and right take 1, 2 or 3, the others none."
        )


def stored_ranks(outcome: str, ranks: Sequence[int] | None, num: int) -> str | None:
    """Return the ranks as they are stored: without gaps, best first from 1."""
    if outcome in (*SIDES, "tie") and num > 2:
        raise RatingError(f"{num} responses are ranked; {outcome} judges two.")
    if outcome != "ranking":
        if ranks is not None:
            raise RatingError(f"Ranks do not go with {outcome}.")
        return None
    if num < 3 or ranks is None or len(ranks) != num:
        raise RatingError(f"A ranking gives each of three or more responses a rank; here are {num} responses.")
    places = sorted(set(ranks))
    return json.dumps([places.index(rank) + 1 for rank in ranks])


def stored_remarks(remarks: Remarks, num: int) -> dict[str, str | None]:
    """Return the remarks as columns, checked: known names, positions on the screen, attributes from 1 to 7."""
    flags = {name: sorted(set(at)) for name, at in remarks.flags.items() if at}
    attributes = {name: list(values) for name, values in remarks.attributes.items() if any(values)}
    if not flags.keys() <= set(FLAGS) or any(not 0 <= position < num for at in flags.values() for position in at):
        raise RatingError(f"A flag is one of {', '.join(FLAGS)}, of a response on the screen.")
    if not attributes.keys() <= set(ATTRIBUTES) or any(
        len(values) != num or any(v is not None and v not in range(1, 8) for v in values)
        for values in attributes.values()
    ):
        raise RatingError(f"{', '.join(ATTRIBUTES)} go from 1 to 7, one number for each response on the screen.")
    return {
        "note": check_note(remarks.note) or None,
        "flags": json.dumps(flags) if flags else None,
        "attributes": json.dumps(attributes) if attributes else None,
    }


def read_remarks(row: Mapping[str, str | None]) -> Remarks:
    """Return the remarks of a stored event."""
    return Remarks(row["note"] or "", json.loads(row["flags"] or "{}"), json.loads(row["attributes"] or "{}"))


def parse_ranking(text: str, num: int) -> list[int]:
    """Read ranks by screen position from a line such as ``2 1=3`` or ``b a=c``: best first, ``=`` for a tie.

    An answer that is left over comes last.

    Raises:
        RatingError: an answer is named twice or does not exist, or two or more are left out.
    """
    rungs = [rung for rung in re.split(r"[\s,>]+", re.sub(r"\s*=\s*", "=", text.strip().lower())) if rung]
    named = [[_position(name) for name in rung.split("=")] for rung in rungs]
    flat = [position for rung in named for position in rung]
    left = [position for position in range(num) if position not in flat]
    if len(set(flat)) != len(flat) or any(not 0 <= position < num for position in flat) or len(left) > 1:
        raise RatingError(f"A ranking names each of {num} answers once, best first, = for a tie, such as: 2 1=3")
    named += [left] if left else []
    return [1 + next(at for at, rung in enumerate(named) if position in rung) for position in range(num)]


def ranking_words(ranks: str) -> str:
    """Write stored ranks for a reader: ``2 > 1 = 3``."""
    found = json.loads(ranks)
    rungs = [" = ".join(str(at + 1) for at, rank in enumerate(found) if rank == place) for place in sorted(set(found))]
    return " > ".join(rungs)


def _position(name: str) -> int:
    """Return the position of an answer named by number or letter; -1 for anything else."""
    return int(name) - 1 if name.isdecimal() else "abcdefghi".find(name) if len(name) == 1 else -1
