"""Labelbox: annotations as NDJSON next to their data rows, and exported rows that hold both.

The body of an exported ranking is not documented; it is read where it looks like the imported one.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from studio.datasets import conversations
from studio.datasets.conversations import first
from studio.datasets.formats import cells, tasks
from studio.datasets.formats.cells import Row
from studio.datasets.formats.family import Family, Outcome
from studio.datasets.formats.item import Dropped
from studio.datasets.formats.tasks import Answer, Task
from studio.preferences.prompts import Messages

Object = Mapping[str, Any]
_OUR_KEY = re.compile(r"[0-9a-f]{10}-[1-9][0-9]{0,17}")


def read_all(rows: Iterable[Row]) -> Iterator[Outcome]:
    """Yield the judgement of each data row; annotations and data rows may come in any order."""
    data: dict[str, Object] = {}
    given: dict[str, list[Object]] = {}
    for row in rows:
        if isinstance(row.get("data_row"), dict):
            yield from _exported(row)
        elif isinstance(row.get("row_data"), dict):
            for key in filter(None, (cells.name(row.get("global_key")), cells.name(row.get("id")))):
                data[key] = row["row_data"]
        elif isinstance(row.get("dataRow"), dict):
            given.setdefault(cells.name(first(row["dataRow"], ("globalKey", "id"))), []).append(row)
        else:
            yield Dropped("neither a data row nor an annotation")
    for key, annotations in given.items():
        yield from _judged(data.get(key), annotations, key, **_ours(key))
    yield from (Dropped("nobody answered") for key in data if key not in given)


def _judged(row_data: Object | None, annotations: Sequence[Object], key: str, **said: Any) -> Iterator[Outcome]:
    try:
        if row_data is None:
            raise Dropped("its data row is missing; put annotations and data rows into one folder or zip file")
        of = _task(row_data, annotations)
        answer = Answer()
        chosen: list[int] = []
        for each in annotations:
            _add(answer, chosen, each, of)
        _settle(answer, chosen, of)
        if of.texts:
            yield tasks.item(of, answer, event_id=f"labelbox-{key}", **said)
        else:
            yield from tasks.demonstrations(of, answer, event_id=f"labelbox-{key}", **said)
    except Dropped as reason:
        yield reason


def _ours(key: str) -> dict[str, Any]:
    """Return the metadata of a data row that our export made: its global key names the comparison, or the prompt to be answered."""
    name = tasks.PROMPT_KEY if key.startswith("p-") else f"{tasks.OURS}comparison"
    key = key.removeprefix("p-")
    return {"metadata": {name: key}} if _OUR_KEY.fullmatch(key) else {}


def _task(row_data: Object, annotations: Sequence[Object]) -> Task:
    messages = row_data.get("messages")
    if isinstance(messages, list):
        return _older(row_data, messages)
    if not isinstance(messages, dict):
        raise Dropped("a data row without messages")
    parent = next((found for each in annotations if (found := _parent(each))), None)
    forks = [key for key, each in messages.items() if isinstance(each, dict) and len(_children(each)) > 1]
    parent = parent or (forks[-1] if forks else None)
    actors = cells.inside(row_data.get("actors"))
    if parent is None and (last := _last(messages)) and _role(actors, messages[last]) == "user":
        return Task(_path(messages, actors, last), (), ())
    if parent not in messages:
        raise Dropped("a data row without two responses")
    ids = tuple(str(each) for each in _children(messages[parent]))
    texts = tuple(_text(messages.get(each)) for each in ids)
    models = tuple(cells.name(_config(actors, messages.get(each))) for each in ids)
    said = {"models": models} if all(models) else {}
    return Task(_path(messages, actors, str(parent)), texts, ids, said)


def _children(message: Any) -> list[Any]:
    return cells.listed(message.get("childMessageIds")) if isinstance(message, dict) else []


def _last(messages: Object) -> str:
    """Return the only message that nothing follows; "" where there are several."""
    ends = [str(key) for key, each in messages.items() if isinstance(each, dict) and not _children(each)]
    return ends[0] if len(ends) == 1 else ""


def _parent(annotation: Object) -> str | None:
    found = annotation.get("messageEvaluationTask")
    data = found.get("data") if isinstance(found, dict) else None
    return cells.name(data.get("parentMessageId")) or None if isinstance(data, dict) else None


def _role(actors: Object, message: Any) -> Any:
    actor = actors.get(str(message.get("actorId"))) if isinstance(message, dict) else None
    return {"human": "user"}.get(str(actor.get("role")), actor.get("role")) if isinstance(actor, dict) else None


def _config(actors: Object, message: Any) -> Any:
    actor = actors.get(str(message.get("actorId"))) if isinstance(message, dict) else None
    metadata = actor.get("metadata") if isinstance(actor, dict) else None
    return metadata.get("modelConfigName") if isinstance(metadata, dict) else None


def _text(message: Any) -> str:
    content = message.get("content") if isinstance(message, dict) else None
    if isinstance(content, str):
        return content.strip()
    parts = content if isinstance(content, list) else []
    return "".join(
        str(part.get("content") or part.get("text") or "") for part in parts if isinstance(part, dict)
    ).strip()


def _path(messages: Object, actors: Object, key: str) -> Messages:
    """Return the turns down to a message."""
    above = {str(child): name for name, each in messages.items() if isinstance(each, dict) for child in _children(each)}
    path: list[str] = []
    at: str | None = key
    while at is not None and at not in path:
        path.insert(0, at)
        at = above.get(at)
    roles = [_role(actors, messages[each]) for each in path]
    turns = [{"role": role, "content": _text(messages[each])} for role, each in zip(roles, path, strict=True)]
    return conversations.ending_with_user(conversations.turns(turns, "user"))


def _older(row_data: Object, messages: list[Any]) -> Task:
    """Read a data row of the older preference editor: turns and model outputs."""
    outputs = cells.objects(row_data.get("modelOutputs"))
    turns = [
        {"role": "assistant" if _is_model(each) else "user", "content": _text(each)}
        for each in messages
        if isinstance(each, dict)
    ]
    texts = tuple(_text(each) for each in outputs)
    if len(texts) < 2:
        raise Dropped("a data row without two responses")
    models = tuple(cells.name(each.get("modelConfigName")) for each in outputs)
    ids = tuple(cells.name(each.get("title")) or str(at) for at, each in enumerate(outputs))
    said = {"models": models} if all(models) else {}
    return Task(conversations.ending_with_user(conversations.turns(turns, "user")), texts, ids, said)


def _is_model(message: Object) -> bool:
    user = cells.inside(message.get("user"))
    return any(word in f"{user.get('userId')} {user.get('name')}".lower() for word in ("bot", "model", "assistant"))


def _add(answer: Answer, chosen: list[int], annotation: Object, of: Task) -> None:
    """Add one annotation to the answer."""
    name = str(annotation.get("name") or "")
    task = annotation.get("messageEvaluationTask")
    if isinstance(task, dict) and isinstance(task.get("data"), dict):
        _message_task(answer, chosen, task["data"], of)
        return
    value = first(
        annotation, ("answer", "radio_answer", "conversational_radio_answer", "text_answer", "checklist_answers")
    )
    where = cells.name(first(annotation, ("messageId", "message_id")))
    at = (of.ids.index(where),) if where in of.ids else ()
    if isinstance(value, dict):
        word = str(first(value, ("name", "value", "content")) or "")
        is_text = "content" in value
        tasks.words(answer, name, word) if is_text else tasks.choice(answer, name, word, of.ids)
    elif isinstance(value, list):
        answer.flags |= {str(each.get("name")): at for each in value if isinstance(each, dict)}
    elif isinstance(value, str):
        tasks.words(answer, name, value)


def _message_task(answer: Answer, chosen: list[int], data: Object, of: Task) -> None:
    ranked = data.get("rankedMessages")
    if isinstance(ranked, list):
        orders = {
            cells.name(each.get("messageId")): cells.number(each.get("order"), "order")
            for each in ranked
            if isinstance(each, dict)
        }
        if None in orders.values() or not set(orders) <= set(of.ids) or len(orders) != len(ranked):
            raise Dropped("a ranking that does not fit its messages")
        answer.of = [at for at, each in enumerate(of.ids) if each in orders]
        answer.ranks = [orders[of.ids[at]] or 0 for at in answer.of]
    elif (one := cells.name(data.get("messageId"))) in of.ids:
        chosen.append(of.ids.index(one))
    elif isinstance(data.get("selectedMessages"), list):
        at = [cells.name(each.get("messageId")) for each in data["selectedMessages"] if isinstance(each, dict)]
        answer.flags["selected"] = tuple(of.ids.index(each) for each in at if each in of.ids)


def _settle(answer: Answer, chosen: list[int], of: Task) -> None:
    """Let a single selection count where there is no ranking, and warn where it contradicts one."""
    if answer.ranks is None and chosen and not answer.verdicts:
        if len(of.texts) > 2:
            raise Dropped("one of several responses is selected, and the others have no order")
        answer.verdicts.append("first" if chosen[0] == 0 else "second")
    elif answer.ranks is not None and answer.of is not None and chosen and "both_bad" not in answer.verdicts:
        best = answer.of[list(answer.ranks).index(min(answer.ranks))]
        if best != chosen[0]:
            answer.warnings = ("the ranking contradicts the single selection; the ranking counts",)


def _exported(row: Row) -> Iterator[Outcome]:
    """Yield the labels of an exported row."""
    data_row = row["data_row"]
    key = cells.name(first(data_row, ("global_key", "id")))
    projects = cells.inside(row.get("projects"))
    labels = [
        label
        for project in projects.values()
        if isinstance(project, dict)
        for label in cells.listed(project.get("labels"))
    ]
    if not labels:
        yield Dropped("nobody answered")
    for label in labels:
        details = label.get("label_details") if isinstance(label, dict) else None
        found = label.get("annotations") if isinstance(label, dict) else None
        if not isinstance(found, dict):
            yield Dropped("a label without annotations")
            continue
        given = [
            each for group in found.values() if isinstance(group, list) for each in group if isinstance(each, dict)
        ]
        details = details if isinstance(details, dict) else {}
        said: dict[str, Any] = {"at": cells.when(details.get("created_at")), **_ours(key)}
        said |= {"rater": rater} if (rater := cells.name(details.get("created_by"))) else {}
        yield from _judged(
            data_row.get("row_data") if isinstance(data_row.get("row_data"), dict) else None,
            given,
            f"{key}-{cells.name(label.get('id'))}",
            **said,
        )


FAMILIES = (
    Family(
        "labelbox", "Labelbox annotations with their data rows", "preferences", (("dataRow", "row_data", "data_row"),),
        read_all=read_all, is_open=True,
    ),
)  # fmt: skip
