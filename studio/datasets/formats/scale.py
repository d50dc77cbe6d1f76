"""Scale AI, GenAI v2: tasks with threads of turns. Which keys a project uses is its own choice; the types tell what they are."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from studio.datasets import conversations
from studio.datasets.formats import cells, tasks
from studio.datasets.formats.cells import Row
from studio.datasets.formats.family import Columns, Family, Outcome
from studio.datasets.formats.item import Dropped, Item
from studio.datasets.formats.tasks import Answer, Task
from studio.datasets.formats.words import Said, judgement
from studio.preferences.prompts import Messages

Object = Mapping[str, Any]
LIKERT: dict[float, Said] = {1: Said("first", 3), 2: Said("first", 2), 3: Said("first", 1), 4: Said("tie"), 5: Said("second", 1), 6: Said("second", 2), 7: Said("second", 3)}  # fmt: skip
"""A scale of seven without labels: 1 the first is much better, 4 about the same."""
WRITERS = ("human", "contributor", "annotator", "worker", "expert", "tasker")
"""Sources of an answer that a person wrote."""


def read(row: Row, columns: Columns) -> Iterator[Outcome]:
    """Yield the judgement of every turn of a task."""
    if row.get("sensitive_content_reports"):
        raise Dropped("reported as sensitive")
    if row.get("status") != "completed":
        raise Dropped(f"{cells.name(row.get('status'))[:20] or 'without a status'}, not completed")
    threads = row.get("threads")
    if not isinstance(threads, list) or not threads:
        raise Dropped("a task without threads")
    for number, thread in enumerate(threads):
        if not isinstance(thread, dict):
            raise Dropped("a thread that is not an object")
        yield from _thread(thread, row, number)


def _thread(thread: Object, row: Row, number: int) -> Iterator[Outcome]:
    said = _said(thread, row)
    before: Messages = []
    turns = cells.listed(thread.get("turns"))
    if not turns:
        yield Dropped("a thread without turns")
    for at, turn in enumerate(turns):
        try:
            asked, answers = _messages(turn)
            context = conversations.ending_with_user([*before, *conversations.turns(asked, "user")])
            event = {"event_id": f"scale-{cells.name(row.get('task_id'))}-{number}-{at}"}
            found = _turn(turn, context, answers, said | event)
            yield from found
            if isinstance(found[0], Dropped):
                return  # what the next turn goes on from is unknown
            before = [*context, {"role": "assistant", "content": _kept(found[0])}]
        except Dropped as reason:
            yield reason
            return


def _said(thread: Object, row: Row) -> dict[str, Any]:
    """Return who submitted the thread and when, and what the task keeps of ours."""
    submissions = cells.objects(thread.get("submissions"))
    last = submissions[-1] if submissions else {}
    said: dict[str, Any] = {"at": cells.when(last.get("submitted_at") or row.get("completed_at"))}
    said |= {"rater": rater} if (rater := cells.name(last.get("contributor_id"))) else {}
    metadata = cells.inside(row.get("metadata"))
    return said | {"metadata": {key: str(value) for key, value in metadata.items() if key.startswith(tasks.OURS)}}


def _messages(turn: Any) -> tuple[list[dict[str, Any]], list[Object]]:
    messages = turn.get("messages") if isinstance(turn, dict) else None
    if not isinstance(messages, list) or not all(isinstance(each, dict) for each in messages):
        raise Dropped("a turn without messages")
    asked = [{"role": each.get("role"), "content": _text(each)} for each in messages if each.get("role") != "assistant"]
    return asked, [each for each in messages if each.get("role") == "assistant"]


def _model(message: Object) -> Any:
    parameters = message.get("model_parameters")
    return parameters.get("model") if isinstance(parameters, dict) else None


def _text(message: Object) -> Any:
    content = message.get("content")
    return content.get("text") if isinstance(content, dict) else content


def _turn(turn: Object, prompt: Messages, answers: list[Object], said: dict[str, Any]) -> list[Outcome]:
    """Return the judgement of a turn, or why there is none with what the person wrote."""
    ids = tuple(cells.name(each.get("source_id")) for each in answers)
    texts = tuple(cells.text(_text(each)) for each in answers)
    models = tuple(cells.name(_model(each)) for each in answers)
    answer = Answer()
    for at, message in enumerate(answers):
        for each in _annotations(message):
            _on_message(answer, each, at, len(ids))
    for each in _annotations(turn):
        _on_turn(answer, each, ids)
    if len(texts) > 2 and answer.selected is not None and answer.ranks is None:
        raise Dropped("one of several responses is selected, and the others have no order")
    if len(texts) == 1 and answer.rewrites:
        return [Item("demonstration", prompt, (answer.rewrites[0], texts[0]), rewritten=(1,), **said)]
    if not texts:
        return list(tasks.demonstrations(Task(prompt, (), ()), answer, **said))
    is_written = tasks.PROMPT_KEY in said["metadata"] or ids[0].lower() in WRITERS
    if len(texts) == 1 and is_written and not (any(models) or answer.scores or answer.flags or answer.strengths):
        return [Item("demonstration", prompt, texts, **said)]
    if len(texts) < 2:
        raise Dropped("only one response to this prompt")
    return list(tasks.outcomes(Task(prompt, texts, ids, {"models": models} if all(models) else {}), answer, **said))


def _annotations(of: Object) -> Sequence[Object]:
    return cells.objects(of.get("annotations"))


def _on_message(answer: Answer, annotation: Object, at: int, num: int) -> None:
    key, value = cells.name(annotation.get("key")), annotation.get("value")
    if isinstance(value, str) and tasks.REWRITE_NAME.search(key):
        answer.rewrites.append(value.strip())
        answer.rewritten = (*answer.rewritten, at)
    elif isinstance(value, str) and value.strip():
        answer.notes.append(f"{key} of response {at + 1}: {value.strip()}")
    elif isinstance(value, bool):
        if value:
            answer.flags[key] = (*answer.flags.get(key, ()), at)
    elif isinstance(value, int | float):
        scores = list(answer.scores.get(key, (None,) * num))
        scores[at] = float(value)
        answer.scores[key] = tuple(scores)


def _on_turn(answer: Answer, annotation: Object, ids: tuple[str, ...]) -> None:
    """Add what an annotation of a turn says, by its type and value."""
    key, value = cells.name(annotation.get("key")), annotation.get("value")
    if value is None or annotation.get("cannot_assess") or annotation.get("not_applicable"):
        return
    if isinstance(value, bool):
        if value:
            _flag(answer, key)
    elif isinstance(value, int | float):
        _likert(answer, key, value, annotation.get("labels"))
    elif isinstance(value, list):
        _ranked(answer, value, ids)
    elif isinstance(value, str) and value in ids:
        answer.selected = ids.index(value)
        if len(ids) == 2:
            answer.verdicts.append(("first", "second")[answer.selected])
    elif isinstance(value, str) and annotation.get("type") == "category":
        tasks.choice(answer, key, value, ids)
    elif isinstance(value, str):
        tasks.words(answer, key, value)


def _flag(answer: Answer, key: str) -> None:
    said = judgement(key)
    if said.verdict:
        answer.say(said)
    else:
        answer.flags[key] = ()


def _likert(answer: Answer, key: str, value: float, labels: Any) -> None:
    """Read a number on a scale by its label; one without labels only where it is a scale of seven by its name."""
    if isinstance(labels, list) and value in range(1, len(labels) + 1):
        said = judgement(labels[int(value) - 1])
    else:
        said = LIKERT.get(value, Said()) if "likert" in key.lower() else Said()
    if said.is_judgement:
        answer.say(said)
    elif tasks.DEGREE_NAME.search(key) and not labels:
        answer.margins.append(float(value))
    elif tasks.JUDGEMENT_NAME.search(key):
        raise Dropped(f"the answer {value:g} to {key} is not understood")
    else:
        answer.notes.append(f"{key}: {value:g}")


def _ranked(answer: Answer, value: list[Any], ids: tuple[str, ...]) -> None:
    groups = [[str(each) for each in group] if isinstance(group, list) else [str(group)] for group in value]
    listed = [each for group in groups for each in group]
    if not set(listed) & set(ids):
        answer.flags |= dict.fromkeys(listed, ())
    elif sorted(listed) != sorted(ids):
        raise Dropped("a ranking that does not fit its responses")
    else:
        answer.ranks = [next(rank for rank, group in enumerate(groups) if each in group) for each in ids]


def _kept(item: Item) -> str:
    """Return the answer that the conversation most likely goes on from: a rewrite, else the selected one."""
    if item.rewrites or item.kind == "demonstration":
        return item.rewrites[0] if item.rewrites else item.responses[0]
    return item.responses[item.groups[0][0]] if item.groups else item.responses[0]


FAMILIES = (
    Family(
        "scale", "Scale AI tasks", "preferences", (("task_id",), ("threads", "status")), read, is_open=True,
        looks=lambda rows: any(isinstance(row.get("threads"), list) for row in rows),
    ),
)  # fmt: skip
