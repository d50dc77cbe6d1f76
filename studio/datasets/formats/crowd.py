"""Rows with a person's answer each, of crowd work: Mechanical Turk, Toloka, Appen; and of Prodigy.

The columns of a task and those of its answer are told apart by their beginnings (`Input.`, `OUTPUT:`), in Appen's reports by
a second column about the question.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

from studio.datasets import conversations
from studio.datasets.conversations import first
from studio.datasets.formats import cells, tasks
from studio.datasets.formats.cells import Row
from studio.datasets.formats.chats import ANSWERED, ASKED
from studio.datasets.formats.family import Columns, Family, Outcome
from studio.datasets.formats.item import Dropped, Item
from studio.datasets.formats.prompts import ASKED_WITH, asked
from studio.datasets.formats.tasks import Answer, Task

_ZONES = {"PST": "-0800", "PDT": "-0700", "UTC": "+0000", "GMT": "+0000"}
_LONGEST_CHOICE = 6
"""Words of an answer; a longer one is a text that the person wrote."""
_PLAIN = re.compile(r"result|answer|label|value|selection|selected|vote|pick", re.IGNORECASE)
"""Names under which a side alone is a judgement."""
DECISIONS = ("accept", "reject", "ignore")
"""What Prodigy writes under `answer`."""


def read_mturk(row: Row, columns: Columns) -> Iterator[Outcome]:
    """Yield an assignment of Mechanical Turk."""
    if str(row.get("AssignmentStatus")).strip().lower() == "rejected":
        raise Dropped("an assignment that was rejected")
    of, answer = tasks.task(_under(row, "Input.")), Answer()
    for name, value in _answers(_under(row, "Answer.")):
        _add(answer, name, value, of)
    seconds = cells.number(row.get("WorkTimeInSeconds"), "WorkTimeInSeconds") or 0
    said = _said("mturk", row.get("AssignmentId"), row.get("WorkerId"), _time(row.get("SubmitTime")))
    said |= {"elapsed_ms": round(seconds * 1000)} if 0 < seconds < 10**9 else {}
    yield from tasks.outcomes(of, answer, **said)


def _under(row: Row, beginning: str) -> dict[str, Any]:
    return {name.removeprefix(beginning): value for name, value in row.items() if name.startswith(beginning)}


def _answers(given: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield names and values of an answer; a form of Amazon's own elements holds all of them as JSON in one cell."""
    for name, value in given.items():
        held = cells.parsed(value) if name == "taskAnswers" else None
        if isinstance(held, list) and len(held) == 1 and isinstance(held[0], dict):
            yield from held[0].items()
        else:
            yield name, value


def _time(value: Any) -> str:
    """Return a time such as Mon Jan 05 10:00:30 PST 2026 as UTC ISO text; "" where it is not one."""
    words = str(value).split()
    with suppress(ValueError, LookupError):
        return cells.when(datetime.strptime(" ".join((*words[1:4], words[5], _ZONES[words[4]])), "%b %d %H:%M:%S %Y %z").isoformat())  # fmt: skip
    return cells.when(value)


def _said(where: str, event: Any, rater: Any, at: str) -> dict[str, Any]:
    said: dict[str, Any] = {"event_id": f"{where}-{name}"} if (name := cells.name(event)) else {}
    said |= {"rater": name} if (name := cells.name(rater)) else {}
    return said | ({"at": at} if at else {})


def _add(answer: Answer, name: str, value: Any, of: Task) -> None:
    """Add one value of an answer: an option that was taken, of several, or a text."""
    if isinstance(value, dict):
        taken = [option for option, is_taken in value.items() if cells.yes_or_no(is_taken)]
        if len(taken) == 1:
            tasks.choice(answer, name, taken[0], of.ids)
        else:
            answer.flags |= dict.fromkeys(taken, ())
        return
    if isinstance(value, bool) or conversations.is_empty(conversations.cell(value)):
        return
    text = str(value).strip()
    is_text = tasks.NOTE_NAME.search(name) or tasks.REWRITE_NAME.search(name) or len(text.split()) > _LONGEST_CHOICE
    if not of.texts or (is_text and not tasks.judgement(text).is_judgement):
        tasks.words(answer, name, text)
    elif _PLAIN.fullmatch(name) and tasks.judgement(text).verdict:
        answer.say(tasks.judgement(text))
    else:
        tasks.choice(answer, name, text, of.ids)


def read_toloka(row: Row, columns: Columns) -> Iterator[Outcome]:
    """Yield an answer of Toloka, or, where the file was aggregated, that of all together."""
    status = str(row.get("ASSIGNMENT:status") or "").strip().lower()
    if status in ("rejected", "skipped", "expired"):
        raise Dropped(f"an assignment that was {status}")
    of, answer = tasks.task(_under(row, "INPUT:")), Answer()
    for name, value in _under(row, "OUTPUT:").items():
        _add(answer, name, value, of)
    ids = [cells.name(row.get(f"ASSIGNMENT:{name}")) for name in ("assignment_id", "task_id")]
    at = cells.when(row.get("ASSIGNMENT:submitted"))
    said = _said("toloka", "-".join(ids) if all(ids) else "", row.get("ASSIGNMENT:worker_id"), at)
    if confidence := {name: value for name, value in _under(row, "CONFIDENCE:").items() if cells.name(value)}:
        said["facts"] = {f"confidence of {name}": cells.name(value) for name, value in confidence.items()}
    yield from tasks.outcomes(of, answer, **said)


def read_appen(row: Row, columns: Columns) -> Iterator[Outcome]:
    """Yield a judgement of Appen's full report, or of the aggregated one, where it is that of all together.

    A question has a second column, with its confidence or its gold answer; without any, questions are told by their names.
    """
    if cells.yes_or_no(row.get("_tainted")):
        raise Dropped("an answer of a person whose answers were found untrustworthy")
    asked_for = [name for name in row if f"{name}_gold" in columns or f"{name}:confidence" in columns]
    others = [
        name for name in row if tasks.JUDGEMENT_NAME.search(name) and not re.search(r"_gold$|:confidence$|^_", name)
    ]
    questions = asked_for or others
    of = tasks.task({name: value for name, value in row.items() if name not in questions})
    answer = Answer()
    for name in questions:
        _add(answer, name, row[name], of)
    said = _said("appen", row.get("_id"), row.get("_worker_id"), "")
    facts = {"trust": row.get("_trust")} | {
        f"confidence of {name}": row.get(f"{name}:confidence") for name in questions
    }
    facts = {name: cells.name(value) for name, value in facts.items() if cells.name(value)}
    said |= {"facts": facts} if facts else {}
    yield from tasks.outcomes(of, answer, **said)


def read_options(row: Row, columns: Columns) -> Iterator[Item]:
    """Yield the option of Prodigy that a person accepted: better than the others."""
    _check_decision(row, "reject")
    data = {name: value for name, value in row.items() if name not in ("options", "accept", "answer")}
    inside = row.get("input")
    held = {"input": first(inside, ("text", "prompt", "question"))} if isinstance(inside, dict) else {}
    of = tasks.task(data | held | {"items": row.get("options")})
    accepted = [cells.name(each) for each in cells.listed(row.get("accept"))]
    if len(accepted) != 1 or accepted[0] not in of.ids or len(of.texts) < 2:
        raise Dropped("not exactly one option is accepted")
    yield from cells.best(
        of.prompt, of.texts, of.ids.index(accepted[0]), **{**of.said, **_of_prodigy(row), "models": ()}
    )


def read_decision(row: Row, columns: Columns) -> Iterator[Item]:
    """Yield an answer that a person accepted or rejected in Prodigy: a thumb."""
    _check_decision(row)
    prompt = asked(row)
    response = conversations.after(prompt, conversations.answer(first(row, ANSWERED)))
    yield Item("unpaired", prompt, (response,), label=row.get("answer") == "accept", **_of_prodigy(row))


def _check_decision(row: Row, *others: str) -> None:
    decision = row.get("answer")
    if decision not in DECISIONS:
        raise Dropped("answer is neither accept nor reject nor ignore")
    if decision in ("ignore", *others):
        raise Dropped("skipped" if decision == "ignore" else "a task that was rejected")


def _of_prodigy(row: Row) -> dict[str, Any]:
    return _said("", None, first(row, ("_annotator_id", "_session_id")), cells.when(row.get("_timestamp")))


def _are_decisions(rows: Sequence[Row]) -> bool:
    return any(str(row.get("answer")) in DECISIONS for row in rows)


def _may_be_labels(rows: Sequence[Row]) -> str:
    """Return why options may be labels and not answers to the row's own question: they are the same in all rows."""
    found = {str([each.get("text") for each in cells.objects(row.get("options"))]) for row in rows}
    return "" if len(found) > 1 else "its options are the same in all rows, so they may be labels and not answers"


def _begin(rows: Iterable[Row], *beginnings: str) -> bool:
    names = {name for row in rows for name in row}
    return all(any(name.startswith(beginning) for name in names) for beginning in beginnings)


_OPTIONS = (("options",), ("accept",), ("answer",))
FAMILIES = (
    Family(
        "mturk", "results of Mechanical Turk", "preferences", (("AssignmentId",), ("WorkerId",)), read_mturk, is_open=True,
        looks=lambda rows: _begin(rows, "Input.", "Answer."),
    ),
    Family(
        "toloka", "results of Toloka", "preferences", (), read_toloka, is_open=True,
        looks=lambda rows: _begin(rows, "INPUT:", "OUTPUT:"),
    ),
    Family(
        "appen", "reports of Appen", "preferences", (("_unit_id",), ("_worker_id", "_trusted_judgments")), read_appen, is_open=True,
    ),
    Family(
        "prodigy-options", "options of which one was accepted (Prodigy)", "preferences", _OPTIONS, read_options, is_open=True,
        looks=_are_decisions, unclear=_may_be_labels, readings=("prodigy-answers",),
    ),
    Family(
        "prodigy", "answers accepted or rejected (Prodigy)", "demonstrations", (ASKED, ANSWERED, ("answer",)), read_decision,
        reads=frozenset((*ASKED_WITH, *ANSWERED, "answer", "_annotator_id", "_session_id", "_timestamp")), looks=_are_decisions,
    ),
)  # fmt: skip
NAMED = (
    Family(
        "prodigy-answers", "the options are answers, of which one was accepted", "preferences", _OPTIONS, read_options, is_open=True
    ),
)  # fmt: skip
"""Found only by `--format`."""
