"""Checks this machine and the workspace (``rlhf-studio doctor``). Each finding has a next step.

Checks that need torch run in a child process (`studio.worker.doctor`), so that a broken torch cannot hide the other
findings.
"""

import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sqlite_utils import Database

from studio import children
from studio.annotation import history
from studio.children import ChildError
from studio.database import connection, high_water, wal
from studio.errors import WorkspaceError
from studio.models import deletion
from studio.network import proxies
from studio.preferences import ratings
from studio.recovery import backups, folders
from studio.runs import runs
from studio.workspace import Workspace

OLDEST_PYTHON = (3, 11)
CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
GIB = 2**30
LITTLE_DISK_GIB, ENOUGH_DISK_GIB = 1, 10
CHILD_TIMEOUT_S = 180


@dataclass(frozen=True)
class Check:
    """A finding; `next_step` says what to do about a warning or a problem."""

    level: Literal["ok", "warning", "problem"]
    name: str
    text: str
    next_step: str = ""

    @property
    def line(self) -> str:
        """The finding on one line."""
        return f"{self.level:<8} {self.name:<12} {self.text}{' → ' + self.next_step if self.next_step else ''}"


def examine(root: str | Path | None = None, *, is_repairing: bool = False) -> list[Check]:
    """Return all findings, in a fixed order. Opens the workspace, which creates it where there is none.

    Args:
        root: the workspace.
        is_repairing: also add the runs and checkpoints on disk that the database does not know; where the database is
            gone or empty, make a new one first. Nothing is removed.
    """
    return [_python(), *_torch(root), _chromium(), *_proxy(), *_workspace(root, is_repairing)]


def _python() -> Check:
    version = ".".join(str(number) for number in sys.version_info[:3])
    if sys.version_info < OLDEST_PYTHON:
        return Check("problem", "Python", version, "install Python 3.11 or newer and make the environment again.")
    return Check("ok", "Python", version)


def _torch(root: str | Path | None) -> list[Check]:
    """Return the child process's findings about torch, the GPUs and 4-bit weights; it leaves runs their GPUs."""
    ws = Workspace(Workspace.place(root))
    again = "install the studio again (make run), or see its message with: python -m studio.worker.doctor"
    try:
        place = [str(ws.root)] if ws.database.exists() else []
        return torch_checks(children.ask("studio.worker.doctor", None, *place, timeout_s=CHILD_TIMEOUT_S))
    except ChildError as error:
        return [Check("problem", "torch", f"does not work: {error}", again)]


def torch_checks(facts: dict[str, Any]) -> list[Check]:
    """Return the findings from the report of `studio.worker.doctor`."""
    found = [Check("ok", "torch", facts["torch"])]
    for device in facts["devices"]:
        text = f"{device['name']}, {device['free'] / GIB:.1f} of {device['total'] / GIB:.1f} GiB free"
        is_crowded = device["free"] < device["total"] / 2
        step = "another process holds its memory; see nvidia-smi." if is_crowded else ""
        found.append(Check("warning" if is_crowded else "ok", "GPU", text, step))
    if facts.get("busy"):
        step = "4-bit weights were tried on the CPU; call the doctor again when the GPU is free to try them there."
        found.append(Check("ok", "GPU", f"left alone: {facts['busy'].partition(':')[0]}", step))
    elif not facts["devices"]:
        step = "fine for small models; with an NVIDIA GPU install or update its driver, then the studio again (make run; make plan says which torch)."
        found.append(Check("warning", "GPU", "none that torch can use", step))
    if facts["nf4_error"]:
        step = "install bitsandbytes again, or leave quantisation at none."
        found.append(Check("warning", "4-bit", f"does not work: {facts['nf4_error']}", step))
    else:
        found.append(
            Check("ok", "4-bit", f"NF4 multiplication on {facts['nf4_device']}, error {facts['nf4_deviation']:.1%}")
        )
    return found


def _chromium() -> Check:
    found = next((path for name in CHROMIUM_NAMES if (path := shutil.which(name))), None)
    if found:
        return Check("ok", "Chromium", found)
    step = "only the browser tests and `ui --app` need it; install the package chromium."
    return Check("warning", "Chromium", "not found", step)


def _proxy() -> list[Check]:
    """Check the environment's proxies for downloads; the page needs none."""
    names = ", ".join(sorted(proxies.found())) or "no proxy"
    if fault := proxies.fault():
        step = (
            "the page still opens, but no model or data set can be downloaded: correct or unset these variables, and write "
            "no_proxy as names and addresses. A SOCKS proxy needs `pip install 'httpx[socks]'` and is written socks5://HOST:PORT."
        )
        return [Check("warning", "proxy", f"{names}: {fault}", step)]
    if not proxies.found():
        return []
    return [
        Check("ok", "proxy", f"{names}: downloads go through it, the page does not (nor need it stand in no_proxy)")
    ]


def _workspace(root: str | Path | None, is_repairing: bool = False) -> list[Check]:
    path = Workspace.place(root)
    num_lost = wal.num_lost_pages(Workspace(path).database)  # before anything opens it
    found = []
    try:
        if is_repairing and Workspace(path).used_before() and (aside := folders.make_new(path)):
            found.append(Check("ok", "repair", f"a new database was made; what was there before is in {aside}"))
        missing = high_water.sentence(Workspace(path).database)
        ws = Workspace.open(path)
        if is_repairing:
            found.append(_taken_up(folders.take_up(ws)))
            num_lost, missing = 0, ""  # reported above: the database as it is now is the newest
        checks = [_writable(ws), *found, _database(ws, num_lost, missing), *_folders(ws), *_deletions(ws)]
        with ws.read() as db:
            checks += _configs(db)
        return [*checks, _backup(ws), _disk(ws)]
    except WorkspaceError as error:
        return [*found, Check("problem", "workspace", str(error))]


def _taken_up(found: folders.Found) -> Check:
    runs_, steps = found.unknown_runs, found.unknown_checkpoints
    if not runs_ and not steps:
        return Check("ok", "repair", "every run and checkpoint on disk was already known")
    text = f"recovered: {len(runs_):,} runs{_listed(runs_)}, {len(steps):,} checkpoints{_listed(steps)}"
    return Check("ok", "repair", text)


def _folders(ws: Workspace) -> list[Check]:
    """Compare the folders on disk with the database."""
    found = folders.compare(ws)
    checks = []
    unknown = [*found.unknown_runs, *(name for name in found.unknown_checkpoints)]
    if unknown:
        step = "the database is older than they are (was a copy restored?); recover them: rlhf-studio doctor --repair"
        text = f"{len(found.unknown_runs):,} runs and {len(found.unknown_checkpoints):,} checkpoints on disk are not in {ws.database.name}"
        checks.append(Check("warning", "folders", text + _listed(unknown), step))
    if found.incomplete:
        text = f"{len(found.incomplete):,} folders of checkpoints are incomplete{_listed(found.incomplete)}"
        checks.append(Check("warning", "folders", text, "put back what is missing; until then they are not used."))
    if found.gone_checkpoints:
        text = f"the folders of {len(found.gone_checkpoints):,} checkpoints are gone{_listed(found.gone_checkpoints)}"
        checks.append(Check("warning", "folders", text, "put them back; what needs them is refused until then."))
    if not checks:
        away = f"; {len(found.gone_runs):,} runs have none here (an archive brings none)" if found.gone_runs else ""
        checks.append(Check("ok", "folders", f"database and folders of runs fit together{away}"))
    return checks


def _deletions(ws: Workspace) -> list[Check]:
    """Report deletions that were begun and whose files are still on the disk."""
    left = deletion.unfinished(ws)
    if not left:
        return []
    num = sum(len(piece.files) for piece in left)
    what = "1 deletion was" if len(left) == 1 else f"{len(left):,} deletions were"
    text = f"{what} not finished: up to {num:,} files are left{_listed([piece.name for piece in left])}"
    step = "the next start of the studio goes on with it, and so does: rlhf-studio models"
    return [Check("warning", "deletions", text, step)]


def _configs(db: Database) -> list[Check]:
    """Report runs of another version whose settings this one reads only in part."""
    found = [f"{run.name}: {', '.join(run.unread)}" for run in runs.list_all(db) if run.unread]
    if not found:
        return []
    text = f"settings of {len(found):,} runs are of another version and are not read{_listed(found)}"
    step = (
        "nothing to do: what they made can be used, and they are not resumed; see them with: rlhf-studio runs show NAME"
    )
    return [Check("warning", "configs", text, step)]


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - 3:,} more" if len(names) > 3 else ""
    return f" ({', '.join(names[:3])}{more})" if names else ""


def _backup(ws: Workspace) -> Check:
    made = backups.last(ws)
    if made:
        return Check("ok", "backup", f"the last one is of {made.made_at[:16].replace('T', ' ')} UTC: {made.path}")
    return Check(
        "warning", "backup", "none has been made yet", "make one: rlhf-studio backup FILE (a server makes one a day)."
    )


def _writable(ws: Workspace) -> Check:
    try:
        with tempfile.TemporaryFile(dir=ws.runs) as file:
            file.write(b"a test")
    except OSError as error:
        step = "correct the folder's permissions, or choose another with --workspace."
        return Check("problem", "workspace", f"{ws.root} cannot be written: {error.strerror}", step)
    return Check("ok", "workspace", str(ws.root))


def _database(ws: Workspace, num_lost: int = 0, missing: str = "") -> Check:
    """Check that the database is sound and complete; a copy without its -wal can be sound and lack the newest rows."""
    name = ws.database.name
    verdict = connection.quick_check(ws.database)
    if verdict != "ok":
        step = (
            "stop the studio, keep a copy of the file, and restore it from a backup (rlhf-studio restore FILE), or copy what can still "
            "be read: rlhf-studio rescue NEW_FOLDER"
        )
        return Check("problem", "database", f"{name} is damaged: {verdict}", step)
    step = f"put back {name} together with its {name}-wal; if this is the newest copy, rlhf-studio doctor --repair says so."
    if num_lost:
        return Check(
            "problem",
            "database",
            f"{name} lacks {num_lost:,} pages that its {name}-wal held: it was cut or left out",
            step,
        )
    if missing:
        return Check("problem", "database", missing, step)
    try:
        with ws.read() as db:
            rated = history.find(db, limit=1)
            count = ratings.summary(db)["rated"]
    except (WorkspaceError, ValueError) as error:
        return Check(
            "problem", "database", f"{name} is damaged: {error}", "copy what can be read: rlhf-studio rescue NEW_FOLDER"
        )
    newest = f", the newest of {rated[0].created_at[:16].replace('T', ' ')} UTC" if rated else ""
    return Check("ok", "database", f"{name} is sound: {count:,} ratings{newest}")


def _disk(ws: Workspace) -> Check:
    free_gib = shutil.disk_usage(ws.root).free / GIB
    text = f"{free_gib:.0f} GiB free"
    step = "checkpoints need space; remove old runs or choose another disk."
    if free_gib < LITTLE_DISK_GIB:
        return Check("problem", "disk", text, step)
    return Check("warning", "disk", text, step) if free_gib < ENOUGH_DISK_GIB else Check("ok", "disk", text)
