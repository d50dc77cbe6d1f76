"""What labelling programs share: a task with a prompt and responses, and one person's answer to it."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from studio.datasets import conversations
from studio.datasets.formats import cells
from studio.datasets.formats.cells import Verdict
from studio.datasets.formats.family import Outcome
from studio.datasets.formats.item import Dropped, Item
from studio.datasets.formats.labelled import SIDES
from studio.datasets.formats.prompts import with_context
from studio.datasets.formats.words import JUDGEMENT_NAME, NOTE_NAME, REWRITE_NAME, WORST_NAME, Said, judgement
from studio.datasets.splits import split_name
from studio.preferences.prompts import Messages

PROMPTS = (
    "prompt",
    "question",
    "instruction",
    "query",
    "messages",
    "conversation",
    "dialogue",
    "chat",
    "input",
    "text",
    "context",
)
LISTS = ("items", "responses", "answers", "completions", "candidates", "outputs")
NUMBERED = re.compile(
    r"(response|answer|completion|output|reply|candidate|generation)[-_ ]?(\d{1,2}|[a-z])", re.IGNORECASE
)
OURS = "rlhf_studio_"
PROMPT_KEY = f"{OURS}prompt"
"""The key by which a task of ours names the prompt that is to be answered."""
SINGLE = (
    "response",
    "answer",
    "completion",
    "output",
    "reply",
    "generation",
    "candidate",
    "model_output",
    "model_response",
)
"""Columns of one response, which is rated or rewritten and not compared."""
DEGREE_NAME = re.compile(
    r"strength|how[-_ ]?much|degree|extent|magnitude|margin|intensity|confiden|\bgap\b|differ", re.IGNORECASE
)
"""Names of controls that ask how much better a response is."""
DEGREE = re.compile(
    r"\s*(negligibly|slight(ly)?|a little|somewhat|marginally|much|far|significantly|a lot)(\s+better)?\s*",
    re.IGNORECASE,
)
"""Words that say it under any name."""
ANSWER_NAME = re.compile(
    r"answer|respon|repl(y|ies)|output|completion|demonstrat|ideal|target|solution|\bwrite\b", re.IGNORECASE
)
NO_RESPONSES = "a task without two responses in known columns"
_MODEL = re.compile(r"model[-_ ]?(\d{1,2}|[a-z])", re.IGNORECASE)


@dataclass(frozen=True)
class Task:
    """A prompt, the responses' texts and their names in the source, and what else the task keeps."""

    prompt: Messages
    texts: tuple[str, ...]
    ids: tuple[str, ...]
    said: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class Answer:
    """What one person answered; `ranks` gives each response a rank, `of` the positions that it ranks where not all."""

    verdicts: list[Verdict] = field(default_factory=list)
    strengths: list[int] = field(default_factory=list)
    degrees: list[tuple[str, int]] = field(default_factory=list)
    """Words such as *slightly*, with their strength: how much better, where there is a verdict, else a flag."""
    margins: list[float] = field(default_factory=list)
    """How much better as a number, on a scale that the source does not tell."""
    selected: int | None = None
    """The position of the one response that was selected."""
    ranks: Sequence[float] | None = None
    of: Sequence[int] | None = None
    rewrites: list[str] = field(default_factory=list)
    rewritten: tuple[int, ...] = ()
    notes: list[str] = field(default_factory=list)
    written: list[tuple[str, str]] = field(default_factory=list)
    """Names of controls with the texts written there, which are the answer where there are no responses."""
    flags: dict[str, tuple[int, ...]] = field(default_factory=dict)
    scores: dict[str, tuple[float | None, ...]] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def say(self, said: Said) -> None:
        """Add a judgement in words."""
        if said.verdict:
            self.verdicts.append(said.verdict)
        if said.strength:
            self.strengths.append(said.strength)


def task(data: Mapping[str, Any], beside: Mapping[str, Any] | None = None) -> Task:
    """Return the task that a row of data describes; `beside` is metadata that stands apart from it.

    It has no texts where a person is to write the answer.

    Raises:
        Dropped: it holds no prompt, or responses under names that are not known.
    """
    name = next((name for name in PROMPTS if not conversations.is_empty(conversations.cell(data.get(name)))), None)
    if name is None:
        raise Dropped("empty prompt")
    prompt = with_context(data, conversations.prompt(data[name]))
    ids, texts = responses(data)
    both = {**data, **(beside or {})}
    said: dict[str, Any] = {
        "metadata": {key: _as_text(value) for key, value in both.items() if str(key).startswith(OURS)}
    }
    models = tuple(cells.name(both[key]) for key in sorted(both, key=str) if _MODEL.fullmatch(str(key)))
    if len(models) == len(texts) and all(models):
        said["models"] = models
    if split := split_name(both.get("split")):
        said["split"] = split
    if isinstance(both.get("category"), str):
        said["category"] = both["category"].strip()
    return Task(prompt, texts, ids, said)


def responses(data: Mapping[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return names and texts of a task's responses: a list of them, numbered columns, or two sides; none where it has only a prompt.

    Raises:
        Dropped: it holds one response.
    """
    for name in LISTS:
        found = cells.parsed(conversations.cell(data.get(name)))
        if isinstance(found, list) and len(found) > 1:
            listed = [_listed(at, each) for at, each in enumerate(found)]
            return tuple(name for name, _ in listed), tuple(text for _, text in listed)
    numbered = sorted((key for key in data if NUMBERED.fullmatch(str(key))), key=_place)
    pair = next((pair for pair in SIDES if set(pair) <= data.keys()), None)
    names = numbered if len(numbered) > 1 else list(pair or ())
    if not names and any(not conversations.is_empty(data.get(name)) for name in (*numbered, *LISTS, *SINGLE)):
        raise Dropped(NO_RESPONSES)
    return tuple(names), tuple(_side(data[name]) for name in names)


def _place(name: str) -> tuple[int, str]:
    found = NUMBERED.fullmatch(name)
    assert found is not None
    return (int(found[2]), "") if found[2].isdecimal() else (0, found[2].lower())


def _listed(at: int, value: Any) -> tuple[str, str]:
    if isinstance(value, dict):
        text = conversations.first(value, ("body", "text", "content", "html", "response", "answer", "title"))
        return cells.name(value.get("id")) or str(at), _side(text)
    return str(at), _side(value)


def _side(value: Any) -> str:
    """Return a response's text; "" for an empty one, which is told when a judgement on it is read."""
    value = conversations.cell(value)
    if conversations.is_empty(value):
        return ""
    return conversations.answer(value).strip()


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def item(of: Task, answer: Answer, **said: Any) -> Item:
    """Return a person's judgement of a task.

    Raises:
        Dropped: it says nothing, or contradicts itself.
    """
    said = {**of.said, **said}
    has_verdict = bool(answer.verdicts) or answer.ranks is not None
    for word, strength in answer.degrees:
        if has_verdict and not {"tie", "both_bad"} & {*answer.verdicts}:
            answer.strengths.append(strength)
        else:
            answer.flags[word] = ()
    answer.degrees.clear()
    if answer.margins and has_verdict:
        said["margin"] = answer.margins[0]
    if note := "\n".join(answer.notes):
        said["note"] = note
    said |= {"flags": answer.flags} if answer.flags else {}
    said |= {"scores": answer.scores} if answer.scores else {}
    said |= {"warnings": answer.warnings} if answer.warnings else {}
    found = _judged(of, answer, said)
    if not answer.rewrites:
        return found
    rewritten = answer.rewritten or (found.groups[0] if found.kind == "pair" else tuple(range(len(found.responses))))
    if found.kind == "ranking" and not answer.rewritten:
        rewritten = found.groups[0]
    texts = tuple(text for text in answer.rewrites if text not in found.responses)
    return replace(found, rewrites=texts, rewritten=rewritten)


def outcomes(of: Task, answer: Answer, unsure: str = "", **said: Any) -> Iterator[Outcome]:
    """Yield a person's judgement of a task, or why there is none; answers that the person wrote are kept in either case.

    `unsure`: why an answer without a verdict in words cannot be read.
    """
    if not of.texts:
        yield from demonstrations(of, answer, **said)
        return
    try:
        if unsure and not answer.verdicts:
            raise Dropped(unsure)
        yield item(of, answer, **said)
    except Dropped as reason:
        yield reason
        yield from _written(of, answer.rewrites, said)


def demonstrations(of: Task, answer: Answer, **said: Any) -> Iterator[Item]:
    """Yield the answers that a person wrote to a prompt without responses.

    Raises:
        Dropped: there is none, or responses were compared that are not known.
    """
    if answer.verdicts or answer.ranks is not None:
        raise Dropped(NO_RESPONSES)
    texts = [text for name, text in answer.written if ANSWER_NAME.search(name) and not NOTE_NAME.search(name)]
    is_ours = PROMPT_KEY in {**of.said, **said}.get("metadata", {})
    if not (answer.rewrites or texts) and is_ours and len(answer.written) == 1:
        texts = [answer.written[0][1]]
    if not (answer.rewrites or texts):
        raise Dropped("no answer was written" if is_ours else NO_RESPONSES)
    yield from _written(of, [*answer.rewrites, *texts], said)


def _written(of: Task, texts: Sequence[str], said: dict[str, Any]) -> Iterator[Item]:
    """Yield a demonstration for each text; each has a name of its own."""
    event = said.get("event_id")
    for number, text in enumerate(texts):
        named = {"event_id": f"{event}-{number}"} if event and number else {}
        yield Item("demonstration", of.prompt, (text,), **{**of.said, **said, "models": (), **named})


def _judged(of: Task, answer: Answer, said: dict[str, Any]) -> Item:
    verdicts = list(dict.fromkeys(answer.verdicts))
    strength = answer.strengths[0] if len(set(answer.strengths)) == 1 else None
    if len(set(answer.strengths)) > 1:
        raise Dropped("contradicts itself: two strengths")
    if len(verdicts) > 1:
        raise Dropped(f"contradicts itself: {verdicts[0]} and {verdicts[1]}")
    verdict = verdicts[0] if verdicts else None
    if answer.ranks is not None and (answer.of is None or list(answer.of) == list(range(len(of.texts)))):
        _check(answer.ranks, verdict, answer.selected)
    if verdict == "both_bad":
        return _all(of, "both_bad", said)
    if answer.ranks is not None and verdict != "tie":
        at = list(answer.of if answer.of is not None else range(len(of.texts)))
        part = _part(said, at, len(of.texts))
        if strength and len(at) > 2:  # a ranking has no place of its own for a strength
            part["facts"] = {**part.get("facts", {}), "strength": strength}
        return cells.ranking(of.prompt, [of.texts[each] for each in at], answer.ranks, strength=strength, **part)
    if verdict is None:
        raise Dropped("rated, nothing chosen" if answer.scores or strength or answer.flags else "nothing chosen")
    if len(of.texts) > 2:
        if verdict != "tie":
            raise Dropped(f"a judgement between two sides, but there are {len(of.texts)} responses")
        return _all(of, "ranking", said)
    return cells.pair(of.prompt, of.texts, verdict, strength=strength, **said)


def _check(ranks: Sequence[float], verdict: Verdict | None, selected: int | None) -> None:
    """Refuse ranks that say otherwise than a verdict on two responses, or than the selection of the best one.

    Raises:
        Dropped: they contradict each other.
    """
    best = [at for at, rank in enumerate(ranks) if rank == min(ranks)]
    by_ranks: Verdict = "tie" if len(best) == len(ranks) else "first" if best == [0] else "second"
    is_other = verdict in ("first", "second", "tie") and (len(ranks) == 2 or verdict == "tie") and verdict != by_ranks
    if is_other or (selected is not None and selected not in best):
        raise Dropped("contradicts itself: the ranks say otherwise than the selection")


def _all(of: Task, kind: Any, said: dict[str, Any]) -> Item:
    """Return one judgement on all responses: all bad, or all equal."""
    if len(of.texts) == 2:
        return cells.pair(of.prompt, of.texts, kind, **said)
    if not all(of.texts):
        raise Dropped("empty response")
    groups = (tuple(range(len(of.texts))),) if kind == "ranking" else ()
    return Item(kind, of.prompt, of.texts, groups, **said)


def _part(said: dict[str, Any], at: list[int], num: int) -> dict[str, Any]:
    """Return what was said, of these responses only."""
    if at == list(range(num)):
        return said
    part = dict(said)
    if part.get("models"):
        part["models"] = tuple(said["models"][each] for each in at)
    if part.get("scores"):
        part["scores"] = {name: tuple(values[each] for each in at) for name, values in said["scores"].items()}
    part["flags"] = {
        name: tuple(at.index(each) for each in where if each in at) for name, where in (said.get("flags") or {}).items()
    }
    return part


def choice(answer: Answer, control: str, value: str, ids: Sequence[str]) -> None:
    """Add a choice: a judgement in words, the name of a response, or a flag.

    A single word such as *left* or *2* is a judgement only where the control's name says that it asks for one.

    Raises:
        Dropped: the control is one of judgements by its name, and the choice is not understood.
    """
    if not value.strip():
        return
    said = judgement(value)
    asks = JUDGEMENT_NAME.search(control) is not None and not re.search(r"flag|issue|problem", control, re.IGNORECASE)
    if (said.verdict or value in ids) and WORST_NAME.search(control):
        raise Dropped(f"{control[:30]} asks for the worse one, which is not understood")
    if said.strength and not said.verdict and not asks and (DEGREE_NAME.search(control) or DEGREE.fullmatch(value)):
        answer.degrees.append((value, said.strength))
    elif said.is_judgement and (asks or len(value.split()) > 1):
        answer.say(said)
    elif value in ids and len(ids) == 2 and asks:
        answer.verdicts.append("first" if value == ids[0] else "second")
    elif asks:
        raise Dropped(f"the answer {value[:30]!r} to {control[:30]} is not understood")
    else:
        answer.flags[value] = ()


def words(answer: Answer, control: str, text: str) -> None:
    """Add a written text: a better answer by its control's name, else a note."""
    if not text.strip():
        return
    if REWRITE_NAME.search(control) and not NOTE_NAME.search(control):
        answer.rewrites.append(text.strip())
    else:
        answer.written.append((control, text.strip()))
        answer.notes.append(text.strip() if NOTE_NAME.search(control) else f"{control}: {text.strip()}")
