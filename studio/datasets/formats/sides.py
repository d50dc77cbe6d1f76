"""Answers told apart by the names of their columns (`better_answer`, `worse_answer`), as objects with a rank or score each, or by several annotators."""

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import product
from typing import Any

from studio.datasets import conversations
from studio.datasets.conversations import first
from studio.datasets.formats import cells, chosen_rejected
from studio.datasets.formats.cells import Row, Verdict
from studio.datasets.formats.family import Columns, Family
from studio.datasets.formats.item import Dropped, Item, ranked
from studio.datasets.formats.labelled import LABELS, SIDES, following, has_third
from studio.datasets.formats.prompts import ASKED, ASKED_WITH, IDS, LONE, asked, prompt_of, with_context
from studio.datasets.formats.ranked import LISTED
from studio.preferences.prompts import Messages

_WORDS = (
    ("better", "worse"), ("best", "worst"), ("good", "bad"), ("pos", "neg"), ("positive", "negative"), ("win", "lose"), ("winning", "losing"),
    ("winner", "loser"), ("w", "l"), ("preferred", "dispreferred"), ("preferred", "rejected"), ("accepted", "rejected"), ("chosen", "rejected"),
)  # fmt: skip
_NOUNS = (
    "response",
    "responses",
    "resp",
    "answer",
    "output",
    "completion",
    "reply",
    "generation",
    "summary",
    "text",
    "y",
)
OPPOSITES: tuple[tuple[str, str], ...] = (
    *(
        (better.replace("*", noun), worse.replace("*", noun))
        for (up, down), noun in product(_WORDS, _NOUNS)
        for better, worse in ((f"{up}_*", f"{down}_*"), (f"*_{up}", f"*_{down}"))
        if better.replace("*", noun) not in chosen_rejected.CHOSEN
    ),
    ("preferred", "dispreferred"),
    ("better", "worse"),
    ("accepted", "rejected"),
)
"""Columns of the better and of the worse answer."""
_NAMES = frozenset(name for pair in OPPOSITES for name in pair)
_LISTS = (*LISTED, "outputs", "replies")
_TEXTS = ("text", "response", "answer", "content", "output", "completion", "generation")
_AGAINST = ("downvotes", "dislikes", "thumbs_down")
_RANKS, _SCORES = ("rank", "ranking"), ("score", "rating", "reward", "votes", "upvotes", "pm_score")


def _opposites(columns: Columns) -> tuple[str, str] | None:
    return next(((better, worse) for better, worse in OPPOSITES if {better, worse} <= columns), None)


def read_opposites(row: Row, columns: Columns) -> Iterator[Item]:
    """Yield the pair of two columns of which one is called the better one."""
    names = _opposites(columns)
    assert names is not None
    ours = {names[0]: "chosen", names[1]: "rejected", "conversation": "conversations"}
    renamed = {ours.get(name, name): value for name, value in row.items()}
    yield from chosen_rejected.read(renamed, frozenset(ours.get(name, name) for name in columns))


def _are_opposites(rows: Sequence[Row]) -> bool:
    columns = frozenset(name for row in rows for name in row)
    names = _opposites(columns)
    if names is None or {"chosen", "rejected"} <= columns:
        return False
    return all(not isinstance(row.get(name), bool | int | float) for row in rows for name in names)


def read_objects(row: Row, columns: Columns) -> Iterator[Item]:
    """Yield answers that are objects, by the rank of each, 1 the best, or by its score."""
    found = _objects(row)
    if any(each.get(name) for each in found for name in _AGAINST):
        raise Dropped("votes against an answer, which are not read")
    texts = [conversations.answer(first(each, _TEXTS)).strip() for each in found]
    ranks = [cells.number(first(each, _RANKS), "rank") for each in found]
    name = next((name for name in _SCORES if any(name in each for each in found)), "score")
    scores = [cells.number(each.get(name), name) for each in found]
    known = [rank for rank in ranks if rank is not None] or [-score for score in scores if score is not None]
    if len(known) < len(found):
        raise Dropped("an answer without rank or score")
    models = tuple(cells.name(first(each, ("model", "model_name", "policy"))) for each in found)
    said: dict[str, Any] = {"models": models} if all(models) else {}
    said |= {"scores": {name: tuple(scores)}} if None not in scores else {}
    if (
        None not in scores
        and None not in ranks
        and ranked([-rank for rank in known]) != ranked([score or 0 for score in scores])
    ):
        said["warnings"] = ("the scores say otherwise than the ranks, which count",)
    yield cells.ranking(_asked(row, columns), texts, known, **said)


def _asked(row: Row, columns: Columns) -> Messages:
    """Return the prompt of a row, which earlier turns in a context are where no column of prompts is."""
    name = next((name for name in LONE if isinstance(conversations.cell(row.get(name)), list)), "")
    if name and columns.isdisjoint(ASKED):
        return with_context({**row, "history": None}, conversations.prompt(row[name]))
    return prompt_of(row, columns, frozenset(_LISTS))


def _objects(row: Row) -> list[dict[str, Any]]:
    value = cells.parsed(next((row[name] for name in _LISTS if row.get(name) is not None), None))
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise Dropped("the answers are not objects")
    return value


def _are_objects(rows: Sequence[Row]) -> bool:
    columns = {name for row in rows for name in row}
    if (
        "chosen" in columns
        or {"instruction", "completions"} <= columns
        or ("answers" in columns and {"prompt", "question"} & columns)
    ):
        return False
    return any(_is_judged(cells.parsed(row.get(name))) for row in rows for name in _LISTS)


def _is_judged(value: Any) -> bool:
    if not isinstance(value, list) or len(value) < 2 or not all(isinstance(each, dict) for each in value):
        return False
    grades = [first(each, (*_RANKS, *_SCORES)) for each in value]
    has_texts = all(isinstance(first(each, _TEXTS), str | list | dict) for each in value)
    return has_texts and any(isinstance(grade, int | float | str) for grade in grades)


def read_annotators(row: Row, columns: Columns) -> Iterator[Item]:
    """Yield a judgement of each annotator of PandaLM: 1 and 2 are the better response, 0 is a tie."""
    names = next(pair for pair in SIDES if set(pair) <= columns)
    sides = [conversations.answer(row.get(name)) for name in names]
    prompt = asked(row)
    said: dict[str, Verdict] = {}
    for name in sorted(name for name in row if name.startswith("annotator") and name[9:].isdecimal()):
        value = cells.whole(row.get(name), name, (0, 1, 2))
        if value is not None:
            said[name] = ("tie", "first", "second")[value]
    if not said:
        raise Dropped("no preference")
    for rater, verdict in said.items():
        yield cells.pair(prompt, sides, verdict, rater=rater)


def read_several(row: Row, columns: Columns, start: int | None = None) -> Iterator[Item]:
    """Yield three or more responses in columns of their own: the best by a label, or a ranking by their scores.

    `start`: a person said that a label counts the responses from this number.
    """
    names = _several(row)
    texts = [conversations.answer(row[name]) for name in names]
    if len(texts) < 2:
        raise Dropped("only one response to this prompt")
    label = first(row, BEST)
    scores = [cells.number(first(row, (f"score_{name[-1]}", f"rating_{name[-1]}")), "score") for name in names]
    known = [score for score in scores if score is not None]
    prompt = prompt_of(row, columns, _SEVERAL - {*ASKED_WITH} | IDS | {"metadata"})
    if not conversations.is_empty(label):
        yield from cells.best(prompt, texts, _named(label, names, start), **cells.common(row))
    elif len(known) == len(texts):
        yield cells.ranking(
            prompt, texts, [-score for score in known], scores={"score": tuple(known)}, **cells.common(row)
        )
    else:
        yield Item("unrated", prompt, tuple(texts), **cells.common(row))


def _several(row: Row) -> list[str]:
    """Return the columns of a row that hold its responses, one after the other."""
    found: list[str] = []
    for pair in SIDES:
        names = [pair[0]]
        while not conversations.is_empty(row.get(names[-1])):
            names.append(following(names[-1]))
        found = max(found, names[:-1], key=len)
    return found


def _named(label: Any, names: Sequence[str], start: int | None) -> int:
    word = str(label).strip().lower().removesuffix(".0")
    if start is not None and word.isdecimal() and 0 <= int(word) - start < len(names):
        return int(word) - start
    for at, name in enumerate(names):
        if start is None and word in (name.lower(), name[-1].lower(), name.lower().replace("_", " ")):
            return at
    raise Dropped(f"unknown preference {str(label)[:20]!r}")


def _is_number_of_none(rows: Sequence[Row]) -> str:
    """Return why a label does not say which response it names: a number that is not at the end of any name."""
    for row in rows:
        word, names = str(first(row, BEST)).strip().removesuffix(".0"), _several(row)
        if names and word.isdecimal() and word not in {name[-1] for name in names}:
            return f"the best one is {word} of {names[0]} to {names[-1]}, which does not say which it is"
    return ""


BEST = (*LABELS, "best")
"""Columns that name the best of several responses."""
_SEVERAL = frozenset((
    *ASKED_WITH, *BEST, *(name[:-1] + end for pair in SIDES for name in pair for end in "0123456789abcdefABCDEF"),
    *(f"{what}_{end}" for what in ("score", "rating") for end in "0123456789abcdefABCDEF"),
)) | cells.COMMON - {"strength", "margin"}  # fmt: skip
_ASKED = (*ASKED_WITH, "messages", "conversations", "conversation")
FAMILIES = (
    Family(
        "opposites", "two columns, of which one is called the better answer", "preferences",
        (tuple(better for better, _ in OPPOSITES), tuple(worse for _, worse in OPPOSITES)), read_opposites,
        reads=chosen_rejected.READS | _NAMES | {*_ASKED}, looks=_are_opposites,
    ),
    Family(
        "ranked-objects", "answers as objects, with a rank or score each", "preferences", ((*ASKED, *LONE), _LISTS), read_objects,
        reads=frozenset((*ASKED_WITH, *LONE, *_LISTS)), looks=_are_objects,
    ),
    Family(
        "best-of-several", "three or more responses, of which a label names the best", "preferences",
        (ASKED_WITH, tuple(pair[0] for pair in SIDES), tuple(pair[1] for pair in SIDES)), read_several, reads=_SEVERAL, looks=has_third,
        unclear=_is_number_of_none, readings=("best-from-0", "best-from-1"),
    ),
    Family(
        "annotators", "two responses judged by several annotators (PandaLM)", "preferences",
        (ASKED_WITH, tuple(pair[0] for pair in SIDES), tuple(pair[1] for pair in SIDES), ("cmp_key",), ("annotator1",)), read_annotators,
        reads=frozenset((*ASKED_WITH, "response1", "response2", "cmp_key", *(f"annotator{at}" for at in range(1, 10)))),
    ),
)  # fmt: skip
NAMED = tuple(
    Family(
        f"best-from-{start}", f"the label counts the responses from {start}", "preferences", FAMILIES[2].needs,
        partial(read_several, start=start), reads=_SEVERAL,
    )
    for start in (0, 1)
)  # fmt: skip
"""Found only by `--format`."""
