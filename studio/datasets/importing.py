"""Imports prompts, demonstrations and preferences; the preview and the import read the rows with the same code.

All usable rows are imported in one transaction, or none. The hash of the raw file is recorded, so a second import of
the same file is recognised and adds nothing.
"""

import hashlib
from collections import Counter, deque
from pathlib import Path
from typing import Any

from sqlite_utils import Database

from studio.datasets import archive, batches, mapping, plan, publishing, readers, results, sifting, staging, storing
from studio.datasets.formats.family import Kind
from studio.datasets.formats.item import COMPARED, Dropped, Item
from studio.datasets.plan import OPEN, PartPlan, Request, listed
from studio.datasets.readers import RawData
from studio.datasets.results import ImportResult, Preview
from studio.datasets.sifting import Progress, Tally
from studio.datasets.staging import Stage
from studio.datasets.storing import Stored
from studio.errors import ImportRefused
from studio.preferences import prompts, ratings, text_search
from studio.workspace import Workspace


def look(
    source: str,
    request: Request = OPEN,
    *,
    ws: Workspace | None = None,
    progress: Progress | None = None,
) -> Preview | archive.Contents:
    """Look at a source, an archive or rows, without importing it.

    Raises:
        ImportRefused: as `preview` and `archive.look`.
    """
    return archive.look(source) if archive.is_archive(source) else preview(source, request, ws=ws, progress=progress)


def take(ws: Workspace, source: str, request: Request = OPEN, *, progress: Progress | None = None) -> str:
    """Import a source, an archive into an empty workspace or rows into any; returns what was imported, in words.

    Raises:
        ImportRefused: as `import_source` and `archive.read`; nothing was imported.
    """
    if not archive.is_archive(source):
        return import_source(ws, source, request, progress=progress).sentence
    if not request.is_open:
        raise ImportRefused(
            f"{Path(source).name} is an archive, which brings its own kinds, categories and splits. Do not set them."
        )
    return archive.read(ws, source).sentence


def check(source: str, request: Request = OPEN) -> None:
    """Refuse a source that cannot be read, or of which a person must say how, by its first rows.

    Raises:
        ImportRefused: it cannot be read as this kind.
        Asks: a person must say how.
    """
    if not archive.is_archive(source):
        with readers.opened(source, request.max_gib) as raw:
            _decide(raw, request, None)


def preview(
    source: str,
    request: Request = OPEN,
    *,
    limit: int = 5,
    ws: Workspace | None = None,
    progress: Progress | None = None,
) -> Preview:
    """Look at a file, a folder or a hub data set without importing it; shows at most `limit` examples.

    Args:
        source: as in `import_source`.
        request: how to read it.
        limit: the number of examples.
        ws: the workspace that remembers mapped columns.
        progress: gets the rows read and the share of the source.

    Raises:
        ImportRefused: it cannot be read as this kind.
        Asks: a person must say how.
    """
    with readers.opened(source, request.max_gib) as raw:
        plans, kind, notes = _decide(raw, request, ws)
        tally = Tally()
        found = sifting.items(plans, kind, request.axis, tally, progress)
        examples = [_example(item) for at, item in enumerate(found) if at < limit]
        columns = list(dict.fromkeys(column for each in plans for column in each.part.columns))
    _check_axis(raw.name, request.axis, tally)
    return Preview(
        source=raw.name,
        kind=_held(kind, tally),
        format=plans[0].family.says,
        num_rows=tally.num_rows,
        num_kept=tally.num_kept,
        dropped=dict(tally.dropped.most_common()),
        examples=examples,
        notes=(*raw.notes, *notes, *_notes(plans, kind, request.axis, tally)),
        columns=columns,
        ignored=dict(tally.ignored),
        axes=list(tally.axes),
    )


def import_source(
    ws: Workspace, source: str, request: Request = OPEN, *, progress: Progress | None = None
) -> ImportResult:
    """Import a file, a folder, a zip file or a hub data set.

    Args:
        ws: the workspace.
        source: a path, or a hub id such as Anthropic/hh-rlhf (owner/name:config:split for a configuration and a split).
        request: how to read it, and where its prompts belong; mapped columns are remembered.
        progress: gets the rows read, the share done, and what is done: read or stored. What it raises ends the import with
            nothing imported.

    Many texts are left for `text_search.catch_up` to index; the search reads them until then.

    Raises:
        ImportRefused: it cannot be read as this kind; nothing was imported.
        Asks: a person must say how.
    """
    publishing.take_out_leftovers(ws)
    with readers.opened(source, request.max_gib) as raw:
        plans, kind, notes = _decide(raw, request, ws)
        import_id, is_repeat, tally, stored = _bring(ws, raw, plans, kind, request, progress)
    return ImportResult(
        source=raw.name,
        kind=_held(kind, tally),
        format=plans[0].family.says,
        num_rows=tally.num_rows,
        num_kept=tally.num_kept,
        dropped=dict(tally.dropped.most_common()),
        import_id=import_id,
        num_new=stored["new"],
        is_repeat=is_repeat,
        num_judged=stored["judged"],
        num_contrary=stored["contrary"],
        num_added=stored["added"],
        num_corrected=stored["corrected"],
        notes=(*raw.notes, *notes, *_notes(plans, kind, request.axis, tally)),
    )


def _bring(
    ws: Workspace, raw: RawData, plans: list[PartPlan], kind: Kind, request: Request, progress: Progress | None
) -> tuple[int, bool, Tally, Counter[Stored]]:
    """Import the rows of an opened source; returns the batch, whether it was here before, and what became of the rows.

    The rows are gathered next to the workspace first; only for the moment in which all of it is brought in must others wait.
    """
    sha256 = _sha256(raw, plans, request)
    tally, stored = Tally(), Counter[Stored]()
    with staging.opened(ws) as (db, stage):
        items = sifting.items(plans, kind, request.axis, tally, progress)
        if known := prompts.find_import(db, sha256, kind):
            deque(items, maxlen=0)
            return known, True, tally, stored
        for item in items:
            stage.add(request.placed(item))
        stage.close()
        _check_axis(raw.name, request.axis, tally)

        def report(share: float) -> None:
            if progress:
                progress(tally.num_rows, share, "stored")

        report(0.0)
        batch = (raw.name, sha256, kind)
        try:
            with publishing.ahead(ws, db, stage, batch, report) as hidden, ws.transaction(db, is_import=True):
                if prompts.find_import(db, sha256, kind) not in (None, hidden) or stage.is_outdated():
                    raise publishing.Outdated
                import_id = hidden or prompts.record_import(db, *batch)
                with text_search.many_texts(db):
                    _publish(db, stage, import_id, tally, stored, is_there=hidden is not None)
                dropped = dict(tally.dropped.most_common())
                if not tally.num_kept:
                    raise ImportRefused(
                        f"No row of {raw.name} can be used as {kind}{results.reasons(dropped)}. Nothing was imported."
                    )
                prompts.close_import(db, import_id, tally.num_kept, dropped)
                if mapped := mapping.parse(request.map):
                    mapping.remember(db, plans[0].part.columns, mapped)
                return import_id, False, tally, stored
        except publishing.Outdated:
            pass
    return _bring(ws, raw, plans, kind, request, progress)  # another import of the same texts came in between


def _publish(
    db: Database, stage: Stage, import_id: int, tally: Tally, stored: Counter[Stored], *, is_there: bool
) -> None:
    """Bring in or show what is laid down, then the judgements of comparisons that were here, then the other items one by one."""
    if is_there:
        publishing.show(db, import_id)
    with batches.noted(db, import_id):
        if not is_there:
            publishing.whole(db, stage, import_id)
        ratings.publish_judgements(db)
        stored.update(stage.stored)
        for item in stage.later():
            try:
                stored[storing.store(db, item, import_id)] += 1
            except Dropped as reason:
                tally.num_kept -= 1
                tally.dropped[str(reason)] += 1


def _decide(raw: RawData, request: Request, ws: Workspace | None) -> tuple[list[PartPlan], Kind, tuple[str, ...]]:
    """Return how each part is read, as which kind, and what a person should know of it."""
    given = mapping.parse(request.map)
    mapped = [given or part.mapped for part in raw.parts]
    notes = tuple(
        f"Columns as {mapping.DESCRIPTION} says ({part.mapped.sentence})."
        for part in raw.parts
        if part.mapped and not given
    )
    try:
        plans, kind = plan.decide(raw, request.kind, request.format, mapped)
    except plan.Asks:
        if given or request.format or ws is None:
            raise
        with ws.read() as db:
            known = mapping.remembered(db, raw.parts[0].columns)
        if known is None:
            raise
        plans, kind = plan.decide(raw, request.kind, "", [known] * len(raw.parts))
        notes = (f"Columns mapped as before ({known.sentence}).",)
    return plans, kind, notes


def _sha256(raw: RawData, plans: list[PartPlan], request: Request) -> str:
    """Return the hash by which a second import is recognised: of the content, and of how it is read where a person said so."""
    if not (request.format or request.map or request.axis or any(each.mapped for each in plans)):
        return raw.sha256
    said = "".join(f"{each.family.name} {each.mapped.sentence if each.mapped else ''}\n" for each in plans)
    return hashlib.sha256(f"{raw.sha256}\n{said}{request.axis}".encode()).hexdigest()


def _check_axis(name: str, axis: str, tally: Tally) -> None:
    """Refuse an axis of which the source says nothing.

    Raises:
        ImportRefused: names those of which it says something.
    """
    if axis and axis not in tally.axes:
        there = f"It judges {listed(list(tally.axes))}" if tally.axes else "It judges no single criteria"
        raise ImportRefused(f"{name} says nothing about {axis!r}. {there}. Nothing was imported.")


def _notes(plans: list[PartPlan], kind: Kind, axis: str, tally: Tally) -> tuple[str, ...]:
    """Say which columns were not read, by what a source of several criteria was judged, and what is odd."""
    notes = [f"In {count:,} {'row' if count == 1 else 'rows'}, {told}." for told, count in tally.warnings.most_common()]
    if kind == "preferences" and len(tally.axes) > 1:
        by = axis or next((name for name, is_main in tally.axes.items() if is_main), "the overall judgement")
        others = [name for name in tally.axes if name != by]
        if others:
            notes.append(f"Judged by {by}; {listed(others)} kept too (--axis {others[0]} judges by that instead).")
    if not tally.ignored:
        return tuple(notes)
    if kind == "prompts" and not any(each.mapped for each in plans):
        return (*notes, _only_prompts(list(tally.ignored)))
    told = [f"{column} ({count:,})" for column, count in tally.ignored.most_common()]
    return (*notes, f"Not read: {listed(told)}.")


def _held(kind: Kind, tally: Tally) -> Kind:
    """Return what the rows were: where a labelling program only asked for answers, these, and not judgements."""
    return "demonstrations" if 0 < tally.num_kept == tally.num_answers else kind


def _only_prompts(unread: list[str]) -> str:
    columns = f"the column {unread[0]} was" if len(unread) == 1 else f"the columns {listed(unread)} were"
    return f"Only prompts are read; {columns} not. If one holds answers, rename it response (or chosen and rejected)."


def _example(item: Item) -> dict[str, Any]:
    shown: dict[str, Any] = {"messages": item.prompt, "category": item.category, "split": item.split}
    if item.kind == "ranking":
        groups = [[item.responses[at] for at in group] for group in item.groups]
        shown |= {"groups": groups, "outcome": "ranking", "rater": item.rater}
    elif item.kind == "pair":
        said = {"outcome": "left", "strength": item.strength, "rater": item.rater}
        shown |= {"chosen": item.chosen, "rejected": item.rejected} | said
    elif item.kind in COMPARED:
        shown |= {"sides": list(item.responses), "outcome": item.kind, "rater": item.rater}
    elif item.responses:
        shown["response"] = item.responses[0]
    return shown
