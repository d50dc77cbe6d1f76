"""Brings items into the database, in the caller's transaction: prompts, responses, comparisons and judgements.

The hook where an item meets the database is `_place`: an item whose metadata names one of our comparisons joins it
(`returning.find`); any other finds a comparison of the same texts, or makes one. Each rater's judgement is an event of its
own; the same event twice is one, and a later version of it takes its place.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from hashlib import blake2b
from typing import Any, Literal

from sqlite_utils import Database

from studio.datasets import restoring, returning
from studio.datasets.formats.item import ANONYMOUS, COMPARED, Item, ranks_of
from studio.datasets.returning import Place
from studio.preferences import comparisons, demonstrations, elsewhere, prompts, ratings, undo
from studio.preferences.judgements import LONGEST_NOTE, Imported
from studio.preferences.prompts import NewPrompt
from studio.preferences.ratings import Rating
from studio.workspace import now

Stored = Literal["new", "known", "judged", "added", "corrected", "contrary"]
"""new: not here before; judged: the first judgement of a pair that waited; added: one more on a judged pair; contrary: another
anonymous judgement, which was not stored."""
FLAGS = {
    "unsafe": "unsafe", "harmful": "unsafe", "hallucinated": "hallucinated", "hallucination": "hallucinated", "refused": "refused",
    "refusal": "refused",
}  # fmt: skip


def store(db: Database, item: Item, import_id: int) -> Stored:
    """Store an item, and say what it brought.

    Raises:
        Dropped: it names a comparison of ours and does not fit it.
    """
    if item.record is not None:
        return restoring.store(db, item, import_id)
    before = db.conn.total_changes
    if item.kind in COMPARED:
        place = returning.find(db, item)
        stored = _compared(db, item, import_id, place)
        prompt_id = _prompt_of(db, item, import_id, place) if item.rewrites else 0
    else:
        prompt_id = returning.find_prompt(db, item) or prompts.add_prompt(
            db, NewPrompt(item.prompt, item.category, item.split), import_id
        )
        stored = _demonstrated(db, item, prompt_id, import_id)
    has_replaced = keep_rewrites(db, item, prompt_id, import_id)
    if stored != "known":
        return stored
    return "corrected" if has_replaced else "new" if db.conn.total_changes > before else "known"


def _demonstrated(db: Database, item: Item, prompt_id: int, import_id: int) -> Stored:
    """Store the answer of a demonstration; one that its source names takes the place of its earlier version.

    A rewrite is left to `keep_rewrites`.
    """
    if item.kind != "demonstration" or item.rewritten:
        return "known"
    if item.event_id:
        written = demonstrations.record(
            db,
            prompt_id,
            item.responses[0],
            item.event_id,
            rater=item.rater,
            judged_at=item.at or None,
            import_id=import_id,
        )
        return written.became
    prompts.add_response(db, prompt_id, item.responses[0], "demonstration", import_id=import_id)
    return "known"


def keep_rewrites(db: Database, item: Item, prompt_id: int, import_id: int | None = None) -> bool:
    """Store the better answers that a rater wrote, as demonstrations and as preferences; returns whether one replaced its earlier version."""
    texts = item.rewrites if item.kind in COMPARED else item.responses[:1] if item.rewritten else ()
    replaced = [_rewrite(db, item, prompt_id, text, number, import_id) for number, text in enumerate(texts)]
    return True in replaced


def known_flags(item: Item) -> dict[str, tuple[int, ...]]:
    """Return an item's flags that are ours, by the position of its responses."""
    return {FLAGS[name.lower()]: where for name, where in item.flags.items() if name.lower() in FLAGS and where}


def _prompt_of(db: Database, item: Item, import_id: int, place: Place | None) -> int:
    if place:
        return comparisons.prompt_of(db, place.comparison_id)
    return prompts.add_prompt(db, NewPrompt(item.prompt, item.category, item.split), import_id)


def _compared(db: Database, item: Item, import_id: int | None, place: Place | None) -> Stored:
    """Store two or more responses with their judgement; for a known comparison only the judgement."""
    is_new = False
    if place is None:
        place, is_new = _place(db, item, import_id)
    if item.kind == "unrated":
        return "new" if is_new else "known"
    order = list(place.response_ids) if is_new else _order(db, place)
    verdict, event = _judgement(item, place, order)
    if not is_new and (here := ratings.find_import(db, place.comparison_id, event.uuid)):
        if _is_same(here, item, verdict, event):
            return "known"
        if not event.uuid:
            return "contrary"
        return _correct(db, item, place, verdict, replace(event, showing_id=here.showing_id), here.id)
    was_judged = not is_new and comparisons.verdict(db, place.comparison_id) is not None
    if place.shown:
        event = replace(event, showing_id=elsewhere.show(db, place.comparison_id, item.rater, place.shown))
    ratings.record_import(db, place.comparison_id, item.strength, outcome=verdict, said=event, is_first=is_new)
    return "new" if is_new else "added" if was_judged else "judged"


def find_place(db: Database, item: Item, prompt_id: int) -> Place | None:
    """Return the comparison of an item's responses on this prompt of the workspace; None where it compares none, or new ones."""
    found = comparisons.find_by_texts(db, prompt_id, item.responses) if item.kind in COMPARED else None
    return Place(found[0], tuple(found[1])) if found else None


def is_here(db: Database, item: Item, prompt_id: int, place: Place | None) -> bool:
    """Return whether storing an item on this prompt of the workspace, and this comparison, would bring nothing."""
    if item.kind == "demonstration":
        return prompts.find_same(db, prompt_id, item.responses[0], "demonstration") is not None
    if item.kind not in COMPARED:
        return True
    if place is None or item.kind == "unrated":
        return place is not None
    own = ratings.find_event(db, item.event_id) if item.event_id else None
    if own and own.comparison_id == place.comparison_id:  # a judgement of this workspace, in one of our own tables
        return True
    verdict, event = _judgement(item, place, _order(db, place))
    here = ratings.find_import(db, place.comparison_id, event.uuid)
    return here is not None and _is_same(here, item, verdict, event)


def new_judgement(db: Database, item: Item, place: Place) -> tuple[Any, Imported] | None:
    """Return outcome and event of a judgement of which a comparison that is here has no version; None where it has one."""
    verdict, event = _judgement(item, place, _order(db, place))
    return None if ratings.find_import(db, place.comparison_id, event.uuid) else (verdict, event)


def _judgement(item: Item, place: Place, order: Sequence[int]) -> tuple[Any, Imported]:
    """Return the outcome of a judgement and what goes with it, by the stored order of the responses."""
    to = [order.index(each) for each in place.response_ids]
    ranks = dict(zip(to, item.ranks, strict=False))
    verdict, stored = outcome(item, [ranks[at] for at in sorted(ranks)])
    name = digest(item)
    return verdict, replace(
        said(item, to, stored),
        rater=elsewhere.rater_name(item.rater) if place.shown else item.rater,
        uuid=f"import-{place.comparison_id}-{name}" if name else "",
    )


def _is_same(here: Rating, item: Item, verdict: Any, event: Imported) -> bool:
    """Return whether an event says what is here; of an anonymous one, the verdict alone counts."""
    if not event.uuid:
        return (here.outcome, here.ranks) == (verdict, event.ranks)
    return (here.outcome, here.ranks, here.strength) == (verdict, event.ranks, item.strength)


def _correct(db: Database, item: Item, place: Place, outcome: Any, said: Imported, here: int) -> Stored:
    """Let a later version of the same event take the place of the one that is here."""
    version = _digest(item.at, outcome, said.ranks, item.strength)
    changed = Imported(**(vars(said) | {"uuid": f"{said.uuid}-{version}", "supersedes": here}))
    if ratings.find_import(db, place.comparison_id, changed.uuid):
        return "known"
    ratings.record_import(db, place.comparison_id, item.strength, outcome=outcome, said=changed)
    return "corrected"


def _place(db: Database, item: Item, import_id: int | None) -> tuple[Place, bool]:
    """Return the comparison of an item's responses, and whether it is new."""
    before = db.conn.total_changes
    at = now()
    prompt_id = prompts.add_prompt(db, NewPrompt(item.prompt, item.category, item.split), import_id, at)
    is_first = db.conn.total_changes > before
    if not is_first and (found := comparisons.find_by_texts(db, prompt_id, item.responses)):
        return Place(found[0], tuple(found[1])), False
    models = item.models or (None,) * len(item.responses)
    ids = [
        prompts.add_response(
            db, prompt_id, text, "import", is_first=is_first, import_id=import_id, model=model, created_at=at
        )
        for text, model in zip(item.responses, models, strict=True)
    ]
    comparison_id = comparisons.add_comparison(db, prompt_id, ids, created_at=at)
    if comparison_id is not None:
        return Place(comparison_id, tuple(ids)), True
    comparison_id = comparisons.find_comparison(db, prompt_id, ids)
    assert comparison_id is not None
    return Place(comparison_id, tuple(ids)), False


def _order(db: Database, place: Place) -> list[int]:
    """Return the response ids by which sides are stored: as they were shown elsewhere, else by slot."""
    return list(place.shown) or comparisons.slots(db, place.comparison_id)


def outcome(item: Item, ranks: Sequence[int]) -> tuple[Any, str | None]:
    """Return outcome and stored ranks of a judgement, `ranks` by the stored order of its responses."""
    if item.kind in ("tie", "both_bad"):
        return item.kind, None
    if item.kind == "ranking":
        return "ranking", json.dumps(list(ranks))
    return ("left" if ranks[0] < ranks[1] else "right"), None


def said(item: Item, to: Sequence[int], ranks: str | None) -> Imported:
    """Return what goes with the outcome; `to` is the stored position of each of the item's responses."""
    order = sorted(range(len(to)), key=lambda at: to[at])
    flags = {
        FLAGS[name.lower()]: sorted(to[at] for at in where)
        for name, where in item.flags.items()
        if name.lower() in FLAGS and where
    }
    others = {
        name: sorted(to[at] for at in where)
        for name, where in item.flags.items()
        if name.lower() not in FLAGS or not where
    }
    facts = dict(item.facts)
    scores = {name: [values[at] for at in order] for name, values in item.scores.items()}
    axes = {name: [places[at] for at in order] for name, groups in item.axes.items() if (places := ranks_of(groups))}
    named = {"flags": others, "scores": scores, "axes": axes, "event": item.event_id, "metadata": dict(item.metadata)}
    facts |= {name: value for name, value in named.items() if value}
    if len(item.note) > LONGEST_NOTE:
        facts["note"] = item.note
    return Imported(
        rater=item.rater,
        ranks=ranks,
        margin=item.margin,
        judged_at=item.at or None,
        elapsed_ms=item.elapsed_ms,
        note=item.note[:LONGEST_NOTE] or None,
        flags=json.dumps(flags) if flags else None,
        facts=json.dumps(facts, ensure_ascii=False) if facts else None,
    )


def digest(item: Item) -> str:
    """Return the name of an event within its comparison: by the source's own, else by rater, time and verdict; empty where nobody is named."""
    if item.event_id:
        return _digest(item.event_id)
    if item.rater == ANONYMOUS and not item.at:
        return ""
    verdict = [[item.responses[at] for at in group] for group in item.groups] if not item.at else []
    return _digest(item.rater, item.at, sorted(map(sorted, verdict[:1])), item.kind)


def event_name(comparison_id: int, event_id: str) -> str:
    """Return the uuid of an event that its source names."""
    return f"import-{comparison_id}-{_digest(event_id)}"


def _digest(*parts: Any) -> str:
    return blake2b(json.dumps(parts).encode(), digest_size=8).hexdigest()


def _rewrite(db: Database, item: Item, prompt_id: int, text: str, number: int, import_id: int | None) -> bool:
    """Store a rater's own better answer: a demonstration, and better than those it was written over.

    A later version takes the place of the earlier one, and of what it was better than; returns whether it did.
    """
    replaced = None
    if not item.event_id:
        ideal = prompts.add_response(db, prompt_id, text, "demonstration", import_id=import_id)
    else:
        name = f"{item.event_id}-{number}" if number else item.event_id
        written = demonstrations.record(
            db, prompt_id, text, name, rater=item.rater, judged_at=item.at or None, import_id=import_id
        )
        ideal, replaced = written.response_id, written.replaced
        if replaced is not None:
            _take_back(db, item, prompt_id, replaced)
    for at in item.rewritten:
        if item.responses[at] == text or not item.responses[at]:
            continue
        over = _over(item, text, at)
        found = comparisons.find_by_texts(db, prompt_id, over.responses)
        if found is None:
            other = prompts.find_response(db, prompt_id, over.responses[1])
            other = other or prompts.add_response(db, prompt_id, over.responses[1], "import", import_id=import_id)
            made = comparisons.add_comparison(db, prompt_id, (ideal, other))
            assert made is not None
            found = (made, [ideal, other])
        _compared(db, over, import_id, Place(found[0], tuple(found[1])))
    return replaced is not None


def _over(item: Item, text: str, at: int) -> Item:
    """Return the judgement that a rewrite is better than the response at this position."""
    return Item(
        "pair", item.prompt, (text, item.responses[at]), ((0,), (1,)), rater=item.rater, at=item.at,
        event_id=f"{item.event_id}-rewrite-{at}" if item.event_id else "", facts={"rewrite": True},
    )  # fmt: skip


def _take_back(db: Database, item: Item, prompt_id: int, replaced: int) -> None:
    """Undo that an earlier version of a rewrite was better than what it was written over."""
    text = comparisons.read_text(db, replaced)
    for at in item.rewritten:
        over = _over(item, text, at)
        found = comparisons.find_by_texts(db, prompt_id, over.responses)
        if found and (here := ratings.find_import(db, found[0], event_name(found[0], over.event_id))):
            undo.take_back_event(db, here.id)
