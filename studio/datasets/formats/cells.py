"""Reads single cells of a row: texts, numbers, times, names; and makes the item of a judged pair or ranking.

A value that cannot be read drops its row with a reason; no value is made up.
"""

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from studio.datasets import conversations
from studio.datasets.formats.item import Dropped, Item
from studio.preferences.prompts import Messages

Row = Mapping[str, Any]
Verdict = Literal["first", "second", "tie", "both_bad", "none"]

RATERS = ("rater", "annotator", "rater_id", "annotator_id", "worker_id", "worker", "judge")
TIMES = ("judged_at", "completed_at", "created_at", "timestamp", "tstamp")
NOTES = ("note", "comment", "justification", "rationale")
COMMON = frozenset((*RATERS, *TIMES, *NOTES, "category", "split", "strength", "margin", "elapsed_ms", "lead_time"))
"""Columns next to a judgement that every flat family reads."""
MOST_HELD, _SMALL = 200_000_000, 50
"""Most characters that are held to join the rows of a file, and what another value than a text counts."""
REPEATS = (
    "each response begins with its prompt, word for word: if that is no part of the answer, cut it off in the file"
)
_MARK = re.compile(
    r"\W*(?:<s>\W*)?(?:human|user|question|instruction|prompter|im_start\W+user|inst)\b\W*", re.IGNORECASE
)
"""How a template begins that writes the prompt into the response."""
MARGINS = {1: 0.0, 2: 1.0 / 3.0, 3: 2.0 / 3.0}
EARLIEST, LATEST = 946_684_800, 4_102_444_800
"""Seconds since 1970 of the years 2000 and 2100: another number is not a time."""


def text(value: Any, what: str = "response") -> str:
    """Return a cell's text without blanks around it.

    Raises:
        Dropped: there is none, or it is not a text.
    """
    value = conversations.cell(value)
    if conversations.is_empty(value):
        raise Dropped(f"empty {what}")
    if not isinstance(value, str):
        raise Dropped(f"the {what} is not a text")
    return value.strip()


def parsed(value: Any) -> Any:
    """Return a list or an object that a table holds as JSON text as what it is, any other value unchanged."""
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def inside(value: Any) -> dict[str, Any]:
    """Return an object; an empty one for anything else."""
    return value if isinstance(value, dict) else {}


def listed(value: Any) -> list[Any]:
    """Return a list; an empty one for anything else."""
    return value if isinstance(value, list) else []


def objects(value: Any) -> list[dict[str, Any]]:
    """Return the objects of a list; none of anything else."""
    return [each for each in listed(value) if isinstance(each, dict)]


def number(value: Any, name: str) -> float | None:
    """Return a cell's number; None for a missing one, which pandas writes as NaN.

    Raises:
        Dropped: it is something else.
    """
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    try:
        if isinstance(value, bool):
            raise TypeError
        found = float(value)
    except OverflowError:
        return math.inf
    except (TypeError, ValueError):
        raise Dropped(f"{name} is not a number") from None
    return None if math.isnan(found) else found


def whole(value: Any, name: str, among: Sequence[int]) -> int | None:
    """Return a cell's whole number, one of `among`; None for a missing one."""
    found = number(value, name)
    if found is None:
        return None
    if found not in among:
        raise Dropped(f"unknown {name} {str(value)[:20]!r}")
    return int(found)


def yes_or_no(value: Any) -> bool | None:
    """Return a truth value as files write it; None where it is missing or something else."""
    folded = str(value).strip().lower()
    return True if folded in ("true", "1", "1.0", "yes") else False if folded in ("false", "0", "0.0", "no") else None


def when(value: Any) -> str:
    """Return a time as UTC ISO text, from ISO text or seconds or milliseconds since 1970; "" where it is not a time."""
    try:
        if isinstance(value, str) and not value.strip().replace(".", "", 1).isdecimal():
            found = datetime.fromisoformat(value.strip().replace(" UTC", "+00:00"))
            found = found if found.tzinfo else found.replace(tzinfo=UTC)
        else:
            seconds = float(value)
            seconds = seconds / 1000 if seconds > LATEST else seconds
            if not EARLIEST <= seconds <= LATEST:
                return ""
            found = datetime.fromtimestamp(seconds, UTC)
        return found.astimezone(UTC).isoformat(timespec="milliseconds")
    except (ValueError, TypeError, OverflowError):
        return ""


def name(value: Any) -> str:
    """Return a name or an id as one line of text; "" where there is none."""
    if value is None or (isinstance(value, (dict, list, float)) and value != value):
        return ""
    found = str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
    return " ".join("".join(c if c.isprintable() else " " for c in found).split())[:200]


def common(row: Row) -> dict[str, Any]:
    """Return what flat files say about a judgement: rater, time, note, category and the time it took."""
    said: dict[str, Any] = {}
    if rater := name(conversations.first(row, RATERS)):
        said["rater"] = rater
    if at := when(conversations.first(row, TIMES)):
        said["at"] = at
    note = conversations.first(row, NOTES)
    if isinstance(note, str) and note.strip():
        said["note"] = note.strip()
    milliseconds = (
        number(row.get("elapsed_ms"), "elapsed_ms") or (number(row.get("lead_time"), "lead_time") or 0) * 1000
    )
    if 0 < milliseconds < 10**12:
        said["elapsed_ms"] = round(milliseconds)
    return said


def strength(row: Row) -> dict[str, Any]:
    """Return strength and margin as a row says them; the nearest step of the margin scale stands for a bare margin."""
    said: dict[str, Any] = {}
    given = number(row.get("strength"), "strength")
    if given is not None:
        if given not in (1, 2, 3):
            raise Dropped("strength is not 1, 2 or 3")
        said["strength"] = int(given)
    margin = number(row.get("margin"), "margin")
    if margin is None:
        return said
    if math.isinf(margin):
        raise Dropped("margin is infinite")
    said["margin"] = margin
    if margin <= 0:
        told = (
            "margin is 0: no difference" if margin == 0 else "margin is negative: the rejected response scored better"
        )
        return said | {"warnings": (told,)}
    return {"strength": min(MARGINS, key=lambda step: abs(MARGINS[step] - margin))} | said


def contradiction(better: float | None, worse: float | None) -> tuple[str, ...]:
    """Return a warning where the scores of the chosen and the rejected response do not say the same as the choice."""
    if better is None or worse is None or better > worse:
        return ()
    if better == worse:
        return ("both sides have the same score: which one is called chosen says little",)
    return ("the scores contradict the choice: the rejected response scored better",)


def pair(prompt: Messages, responses: Sequence[str], verdict: Verdict, **said: Any) -> Item:
    """Return the item of two responses in their order.

    Raises:
        Dropped: one is empty, or both are the same.
    """
    first, second = responses
    if not first or not second:
        raise Dropped("empty response")
    if first == second:
        raise Dropped("chosen and rejected are the same")
    kind = {"first": "pair", "second": "pair", "none": "unrated"}.get(verdict, verdict)
    groups = {"first": ((0,), (1,)), "second": ((1,), (0,)), "tie": ((0, 1),)}.get(verdict, ())
    if kind != "pair":
        said = {name: value for name, value in said.items() if name not in ("strength", "margin")}
    return Item(kind, prompt, (first, second), groups, **said)  # type: ignore[arg-type]  # one of the kinds


def best(prompt: Messages, responses: Sequence[str], which: int, /, **said: Any) -> Iterator[Item]:
    """Yield a pair of the best response with each other one, in their order; nothing is said of the others among themselves.

    Raises:
        Dropped: as `pair`.
    """
    for other in range(len(responses)):
        if other != which:
            sides = [responses[each] for each in sorted((which, other))]
            yield pair(prompt, sides, "first" if which < other else "second", **said)


def repeats(prompt: Messages, texts: Sequence[str]) -> tuple[str, ...]:
    """Return a warning where each response begins with its prompt, word for word."""
    asked = prompt[-1]["content"]
    if all(text.startswith(asked) for text in texts):
        return (REPEATS,) if len(asked.split()) > 1 else ()
    marks = [_MARK.match(text) for text in texts]
    is_repeated = all(mark and text.startswith(asked, mark.end()) for mark, text in zip(marks, texts, strict=True))
    return (REPEATS,) if is_repeated else ()


def gathered(rows: Iterable[Row], key: str, most: int = MOST_HELD) -> Iterator[list[Row] | Dropped]:
    """Yield the rows of each value of a column together, wherever they stand in the file, in the order of their first rows.

    Where more than `most` characters would be held, the oldest rows are yielded as they are, and a reason for what comes later.
    """
    held: dict[str, list[Row]] = {}
    given: set[int] = set()
    sizes: dict[str, int] = {}
    for row in rows:
        value = str(row.get(key))
        if hash(value) in given:
            yield Dropped(f"too far from the other rows of its {key}")
            continue
        held.setdefault(value, []).append(row)
        size = sum(len(each) if isinstance(each, str) else _SMALL for each in row.values())
        sizes[value] = sizes.get(value, 0) + size
        most -= size
        while most < 0 and len(held) > 1:
            oldest = next(iter(held))
            most += sizes.pop(oldest)
            given.add(hash(oldest))
            yield held.pop(oldest)
    yield from held.values()


def ranking(prompt: Messages, responses: Sequence[str], ranks: Sequence[float], **said: Any) -> Item:
    """Return the item of two or more ranked responses: the lower the rank the better, equal ranks are a tie.

    Raises:
        Dropped: there is one response, or one is empty.
    """
    if len(responses) < 2:
        raise Dropped("only one response to this prompt")
    if not all(responses):
        raise Dropped("empty response")
    places = sorted(set(ranks))
    groups = tuple(tuple(at for at, rank in enumerate(ranks) if rank == place) for place in places)
    if len(responses) == 2:
        return pair(
            prompt, responses, "tie" if len(groups) == 1 else "first" if groups[0] == (0,) else "second", **said
        )
    said = {name: value for name, value in said.items() if name not in ("strength", "margin")}
    return Item("ranking", prompt, tuple(responses), groups, **said)
