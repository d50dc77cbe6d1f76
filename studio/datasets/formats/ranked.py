"""Several responses with a score or a rank each: UltraFeedback raw, Nectar, StackExchange, HelpSteer ratings; and red-team transcripts."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from statistics import mean
from typing import Any

from studio.datasets import conversations
from studio.datasets.conversations import first
from studio.datasets.formats import cells
from studio.datasets.formats.cells import Row
from studio.datasets.formats.family import Columns, Family, Outcome
from studio.datasets.formats.item import Dropped, Item
from studio.datasets.formats.prompts import ASKED, ASKED_WITH, asked

HELPSTEER = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")
ASPECTS = ("instruction_following", "honesty", "truthfulness", "helpfulness")
LISTED = ("generations", "responses", "completions", "answers", "candidates", "candidates_completions")
RANKS, RATINGS = ("ranks", "ranking"), ("ratings", "scores", "rewards")
WRITERS = ("generation_models", "models", "candidate_policies")
MEAN = "mean rating"
OURS = "preference"
"""The one rating of our own exports in this form: the place from below."""


def read_ultrafeedback(row: Row, columns: Columns) -> Iterator[Item]:
    """Yield the completions, ranked by the mean of their four ratings; `overall_score` is known to be wrong in places."""
    prompt = conversations.prompt(row.get("instruction"))
    found = _objects(row.get("completions"), "completions")
    ratings = [_aspects(each) for each in found]
    means = tuple(mean(each.values()) for each in ratings)
    models = tuple(cells.name(each.get("model")) for each in found)
    texts = [cells.text(each.get("response")) for each in found]
    said: dict[str, Any] = {"models": models} if all(models) else {}
    scores = {
        name: tuple(each[name] for each in ratings) for name in ratings[0] if all(name in each for each in ratings)
    }
    scores = {MEAN: means} | scores
    if note := _own_note(found[0]):
        said["note"] = note
    yield cells.ranking(prompt, texts, [-value for value in means], scores=scores, axis=MEAN, **said)


def _own_note(completion: dict[str, Any]) -> str:
    """Return the rater's remark of our own export."""
    own = cells.inside(cells.inside(completion.get("annotations")).get(OURS))
    note = own.get("Rationale")
    return note.strip() if isinstance(note, str) else ""


def _aspects(completion: dict[str, Any]) -> dict[str, float]:
    given = completion.get("annotations")
    if not isinstance(given, dict):
        raise Dropped("a completion without ratings")
    aspects = (OURS,) if OURS in given else ASPECTS
    ratings = {name: given[name].get("Rating") if isinstance(given.get(name), dict) else None for name in aspects}
    if any(str(rating).strip().upper() == "N/A" for rating in ratings.values()):
        raise Dropped("a rating is N/A")
    numbers = {name: cells.number(rating, "a rating") for name, rating in ratings.items()}
    if None in numbers.values():
        raise Dropped("a completion without ratings")
    return {name: number for name, number in numbers.items() if number is not None}


def read_ranked_answers(row: Row, columns: Columns) -> Iterator[Item]:
    """Yield answers by their rank, 1 the best (Nectar), or by their votes (StackExchange)."""
    prompt = conversations.prompt(first(row, ("prompt", "question")))
    found = _objects(row.get("answers"), "answers")
    ranks = [cells.number(each.get("rank"), "rank") for each in found]
    votes = [cells.number(first(each, ("pm_score", "score")), "score") for each in found]
    places = ranks if None not in ranks else [None if vote is None else -vote for vote in votes]
    if None in places:
        raise Dropped("an answer without rank or score")
    chosen = [cells.yes_or_no(first(each, ("selected", "is_accepted", "accepted"))) is True for each in found]
    if places is not ranks and chosen.count(True) == 1:  # of equal votes, the accepted answer is the better one
        order = sorted({(place or 0, not is_chosen) for place, is_chosen in zip(places, chosen, strict=True)})
        places = [
            float(order.index((place or 0, not is_chosen))) for place, is_chosen in zip(places, chosen, strict=True)
        ]
    texts = [cells.text(first(each, ("answer", "text"))) for each in found]
    models = tuple(cells.name(each.get("model")) for each in found)
    said: dict[str, Any] = {"models": models} if all(models) else {}
    said |= {"scores": {"votes": tuple(votes)}} if None not in votes else {}
    yield cells.ranking(prompt, texts, [place for place in places if place is not None], **said)


def read_lists(row: Row, columns: Columns, is_order: bool = False) -> Iterator[Item]:
    """Yield answers in one list by their ranks, 1 the best, or their ratings in another, as distilabel writes them.

    `is_order`: a person said that `ranking` lists the answers' positions, the best first.
    """
    prompt = asked(row)
    texts = [cells.text(each) for each in cells.listed(cells.parsed(first(row, LISTED)))]
    name = next((name for name in (*RANKS, *RATINGS) if row.get(name) is not None), "")
    given = [cells.number(each, f"one of the {name}") for each in cells.listed(cells.parsed(row.get(name)))]
    numbers = [number for number in given if number is not None]
    if len(numbers) != len(texts):
        raise Dropped("some answers have no rating or rank")
    if is_order and name == "ranking":
        numbers = _places(numbers)
    models = tuple(cells.name(each) for each in cells.listed(cells.parsed(first(row, WRITERS))))
    said: dict[str, Any] = {"models": models} if len(models) == len(texts) and all(models) else {}
    if name in RANKS:
        yield cells.ranking(prompt, texts, numbers, **said)
    else:
        yield cells.ranking(prompt, texts, [-number for number in numbers], scores={name: tuple(numbers)}, **said)


def _places(order: Sequence[float]) -> list[float]:
    """Return the place of each answer, of their positions counted from 0 or from 1, the best first.

    Raises:
        Dropped: it does not name each answer once.
    """
    places = {int(at - min(order)): float(place) for place, at in enumerate(order)}
    if sorted(places) != list(range(len(order))) or min(order) not in (0, 1):
        raise Dropped("the order does not name each answer once")
    return [places[at] for at in range(len(order))]


def _unclear(rows: Sequence[Row]) -> str:
    """Return why a `ranking` may be the ranks of the answers or their order; "" where it is the same, or can only be ranks."""
    given = [cells.listed(cells.parsed(row.get("ranking"))) for row in rows if row.get("ranks") is None]
    told = ""
    for numbers in given:
        try:
            places = _places([float(each) for each in numbers])
        except (Dropped, TypeError, ValueError):
            if numbers and len(set(map(str, numbers))) < len(numbers):
                return ""  # a tie, which an order cannot say
            continue
        if places != [each - min(numbers) for each in numbers]:
            told = f"ranking is {numbers}, which may give the rank of each answer, or name the best one first"
    return told


def _are_listed(rows: Sequence[Row]) -> bool:
    def is_filled(value: Any, kind: type | tuple[type, ...]) -> bool:
        value = cells.parsed(value)
        return isinstance(value, list) and len(value) > 1 and all(isinstance(each, kind) for each in value)

    return not any("chosen" in row for row in rows) and any(
        is_filled(first(row, LISTED), str) and is_filled(first(row, (*RANKS, *RATINGS)), (int, float, str, type(None)))
        for row in rows
    )


def _objects(value: Any, name: str) -> list[dict[str, Any]]:
    value = cells.parsed(value)
    if not isinstance(value, list) or not value:
        raise Dropped(f"no {name}")
    if not all(isinstance(each, dict) for each in value):
        raise Dropped(f"the {name} are not objects")
    return value


def _is_listed(value: Any) -> bool:
    value = cells.parsed(value)
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)


def read_ratings(rows: Iterable[Row]) -> Iterator[Outcome]:
    """Yield a pair or ranking for the rows of one prompt, by helpfulness."""
    for group in cells.gathered(rows, "prompt"):
        if isinstance(group, Dropped):
            yield group
            continue
        responses: list[str] = []
        scores: list[list[float | None]] = []
        prompt = None
        for row in group:
            try:
                prompt = prompt or conversations.prompt(row.get("prompt"))
                text, given = (
                    conversations.answer(row.get("response")),
                    [cells.number(row.get(name), name) for name in HELPSTEER],
                )
                if given[0] is None:
                    raise Dropped("no helpfulness")
                if responses:
                    yield Dropped("joined with the row before")
                responses.append(text)
                scores.append(given)
            except Dropped as reason:
                yield reason
        if prompt and responses:
            yield _rated(prompt, responses, scores)


def _rated(prompt: Any, responses: list[str], scores: list[list[float | None]]) -> Outcome:
    named = {name: tuple(each[at] for each in scores) for at, name in enumerate(HELPSTEER)}
    try:
        return cells.ranking(prompt, responses, [-(each[0] or 0) for each in scores], scores=named, axis=HELPSTEER[0])
    except Dropped as reason:
        return reason


def read_red_team(row: Row, columns: Columns) -> Iterator[Item]:
    """Yield the turns before the last answer as a prompt: nobody compared two answers."""
    turns = conversations.transcript(str(row.get("transcript") or ""), is_prompt=True)
    while turns and turns[-1]["role"] != "user":
        turns = turns[:-1]
    yield Item("prompt", conversations.ending_with_user(turns))


_RATED = (("prompt",), ("response",), ("helpfulness",), ("correctness",), ("coherence",))
FAMILIES = (
    Family(
        "ultrafeedback", "UltraFeedback, ranked by the mean of its ratings (made by an AI)", "preferences",
        (("instruction",), ("completions",)), read_ultrafeedback, reads=frozenset(("instruction", "completions", "models")),
    ),
    Family(
        "ranked-answers", "answers with ranks or votes (Nectar, StackExchange)", "preferences", (("prompt", "question"), ("answers",)),
        read_ranked_answers, reads=frozenset(("prompt", "question", "answers")),
        looks=lambda rows: any(_is_listed(row.get("answers")) for row in rows),
    ),
    Family(
        "rated-lists", "answers in a list, with their ratings or ranks in another", "preferences", (ASKED, LISTED, (*RANKS, *RATINGS)),
        read_lists, reads=frozenset((*ASKED_WITH, *LISTED, *RANKS, *RATINGS, *WRITERS)), looks=_are_listed, unclear=_unclear,
        readings=("ranking-of-ranks", "ranking-in-order"),
    ),
    Family(
        "helpsteer-ratings", "HelpSteer ratings, joined by prompt", "preferences", _RATED, read_all=read_ratings,
        reads=frozenset(("prompt", "response", *HELPSTEER)),
    ),
    Family(
        "red-team", "red-team transcripts, which hold no preference", "preferences",
        (("transcript",), ("red_team_member_id", "task_description", "min_harmlessness_score_transcript")), read_red_team,
        reads=frozenset(("transcript",)),
    ),
)  # fmt: skip
_LISTS = next(family for family in FAMILIES if family.name == "rated-lists")
NAMED = (
    replace(_LISTS, name="ranking-of-ranks", says="each number is the rank of the answer there, the lowest the best", unclear=None),
    replace(
        _LISTS, name="ranking-in-order", says="each number names an answer, the best first", unclear=None, read=partial(read_lists, is_order=True)
    ),
)  # fmt: skip
"""Found only by `--format`."""
