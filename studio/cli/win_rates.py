"""``compare`` (blind votes between two checkpoints) and ``leaderboard`` (what all such votes say)."""

import argparse
import json
import math
from typing import Any

from studio.annotation import prefetch, session_config, sessions
from studio.cli import arguments as takes
from studio.cli import follow
from studio.evaluation import leaderboard
from studio.evaluation.leaderboard import Group, HeadToHead, Leaderboard, Standing
from studio.workspace import Workspace

WHO = "Both are checkpoints of SFT, PPO or DPO; one may be base, the pretrained model of the other."


def add(commands: Any) -> None:
    """Add ``compare`` and ``leaderboard``."""
    summary = "Sample two checkpoints on the same prompts and put their answers up for blind votes."
    compare = commands.add_parser("compare", help=summary, description=f"{summary} {WHO}")
    compare.add_argument("one", metavar="CHECKPOINT|base")
    compare.add_argument("other", metavar="CHECKPOINT|base")
    compare.add_argument("--votes", type=takes.count, default=100, metavar="N", help="votes wanted (default: 100)")
    compare.add_argument("--split", choices=("validation", "test", "train", "train+validation"), default="validation")
    compare.set_defaults(action=_compare)
    summary = "Rank all checkpoints that were ever compared, by the votes between them."
    board = commands.add_parser("leaderboard", help=summary, description=summary)
    board.add_argument("--rater", default="person", help="whose votes (default: person); the demo's rater is: scripted")
    board.add_argument(
        "--anchor",
        action="append",
        default=[],
        metavar="CHECKPOINT",
        help="whose strength is 0; base stands for the pretrained model",
    )
    board.add_argument("--json", action="store_true", help="everything as one JSON object")
    board.set_defaults(action=_leaderboard)


def _compare(arguments: argparse.Namespace) -> int:
    ws = Workspace.existing(arguments.workspace)
    config = session_config.head_to_head(arguments.one, arguments.other, arguments.votes, arguments.split)
    with ws.write() as db:
        session = sessions.start(db, config)
        outlook = sessions.outlook(db, session)
    prefetch.look_after(ws)
    print(f"{session.sentence} {outlook}.\nRate: {follow.command(arguments, 'rate')}")
    print(f"What the votes say so far: {follow.command(arguments, 'leaderboard')}")
    return 0


def _leaderboard(arguments: argparse.Namespace) -> int:
    with Workspace.existing(arguments.workspace).read() as db:
        found = leaderboard.read(db, arguments.rater, arguments.anchor)
    print(json.dumps(found.as_dict(), indent=2) if arguments.json else _told(found))
    return 0


def _told(found: Leaderboard) -> str:
    lines = [f"{found.num_votes:,} votes of the rater {found.rater} on {found.num_prompts:,} prompts"]
    for group in found.groups:
        lines += ["", *_group(found, group)]
    lines += ["", "Prompts that both answered alike are neither voted on nor counted."]
    if len(found.groups) > 1:
        lines += [
            "",
            "Checkpoints of two groups never met, directly or through others: their strengths do not compare.",
        ]
    for pair in found.pairs:
        lines += ["", *_pair(found, pair)]
    return "\n".join(lines)


def _group(found: Leaderboard, group: Group) -> list[str]:
    width = max(len(found.shown(each.name)) for each in group.standings)
    anchor = found.shown(group.anchor)
    left = 1.0 / (1.0 + math.exp(-group.side))
    return [
        f"{'checkpoint'.ljust(width)}  strength (95 %)        expected against {anchor}   won  tied  lost",
        *(_standing(each, found.shown(each.name).ljust(width), anchor) for each in group.standings),
        f"Between equals the left answer wins {left:.0%} of the decided votes.",
    ]


def _standing(each: Standing, name: str, anchor: str) -> str:
    interval = "anchor" if name.strip() == anchor else f"{each.low:+.2f} to {each.high:+.2f}"
    expected = f"{each.win_rate:.0%}".rjust(len("expected against ") + len(anchor))
    strength = f"{each.strength:+.2f} ({interval})".ljust(21)
    return f"{name}  {strength}  {expected}  {each.wins:>4}  {each.ties:>4}  {each.losses:>4}"


def _pair(found: Leaderboard, pair: HeadToHead) -> list[str]:
    decided = "no vote was decided" if math.isnan(pair.decided) else f"{pair.decided:.0%} of the decided votes"
    return [
        f"{found.shown(pair.one)} against {found.shown(pair.other)}: won {pair.wins}, tied {pair.ties}, lost {pair.losses}",
        f"  win rate {pair.half:.0%} ({pair.half_low:.0%} to {pair.half_high:.0%}) with a tie as half; {decided}",
        f"  at equal length {pair.length_controlled:.0%}; its answers differ by {pair.length_difference:+,.0f} letters in the median",
        f"  whenever one looks: {pair.anytime_low:.0%} to {pair.anytime_high:.0%} of the decided votes. {pair.verdict}",
    ]
