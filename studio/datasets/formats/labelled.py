"""Two responses and a label or number that says which is better: our own columns, PKU-SafeRLHF, HelpSteer, SHP, WebGPT, AlpacaFarm."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from studio.datasets import conversations
from studio.datasets.conversations import first
from studio.datasets.formats import cells, words
from studio.datasets.formats.cells import Row, Verdict
from studio.datasets.formats.family import Columns, Family
from studio.datasets.formats.item import Dropped, Item, by_axis
from studio.datasets.formats.prompts import ASKED_WITH, IDS, asked, prompt_of
from studio.datasets.splits import split_name

SIDES = (
    ("response_a", "response_b"), ("response_A", "response_B"), ("answer_a", "answer_b"), ("completion_a", "completion_b"),
    ("output_a", "output_b"), ("response_1", "response_2"), ("response1", "response2"), ("output_1", "output_2"),
    ("completion_1", "completion_2"), ("answer1", "answer2"), ("answer_1", "answer_2"), ("response_0", "response_1"),
)  # fmt: skip
LABELS = ("preference", "winner", "label", "choice", "better", "chosen", "preferred")
SIDE_WORDS: dict[str, Verdict] = {"left": "first", "right": "second", "model_a": "first", "model_b": "second"}
WORDS: dict[str, Verdict] = {
    **dict.fromkeys(("", "none", "nan"), "none"),
    **dict.fromkeys(("tie", "tied", "equal", "same", "about the same", "draw"), "tie"),
    **dict.fromkeys(("both_bad", "both bad", "bothbad", "tie (bothbad)", "neither"), "both_bad"),
}
ALL_SIDES = frozenset(name for pair in SIDES for name in pair)
MODELS = (("model_a", "model_b"), ("model_1", "model_2"), ("model1", "model2"), ("generator_1", "generator_2"))
LABELLED = frozenset(LABELS)
SCORES: dict[tuple[str, str], tuple[tuple[str, str], ...]] = {
    (one, other): tuple(
        (name.format(what=what, side=one, end=one[-1]), name.format(what=what, side=other, end=other[-1]))
        for what in ("score", "rating")
        for name in ("{what}_{end}", "{what}{end}", "{side}_{what}", "{what}_{side}")
    )
    for one, other in SIDES
}
"""Columns with a score of each side; the higher the better."""
NO_NUMBERS: Mapping[float, Verdict] = {}
READINGS: dict[str, tuple[str, Mapping[float, Verdict]]] = {
    "better-from-0": ("0 the first response is better, 1 the second", {0: "first", 1: "second"}),
    "from-0-or-tie": ("0 the first response is better, 1 the second, 2 a tie", {0: "first", 1: "second", 2: "tie"}),
    "first-is-better": ("1 the first response is better, 0 or -1 the second", {1: "first", 0: "second", -1: "second"}),
    "better-or-tie": ("1 the first response is better, 2 the second, 0 a tie", {1: "first", 2: "second", 0: "tie"}),
}
"""Ways to read numbers that are not those of the sides, for a person to choose."""
READS = (
    frozenset(
        (
            *ASKED_WITH,
            *ALL_SIDES,
            *LABELS,
            *(name for pair in MODELS for name in pair),
            *(name for columns in SCORES.values() for pair in columns for name in pair),
        )
    )
    | cells.COMMON
)

_KNOWN = READS - {*ASKED_WITH} | IDS | {"metadata"}
"""Columns that are not the prompt."""


def read(row: Row, columns: Columns, numbers: Mapping[float, Verdict] = NO_NUMBERS) -> Iterator[Item]:
    """Yield a pair by its label; the preferred side comes first. `numbers`: what a person said that a label's numbers mean."""
    names = next(pair for pair in SIDES if set(pair) <= columns)
    sides = [conversations.answer(row.get(name)) for name in names]
    labels = [row[name] for name in LABELS if name not in names and not conversations.is_empty(row.get(name))]
    value = labels[0] if labels else None
    scores = _scores(row, names)
    models = [cells.name(first(row, pair)) for pair in zip(*MODELS, strict=True)]
    has_label = not LABELLED.isdisjoint(columns - {*names})
    if scores and not has_label:
        verdict: Verdict = "tie" if scores[0] == scores[1] else "first" if scores[0] > scores[1] else "second"
    else:
        verdict = _agreed(labels or [None], models, names, numbers)
    is_unsaid = all(math.isnan(_number(row.get(name))) for name in ("strength", "margin"))
    if verdict == "none" and not (has_label or is_unsaid):
        raise Dropped("how much better one is, and not which")
    prompt = prompt_of(row, columns, _KNOWN)
    sides = [conversations.after(prompt, side) for side in sides]
    said: dict[str, Any] = cells.common(row) | (cells.strength(row) if verdict in ("first", "second") else {})
    if verdict in ("first", "second") and "strength" not in said and (steps := _strength(value)):
        said["strength"] = steps
    if verdict == "second":
        sides, models, scores, verdict = sides[::-1], models[::-1], scores[::-1], "first"
    said |= {"scores": {"score": scores}} if scores else {}
    contradicted = cells.contradiction(*scores) if scores and verdict == "first" else ()
    if more := (*cells.repeats(prompt, sides), *contradicted):
        said["warnings"] = (*said.get("warnings", ()), *more)
    yield cells.pair(prompt, sides, verdict, **said, **({"models": tuple(models)} if all(models) else {}))


def _agreed(
    labels: Sequence[Any], models: Sequence[str], names: Sequence[str], numbers: Mapping[float, Verdict]
) -> Verdict:
    """Return what the first label says; others say the same, or something else than a preference.

    Raises:
        Dropped: they contradict each other, or the first one is not understood.
    """
    found, others = _of_label(labels[0], models, names, numbers), []
    for value in labels[1:]:
        if not (math.isnan(_number(value)) or names[0][-1].isdecimal()):
            continue  # a number next to letters may mean either
        with suppress(Dropped):
            others.append(_of_label(value, models, names, numbers))
    if any(other != found for other in others):
        raise Dropped("two labels say otherwise of the same pair")
    return found


def _of_label(value: Any, models: Sequence[str], names: Sequence[str], numbers: Mapping[float, Verdict]) -> Verdict:
    return _of_model(value, models, names) or _read_verdict(value, names, numbers)


def _of_model(value: Any, models: Sequence[str], names: Sequence[str]) -> Verdict | None:
    """Return the side whose model a label names; None where it names none.

    Raises:
        Dropped: the name of one model is also a word for the other side.
    """
    if not cells.name(value) or models.count(cells.name(value)) != 1:
        return None
    found: Verdict = ("first", "second")[models.index(cells.name(value))]
    try:
        said = _verdict(value, names)
    except Dropped:
        return found
    if said != found:
        raise Dropped("the preference is the name of one model and a word for the other side")
    return found


def _verdict(value: Any, names: Sequence[str]) -> Verdict:
    word = str(value if value is not None else "").strip().lower()
    found = (WORDS | SIDE_WORDS).get(word)
    for name, verdict in zip(names, ("first", "second"), strict=True):
        if word in (name.lower(), name.lower()[-1], f"{name.lower()[-1]}.0"):
            return verdict
    if found is None and names[0][-1] == "1":
        found = _between(value)
    found = found or words.judgement(value).verdict
    if found is None:
        raise Dropped(f"unknown preference {str(value)[:20]!r}")
    return found


def _scores(row: Row, names: tuple[str, str]) -> tuple[float, ...]:
    """Return the scores of the two sides in columns of their own; () where there are none."""
    for one, other in SCORES[names]:
        if row.get(one) is not None and row.get(other) is not None:
            numbers = [_score(row[one]), _score(row[other])]
            return tuple(number for number in numbers if number is not None) if None not in numbers else ()
    return ()


def _score(value: Any) -> float | None:
    return None if isinstance(value, bool | list | dict) else cells.number(value, "score")


def _strength(value: Any) -> int | None:
    """Return how much better a label in words says; one of a letter or a name says nothing of it."""
    return words.judgement(value).strength if isinstance(value, str) and len(value) > 2 else None


def _read_verdict(value: Any, names: Sequence[str], numbers: Mapping[float, Verdict]) -> Verdict:
    return _verdict(value, names) if not numbers or math.isnan(_number(value)) else _by_number(value, numbers)


def _by_number(value: Any, numbers: Mapping[float, Verdict]) -> Verdict:
    if _number(value) not in numbers:
        raise Dropped(f"unknown preference {str(value)[:20]!r}")
    return numbers[_number(value)]


def _number(value: Any) -> float:
    """Return a label as a number, truth as 1 and 0; NaN where it is not one."""
    if isinstance(value, str) and (truth := {"true": 1.0, "false": 0.0}.get(value.strip().lower())) is not None:
        return truth
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan


def unclear(rows: Sequence[Row]) -> str:
    """Return why labels that are numbers do not say which side is better: they are not the numbers of the sides.

    A 0 next to response_1 and response_2 can count from 0, say that the first is not the better one, or be a tie.
    """
    columns = {name for row in rows for name in row}
    names = next((pair for pair in SIDES if set(pair) <= columns), None)
    if names is None:
        return ""
    labels = [name for name in LABELS if name not in names]
    ends = [name[-1] for name in names]
    given = [row for row in rows if not conversations.is_empty(first(row, labels))]
    if not ends[0].isdecimal() and any(math.isnan(_number(first(row, labels))) for row in given):
        return ""  # where some labels are words, a number among them is not like the others
    for row in given:
        value = first(row, labels)
        number = _number(value)
        if not math.isnan(number) and not (ends[0].isdecimal() and int(ends[0]) <= number <= int(ends[1])):
            label = next(name for name in labels if row.get(name) is not None)
            return f"{label} is {str(value)[:20]} next to {names[0]} and {names[1]}, which does not say which is better"
    return ""


def _between(value: Any) -> Verdict | None:
    """Return what a number between 1 (the first is better) and 2 (the second) says, as AlpacaEval's weighted annotators give it."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    if not 1 < number < 2:
        return None
    return "tie" if number == 1.5 else "first" if number < 1.5 else "second"


def read_pku(row: Row, columns: Columns) -> Iterator[Item]:
    """Yield the pair with both of its judgements; it goes by helpfulness where that column is there."""
    names = {axis: column for axis, column in PKU_AXES.items() if column in columns}
    found = {axis: cells.whole(row.get(column), column, (0, 1)) for axis, column in names.items()}
    axis = next(iter(names))
    unsafe = tuple(at for at in (0, 1) if cells.yes_or_no(row.get(f"is_response_{at}_safe")) is False)
    said: dict[str, Any] = {"flags": {"unsafe": unsafe}} if unsafe else {}
    models = tuple(cells.name(row.get(f"response_{at}_source")) for at in (0, 1))
    said |= {"models": models} if all(models) else {}
    said["axes"] = {name: ((better,), (1 - better,)) for name, better in found.items() if better is not None}
    if not said["axes"]:
        raise Dropped("no preference")
    verdict: Verdict = "none" if found[axis] is None else "second" if found[axis] else "first"
    sides = [conversations.answer(row.get(name)) for name in ("response_0", "response_1")]
    yield cells.pair(asked(row), sides, verdict, axis=axis, **said)


def read_pku_safer(row: Row, columns: Columns) -> Iterator[Item]:
    """Yield the pair as judged by safety."""
    for item in read_pku(row, columns):
        yield by_axis(item, "safety")


def read_helpsteer(row: Row, columns: Columns) -> Iterator[Item]:
    """Yield a pair by its signed strength: negative where response 1 is better."""
    prompt = conversations.prompt(first(row, ("context", "prompt")))
    sides = [
        conversations.answer(first(row, names)) for names in (("response_1", "response1"), ("response_2", "response2"))
    ]
    name = "preference_strength" if "preference_strength" in row else "overall_preference"
    value = cells.whole(row.get(name), name, range(-3, 4))
    if value is None:
        raise Dropped("no preference")
    note = row.get("preference_statement") or row.get("preference_elaboration")
    said: dict[str, Any] = {"note": note.strip()} if isinstance(note, str) else {}
    if votes := _votes(row):
        said["facts"] = {"individual preferences": votes}
    category = row.get("domain")
    said |= {"category": category.strip()} if isinstance(category, str) else {}
    verdict: Verdict = "tie" if value == 0 else "first" if value < 0 else "second"
    yield cells.pair(prompt, sides, verdict, strength=abs(value) or None, **said)


def _votes(row: Row) -> str:
    """Return the single raters' numbers, which have no names: -2, -3, 0."""
    votes = first(row, ("individual_preference", "all_preferences_unprocessed"))
    votes = (
        [first(vote, ("score", "strength")) for vote in votes if isinstance(vote, dict)]
        if isinstance(votes, list)
        else []
    )
    return ", ".join(str(vote) for vote in votes if isinstance(vote, int))


def read_shp(row: Row, columns: Columns) -> Iterator[Item]:
    """Yield a pair of comments on a post: label 1 where A is preferred."""
    prompt = conversations.prompt(row.get("history"))
    sides = [cells.text(row.get(f"human_ref_{side}")) for side in "AB"]
    if any(side in ("[removed]", "[deleted]") for side in sides):
        raise Dropped("a side was removed")
    label = cells.whole(row.get("labels"), "labels", (0, 1))
    if label is None:
        raise Dropped("no preference")
    said: dict[str, Any] = (
        {"category": str(row["domain"]).rpartition("_")[0] or str(row["domain"])} if row.get("domain") else {}
    )
    said["split"] = split_name(str(row.get("domain") or "").rpartition("_")[2])
    scores = tuple(cells.number(row.get(f"score_{side}"), "score") for side in "AB")
    said |= {"scores": {"score": scores}} if None not in scores else {}
    ratio = cells.number(row.get("score_ratio"), "score_ratio")
    said |= {"facts": {"score_ratio": ratio}} if ratio is not None else {}
    yield cells.pair(prompt, sides, "first" if label else "second", **said)


def read_webgpt(row: Row, columns: Columns) -> Iterator[Item]:
    """Yield two answers to a question; their scores sum to 0, and 0 is a tie."""
    question = row.get("question")
    prompt = conversations.prompt(question.get("full_text") if isinstance(question, dict) else question)
    scores = [cells.number(row.get(f"score_{at}"), f"score_{at}") for at in (0, 1)]
    if scores[0] is None or scores[1] is None:
        raise Dropped("no preference")
    verdict: Verdict = "tie" if scores[0] == scores[1] else "first" if scores[0] > scores[1] else "second"
    sides = [cells.text(row.get(f"answer_{at}")) for at in (0, 1)]
    yield cells.pair(prompt, sides, verdict, margin=abs(scores[0] - scores[1]), scores={"score": tuple(scores)})


def has_third(rows: Sequence[Row]) -> bool:
    """Return whether there is a third response, so that a label names the best of several."""
    return any(
        set(pair) <= row.keys() and not conversations.is_empty(row.get(following(pair[1])))
        for row in rows
        for pair in SIDES
    )


def following(name: str) -> str:
    """Return the name of the next response: response_c after response_b."""
    return name[:-1] + chr(ord(name[-1]) + 1)


def _has_sides(rows: Sequence[Row]) -> bool:
    columns = {name for row in rows for name in row}
    return (
        any(set(pair) <= columns for pair in SIDES)
        and not has_third(rows)
        and not {"better_response_id", "safer_response_id", "preference_strength"} & columns
    )


PKU_AXES = {"helpfulness": "better_response_id", "safety": "safer_response_id"}
_PKU = frozenset(
    (
        "prompt",
        "prompt_source",
        "better_response_id",
        "safer_response_id",
        *tuple(
            f"{name}" for at in (0, 1) for name in (f"response_{at}", f"response_{at}_source", f"is_response_{at}_safe")
        ),
    )
)
_PKU_NEEDS = (("prompt",), ("response_0",), ("response_1",), tuple(PKU_AXES.values()))
_HELPSTEER = frozenset(
    (
        "prompt", "context", "response_1", "response_2", "response1", "response2", "preference_strength", "overall_preference",
        "preference_statement", "preference_elaboration", "individual_preference", "all_preferences_unprocessed", "domain",
        "split", "category",
    )
)  # fmt: skip
FAMILIES = (
    Family(
        "labelled-pairs", "labelled pairs (prompt, response_a, response_b, preference)", "preferences",
        (ASKED_WITH, tuple(pair[0] for pair in SIDES), tuple(pair[1] for pair in SIDES)), read, reads=READS, looks=_has_sides, unclear=unclear,
        readings=tuple(READINGS),
    ),
    Family(
        "pku", "PKU-SafeRLHF, judged by helpfulness and by safety", "preferences", _PKU_NEEDS, read_pku, reads=_PKU,
    ),
    Family(
        "helpsteer", "HelpSteer preferences", "preferences",
        (("prompt", "context"), ("response_1", "response1"), ("response_2", "response2"), ("preference_strength", "overall_preference")),
        read_helpsteer, reads=_HELPSTEER,
    ),
    Family(
        "shp", "Stanford Human Preferences", "preferences", (("history",), ("human_ref_A",), ("human_ref_B",), ("labels",)),
        read_shp, reads=frozenset(("history", "human_ref_A", "human_ref_B", "labels", "domain", "score_A", "score_B", "score_ratio")),
    ),
    Family(
        "webgpt", "WebGPT comparisons", "preferences", (("question",), ("answer_0",), ("answer_1",), ("score_0",), ("score_1",)),
        read_webgpt, reads=frozenset(("question", "answer_0", "answer_1", "score_0", "score_1")),
    ),
)  # fmt: skip
NAMED = (
    Family(
        "pku-safer", "PKU-SafeRLHF by safety (safer_response_id)", "preferences", _PKU_NEEDS, read_pku_safer, reads=_PKU
    ),
    *(
        Family(name, says, "preferences", FAMILIES[0].needs, partial(read, numbers=numbers), reads=READS)
        for name, (says, numbers) in READINGS.items()
    ),
)
"""Found only by `--format`."""
