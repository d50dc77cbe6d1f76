"""Lists runs in a terminal, once or live: drawn in place and cut to the window, active runs first."""

import os
import sys
import textwrap
import time

from rich.console import Console, ConsoleDimensions, Group
from rich.live import Live
from rich.text import Text
from sqlite_utils import Database

from studio.models.figures import Figure
from studio.runs import launcher, progress, queue, run_pages, runs
from studio.runs.runs import Run
from studio.workspace import Workspace

WATCH_S = 1.0
NARROW = 72
"""Columns below which `on` and `started` are left out."""

Row = tuple[str, ...]


def listing(ws: Workspace, stage: str = "", by: Figure | None = None) -> str:
    """Return runs as a table, and below it what the active ones are doing.

    Args:
        ws: The workspace.
        stage: Only runs of this stage; empty for all.
        by: The figure whose best last value comes first; None for the newest run first.
    """
    found = _look(ws)
    with ws.read() as db:
        if stage:
            metric, is_low = (by.metric, by.is_low_best) if by else ("", False)
            found = run_pages.page(db, stage=stage, limit=-1, by=metric, is_low_first=is_low)
        if stage and not found:
            return f"There are no runs of {stage} yet. Start one with: rlhf-studio {stage}"
        return "\n".join(
            [_whole(db, found), *(line for run in found if run.state == "running" for line in _doing(db, run))]
        )


def watch(ws: Workspace) -> int:
    """Show the runs live until Ctrl-C; without a terminal, print them after each change until all have ended."""
    if not sys.stdout.isatty() or os.environ.get("TERM") == "dumb":
        return _print_changes(ws)
    console, picture = Console(), Group()
    try:
        with Live(console=console, screen=True, auto_refresh=False) as live:
            while True:
                console.size = _size()
                picture = _picture(ws, *console.size)
                live.update(picture, refresh=True)
                time.sleep(WATCH_S)
    except KeyboardInterrupt:
        console.print(picture)
        return 0


def table(rows: list[Row]) -> str:
    """Return rows as text, each column as wide as its widest cell."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _print_changes(ws: Workspace) -> int:
    before: list[Row] | None = None
    while True:
        found = _look(ws)
        with ws.read() as db:
            now = _rows(db, found)
        if now != before:
            print(listing(ws), flush=True)
        before = now
        if all(run.is_ended for run in found):
            return 0
        time.sleep(WATCH_S)


def _look(ws: Workspace) -> list[Run]:
    launcher.reap(ws)
    with ws.read() as db:
        return runs.list_all(db)


def _size() -> ConsoleDimensions:
    """Return the window's columns and rows now; the environment may hold older ones."""
    width, height = os.get_terminal_size(sys.stdout.fileno())
    return ConsoleDimensions(width or 80, height or 24)


def _picture(ws: Workspace, width: int, height: int) -> Group:
    """Return a screen's lines, cut to its width: active and queued runs first, then those that ended last."""
    found = sorted(_look(ws), key=lambda run: run.is_ended)  # stable: newest first in each group
    with ws.read() as db:
        lines = _whole(db, found, is_narrow=width < NARROW).splitlines()
        said = [line for run in found if run.state == "running" for line in _doing(db, run)]
    doing = [part for line in said for part in _wrapped(line, width)]
    end = "Ctrl-C stops watching; runs keep going."
    below = [*([""] if doing else []), *doing[: max(0, height // 2 - 2)], end]
    room = max(2, height - len(below))
    if len(lines) > room:
        lines = [*lines[: room - 1], f"... and {len(lines) - room + 1:,} more"]
    return Group(*(Text(line, no_wrap=True, overflow="ellipsis") for line in [*lines, *below][:height]))


def _whole(db: Database, found: list[Run], *, is_narrow: bool = False) -> str:
    if not found:
        return "There are no runs yet. Start one with: rlhf-studio sft"
    rows = [("run", "state", "done", "on", "started (UTC)", "what happens, or how it ended"), *_rows(db, found)]
    return table([(*row[:3], row[5]) for row in rows] if is_narrow else rows)


def _rows(db: Database, found: list[Run]) -> list[Row]:
    places, rows = queue.places(db), []
    for run in found:
        text = run.message if run.is_ended else launcher.trouble(run) or run.progress_text
        text = places.get(run.name, text)
        started = (run.started_at or run.created_at)[:16].replace("T", " ")
        said = _plain(text.splitlines()[0] if text else "")
        rows.append((run.name, run.shown_state, f"{run.progress:.0%}", run.lane or "-", started, said))
    return rows


def _doing(db: Database, run: Run) -> list[str]:
    """Return what the page shows of an active run, in two lines."""
    found = progress.read(db, run)
    lines = ["; ".join(found.words()) if found else "", "; ".join(progress.figures(db, run))]
    return [f"{run.name}: {line}" for line in lines if line]


def _plain(text: str) -> str:
    """Return the text without terminal control codes."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def _wrapped(line: str, width: int) -> list[str]:
    return textwrap.wrap(line, max(width, 20), subsequent_indent="  ")
