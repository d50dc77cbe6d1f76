"""Pulls annotations from a Label Studio server: new ones, corrected ones and those taken back, each once.

Page by page, each page in one transaction, so that a cut connection loses nothing and the next pull goes on. A known
annotation counts again only when the server says that it changed; then the earlier judgement is undone first.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlite_utils import Database

from studio.datasets import returning, storing
from studio.datasets.formats.item import Dropped, Item
from studio.errors import DataError, ExchangeError, RatingError
from studio.exchange.label_studio import answers, push, tables
from studio.exchange.label_studio.client import ODD, Server
from studio.exchange.label_studio.tables import Answer, Project
from studio.exchange.tasks import WHAT, What
from studio.preferences import demonstrations, elsewhere, ratings, undo
from studio.preferences.elsewhere import Joined
from studio.preferences.judgements import LONGEST_NOTE, Remarks
from studio.preferences.vocabulary import Outcome
from studio.workspace import Workspace


@dataclass
class Pulled:
    """What a pull brought from one project; `counts` by what happened, `dropped` by reason, `raters` by name."""

    title: str
    counts: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    raters: Counter[str] = field(default_factory=Counter)

    @property
    def sentence(self) -> str:
        """The counts in words."""
        words = {
            "new": "new",
            "corrected": "corrected",
            "taken back": "taken back",
            "skipped": "skips",
            "known": "known",
            "as shown": "rankings in the order shown (an untouched one is submitted so)",
            "foreign": "tasks of others",
        }
        said = [f"{self.counts[name]:,} {word}" for name, word in words.items() if self.counts[name]] or [
            "no answers yet"
        ]
        said += [f"{count:,} not used: {reason}" for reason, count in self.dropped.most_common()]
        people = ", ".join(f"{name} ({count:,})" for name, count in sorted(self.raters.items()))
        return f"{self.title}: {'; '.join(said)}.{f' Raters: {people}.' if people else ''}"


@dataclass(frozen=True)
class _Source:
    """What all annotations of a project share."""

    project: Project
    people: dict[int, str]
    name: str
    """Of the server and project, short, for the names of events."""


def pull(ws: Workspace, server: Server, name: str, what: Sequence[What] = WHAT) -> list[Pulled]:
    """Bring the annotations of the projects `NAME: pairs`, `NAME: rankings`, `NAME: prompts`, where they exist.

    Raises:
        ExchangeError: the server cannot be used, or has none of these projects; what was read so far is stored.
    """
    remotes: dict[What, dict[str, Any]] = {}
    for kind in what:
        if remote := server.find_project(push.title(name, kind)):
            remotes[kind] = remote
    if not remotes:
        titles = ", ".join(push.title(name, kind) for kind in what)
        raise ExchangeError(f"{server.url} has no project {titles}. Push to it first, or check --project.")
    people = server.people()
    return [_pull(ws, server, kind, remote, people) for kind, remote in remotes.items()]


def _pull(ws: Workspace, server: Server, what: What, remote: dict[str, Any], people: dict[int, str]) -> Pulled:
    with ws.write() as db:
        project = tables.keep_project(db, server.url, remote, what)
    unique = f"{server.url} {remote['id']} {remote.get('created_at')}"
    source = _Source(project, people, _short(unique))
    told = Pulled(project.title)
    for page in server.pages(project.project_id, is_full=True):
        fresh = Pulled(project.title)
        with ws.write() as db:
            for task in page:
                _read_task(db, source, task, fresh)
        told.counts += fresh.counts
        told.dropped += fresh.dropped
        told.raters += fresh.raters
    return told


def _read_task(db: Database, source: _Source, task: dict[str, Any], told: Pulled) -> None:
    row = tables.find_task(db, source.project, task["id"])
    if row is None and push.keep(db, source.project, task):
        row = tables.find_task(db, source.project, task["id"])
    if row is None:
        told.counts["foreign"] += 1
        return
    known = tables.answers(db, row)
    there: dict[int, dict[str, Any]] = {}
    for annotation in _annotations(task):
        if not isinstance(annotation, dict) or type(annotation.get("id")) is not int:
            told.dropped["an annotation without a number"] += 1
        else:
            there[annotation["id"]] = annotation
    for annotation_id, annotation in there.items():
        _read_answer(db, source, row, task, annotation, known.get(annotation_id), told)
    for annotation_id in known.keys() - there.keys():
        _forget(db, source, row, known[annotation_id], told)


def _annotations(task: dict[str, Any]) -> list[Any]:
    """Return a task's annotations; where the server tells none, nothing was taken back.

    Raises:
        ExchangeError: the task has no list of them.
    """
    if not isinstance(found := task.get("annotations"), list):
        raise ExchangeError(ODD)
    return found


def _read_answer(
    db: Database,
    source: _Source,
    row: int,
    task: dict[str, Any],
    annotation: dict[str, Any],
    known: Answer | None,
    told: Pulled,
) -> None:
    """Record one annotation, unless this version of it is known."""
    version = str(annotation.get("updated_at") or "?")
    if known and known.version == version:
        told.counts["known"] += 1
        return
    uuid = f"label-studio:{source.name}:{annotation['id']}:{_short(version)}"
    if known and known.showing_id:
        undo.take_back(db, known.showing_id, f"{uuid}:undo")
    showing_id = known.showing_id if known else None
    db.execute("SAVEPOINT answer")
    try:
        showing_id = _record(db, source, task, annotation, uuid, showing_id, told)
    except (Dropped, DataError, RatingError) as reason:
        if isinstance(reason, RatingError):
            db.execute("ROLLBACK TO answer")
        told.dropped[str(reason)] += 1
    else:
        told.counts["corrected" if known and known.version else "new"] += 1
        told.raters[_rater(source, annotation)] += 1
    db.execute("RELEASE answer")
    tables.keep_answer(db, row, annotation["id"], version, showing_id)


def _record(
    db: Database,
    source: _Source,
    task: dict[str, Any],
    annotation: dict[str, Any],
    uuid: str,
    showing_id: int | None,
    told: Pulled,
) -> int | None:
    """Store what an annotation says; returns the showing of its judgement, None for a demonstration.

    A corrected annotation goes onto the showing it had.
    """
    data = push.data_of(task)
    rater = _rater(source, annotation)
    joined = elsewhere.find(db, data)
    if joined is None:
        prompt_id = elsewhere.find_prompt(db, data)
        if prompt_id is None:
            raise Dropped("the task's key was removed on the server")
        return _demonstrate(db, prompt_id, annotation, rater)
    if annotation.get("was_cancelled"):  # before its result: that of a skip can be full
        told.counts["skipped"] += 1
        return elsewhere.record(
            db, joined, "skip", rater=rater, uuid=uuid, showing_id=showing_id, reason="other"
        ).showing_id
    item, written, why = answers.read(data, annotation, rater)
    if item is None:
        for number, text in enumerate(written):
            name = f"label-studio-{annotation['id']}{f'-{number}' if number else ''}"
            demonstrations.record(db, joined.prompt_id, _whole(text), name, rater=rater)
        raise Dropped(why)
    told.counts["as shown"] += item.kind == "ranking" and item.ranks == tuple(range(1, len(item.responses) + 1))
    place = returning.find(db, item)
    assert place is not None  # as `joined`
    if showing_id is None:
        uuid, showing_id = _from_file(db, item, joined, uuid)
    return _judge(db, Joined(place.comparison_id, joined.prompt_id, place.response_ids), item, uuid, showing_id)


def _from_file(db: Database, item: Item, joined: Joined, uuid: str) -> tuple[str, int | None]:
    """Return uuid and showing of an annotation read for the first time, so that an imported file's event stays one with it.

    The numbers of annotations begin again on a server that is made again, so the time must be the same too.
    """
    name = storing.event_name(joined.comparison_id, item.event_id)
    here = ratings.find_import(db, joined.comparison_id, name)
    if here is None:
        return name, None
    if here.judged_at != item.at or here.showing_id is None:
        return uuid, None
    undo.take_back(db, here.showing_id, f"{uuid}:undo")
    return uuid, here.showing_id


def _judge(db: Database, joined: Joined, item: Item, uuid: str, showing_id: int | None) -> int | None:
    outcome: Outcome = ("left", "right")[item.groups[0][0]] if item.kind == "pair" else item.kind  # type: ignore[assignment]  # any other kind is its outcome
    event = elsewhere.record(
        db,
        joined,
        outcome,
        rater=item.rater,
        uuid=uuid,
        showing_id=showing_id,
        strength=item.strength,
        ranks=item.ranks if outcome == "ranking" else None,
        remarks=Remarks(_whole(item.note)[:LONGEST_NOTE], storing.known_flags(item)),
        elapsed_ms=item.elapsed_ms,
        judged_at=item.at or None,
    )
    storing.keep_rewrites(db, item, joined.prompt_id)
    return event.showing_id


def _demonstrate(db: Database, prompt_id: int, annotation: dict[str, Any], rater: str) -> None:
    """Store the answer that a person wrote as a demonstration; a corrected one takes the place of the earlier version."""
    if annotation.get("was_cancelled"):
        raise Dropped("skipped")
    text = _whole(answers.read_answer(annotation))
    demonstrations.record(db, prompt_id, text, f"label-studio-{annotation['id']}", rater=rater)


def _whole(text: str) -> str:
    """Return a text that can be stored: half a character becomes a question mark."""
    return text.encode(errors="replace").decode()


def _short(text: str) -> str:
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()[:12]


def _forget(db: Database, source: _Source, row: int, known: Answer, told: Pulled) -> None:
    """Undo the judgement of an annotation that was deleted on the server."""
    if not known.version:
        return
    uuid = f"label-studio:{source.name}:{known.annotation_id}:{_short(known.version)}:gone"
    if known.showing_id and undo.take_back(db, known.showing_id, uuid):
        told.counts["taken back"] += 1
    tables.keep_answer(db, row, known.annotation_id, "", known.showing_id)


def _rater(source: _Source, annotation: dict[str, Any]) -> str:
    by = annotation.get("completed_by")
    number = by.get("id") if isinstance(by, dict) else by
    named = by.get("email") if isinstance(by, dict) else ""
    known = source.people.get(number) if isinstance(number, int) else ""
    return elsewhere.rater_name(_whole(str(named or known or f"Label Studio user {number}")))
