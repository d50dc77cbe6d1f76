"""Tasks as Labelbox, Scale, Surge and Argilla take them: one function each, from tasks to the texts of files.

Responses are named by their position on the screen. The same answers asked in each: which is better and how much, a tie
or both bad; or an order with ties; or an answer of one's own.
"""

import json
from collections.abc import Sequence
from typing import Any

from studio.exchange.files import json_text
from studio.exchange.tasks import Task, What

Files = dict[str, str]
"""File name -> content."""
LETTERS = "ABCDEFGHI"
VERDICTS = (
    "A is much better", "A is better", "A is slightly better", "Tie", "B is slightly better", "B is better", "B is much better",
    "Both are bad",
)  # fmt: skip
CHAT = "application/vnd.labelbox.conversational.model-chat-evaluation"
_ROLES = {"system": "human", "user": "human", "assistant": "model"}
_QUESTION = {
    "pairs": "Which response is better?",
    "rankings": "Order the responses, the best first; equal ones may share a place.",
    "prompts": "Write the answer that the assistant should give.",
}


def labelbox(tasks: Sequence[Task]) -> Files:
    """Return data rows of the type model-chat-evaluation, version 2; global_key names the comparison."""
    return {"data_rows.json": json_text([_labelbox_row(task) for task in tasks])}


def scale(tasks: Sequence[Task]) -> Files:
    """Return one request of POST /v2/task/chat a line; project and batch are for the sender to add."""
    return {"chat_tasks.jsonl": _lines([_scale_request(task) for task in tasks])}


def surge(tasks: Sequence[Task]) -> Files:
    """Return the list for `create_tasks`, and the questions of the project; field values are texts."""
    names = [f"response_{letter}" for letter in LETTERS.lower()]
    rows = [
        {"prompt": task.prompt} | dict(zip(names, task.texts, strict=False)) | task.metadata
        for task in tasks
    ]  # fmt: skip
    return {"create_tasks.json": json_text(rows), "questions.json": json_text(_surge_questions(tasks))}


def argilla(tasks: Sequence[Task]) -> Files:
    """Return records for `dataset.records.from_json`, and the data set's settings for `rg.Settings.from_json`."""
    records = [
        {
            "id": task.key,
            "fields": {"prompt": task.prompt} | _numbered(task.texts),
            "metadata": task.metadata,
            "suggestions": {},
            "responses": {},
            "vectors": {},
        }
        for task in tasks
    ]
    most = max(len(task.texts) for task in tasks)
    return {
        "records.json": json_text(records),
        "settings.json": json_text(argilla_settings(tasks[0].what, most, tasks)),
    }


def argilla_settings(what: What, num: int, tasks: Sequence[Task] = ()) -> dict[str, Any]:
    """Return the settings of a data set whose records have at most `num` responses."""
    least = min((len(task.texts) for task in tasks), default=num)
    fields = [_field("prompt", required=True)]
    fields += [_field(f"response-{n}", required=n <= least) for n in range(1, num + 1)]
    questions = {
        "pairs": [_choice("preference", ("response-1", "response-2", "tie", "both bad")), _choice("strength", _STRENGTHS, False)],
        "rankings": [_question("ranking", {"type": "ranking", "options": _options(f"response-{n}" for n in range(1, num + 1))})],
        "prompts": [_question("answer", {"type": "text", "use_markdown": False})],
    }[what]  # fmt: skip
    keys = sorted({key for task in tasks for key in task.metadata})
    metadata = [
        {"name": key, "title": key, "settings": {"type": "terms", "values": None}, "visible_for_annotators": False}
        for key in keys
    ]
    return {
        "guidelines": _QUESTION[what],
        "allow_extra_metadata": True,
        "distribution": {"strategy": "overlap", "min_submitted": 1},
        "fields": fields,
        "questions": questions,
        "metadata": metadata,
        "vectors": [],
    }


_STRENGTHS = ("slightly better", "better", "much better")


def _labelbox_row(task: Task) -> dict[str, Any]:
    """Lay the turns out as a chain of messages whose last one has the responses as children."""
    actors: dict[str, Any] = {"human": {"role": "human", "metadata": {"name": "User"}}}
    ids = [f"turn-{n}" for n in range(1, len(task.messages) + 1)]
    answers = [f"response-{n}" for n in range(1, len(task.texts) + 1)]
    messages = {}
    for at, turn in enumerate(task.messages):
        if _ROLES[turn["role"]] == "model":
            actors["earlier"] = _model("earlier", "Assistant")
        text = f"System: {turn['content']}" if turn["role"] == "system" else turn["content"]
        children = [ids[at + 1]] if at + 1 < len(ids) else answers
        messages[ids[at]] = _message("earlier" if turn["role"] == "assistant" else "human", text, children)
    for number, (name, text) in enumerate(zip(answers, task.texts, strict=True), 1):
        actors[name] = _model(name, f"Response {number}")
        messages[name] = _message(name, text, [])
    return {
        "row_data": {"type": CHAT, "version": 2, "actors": actors, "messages": messages, "rootMessageIds": ids[:1]},
        "global_key": task.key,
        "metadata_fields": [{"name": name, "value": value} for name, value in task.metadata.items()],
    }


def _model(name: str, title: str) -> dict[str, Any]:
    return {"role": "model", "metadata": {"modelConfigId": name, "modelConfigName": title}}


def _message(actor: str, text: str, children: list[str]) -> dict[str, Any]:
    return {"actorId": actor, "content": [{"type": "text", "content": text}], "childMessageIds": children}


def _scale_request(task: Task) -> dict[str, Any]:
    variables: dict[str, Any] = {"prompt": task.prompt, "messages": task.messages}
    variables |= {"responses": [{"source_id": f"response-{n}", "text": text} for n, text in enumerate(task.texts, 1)]}
    return {"template_variables": variables | {"instruction": _QUESTION[task.what]}, "metadata": task.metadata}


def _surge_questions(tasks: Sequence[Task]) -> list[dict[str, Any]]:
    what, most = tasks[0].what, max(len(task.texts) for task in tasks)
    question: dict[str, Any] = {"text": _QUESTION[what], "label": what, "required": True, "column_header": what}
    if what == "pairs":
        return [question | {"type": "multiple_choice", "options": list(VERDICTS)}]
    if what == "rankings":
        options = [f"Response {letter}" for letter in LETTERS[:most]]
        return [question | {"type": "ranking", "options": options, "allow_ranking_ties": True}]
    return [question | {"type": "free_response"}]


def _numbered(texts: Sequence[str]) -> dict[str, str]:
    return {f"response-{n}": text for n, text in enumerate(texts, 1)}


def _field(name: str, *, required: bool) -> dict[str, Any]:
    settings = {"type": "text", "use_markdown": False}
    return {"name": name, "title": name.replace("-", " ").capitalize(), "required": required, "settings": settings}


def _choice(name: str, labels: Sequence[str], required: bool = True) -> dict[str, Any]:
    return _question(name, {"type": "label_selection", "options": _options(labels)}, required)


def _question(name: str, settings: dict[str, Any], required: bool = True) -> dict[str, Any]:
    return {"name": name, "title": name.capitalize(), "required": required, "settings": settings}


def _options(values: Any) -> list[dict[str, Any]]:
    return [{"value": value, "text": value, "description": None} for value in values]


def _lines(rows: Sequence[dict[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
