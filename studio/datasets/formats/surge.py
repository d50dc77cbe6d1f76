"""Surge AI: tasks with responses of workers, with the project's questions where the file has them.

A key of an answer may be a question's text, its label or its column header. The value of a ranking is not documented;
lists of options, and of lists for ties, are read.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from studio.datasets.formats import cells, tasks
from studio.datasets.formats.cells import Row
from studio.datasets.formats.family import Family, Outcome
from studio.datasets.formats.item import Dropped
from studio.datasets.formats.tasks import Answer, Task

Questions = dict[str, Mapping[str, Any]]
_OPTION = re.compile(r"(?:(?:response|answer|option|completion|model)[\s_-]*)?([a-z]|\d{1,2})", re.IGNORECASE)


def read_all(rows: Iterable[Row]) -> Iterator[Outcome]:
    """Yield each worker's response; questions may come before or after the tasks."""
    questions: Questions = {}
    found: list[Row] = []
    for row in rows:
        if ("column_header" in row and "options" in row) or ("type" in row and "label" in row):
            questions |= {str(row[name]): row for name in ("text", "label", "column_header") if row.get(name)}
        else:
            found.append(row)
    for row in found:
        yield from _task(row, questions)


def _task(row: Row, questions: Questions) -> Iterator[Outcome]:
    responses = row.get("responses")
    if not isinstance(row.get("fields"), dict) or not isinstance(responses, list):
        yield Dropped("a task without fields and responses")
        return
    if not responses:
        yield Dropped("nobody answered")
    for response in responses:
        try:
            of = tasks.task(row["fields"])
            yield from _response(of, response, questions)
        except Dropped as reason:
            yield reason


def _response(of: Task, response: Any, questions: Questions) -> Iterator[Outcome]:
    data = response.get("data") if isinstance(response, dict) else None
    if not isinstance(data, dict):
        raise Dropped("a response without data")
    answer = Answer()
    for key, value in data.items():
        question = questions.get(key, {})
        asked = ("label", "column_header") if of.texts else ("text", "label", "column_header")
        name = " ".join(str(question.get(each) or "") for each in asked).strip() or key
        _add(answer, name, value, str(question.get("type") or ""), len(of.texts), of.ids)
    said: dict[str, Any] = {"at": cells.when(response.get("completed_at"))}
    said |= {"event_id": f"surge-{key}"} if (key := cells.name(response.get("id"))) else {}
    said |= {"rater": rater} if (rater := cells.name(response.get("worker_id"))) else {}
    yield from tasks.outcomes(of, answer, **said)


def _add(answer: Answer, name: str, value: Any, kind: str, num: int, ids: tuple[str, ...]) -> None:
    if isinstance(value, list):
        groups = _groups(value, num)
        if groups and (kind == "ranking" or not kind):
            answer.ranks = [next(rank for rank, group in enumerate(groups) if at in group) for at in range(num)]
        elif kind == "ranking":
            raise Dropped(f"the ranking {name} does not fit its responses")
        else:
            answer.flags |= {str(each): () for each in value}
    elif (
        isinstance(value, str) and num and kind not in ("free_response", "text") and not tasks.REWRITE_NAME.search(name)
    ):
        if tasks.NOTE_NAME.search(name) and not tasks.judgement(value).is_judgement:
            tasks.words(answer, name, value)
        else:
            tasks.choice(answer, name, value, ids)
    elif isinstance(value, str):
        tasks.words(answer, name, value)
    elif isinstance(value, int | float) and not isinstance(value, bool) and tasks.DEGREE_NAME.search(name):
        answer.margins.append(float(value))
    elif isinstance(value, int | float):
        answer.notes.append(f"{name}: {value}")


def _groups(value: list[Any], num: int) -> list[list[int]]:
    """Return groups of positions; none where these are not all responses."""
    groups = [[_option(each) for each in (group if isinstance(group, list) else [group])] for group in value]
    listed = sorted(at for group in groups for at in group)
    return groups if listed == list(range(num)) else []


def _option(value: Any) -> int:
    found = _OPTION.fullmatch(str(value).strip())
    if not found:
        return -1
    return int(found[1]) - 1 if found[1].isdecimal() else ord(found[1].lower()) - ord("a")


FAMILIES = (
    Family(
        "surge", "Surge AI tasks", "preferences", (("fields", "column_header"), ("responses", "options"), ("project_id", "column_header")),
        read_all=read_all, is_open=True,
    ),
)  # fmt: skip
