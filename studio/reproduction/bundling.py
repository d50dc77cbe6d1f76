"""Writes a run as one file."""

import hashlib
import json
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from sqlite_utils import Database

from modules.config import TrainConfig
from studio import settings
from studio.errors import RunError
from studio.files import whole
from studio.models import checkpoint_pages, checkpoints, disk
from studio.models.checkpoints import Checkpoint
from studio.preferences import snapshots
from studio.reproduction import measured, surroundings
from studio.reproduction.contents import (
    FORMAT,
    FORMAT_MEASURED,
    HEAD,
    MEASURED,
    METRICS,
    Contents,
    Saved,
    is_repeated,
    of_file,
)
from studio.runs import metrics, runs, steering
from studio.runs.runs import Run
from studio.workspace import Workspace

WHEN = (1980, 1, 1, 0, 0, 0)
"""Time of all members, so that the same run gives the same file."""


def write(ws: Workspace, name: str) -> Path:
    """Write `exports/NAME.bundle.zip` and return its path; an earlier one that differs is put aside.

    Raises:
        RunError: the run is still going, was deleted, measured nothing itself, or has lost its files.
        CheckpointError: a checkpoint that it began with is gone.
    """
    with ws.read() as db:
        run = runs.get(db, name)
    _check(run)
    found = _contents(ws, run)
    folder, path = runs.folder(ws, run.name), ws.exports / f"{run.name}.bundle.zip"
    with whole.exported(path) as part, zipfile.ZipFile(part, "x", zipfile.ZIP_DEFLATED) as file, ws.read() as db:
        head = found.model_dump_json(indent=2, exclude=None if found.measured else {"measured"})
        file.writestr(zipfile.ZipInfo(HEAD, WHEN), head + "\n", zipfile.ZIP_DEFLATED)
        for each in found.data:
            member = zipfile.ZipInfo(f"data/{each}.jsonl", WHEN)
            file.writestr(member, (folder / "data" / f"{each}.jsonl").read_bytes(), zipfile.ZIP_DEFLATED)
        with file.open(zipfile.ZipInfo(METRICS, WHEN), "w") as stream:
            stream.writelines(_metrics(db, run.id))
        if found.measured:
            file.writestr(zipfile.ZipInfo(MEASURED, WHEN), b"".join(_measured(ws, db, run)), zipfile.ZIP_DEFLATED)
    return path


def saved(found: Checkpoint) -> Saved:
    """Return a checkpoint with the hashes of its files.

    Raises:
        RunError: a file cannot be read.
    """
    try:
        files = {path.relative_to(found.folder).as_posix(): of_file(path) for path in disk.files(found.folder)}
    except OSError as error:
        raise RunError(f"A file of {found.name} cannot be read ({error.strerror}).") from error
    return Saved(
        name=found.name,
        step=found.step,
        base_model=found.base_model,
        base_fingerprint=found.base_fingerprint,
        files=dict(sorted(files.items())),
    )


def saved_by(db: Database, run: Run) -> list[Saved]:
    """Return the checkpoints that a run has, by step, with the hashes of their files."""
    return [saved(found) for found in sorted(checkpoint_pages.of_run(db, run.id), key=lambda each: each.step)]


def hash_of_metrics(db: Database, run_id: int) -> str:
    """Return the SHA-256 of the run's metrics as a bundle holds them."""
    return _hash(_metrics(db, run_id))


def _hash(pieces: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()


def _check(run: Run) -> None:
    if run.deleted_at:
        raise RunError(f"{checkpoints.was_deleted(f'Run {run.name}', run.deleted_at)} Bundle another one.")
    if not run.is_ended:
        raise RunError(f"{run.name} is {run.state}: bundle it when it has ended.")
    if run.unread:
        raise RunError(
            f"{run.name} was made by another version of the studio with settings that this one does not know "
            f"({', '.join(run.unread)}), so it could not be run again. Bundle another one."
        )


def _contents(ws: Workspace, run: Run) -> Contents:
    folder = runs.folder(ws, run.name)
    with ws.read() as db:
        names = checkpoints.parents_of_run(db, run.id)
        parents = {role: saved(checkpoints.get(db, name)) for role, name in sorted(names.items())}
        origin = checkpoints.name_of(db, run.resumed_from)
        resumed_from = saved(checkpoints.get(db, origin)) if origin else None
        kept = saved_by(db, run)
        snapshot = None if run.snapshot_id is None else snapshots.get(db, run.snapshot_id).sha256
        steered = steering.taken(db, run.id)
        logged = hash_of_metrics(db, run.id)
        found = None if isinstance(run.config, TrainConfig) else _hash(_some(run, _measured(ws, db, run)))
    at_start = surroundings.read(folder)
    try:
        data = {path.stem: of_file(path) for path in sorted((folder / "data").glob("*.jsonl"))}
    except OSError as error:
        raise RunError(f"The frozen rows of {run.name} cannot be read ({error.strerror}).") from error
    if not data:
        raise RunError(f"The frozen rows of {run.name} are gone from its folder, so nothing could run it again.")
    return Contents(
        format=FORMAT_MEASURED if found else FORMAT,
        run=run.name,
        stage=run.stage,
        state=run.state,
        message=run.message,
        command=settings.command_line(None, run.config),
        config=run.config.model_dump(mode="json"),
        revision=run.revision,
        surroundings=at_start or surroundings.here(),
        has_own_surroundings=bool(at_start),
        parents=parents,
        resumed_from=resumed_from,
        snapshot=snapshot,
        data=data,
        steered=steered,
        metrics=logged,
        checkpoints=kept,
        measured=found,
    )


def _some(run: Run, lines: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the lines, of which there must be one."""
    first = next(lines, None)
    if first is None:
        raise RunError(
            f"{run.name} measured nothing itself: either it ended too early, or all was measured by earlier runs. Bundle another one."
        )
    yield first
    yield from lines


def _measured(ws: Workspace, db: Database, run: Run) -> Iterator[bytes]:
    return ((json.dumps(value, sort_keys=True) + "\n").encode() for value in measured.of_run(ws, db, run))


def _metrics(db: Database, run_id: int) -> Iterator[bytes]:
    return lines(metrics.logged(db, run_id))


def lines(rows: Iterable[tuple[str, int, float | None]]) -> Iterator[bytes]:
    """Yield logged values as the lines of a bundle's metrics; what no run has again, such as what the clock says, is left out."""
    for name, step, value in rows:
        if is_repeated(name):
            yield (json.dumps([name, step, value]) + "\n").encode()
