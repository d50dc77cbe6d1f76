"""Turns a row of any data set into a prompt, a demonstration or a preference, or says why it cannot.

A format is recognised by its columns. A row that does not fit is dropped with a reason; nothing is guessed.
Besides the columns of a format, `category`, `split`, `strength` (1 to 3) and `margin` are honoured; others are ignored.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

from studio.datasets import conversations
from studio.datasets.conversations import Dropped
from studio.preferences.prompts import Messages
from studio.preferences.snapshots import MARGINS
from studio.preferences.vocabulary import PairOutcome

Kind = Literal["demonstrations", "preferences", "prompts"]
Row = Mapping[str, Any]

PROMPT_NAMES = ("prompt", "instruction")
RESPONSE_NAMES = ("response", "completion", "output")
PAIR_NAMES = ("response_a", "response_b")
LABEL_NAMES = ("preference", "winner")
OWN_NAMES = ("messages", "responses", "showings", "events")
COLUMNS = (
    *("chosen", "rejected", "messages", "conversations", "input", "label", "category", "split", "strength", "margin"),
    *(*PROMPT_NAMES, *RESPONSE_NAMES, *PAIR_NAMES, *LABEL_NAMES, *OWN_NAMES),
)
"""Every column that is read."""

GOOD = ("true", "yes", "good", "1", "1.0", "chosen", "desirable")
BAD = ("false", "no", "bad", "0", "0.0", "-1", "-1.0", "rejected", "undesirable")
LONGEST_ROW = 10_000_000
"""Most characters; a longer row is neither prompt nor answer, and would slow every page that shows it."""

LABELS: dict[str, Literal["first", "second", "tie", "both_bad", "none"]] = {
    **dict.fromkeys(("a", "left", "response_a", "model_a"), "first"),
    **dict.fromkeys(("b", "right", "response_b", "model_b"), "second"),
    "tie": "tie",
    **dict.fromkeys(("both_bad", "tie (bothbad)"), "both_bad"),
    **dict.fromkeys(("", "none"), "none"),
}


@dataclass(frozen=True)
class Item:
    """A row as read. A preference has `response` preferred to `rejected`, unless `outcome` says otherwise."""

    messages: Messages
    response: str = ""
    rejected: str = ""
    outcome: PairOutcome | Literal["unrated"] = "left"
    strength: int | None = None
    category: str = ""
    split: str | None = None


@dataclass(frozen=True)
class Format:
    """A data format: the kind it holds, and the function that reads a row."""

    name: str
    kind: Kind
    parse: Callable[[Row], Item]
    reads: tuple[str, ...] = ()
    """The columns that hold its texts and its judgement."""


def recognise(columns: Sequence[str], rows: Sequence[Row]) -> Format | None:
    """Return the format of these rows, by their columns and first values; None where unknown."""
    has = set(columns)
    if set(OWN_NAMES) <= has:
        return Format("the studio's own export", "preferences", _own_export, OWN_NAMES)
    if {"chosen", "rejected"} <= has:
        read = partial(_chosen_rejected, has_prompt="prompt" in has)
        return Format(_pair_format(rows), "preferences", read, ("prompt", "chosen", "rejected"))
    if set(PAIR_NAMES) <= has and "prompt" in has:
        name = "labelled pairs (prompt, response_a, response_b, preference)"
        return Format(name, "preferences", _labelled_pair, ("prompt", *PAIR_NAMES, *LABEL_NAMES))
    if column := next((name for name in ("messages", "conversations") if name in has), None):
        if any(conversations.ends_with_assistant(row.get(column)) for row in rows):
            return Format("chat messages", "demonstrations", lambda row: _conversation(row, column), (column, "label"))
        name = "chat messages that end with the user"
        return Format(name, "prompts", lambda row: Item(conversations.prompt(row.get(column))), (column,))
    prompt = next((name for name in PROMPT_NAMES if name in has), None)
    response = next((name for name in RESPONSE_NAMES if name in has), None)
    if prompt and response:
        reads = (prompt, response, "label", *(["input"] if prompt == "instruction" else []))
        return Format(
            f"{prompt} and {response}", "demonstrations", lambda row: _prompt_response(row, prompt, response), reads
        )
    if prompt:
        return Format("prompts", "prompts", lambda row: Item(conversations.prompt(row.get(prompt))), (prompt,))
    return None


def read_row(row: Row, form: Format, kind: Kind) -> Item:
    """Read one row as `kind`; a preference also serves as a demonstration (the chosen side) or a prompt.

    Raises:
        Dropped: the row cannot be used.
    """
    item = form.parse(row)
    if kind == "prompts":
        item = Item(item.messages)
    elif kind == "demonstrations":
        if form.kind == "preferences" and item.outcome != "left":
            raise Dropped("no side is preferred")
        item = Item(item.messages, item.response)
    text = "".join([item.response, item.rejected, *(turn["content"] for turn in item.messages)])
    if len(text) > LONGEST_ROW:
        raise Dropped(f"longer than {LONGEST_ROW:,} characters")
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON can hold and a database cannot
        raise Dropped("text is not valid Unicode") from None
    if "\0" in text:  # at which the database's search and comparisons end, and which no page shows
        raise Dropped("text holds a zero character")
    strength = (item.strength or _strength(row)) if kind == "preferences" and item.outcome == "left" else None
    return replace(item, strength=strength, category=_category(row), split=split_name(row.get("split")))


def split_name(value: Any) -> str | None:
    """Return the studio's name of the split `value`: train_sft is train, dev is validation; None where unknown."""
    found = re.match(r"(train|test|val|dev)", value.lower()) if isinstance(value, str) else None
    return {"train": "train", "test": "test", "val": "validation", "dev": "validation"}[found[1]] if found else None


def _pair_format(rows: Sequence[Row]) -> str:
    first = next((row for row in rows if row.get("chosen")), {})
    if (
        isinstance(first.get("chosen"), str)
        and not first.get("prompt")
        and conversations.is_transcript(first["chosen"])
    ):
        return "Anthropic HH transcripts"
    return "prompt, chosen, rejected" if first.get("prompt") else "chosen and rejected with the prompt inside"


# Each format's row reader.


def _chosen_rejected(row: Row, has_prompt: bool) -> Item:
    chosen, rejected = conversations.cell(row.get("chosen")), conversations.cell(row.get("rejected"))
    for side in (chosen, rejected):
        if conversations.is_empty(side):
            raise Dropped("empty response")
    if chosen == rejected:
        raise Dropped("chosen and rejected are the same")
    if isinstance(chosen, str) and isinstance(rejected, str):
        item = _from_texts(row, chosen, rejected, has_prompt)
    else:
        item = _from_turns(row, conversations.turns(chosen, "assistant"), conversations.turns(rejected, "assistant"))
    return _checked_pair(item)


def _from_texts(row: Row, chosen: str, rejected: str, has_prompt: bool) -> Item:
    if conversations.cell(row.get("prompt")) not in (None, "", []):
        return Item(conversations.prompt(row.get("prompt")), chosen.strip(), rejected.strip())
    if conversations.is_transcript(chosen):
        return _from_turns(row, conversations.transcript(chosen), conversations.transcript(rejected))
    if has_prompt:  # a common beginning is not a prompt where the file has a column for it
        raise Dropped("empty prompt")
    pairs = enumerate(zip(chosen, rejected, strict=False))
    shared = chosen[: next((i for i, (one, other) in pairs if one != other), min(len(chosen), len(rejected)))]
    shared = shared[: max((shared.rfind(space) for space in " \n\t"), default=-1) + 1]  # end the prompt at a whole word
    if not shared.strip():
        raise Dropped("the two sides share no prompt")
    user = {"role": "user", "content": shared.strip()}
    return Item([user], chosen[len(shared) :].strip(), rejected[len(shared) :].strip())


def _from_turns(row: Row, chosen: Messages, rejected: Messages) -> Item:
    """Read both sides as turns: with the prompt inside, or as the one answer to the row's prompt."""
    for side in (chosen, rejected):
        if side[-1]["role"] != "assistant":
            raise Dropped("does not end with an assistant turn")
    if chosen[:-1] != rejected[:-1]:
        raise Dropped("prompts of the two sides differ")
    prompt = conversations.cell(row.get("prompt"))
    if isinstance(prompt, list) and chosen[:-1] and conversations.turns(prompt, "user") != chosen[:-1]:
        raise Dropped("the prompt column and the prompt inside differ")
    messages = chosen[:-1] or conversations.prompt(prompt)
    return Item(conversations.ending_with_user(messages), chosen[-1]["content"], rejected[-1]["content"])


def _labelled_pair(row: Row) -> Item:
    first, second = (conversations.answer(row.get(name)) for name in PAIR_NAMES)
    value = next((row[name] for name in LABEL_NAMES if row.get(name) is not None), "")
    label = LABELS.get(str(value).strip().lower())
    if label is None:
        raise Dropped(f"unknown preference {str(value)[:20]!r}")
    messages = conversations.prompt(row.get("prompt"))
    if label == "second":
        first, second = second, first
    outcome = {"first": "left", "second": "left", "none": "unrated"}.get(label, label)
    return _checked_pair(Item(messages, first, second, outcome))  # type: ignore[arg-type]  # one of the four


def _own_export(row: Row) -> Item:
    """Read a line of `exporting.export_ratings`: the rating that counts, if any; sides as on its showing."""
    try:
        superseded = {event["supersedes"] for event in row["events"]}
        rating = next((e for e in row["events"] if e["outcome"] != "undo" and e["id"] not in superseded), None)
        texts = {response["id"]: response["text"] for response in row["responses"]}
        sides = list(texts)
        if rating and rating["showing_id"]:
            showing = next(s for s in row["showings"] if s["id"] == rating["showing_id"])
            sides = [showing["left_response_id"], showing["right_response_id"]]
        left, right = (conversations.answer(texts[side]) for side in sides)
        outcome = rating["outcome"] if rating else "unrated"
        strength = rating["strength"] if rating else None
    except (KeyError, TypeError, ValueError, StopIteration):
        raise Dropped("not a line of the studio's own export") from None
    if outcome == "skip":
        raise Dropped("skipped by the rater")
    if outcome == "right":
        left, right, outcome = right, left, "left"
    return _checked_pair(Item(conversations.prompt(row["messages"]), left, right, outcome, strength))


def _conversation(row: Row, column: str) -> Item:
    _refuse_bad(row)
    messages = conversations.turns(conversations.cell(row.get(column)), "user")
    if messages[-1]["role"] != "assistant":
        raise Dropped("does not end with an assistant turn")
    return Item(conversations.ending_with_user(messages[:-1]), messages[-1]["content"])


def _prompt_response(row: Row, prompt: str, response: str) -> Item:
    _refuse_bad(row)
    messages = conversations.prompt(row.get(prompt))
    context = conversations.cell(row.get("input"))
    if prompt == "instruction" and isinstance(context, str) and context.strip():
        messages = [*messages[:-1], {"role": "user", "content": f"{messages[-1]['content']}\n\n{context.strip()}"}]
    return Item(messages, conversations.answer(row.get(response)))


def _refuse_bad(row: Row) -> None:
    """Refuse a response that its `label` (as in KTO's data) does not call good."""
    if "label" not in row:
        return
    label = str(row["label"] if row["label"] is not None else "").strip().lower()
    if label in BAD:
        raise Dropped("labelled as a bad response")
    if label not in GOOD:
        raise Dropped(f"unknown label {label[:20]!r}" if label not in ("", "nan") else "no label")


def _checked_pair(item: Item) -> Item:
    if not item.response or not item.rejected:
        raise Dropped("empty response")
    if item.response == item.rejected:
        raise Dropped("chosen and rejected are the same")
    return item


def _strength(row: Row) -> int | None:
    """Return 1 to 3 from `strength`, else the nearest step of the margin scale from `margin`; None where neither says anything."""
    for name in ("strength", "margin"):
        value = _number(row.get(name), name)
        if value is None:
            continue
        if name == "strength":
            if value not in (1, 2, 3):
                raise Dropped("strength is not 1, 2 or 3")
            return int(value)
        if value < 0 or math.isinf(value):
            raise Dropped(
                "margin is negative: the rejected response scored better" if value < 0 else "margin is infinite"
            )
        return min(MARGINS, key=lambda strength: abs(MARGINS[strength] - value))
    return None


def _number(value: Any, name: str) -> float | None:
    """Return a cell's number; None for one that is missing, which pandas writes as NaN."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    try:
        if isinstance(value, bool):
            raise TypeError
        number = float(value)
    except OverflowError:
        return math.inf
    except (TypeError, ValueError):
        raise Dropped(f"{name} is not a number") from None
    return None if math.isnan(number) else number


def _category(row: Row) -> str:
    value = row.get("category")
    return value.strip() if isinstance(value, str) else ""
