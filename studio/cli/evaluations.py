"""``evaluate report``: the alignment-tax report, as a table at the terminal and as report.html and report.json."""

import argparse

from modules.config import EvaluateConfig
from studio.cli import watch
from studio.evaluation import comparison, curves, overoptimisation, plan, report
from studio.workspace import Workspace

COLUMNS = (0, 1, 3, 4, 5, 6, 7, 2)
"""Columns of the report that fit into a terminal."""


def add_report(command: argparse.ArgumentParser) -> None:
    """Add the word ``report`` and what it compares with."""
    command.add_argument(
        "report", nargs="?", choices=("report",), help="measure nothing: write the report of what is measured"
    )
    command.add_argument(
        "--against", default="", metavar="NAME", help="what the report compares with (default: the pretrained model)"
    )
    command.add_argument(
        "--all-conditions",
        action="store_true",
        help="compare under each set of conditions (seed, number of samples, template) that two share; else under the newest",
    )


def report_lines(found: comparison.Comparison) -> list[str]:
    """Return the table as lines of text."""
    rows = [report.HEADS, *(report.cells(line) for line in found.lines)]
    shown = [[row[column] for column in COLUMNS] for row in rows]
    widths = [max(len(row[place]) for row in shown) for place in range(len(COLUMNS))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in shown]


def report_command(ws: Workspace, config: EvaluateConfig, against: str, *, has_all_conditions: bool = False) -> int:
    """Print the table of what the settings `checkpoints` and `suites` ask for, and write both files; returns the exit code."""
    suites = [name.strip() for name in config.suites.split(",") if name.strip()]
    with ws.read() as db:
        found = comparison.compare(
            db, against, plan.subjects(config.checkpoints), suites, has_all_conditions=has_all_conditions
        )
    head, *rows = report_lines(found)
    for subject in found.subjects:
        print(f"{found.shown(subject)} against {found.shown(found.against)}")
        print(head)
        for line, row in zip(found.lines, rows, strict=True):
            if line.after == subject:
                print(row)
    for sentence in found.not_compared:
        print(sentence)
    with ws.read() as db:
        earned = overoptimisation.read(db)
    for curve in earned:
        print(f"\nWhat PPO earned for its KL, on {curves.title(curve)}:")
        print(watch.table(curves.table(curve)))
        print("\n".join(curves.sentences(curve)))
    for path in report.write(ws, found):
        print(path)
    return 0
