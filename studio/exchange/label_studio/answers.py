"""Reads an annotation of a task that we pushed into an item, by the reader of Label Studio's files; an answer by its control."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from studio.datasets.formats import label_studio
from studio.datasets.formats.item import Dropped, Item
from studio.exchange.label_studio.project import ANSWER

NOTHING = "nothing chosen"
"""In a file that may be a tie too; our projects have a choice for that."""


def read(data: Mapping[str, Any], annotation: dict[str, Any], rater: str) -> tuple[Item | None, list[str], str]:
    """Return what an annotation says of the responses in the order shown; else its written answers and the reason.

    The server does not check results, so all is checked.
    """
    written: list[str] = []
    why = NOTHING
    try:
        for outcome in label_studio.read_annotation(data, {}, annotation):
            if isinstance(outcome, Dropped):
                why = str(outcome)
            elif outcome.kind == "demonstration":
                written.append(outcome.responses[0])
            else:
                return replace(outcome, rater=rater), [], ""
    except Dropped as reason:
        why = NOTHING if str(reason) == label_studio.UNSURE else str(reason)
    return None, written, why


def read_answer(annotation: Mapping[str, Any]) -> str:
    """Return the answer that a person wrote to a prompt.

    Raises:
        Dropped: there is none.
    """
    result = annotation.get("result")
    texts: list[Any] = []
    for part in result if isinstance(result, list) else []:
        value = part.get("value") if isinstance(part, dict) and part.get("from_name") == ANSWER else None
        found = value.get("text") if isinstance(value, dict) else None
        texts += found if isinstance(found, list) else [found]
    written = [text.strip() for text in texts if isinstance(text, str) and text.strip()]
    if not written:
        raise Dropped("no answer was written")
    return "\n\n".join(written)
