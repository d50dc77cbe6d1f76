"""OpenAI's formats: preference fine-tuning, summarize-from-feedback (comparisons, axis), lm-human-preferences."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from studio.datasets import conversations
from studio.datasets.conversations import first
from studio.datasets.formats import cells
from studio.datasets.formats.cells import Row
from studio.datasets.formats.family import Columns, Family, Outcome
from studio.datasets.formats.item import Dropped, Item
from studio.datasets.splits import split_name
from studio.preferences.prompts import Messages

OVERALL = "overall"
_SPLITS = {"valid1": "validation", "valid2": "test"}
"""valid1 chose models, valid2 was for the final evaluation."""


def read_preference(row: Row, columns: Columns) -> Iterator[Item]:
    """Yield a line of a preference fine-tuning file."""
    given = row.get("input")
    if not isinstance(given, dict):
        raise Dropped("the input is not an object with messages")
    if given.get("tools"):
        raise Dropped("tool calls")
    prompt = conversations.prompt(given.get("messages"))
    sides = [conversations.answer(row.get(name)).strip() for name in ("preferred_output", "non_preferred_output")]
    yield cells.pair(prompt, sides, "first")


def read_comparison(row: Row, columns: Columns) -> Iterator[Item]:
    """Yield a worker's choice between two summaries of a post or an article."""
    prompt = _post(row)
    summaries = row.get("summaries")
    if not isinstance(summaries, list) or len(summaries) != 2 or not all(isinstance(each, dict) for each in summaries):
        raise Dropped("not two summaries")
    choice = cells.whole(row.get("choice"), "choice", (0, 1))
    if choice is None:
        raise Dropped("no preference")
    extra = cells.inside(row.get("extra"))
    confidence = cells.number(extra.get("confidence"), "confidence")
    models = tuple(cells.name(each.get("policy")) for each in summaries)
    said = _said(row) | ({"models": models} if all(models) else {})
    said |= {"facts": {"confidence": confidence}} if confidence is not None else {}
    yield cells.pair(prompt, [cells.text(each.get("text")) for each in summaries], ("first", "second")[choice], **said)


def read_axis(rows: Iterable[Row]) -> Iterator[Outcome]:
    """Yield a pair or ranking of the summaries of one post that one worker scored, by their overall score.

    The scores of different workers are not compared: each has a scale of their own.
    """
    scored: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        try:
            key = (str(_post(row)), cells.name(row.get("worker")))
            if _axes(row).get(OVERALL) is None:
                raise Dropped(f"no {OVERALL} score")
            if key in scored:
                yield Dropped("joined with the other summaries of its post")
            scored.setdefault(key, []).append(row)
        except Dropped as reason:
            yield reason
    for found in scored.values():
        try:
            yield _scored(found)
        except Dropped as reason:
            yield reason


def _scored(rows: Sequence[Row]) -> Item:
    if len(rows) < 2:
        raise Dropped("scores of a single summary, and of no other by the same worker")
    summaries = [cells.inside(row.get("summary")) for row in rows]
    axes = [_axes(row) for row in rows]
    scores = {name: tuple(each.get(name) for each in axes) for name in axes[0]}
    models = tuple(cells.name(each.get("policy")) for each in summaries)
    said = _said(rows[0]) | ({"models": models} if all(models) else {})
    ranks = [-(value or 0.0) for value in scores[OVERALL]]
    texts = [cells.text(each.get("text")) for each in summaries]
    return cells.ranking(_post(rows[0]), texts, ranks, scores=scores, axis=OVERALL, **said)


def _axes(row: Row) -> dict[str, float | None]:
    axes = cells.inside(cells.inside(row.get("summary")).get("axes"))
    return {str(name): cells.number(value, str(name)) for name, value in axes.items()}


def read_best_of(row: Row, columns: Columns) -> Iterator[Item]:
    """Yield the best of several samples; of the others nothing is known, so each is one pair with the best."""
    prompt = conversations.prompt(row.get("query"))
    names = sorted(
        (name for name in row if name.startswith("sample") and name[6:].isdecimal()), key=lambda name: int(name[6:])
    )
    best = cells.whole(row.get("best"), "best", range(len(names)))
    if best is None:
        raise Dropped("no preference")
    texts = [cells.text(row.get(name)) for name in names]
    for at, text in enumerate(texts):
        if at != best:
            yield cells.pair(prompt, (texts[best], text), "first")


def _post(row: Row) -> Messages:
    info = row.get("info")
    if not isinstance(info, dict):
        raise Dropped("empty prompt")
    return conversations.prompt(first(info, ("post", "article")))


def _said(row: Row) -> dict[str, Any]:
    split = row.get("split")
    said: dict[str, Any] = {"rater": worker} if (worker := cells.name(row.get("worker"))) else {}
    return said | {"split": _SPLITS.get(str(split)) or split_name(split)}


FAMILIES = (
    Family(
        "openai-preference", "OpenAI preference fine-tuning", "preferences",
        (("input",), ("preferred_output",), ("non_preferred_output",)), read_preference,
        reads=frozenset(("input", "preferred_output", "non_preferred_output")),
    ),
    Family(
        "summarize", "summarize-from-feedback comparisons", "preferences", (("info",), ("summaries",), ("choice",)), read_comparison,
        reads=frozenset(("info", "summaries", "choice", "worker", "split", "extra")),
    ),
    Family(
        "summarize-axis", "summarize-from-feedback axis scores", "preferences", (("info",), ("summary",), ("worker",)),
        read_all=read_axis, reads=frozenset(("info", "summary", "worker", "split")),
    ),
    Family(
        "best-of", "lm-human-preferences (best of several samples)", "preferences", (("query",), ("sample0",), ("sample1",), ("best",)),
        read_best_of, reads=frozenset(("query", "best", *(f"sample{at}" for at in range(16)))),
    ),
)  # fmt: skip
