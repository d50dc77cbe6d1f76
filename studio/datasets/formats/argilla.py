"""Argilla: records as JSON, flat or as a data set, and 1.x feedback records.

The SDK of 2.x drops the ranks of a ranking and keeps the values in stored order, which need not be their order: such a
ranking is refused. JSON of 2.x has no status of an answer, so drafts look submitted; flat forms have it.
"""

import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from studio.datasets.formats import cells, tasks
from studio.datasets.formats.cells import Row
from studio.datasets.formats.family import Columns, Family, Outcome
from studio.datasets.formats.item import Dropped
from studio.datasets.formats.tasks import Answer, Task

UNKNOWN_ORDER = "a ranking without ranks: its order is unknown (the SDK of Argilla 2 drops them)"
ANSWERS = ".responses"
Answered = dict[str, dict[str, Any]]
"""Person to question to value."""


def read_record(row: Row, columns: Columns) -> Iterator[Outcome]:
    """Yield each person's answers to a record, as 2.x and 1.x write it."""
    given = row.get("responses")
    people = _by_person(given) if isinstance(given, dict) else _of_1x(given)
    metadata = cells.inside(row.get("metadata"))
    yield from _all(row.get("fields"), metadata, people, cells.name(row.get("id") or row.get("external_id")))


def read_flat(row: Row, columns: Columns) -> Iterator[Outcome]:
    """Yield each person's answers to a flat record: three parallel lists a question."""
    people: Answered = {}
    for column, values in row.items():
        if column.endswith(ANSWERS) and isinstance(values, list):
            question = column.removesuffix(ANSWERS)
            _add_flat(people, question, values, row.get(f"{column}.users"), row.get(f"{column}.status"))
    data = {name: value for name, value in row.items() if ANSWERS not in name and ".suggestion" not in name}
    yield from _all(data, {}, people, cells.name(row.get("id")))


def read_table_1x(row: Row, columns: Columns) -> Iterator[Outcome]:
    """Yield each person's answers to a row of a 1.x data set: a question is a column with the answers of all."""
    people: Answered = {}
    data: dict[str, Any] = {}
    for column, value in row.items():
        answers = _answers_1x(value)
        for each in answers:
            given = people.setdefault(cells.name(each.get("user_id")), {})
            given[column] = each.get("value")
            if each.get("status") not in (None, "submitted"):
                given[""] = each["status"]
        if not answers and "-suggestion" not in column:
            data[column] = value
    metadata = cells.inside(cells.parsed(data.pop("metadata", None)))
    yield from _all(data, metadata, people, cells.name(row.get("id") or row.get("external_id")))


def _answers_1x(value: Any) -> list[dict[str, Any]]:
    """Return the answers in a cell; none where it holds something else."""
    answers = _rows(cells.parsed(value))
    return answers if all({"user_id", "value"} <= each.keys() for each in answers) else []


def _rows(value: Any) -> list[dict[str, Any]]:
    """Return objects as a list, which `datasets` may have turned into an object of lists."""
    if isinstance(value, dict) and value and all(isinstance(each, list) for each in value.values()):
        if len({len(each) for each in value.values()}) == 1:
            return [dict(zip(value, each, strict=True)) for each in zip(*value.values(), strict=True)]
        return []
    return cells.objects(value)


def _add_flat(people: Answered, question: str, values: list[Any], users: Any, states: Any) -> None:
    users = users if isinstance(users, list) and len(users) == len(values) else [None] * len(values)
    states = states if isinstance(states, list) and len(states) == len(values) else [None] * len(values)
    for value, user, status in zip(values, users, states, strict=True):
        answers = people.setdefault(cells.name(user), {})
        answers[question] = value
        if status not in (None, "submitted"):
            answers[""] = status


def _by_person(given: Mapping[str, Any]) -> Answered:
    people: Answered = {}
    for question, answers in given.items():
        for each in answers if isinstance(answers, list) else []:
            if isinstance(each, dict):
                people.setdefault(cells.name(each.get("user_id")), {})[question] = each.get("value")
    return people


def _of_1x(given: Any) -> Answered:
    people: Answered = {}
    for each in given if isinstance(given, list) else []:
        if isinstance(each, dict) and isinstance(each.get("values"), dict):
            answers = people.setdefault(cells.name(each.get("user_id")), {})
            answers |= {
                name: value.get("value") if isinstance(value, dict) else value for name, value in each["values"].items()
            }
            if each.get("status") not in (None, "submitted"):
                answers[""] = each["status"]
    return people


def _all(fields: Any, metadata: Mapping[str, Any], people: Answered, record: str) -> Iterator[Outcome]:
    if not isinstance(fields, Mapping):
        raise Dropped("a record without fields")
    if not people:
        raise Dropped("nobody answered")
    of = tasks.task(fields, metadata)
    own = cells.name(metadata.get("rater"))
    for user, answers in people.items():
        said: dict[str, Any] = {"rater": user} if user else {}
        if own and user == user_id(own):
            said = {"rater": own, "at": cells.when(metadata.get("judged_at"))}
        try:
            yield from _one(of, user, answers, record, said)
        except Dropped as reason:
            yield reason


def user_id(rater: str) -> str:
    """Return the user of our own exports that stands for a rater, whose name is in the metadata: Argilla wants a uuid."""
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, rater))


def _one(of: Task, user: str, answers: dict[str, Any], record: str, said: dict[str, Any]) -> Iterator[Outcome]:
    if status := answers.pop("", None):
        raise Dropped("a draft" if status == "draft" else f"{str(status)[:20]} by the rater")
    answer = Answer()
    has_lost_order = False
    for question, given in answers.items():
        value = _rows(given) if isinstance(given, dict) else given
        if isinstance(value, list) and _names(value) and set(_names(value)) <= set(of.ids):
            has_lost_order |= not _rank(answer, value, of.ids)
        elif isinstance(value, list):
            answer.flags |= {str(each): () for each in value}
        elif isinstance(value, int | float) and not isinstance(value, bool) and tasks.DEGREE_NAME.search(question):
            answer.margins.append(float(value))
        elif isinstance(value, (bool, int | float)):
            answer.notes.append(f"{question}: {value:g}")
        elif isinstance(value, str):
            _say(answer, question, value, of.ids)
    unsure = UNKNOWN_ORDER if has_lost_order else ""
    yield from tasks.outcomes(of, answer, unsure, event_id=f"argilla-{record}-{user}", **said)


def _names(value: Sequence[Any]) -> list[str]:
    return [str(each.get("value")) if isinstance(each, dict) else str(each) for each in value]


def _rank(answer: Answer, value: Sequence[Any], ids: Sequence[str]) -> bool:
    """Add a ranking; returns False where it has no ranks, and so no order."""
    ranks = {
        str(each["value"]): cells.number(each.get("rank"), "rank")
        for each in value
        if isinstance(each, dict) and "value" in each
    }
    if len(ranks) < len(value) or None in ranks.values():
        return False
    if set(ranks) != set(ids):
        raise Dropped(f"only {len(ranks)} of {len(ids)} responses are ranked")
    answer.ranks = [ranks[each] or 0 for each in ids]
    return True


def _say(answer: Answer, question: str, value: str, ids: Sequence[str]) -> None:
    if not ids or tasks.REWRITE_NAME.search(question) or tasks.NOTE_NAME.search(question):
        tasks.words(answer, question, value)
    else:
        tasks.choice(answer, question, value, ids)


FAMILIES = (
    Family(
        "argilla", "Argilla records", "preferences", (("fields",), ("responses",), ("suggestions", "metadata", "external_id")),
        read_record, is_open=True, looks=lambda rows: any(isinstance(row.get("fields"), dict) and not _is_surge(row) for row in rows),
    ),
    Family(
        "argilla-flat", "Argilla records, flat", "preferences", (("id", "external_id"), ("status", "_server_id")), read_flat,
        is_open=True, looks=lambda rows: any(name.endswith(f"{ANSWERS}.users") for row in rows for name in row),
    ),
    Family(
        "argilla-1x-table", "Argilla 1.x records as a data set", "preferences", (), read_table_1x, is_open=True,
        looks=lambda rows: any("status" in each for row in rows for value in row.values() for each in _answers_1x(value)),
    ),
)  # fmt: skip


def _is_surge(row: Row) -> bool:
    return "project_id" in row or "is_complete" in row
