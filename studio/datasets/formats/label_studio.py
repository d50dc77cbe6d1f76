"""Label Studio: tasks with annotations (JSON, snapshot, API), and one row an annotation (JSON_MIN, CSV, TSV).

An annotation that was skipped can still carry a result, so that is asked first. The server does not check results, so
each is checked here. Drafts and predictions are nobody's judgement.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from studio.datasets import conversations
from studio.datasets.formats import cells, tasks, words
from studio.datasets.formats.cells import Row
from studio.datasets.formats.family import Columns, Family, Outcome
from studio.datasets.formats.item import Dropped
from studio.datasets.formats.tasks import Answer, Task

Value = Mapping[str, Any]
_MAIL = re.compile(r"[^\s,]+@[^\s,]+")
_POSITION = re.compile(r"((?<!\d)\d{1,2}|(?<=[-_ ])[A-Za-z]|(?<=[a-z])[A-Z])$")
"""The number or letter of a response at the end of a control's name."""
_PLACE = ("start", "end", "startOffset", "endOffset", "globalOffsets")
"""Keys that tell which part of a text is meant."""
_UNSORTED = "_"
"""The name of the list from which items are sorted into buckets."""
_META = ("id", "annotation_id", "annotator", "created_at", "updated_at", "lead_time")
UNSURE = "submitted with nothing chosen: no preference or no answer, which cannot be told apart"


def read_task(row: Row, columns: Columns) -> Iterator[Outcome]:
    """Yield every annotation of a task."""
    annotations = conversations.first(row, ("annotations", "completions"))
    if not isinstance(annotations, list) or not annotations:
        raise Dropped(_why_none(row))
    data = row.get("data")
    if not isinstance(data, dict):
        raise Dropped("a task without data")
    meta = cells.inside(row.get("meta"))
    for annotation in annotations:
        try:
            yield from read_annotation(data, meta, annotation)
        except Dropped as reason:
            yield reason


def _why_none(row: Row) -> str:
    if row.get("drafts"):
        return "only a draft"
    return "only a prediction" if row.get("predictions") or row.get("total_predictions") else "nobody answered"


def read_annotation(data: Value, meta: Value, annotation: Any) -> Iterator[Outcome]:
    """Yield what one annotation of a task says; `meta` is what the task keeps apart from its data.

    Raises:
        Dropped: it says nothing that can be used.
    """
    if not isinstance(annotation, dict):
        raise Dropped("an annotation that is not an object")
    if annotation.get("was_cancelled") or annotation.get("skipped"):
        raise Dropped("skipped")
    result = annotation.get("result")
    if not isinstance(result, list):
        raise Dropped("an annotation without a result")
    if not result:
        raise Dropped(UNSURE)
    of = tasks.task(data, meta)
    answer = Answer()
    for each in result:
        if isinstance(each, dict) and each.get("type") == "relation":
            answer.notes.append("a relation between parts")
            continue
        if not isinstance(each, dict) or not isinstance(each.get("value"), dict):
            raise Dropped("a result that is not understood")
        _add(answer, str(each.get("from_name") or ""), str(each.get("to_name") or ""), each["value"], of)
    yield from tasks.outcomes(of, answer, **_said(annotation, annotation.get("id")))


def _said(row: Value, event_id: Any) -> dict[str, Any]:
    """Return rater, times and the annotation's id."""
    who = row.get("completed_by", row.get("annotator"))
    if isinstance(who, dict):
        who = who.get("email") or who.get("username") or who.get("id")
    user = cells.name(row.get("created_username"))
    mail = _MAIL.search(user)
    said: dict[str, Any] = {"at": cells.when(row.get("created_at"))}
    said |= {"event_id": f"label-studio-{name}"} if (name := cells.name(event_id)) else {}
    said |= {"rater": rater} if (rater := mail[0] if mail else cells.name(who) or user) else {}
    lead_time = cells.number(row.get("lead_time"), "lead_time") or 0
    said |= {"elapsed_ms": round(lead_time * 1000)} if 0 < lead_time < 10**9 else {}
    return said | ({"facts": {"ground_truth": True}} if row.get("ground_truth") is True else {})


def _add(answer: Answer, control: str, target: str, value: Value, of: Task) -> None:
    """Add what one control says; an unknown one is kept as a note."""
    if _is_region(value):
        _add_region(answer, control, target, value, of)
    elif "selected" in value:
        _select(answer, value["selected"])
    elif "ranker" in value:
        _rank(answer, control, value["ranker"], of.ids)
    elif isinstance(value.get("choices"), list):
        for each in value["choices"]:
            tasks.choice(answer, control, str(each), of.ids)
    elif "rating" in value or "number" in value:
        _rate(answer, control, target, cells.number(conversations.first(value, ("rating", "number")), "rating"), of)
    elif "text" in value:
        texts = value["text"] if isinstance(value["text"], list) else [value["text"]]
        for text in texts:
            tasks.words(answer, control, str(text))
    else:
        answer.notes.append(f"{control}: {json.dumps(value, ensure_ascii=False)}")


def _is_region(value: Value) -> bool:
    return {"start", "end"} <= value.keys()


def _add_region(answer: Answer, control: str, target: str, value: Value, of: Task) -> None:
    """Add what is said of a part of a text: a note with all of it, and its labels as flags of that response."""
    said = {name: each for name, each in value.items() if name not in _PLACE}
    answer.notes.append(f"{' on '.join(filter(None, (control, target)))}: {json.dumps(said, ensure_ascii=False)}")
    for label in [each for name, found in said.items() if name.endswith("labels") for each in cells.listed(found)]:
        known = answer.flags.get(str(label), ())
        at = (of.ids.index(target),) if target in of.ids else ()
        answer.flags[str(label)] = tuple(sorted({*known, *at}))


def _select(answer: Answer, selected: Any) -> None:
    if selected not in ("left", "right"):
        raise Dropped(f"unknown selection {str(selected)[:20]!r}")
    answer.verdicts.append("first" if selected == "left" else "second")


def _rank(answer: Answer, control: str, value: Any, ids: tuple[str, ...]) -> None:
    """Read a ranking: a plain list, one list under the tag's name, or buckets."""
    lists = value if isinstance(value, dict) else {control: value}
    named = {name: [cells.name(each) for each in found] for name, found in lists.items() if isinstance(found, list)}
    listed = [each for found in named.values() for each in found]
    if len(named) != len(lists) or len(set(listed)) != len(listed) or not set(listed) <= set(ids):
        raise Dropped("a ranking that does not fit its items")
    if len(named) > 1 or _UNSORTED in named:
        _sort(answer, named, ids)
        return
    if len(listed) != len(ids):
        raise Dropped(f"only {len(listed)} of {len(ids)} items are listed")
    answer.ranks = [listed.index(each) for each in ids]


def _sort(answer: Answer, buckets: Mapping[str, list[str]], ids: tuple[str, ...]) -> None:
    """Read buckets: those in one are equal, the names tell which bucket is better; what stayed in the list was not judged."""
    full = {name: found for name, found in buckets.items() if found and name != _UNSORTED}
    sorted_ids = [each for each in ids if any(each in found for found in full.values())]
    if len(sorted_ids) < 2:
        raise Dropped("fewer than two items were sorted into a bucket")
    order = words.graded(list(full)) if len(full) > 1 else list(full)
    if order is None:
        raise Dropped(f"sorted into {', '.join(full)[:60]}, whose names do not say which is better")
    answer.of = [ids.index(each) for each in sorted_ids]
    answer.ranks = [next(at for at, name in enumerate(order) if each in full[name]) for each in sorted_ids]


def _rate(answer: Answer, control: str, target: str, rating: float | None, of: Task) -> None:
    """Add a rating of one response, found by its target or by the number in its control's name; else a note."""
    by_name = _position(control, len(of.ids))
    at = of.ids.index(target) if target in of.ids else by_name
    if at is None and rating is not None and tasks.DEGREE_NAME.search(control):
        answer.margins.append(rating)
        return
    if at is None:
        answer.notes.append(f"{control}: {rating:g}" if rating is not None else "")
        return
    name = (_POSITION.sub("", control).rstrip("-_ ") if by_name == at else "") or control
    before = list(answer.scores.get(name, (None,) * len(of.ids)))
    before[at] = rating
    answer.scores[name] = tuple(before)


def _position(control: str, num: int) -> int | None:
    found = _POSITION.search(control)
    if not found:
        return None
    at = int(found[1]) - 1 if found[1].isdecimal() else ord(found[1].lower()) - ord("a")
    return at if 0 <= at < num else None


def read_row(row: Row, columns: Columns) -> Iterator[Outcome]:
    """Yield the annotation of a row of JSON_MIN, CSV or TSV."""
    if conversations.is_empty(row.get("annotation_id")):
        raise Dropped("nobody answered")
    is_ours = tasks.PROMPT_KEY in row  # else a written answer and a column of the task look the same
    of = tasks.task({name: cell for name, cell in row.items() if not (is_ours and name in tasks.SINGLE)})
    if not (of.texts or is_ours):
        raise Dropped(tasks.NO_RESPONSES)
    answer = Answer()
    for control, cell in row.items():
        if control not in _META and control not in of.ids:
            _cell(answer, control, cells.parsed(cell), of)
    if not (
        answer.verdicts
        or answer.ranks is not None
        or answer.scores
        or answer.strengths
        or answer.flags
        or answer.rewrites
        or (is_ours and answer.written)
    ):
        raise Dropped(UNSURE)
    yield from tasks.outcomes(of, answer, **_said(row, row.get("annotation_id")))


def _cell(answer: Answer, control: str, value: Any, of: Task) -> None:
    """Add a control's cell: results as in JSON, or, where there is one choice or text, that alone."""
    if isinstance(value, dict) and ({"choices"} == value.keys() or {"text"} == value.keys()):
        _add(answer, control, "", value, of)
    elif isinstance(value, list) and value and all(isinstance(each, dict) for each in value):
        for each in value:
            if each.keys() & {"selected", "ranker", "rating", "number"} or _is_region(each):
                _add(answer, control, "", each, of)
    elif isinstance(value, str) and value.strip() and not _is_data(control):
        _lone(answer, control, value, of)


def _is_data(control: str) -> bool:
    """Return whether a column is the task's own, as far as names tell."""
    return control in (*tasks.PROMPTS, *tasks.LISTS, "source_id", "split", "category", "system") or control.startswith(
        (tasks.OURS, "model")
    )


def _lone(answer: Answer, control: str, value: str, of: Task) -> None:
    """Add a cell of one word or text: of a control as far as its name tells, else of the task's own data."""
    is_answer = not of.texts and tasks.ANSWER_NAME.search(control)
    if is_answer or tasks.REWRITE_NAME.search(control) or tasks.NOTE_NAME.search(control):
        tasks.words(answer, control, value)
    elif (
        (tasks.DEGREE_NAME.search(control) and tasks.judgement(value).strength)
        or tasks.JUDGEMENT_NAME.search(control)
        or (tasks.judgement(value).is_judgement and len(value.split()) > 1)
    ):
        tasks.choice(answer, control, value, of.ids)
    elif re.search(r"flag|issue|problem", control, re.IGNORECASE):
        answer.flags[value] = ()


FAMILIES = (
    Family(
        "label-studio", "Label Studio tasks", "preferences", (("data",), ("annotations", "completions")), read_task, is_open=True,
        looks=lambda rows: any(isinstance(row.get("data"), dict) for row in rows),
    ),
    Family(
        "label-studio-rows", "Label Studio rows (JSON_MIN, CSV, TSV)", "preferences", (("annotation_id",), ("annotator",), ("lead_time",)),
        read_row, is_open=True,
    ),
)  # fmt: skip
