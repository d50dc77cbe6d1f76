"""What one row of any data format says: a prompt, responses, and a judgement of a person, or why there is none.

The readers make items of rows; `studio.datasets.storing` brings items into the database. An item holds what the source
says and nothing else.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from studio.datasets.conversations import Dropped as Dropped
from studio.preferences.prompts import Messages

Kind = Literal["pair", "tie", "both_bad", "ranking", "unrated", "demonstration", "unpaired", "prompt"]
JUDGED: tuple[Kind, ...] = ("pair", "tie", "both_bad", "ranking")
COMPARED: tuple[Kind, ...] = (*JUDGED, "unrated")
"""Kinds of two or more responses."""
ANONYMOUS = "import"
"""The rater of a judgement whose source names nobody."""


@dataclass(frozen=True, slots=True)
class Item:
    """A prompt with responses and what a person said of them.

    Attributes:
        kind: pair, tie, both_bad and ranking are judgements; unrated is a pair that waits for one; demonstration has one
            response that was wanted; unpaired one with a thumb (`label`); prompt none.
        prompt: messages, the last one the user's.
        responses: texts in the order of the source, which is the order on the rater's screen where it says so.
        groups: positions in `responses`, best group first; a group of several is a tie. A pair is ((0,), (1,)) or
            ((1,), (0,)), a tie ((0, 1),), both_bad and unrated ().
        label: of an unpaired response: good or bad.
        rater: the person's name; `ANONYMOUS` where the source names none.
        models: names of the models that wrote `responses`, or () where unknown.
        strength: 1 slightly, 2, 3 much better; only of a pair.
        margin: how much better, a raw number of the source.
        at: when it was judged, UTC ISO; "" where unknown.
        elapsed_ms: from display to answer.
        event_id: the source's own name of this judgement, which tells the same event in another file.
        rewrites: answers that the rater wrote as better ones; each is a demonstration and better than those in `rewritten`.
        rewritten: positions in `responses` that the rewrites were written over.
        note: the rater's remark.
        flags: name to the positions flagged; () where the source names no response.
        scores: name to a number for each response.
        axes: criterion to the groups by it, where the source judges several; `groups` go by `axis`, one of them.
        metadata: what the source kept of the task it was given. Our exports put `rlhf_studio_comparison` and
            `rlhf_studio_order` there.
        facts: other values of the source that belong to this judgement.
        warnings: what a person should know before trusting it; counted in the preview.
        record: a line of our own export, whose showings and events come back as they were.
    """

    kind: Kind
    prompt: Messages
    responses: tuple[str, ...] = ()
    groups: tuple[tuple[int, ...], ...] = ()
    label: bool | None = None
    rater: str = ANONYMOUS
    models: tuple[str, ...] = ()
    strength: int | None = None
    margin: float | None = None
    at: str = ""
    elapsed_ms: int | None = None
    event_id: str = ""
    rewrites: tuple[str, ...] = ()
    rewritten: tuple[int, ...] = ()
    category: str = ""
    split: str | None = None
    note: str = ""
    flags: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    scores: Mapping[str, tuple[float | None, ...]] = field(default_factory=dict)
    axes: Mapping[str, tuple[tuple[int, ...], ...]] = field(default_factory=dict)
    axis: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, str | int | float | bool] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    record: Mapping[str, Any] | None = None

    @property
    def ranks(self) -> tuple[int, ...]:
        """Rank of each response, 1 the best, equal ranks a tie; () where there are no groups."""
        return ranks_of(self.groups)

    @property
    def chosen(self) -> str:
        """The better response of a pair."""
        return self.responses[self.groups[0][0]]

    @property
    def rejected(self) -> str:
        """The worse response of a pair."""
        return self.responses[self.groups[1][0]]


def ranks_of(groups: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """Return the rank of each position in groups, the best first; () where there are none."""
    found = {position: rank for rank, group in enumerate(groups, 1) for position in group}
    return tuple(found[position] for position in sorted(found))


def criteria(item: Item) -> list[str]:
    """Return the criteria by which a judgement can go: those it names, and scores that every response has."""
    return [*item.axes, *(name for name, values in item.scores.items() if name not in item.axes and None not in values)]


def by_axis(item: Item, axis: str) -> Item:
    """Return a judgement that goes by one criterion, by its own where none is given; strength and margin, which belong to the overall one, are left out.

    Raises:
        Dropped: the source does not say it of these responses.
    """
    if not axis and item.axis and item.kind == "unrated":
        raise Dropped(f"nothing is said about {item.axis}")
    if not axis or axis == item.axis or item.kind not in COMPARED:
        return item
    if axis not in criteria(item):
        raise Dropped(f"nothing is said about {axis}")
    groups = item.axes.get(axis) or ranked([value or 0.0 for value in item.scores[axis]])
    kind: Kind = "ranking" if len(item.responses) > 2 else "pair" if len(groups) == 2 else "tie"
    return replace(item, kind=kind, groups=groups, axis=axis, strength=None, margin=None)


def ranked(scores: Sequence[float]) -> tuple[tuple[int, ...], ...]:
    """Return groups by score, the highest first."""
    return tuple(
        tuple(at for at, score in enumerate(scores) if score == place) for place in sorted(set(scores), reverse=True)
    )


def pick(item: Item, kept: Sequence[int]) -> Item:
    """Return a judgement of only these of its responses.

    Raises:
        Dropped: fewer than two are left.
    """
    if len(kept) < 2:
        raise Dropped("all responses are the same")
    groups = _of_kept(item.groups, kept)
    kind = item.kind
    if kind == "ranking" and len(kept) == 2:
        kind = "pair" if len(groups) == 2 else "tie"
    return replace(
        item,
        kind=kind,
        responses=tuple(item.responses[at] for at in kept),
        groups=groups,
        models=tuple(item.models[at] for at in kept) if item.models else (),
        flags={name: tuple(kept.index(at) for at in where if at in kept) for name, where in item.flags.items()},
        scores={name: tuple(values[at] for at in kept) for name, values in item.scores.items()},
        axes={name: _of_kept(groups, kept) for name, groups in item.axes.items()},
        rewritten=tuple(kept.index(at) for at in item.rewritten if at in kept),
    )


def _of_kept(groups: Sequence[Sequence[int]], kept: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    return tuple(group for old in groups if (group := tuple(kept.index(at) for at in old if at in kept)))
