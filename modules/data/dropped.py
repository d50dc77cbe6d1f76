"""Rows that a stage leaves out: how many, why, an example of each reason, and what can be done."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from modules.errors import DataError, RowError

TOO_LONG = "too long"
WEIGHT_0 = "weight 0"
BY_TEMPLATE = "refused by the chat template"
_EXAMPLE_CHARS = 80


class Dropped(Counter[str]):
    """Reason to number of rows, with the beginning of the first such row."""

    def __init__(self) -> None:
        super().__init__()
        self.examples: dict[str, str] = {}


def drop(dropped: Counter[str], reason: str, row: Mapping[str, Any]) -> None:
    """Count a row that is left out."""
    dropped[reason] += 1
    if isinstance(dropped, Dropped):
        dropped.examples.setdefault(reason, _example(row.get("messages", [])))


def reason_of(error: DataError) -> str:
    """Return why a row cannot be encoded, in a few words."""
    return error.reason if isinstance(error, RowError) else "not encodable"


def told(dropped: Counter[str]) -> str:
    """Return the reasons with their numbers and examples, the most frequent first."""
    found = []
    for reason, count in sorted(dropped.items(), key=lambda item: (-item[1], item[0])):
        example = dropped.examples.get(reason, "") if isinstance(dropped, Dropped) else ""
        found.append(f"{count:,} {reason}" + (f', such as "{example}"' if example and reason != WEIGHT_0 else ""))
    return "; ".join(found)


def advice(dropped: Counter[str], lengths: str, *, chooses_template: bool) -> list[str]:
    """Return what helps against the reasons given.

    Args:
        dropped: The rows left out.
        lengths: The settings that say how long a row may be.
        chooses_template: True if the stage has the setting chat_template; else its SFT checkpoint had it.
    """
    found = [f"raise {lengths}"] if TOO_LONG in dropped else []
    others = [reason for reason in dropped if reason not in (TOO_LONG, WEIGHT_0)]
    if others:
        found.append("correct the rows")
    if any(reason.startswith(BY_TEMPLATE) for reason in others):
        found.append(
            "choose chat_template chatml or plain"
            if chooses_template
            else "start from an SFT checkpoint with chat_template chatml or plain"
        )
    return found


def _example(messages: Sequence[Mapping[str, str]]) -> str:
    """Return a row's turns on one line, cut."""
    text = " / ".join(" ".join(message["content"].split()) for message in messages)
    return text if len(text) <= _EXAMPLE_CHARS else f"{text[:_EXAMPLE_CHARS]} …"
