"""Manages checkpoints: ``models`` (list, rounds, compare, note, tag, pin, hand-on, try, delete)."""

import argparse
import json
import sys
from dataclasses import asdict
from typing import Any

from studio.chat import asking
from studio.chat.protocol import Sampling
from studio.chat.resident import Resident
from studio.children import DEVICES
from studio.cli import arguments as takes
from studio.cli import deleting, watch
from studio.cli.printing import printable
from studio.errors import CheckpointError
from studio.evaluation import leaderboard, report
from studio.evaluation.leaderboard import HeadToHead
from studio.insights import round_figures
from studio.models import checkpoints, deletion, disk, figures, notes
from studio.models.checkpoints import Checkpoint
from studio.models.notes import Note
from studio.runs import rounds, side_by_side
from studio.runs.side_by_side import SideBySide
from studio.workspace import Workspace


def add(commands: Any) -> None:
    """Add ``models``."""
    summary = "List the checkpoints; compare two; note, tag, pin or hand on some; try a prompt on them; delete some."
    command = commands.add_parser("models", help=summary, description="List the checkpoints, pinned ones first.")
    command.add_argument("--tag", default="", help="only those with this tag")
    command.add_argument("--json", action="store_true", help="everything as one JSON list")
    command.set_defaults(action=_list)
    verbs = command.add_subparsers(dest="verb", metavar="VERB")
    lineage = verbs.add_parser("rounds", help="what trained on what, round by round")
    lineage.set_defaults(action=_rounds)
    compare = verbs.add_parser("compare", help="two checkpoints: settings, figures, measurements, votes, answers")
    compare.add_argument("one", metavar="CHECKPOINT")
    compare.add_argument("other", metavar="CHECKPOINT")
    compare.add_argument(
        "--answers",
        type=takes.count,
        default=side_by_side.NUM_ANSWERS,
        metavar="N",
        help=f"prompts of each kind, with both answers (default: {side_by_side.NUM_ANSWERS})",
    )
    compare.add_argument("--json", action="store_true", help="everything as one JSON object")
    compare.set_defaults(action=_compare)
    note = verbs.add_parser("note", help="show the note of a checkpoint, or write another")
    note.add_argument("name", metavar="NAME")
    note.add_argument("text", nargs="?", metavar="TEXT", help='the new note; "" takes it away')
    note.set_defaults(action=_note)
    tag = verbs.add_parser("tag", help="show the tags of a checkpoint, or add some")
    tag.add_argument("name", metavar="NAME")
    tag.add_argument("tags", nargs="*", metavar="TAG")
    tag.add_argument("--remove", action="append", default=[], metavar="TAG", help="take it away; may be repeated")
    tag.set_defaults(action=_tag)
    for verb, words in (
        ("pin", "list checkpoints first, and let nothing delete them"),
        ("unpin", "take pins away"),
    ):
        pin = verbs.add_parser(verb, help=words)
        pin.add_argument("names", nargs="+", metavar="NAME")
        pin.set_defaults(action=_pin, is_pinned=verb == "pin")
    hand = verbs.add_parser(
        "hand-on", help="let this checkpoint stand for its run: what starts from the run begins there"
    )
    hand.add_argument("name", metavar="NAME", help="a checkpoint, such as ppo-1@40")
    hand.add_argument("--back", action="store_true", help="take it back: the run's own choice counts again")
    hand.set_defaults(action=_hand_on)
    attempt = verbs.add_parser("try", help="let one or two checkpoints answer a prompt")
    attempt.add_argument("prompt")
    attempt.add_argument(
        "--on", nargs="+", metavar="NAME", default=[], help="checkpoints; the newest policy by default"
    )
    attempt.add_argument("--temperature", type=float, default=0.7)
    attempt.add_argument("--max-new-tokens", type=int, default=128)
    attempt.add_argument(
        "--device", choices=DEVICES, default="auto", help="auto takes a GPU that no run works on, cpu none"
    )
    attempt.add_argument("--seed", type=int, default=0)
    attempt.set_defaults(action=_try)
    deleting.add(verbs, "models")


def _list(arguments: argparse.Namespace) -> int:
    ws = Workspace.existing(arguments.workspace)
    deletion.finish(ws)
    with ws.read() as db:
        every = checkpoints.list_all(db)
        said = notes.of(db, [found.id for found in every])
        won = leaderboard.against_sft(db, every)
        came_from = {found.id: checkpoints.parents_of_run(db, found.run_id) for found in every}
    shown = sorted(every, key=lambda found: not said.get(found.id, Note()).is_pinned)
    if arguments.tag:
        shown = [found for found in shown if arguments.tag in said.get(found.id, Note()).tags]
    if arguments.json:
        facts = [_facts(found, came_from[found.id], said.get(found.id, Note()), won.get(found.name)) for found in shown]
        print(json.dumps(leaderboard.plain(facts), indent=2, ensure_ascii=False))
        return 0
    if not every:
        print("There are no checkpoints yet. Make one with: rlhf-studio sft")
        return 0
    if not shown:
        print(f"No checkpoint has the tag {printable(arguments.tag)}. Give it: rlhf-studio models tag NAME TAG")
        return 0
    rows = [("checkpoint", "size", "base model", "from", "figures", "tags")]
    rows += [_row(found, came_from[found.id], said.get(found.id, Note()), won.get(found.name)) for found in shown]
    print(watch.table(rows))
    used = disk.words(disk.taken(*(found.folder for found in every)))
    print(f"The checkpoints take {used}. {disk.summary(ws.root, ws.runs)}")
    return 0


def _row(found: Checkpoint, parents: dict[str, str], note: Note, won: HeadToHead | None) -> tuple[str, ...]:
    told = [f"{each.words} {found.metrics[each.metric]:.3g}" for each in figures.of(found)]
    told += (
        [
            f"win rate against {won.other} {won.half:.2f} ({won.half_low:.2f} to {won.half_high:.2f}, {printable(won.counted)})"
        ]
        if won
        else []
    )
    came_from = ", ".join(f"{role} {name}" for role, name in parents.items())
    size, marks = disk.words(disk.taken(found.folder)), printable(", ".join(note.marks))
    return found.name + found.remarks, size, found.base_model, came_from or "-", ", ".join(told), marks


def _facts(found: Checkpoint, parents: dict[str, str], note: Note, won: HeadToHead | None) -> dict[str, Any]:
    return {
        "name": found.name,
        "run": found.run_name,
        "stage": found.stage,
        "step": found.step,
        "is_chosen": found.is_chosen,
        "is_own_choice": found.is_own_choice,
        "bytes": disk.taken(found.folder),
        "base_model": found.base_model,
        "parents": parents,
        "metrics": found.metrics,
        "against_sft": None if won is None else asdict(won),
        "created_at": found.created_at,
        "note": note.text,
        "tags": list(note.tags),
        "is_pinned": note.is_pinned,
    }


def _rounds(arguments: argparse.Namespace) -> int:
    ws = Workspace.existing(arguments.workspace)
    found, num_older = rounds.read(ws)
    with ws.read() as db:
        brought = {each.number: each.sentence for each in round_figures.of(db, found)}
    if not found:
        print("There are no checkpoints yet. Make one with: rlhf-studio sft")
    sizes = rounds.sizes(ws, found)
    for each in reversed(found):
        rows = [
            (
                f"  {member.run.name}",
                member.run.shown_state,
                disk.words(sizes[member.run.name]),
                member.checkpoint.name,
                member.sentence,
            )
            for member in each.members
        ]
        said = f": {brought[each.number]}" if each.number in brought else ""
        print(f"Round {each.number}{said}\n{watch.table(rows)}")
    if num_older:
        print(f"{num_older:,} older runs are left out.")
    if found:
        print(disk.summary(ws.root, ws.runs))
    return 0


def _compare(arguments: argparse.Namespace) -> int:
    ws = Workspace.existing(arguments.workspace)
    with ws.read() as db:
        found = side_by_side.read(db, arguments.one, arguments.other, arguments.answers)
    if arguments.json:
        print(json.dumps(found.as_dict(), indent=2, ensure_ascii=False))
    else:
        print(printable("\n\n".join(_compared(found))))
    return 0


def _compared(found: SideBySide) -> list[str]:
    names = found.one.name, found.other.name
    parts = [f"{names[0]} and {names[1]}: what changes from the first to the second"]
    settings = [(each.name, each.one, each.other) for each in found.settings]
    parts.append(watch.table([("setting", *names), *settings]) if settings else "Their runs have the same settings.")
    values = [(each.metric, _figure(each.one), _figure(each.other)) for each in found.values]
    parts += [watch.table([("figure", *names), *values])] if values else []
    if found.measured:
        cells = [dict(zip(report.HEADS, report.cells(line), strict=True)) for line in found.measured.lines]
        rows = [tuple(each[name] for name in report.BRIEF) for each in cells]
        parts += [watch.table([tuple(name.lower() for name in report.BRIEF), *rows])] if rows else []
        parts += found.measured.not_compared
    else:
        parts.append("No suite has measured both. Measure them: rlhf-studio evaluate")
    if found.votes:
        v = found.votes
        parts.append(
            f"Votes: {v.one} won {v.wins}, tied {v.ties}, lost {v.losses} against {v.other}: {v.half:.0%} "
            f"({v.half_low:.0%} to {v.half_high:.0%}, {v.counted}). {v.verdict}"
        )
    for each in found.answers:
        asked = "\n".join(f"{turn['role']}: {turn['content']}" for turn in each.messages)
        parts.append(f"── {each.where} ──\n{asked}\n[{names[0]}] {each.one}\n[{names[1]}] {each.other}")
    if not found.answers:
        parts.append("They have answered no prompt in common. Ask both: rlhf-studio models try PROMPT --on NAME NAME")
    return parts


def _figure(value: float | None) -> str:
    return side_by_side.MISSING if value is None else f"{value:.4g}"


def _note(arguments: argparse.Namespace) -> int:
    ws = Workspace.existing(arguments.workspace)
    with ws.read() as db:
        found = checkpoints.recorded(db, arguments.name)
    if arguments.text is None:
        with ws.read() as db:
            note = notes.of(db, [found.id]).get(found.id, Note())
        print(printable(note.text) or f"{found.name} has no note.")
        return 0
    with ws.write() as db:
        note = notes.keep(db, found.id, text=arguments.text)
    print(f"The note of {found.name} is kept." if note.text else f"{found.name} has no note any more.")
    return 0


def _tag(arguments: argparse.Namespace) -> int:
    ws = Workspace.existing(arguments.workspace)
    with ws.write() as db:
        found = checkpoints.recorded(db, arguments.name)
        note = notes.of(db, [found.id]).get(found.id, Note())
        if unknown := next((tag for tag in arguments.remove if tag not in note.tags), None):
            raise CheckpointError(f"{found.name} has no tag {unknown!r}. Its tags: {', '.join(note.tags) or 'none'}.")
        left = [tag for tag in note.tags if tag not in arguments.remove]
        note = notes.keep(db, found.id, tags=[*left, *arguments.tags])
    print(f"{found.name}: {printable(', '.join(note.tags)) or 'no tags'}")
    return 0


def _pin(arguments: argparse.Namespace) -> int:
    ws = Workspace.existing(arguments.workspace)
    find = checkpoints.get if arguments.is_pinned else checkpoints.recorded
    with ws.write() as db:
        named = [find(db, name) for name in arguments.names]
        for found in named:
            notes.keep(db, found.id, is_pinned=arguments.is_pinned)
    is_one, names = len(named) == 1, ", ".join(found.name for found in named)
    said = "pinned: listed first, and not deleted" if arguments.is_pinned else "no longer pinned"
    print(f"{names} {'is' if is_one else 'are'} {said}.")
    return 0


def _hand_on(arguments: argparse.Namespace) -> int:
    ws = Workspace.existing(arguments.workspace)
    with ws.write() as db:
        found = checkpoints.get(db, arguments.name)
        checkpoints.hand_on(db, found, not arguments.back)
        current = checkpoints.recorded(db, found.run_name)
    print(
        f"{found.run_name} stands for {current.name}{current.remarks}: what starts from {found.run_name} begins there."
    )
    return 0


def _try(arguments: argparse.Namespace) -> int:
    ws = Workspace.existing(arguments.workspace)
    with ws.read() as db:
        newest = checkpoints.newest(db, *checkpoints.POLICIES)
    names = arguments.on or ([newest.name] if newest else [])
    if not names:
        print("There are no checkpoints yet. Make one with: rlhf-studio sft", file=sys.stderr)
        return 1
    resident = Resident(ws, arguments.device)
    sampling = Sampling(temperature=arguments.temperature, max_new_tokens=arguments.max_new_tokens, seed=arguments.seed)
    try:
        answers = asking.final(resident, [{"role": "user", "content": arguments.prompt}], names, sampling)
    finally:
        resident.close()
    for name, text in answers.items():
        print(f"{name}: {text}")
    return 0
