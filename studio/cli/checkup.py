"""Looks at a PPO run (``runs checkup``): what looks wrong, with its evidence and what to do."""

import argparse
import json
from typing import Any

from studio.checkup import findings
from studio.cli import follow
from studio.runs import runs
from studio.workspace import Workspace


def add(verbs: Any) -> None:
    """Add the verb to ``runs``."""
    look = verbs.add_parser("checkup", help="what looks wrong with a PPO run, with its evidence and what to do")
    look.add_argument("name")
    look.add_argument("--json", action="store_true", help="as JSON")
    look.set_defaults(action=_checkup)


def _checkup(arguments: argparse.Namespace) -> int:
    ws = Workspace.existing(arguments.workspace)
    with ws.read() as db:
        run = runs.get(db, arguments.name)
        found = findings.of_run(db, run)
    if arguments.json:
        print(json.dumps([finding._asdict() for finding in found], indent=2))
        return 0
    if run.stage != "ppo":
        print(f"{run.name} is a run of the stage {run.stage}; the checkup knows PPO only.")
    elif not found:
        print(f"Nothing looks wrong with {run.name}, as far as its metrics tell.")
    for finding in found:
        print(f"iteration {finding.step}: {finding.rule}. {finding.said}\n    {finding.advice}")
    if any(finding.asks_votes for finding in found):
        print(f"Only people can tell whether the answers got worse: {follow.command(arguments, *findings.votes(run))}")
    return 0
