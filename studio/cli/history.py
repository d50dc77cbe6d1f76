"""Shows ratings at the terminal: ``history`` (search, filter, correct) and ``snapshots`` (freeze, list, compare)."""

import argparse
from typing import Any

from sqlite_utils import Database

from studio import settings
from studio.annotation import history
from studio.annotation.history import Entry, Filter
from studio.cli import arguments as takes
from studio.cli import disagreements, follow
from studio.cli.printing import printable, when
from studio.errors import RatingError
from studio.preferences import ratings, snapshot_changes, snapshots
from studio.preferences.judgements import Remarks, parse_ranking
from studio.preferences.snapshots import Recipe
from studio.preferences.vocabulary import FLAGS, OUTCOMES, STRENGTHS
from studio.recovery import rescue
from studio.workspace import Workspace

FIRST_LETTERS = 90
COUNTED = 1000
"""Most matching ratings that are counted; beyond, all of a large workspace would be read."""


def add(commands: Any) -> None:
    """Add ``history`` and ``snapshots``."""
    summary = "Search, filter and correct what was rated."
    command = commands.add_parser("history", help=summary, description=summary)
    command.add_argument("--search", metavar="TEXT", default="", help="only prompts or answers with this text")
    command.add_argument("--outcome", choices=OUTCOMES, default="")
    command.add_argument("--rater", default="", help="person, import, or another name")
    command.add_argument("--category", default="")
    command.add_argument("--since", metavar="DAY", default="", help="given on this day (UTC, 2026-03-31) or later")
    command.add_argument("--until", metavar="DAY", default="", help="given on this day (UTC) or earlier")
    command.add_argument("--flag", choices=FLAGS, default="")
    command.add_argument("--session", type=takes.identifier, metavar="N")
    command.add_argument(
        "--changed",
        action="store_true",
        help="only ratings that were corrected, annotated again, given again after an undo, or taken back",
    )
    command.add_argument("--limit", type=takes.count, default=20, metavar="N", help="show this many (20)")
    command.add_argument("--before", type=takes.identifier, metavar="ID", help="continue after this rating")
    command.add_argument("--json", action="store_true", help="one JSON object a line")
    command.set_defaults(action=_history)
    verbs = command.add_subparsers(dest="verb", metavar="VERB")
    correct = verbs.add_parser("correct", help="replace a judgement that counts with another")
    correct.add_argument("id", type=takes.identifier, help="the rating's number")
    correct.add_argument("to", choices=OUTCOMES)
    correct.add_argument(
        "--strength", type=int, choices=[*STRENGTHS], help=", ".join(f"{n} {words}" for n, words in STRENGTHS.items())
    )
    correct.add_argument("--ranks", metavar="LINE", help="of a ranking: best first, = for a tie, such as '2 1=3'")
    correct.set_defaults(action=_correct)
    annotate = verbs.add_parser("annotate", help="give a rating another note or other flags; the judgement stays")
    annotate.add_argument("id", type=takes.identifier, help="the rating's number")
    annotate.add_argument("--note", help="instead of the note it has; '' removes it")
    annotate.add_argument(
        "--flags", nargs="*", metavar="FLAG:N", help="instead of the flags it has: unsafe:2 flags the second answer"
    )
    annotate.set_defaults(action=_annotate)
    show = verbs.add_parser("show", help="one rating with its texts and all its events")
    show.add_argument("id", type=takes.identifier)
    show.set_defaults(action=_show)
    disagreements.add(verbs)
    _add_snapshots(commands)


def _add_snapshots(commands: Any) -> None:
    summary = "Frozen training sets: list, freeze, compare."
    command = commands.add_parser("snapshots", help=summary, description=f"{summary} Without a verb: the list.")
    command.set_defaults(action=_list_snapshots)
    verbs = command.add_subparsers(dest="verb", metavar="VERB")
    freeze = verbs.add_parser(
        "freeze",
        help="freeze the current ratings; train on them with: rlhf-studio reward --set snapshot=NAME",
        epilog=settings.help_text(Recipe),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    freeze.add_argument("--set", metavar="KEY=VALUE", action="append", default=[], help="one setting; may be repeated")
    freeze.set_defaults(action=_freeze)
    compare = verbs.add_parser("diff", help="how two snapshots differ, pair by pair")
    compare.add_argument("first", help="a number, snapshot-3, or the beginning of a sha256")
    compare.add_argument("second")
    compare.add_argument(
        "--limit", type=takes.count, default=10, metavar="N", help="show this many pairs of each kind (10)"
    )
    compare.set_defaults(action=_compare)


def _history(arguments: argparse.Namespace) -> int:
    ws = Workspace.existing(arguments.workspace)
    wanted = Filter(
        arguments.search,
        arguments.outcome,
        arguments.rater,
        arguments.category,
        arguments.since,
        arguments.until,
        arguments.flag,
        arguments.session,
        arguments.changed,
    )
    rescue.check(ws)
    with ws.read() as db:
        history.check_names(db, wanted)
        found = history.find(db, wanted, limit=arguments.limit, before=arguments.before)
        number = 0 if arguments.json or arguments.before is not None else history.count(db, wanted, COUNTED + 1)
    if arguments.json:
        for entry in found:
            print(history.as_json(entry))
        return 0
    for entry in found:
        print(_line(entry))
    if arguments.before is None:
        print(
            f"{len(found):,} of {f'more than {COUNTED:,}' if number > COUNTED and wanted != Filter() else f'{number:,}'} ratings that fit."
        )
    return 0


def _show(arguments: argparse.Namespace) -> int:
    ws = Workspace.existing(arguments.workspace)
    with ws.read() as db:
        entry = history.get(db, arguments.id, is_undone_too=True)
        texts, events = history.texts(db, entry), history.events(db, arguments.id)
    print(_line(entry))
    for turn in entry.messages:
        print(printable(f"{turn['role']}: {turn['content']}"))
    for number, text in enumerate(texts, 1):
        print(f"\n[{number}]\n{printable(text)}")
    remarks = {"note": entry.note, "flags": entry.flags, "scales": entry.attributes}
    print("".join(f"\n{name}: {printable(text)}" for name, text in remarks.items() if text))
    for event in events:
        after = ", after its prediction was shown" if event["after_prediction"] else ""
        print(
            f"{event['id']}: {event['outcome']} {event['strength'] or ''} by {event['rater']}, {when(event['created_at'], 19)}{after}"
        )
    return 0


def _correct(arguments: argparse.Namespace) -> int:
    ws = Workspace.existing(arguments.workspace)
    with ws.read() as db:
        texts = history.texts(db, _counting(db, arguments, "correct"))
    ranks = None if arguments.ranks is None else parse_ranking(arguments.ranks, len(texts))
    with ws.write() as db:
        found = ratings.correct(db, arguments.id, arguments.to, strength=arguments.strength, ranks=ranks)
    print(f"Rating {found.id} replaces {arguments.id}, which stays on record.")
    return 0


def _annotate(arguments: argparse.Namespace) -> int:
    if arguments.note is None and arguments.flags is None:
        raise RatingError("Nothing was changed: give --note, --flags or both.")
    ws = Workspace.existing(arguments.workspace)
    with ws.read() as db:
        kept = _counting(db, arguments, "annotate").remarks
    flags = dict(kept.flags) if arguments.flags is None else {}
    for name, _, number in (flag.partition(":") for flag in arguments.flags or []):
        if not number.isdecimal():
            raise RatingError(f"Write the answer's number after {name}, such as {name}:2")
        flags[name] = [*flags.get(name, []), int(number) - 1]
    note = kept.note if arguments.note is None else arguments.note
    with ws.write() as db:
        found = ratings.annotate(db, arguments.id, Remarks(note, flags, kept.attributes))
    print(f"Rating {found.id} has the remarks and the same judgement; {arguments.id} stays on record.")
    return 0


def _counting(db: Database, arguments: argparse.Namespace, verb: str) -> Entry:
    """Return the chosen rating, if it still counts.

    Raises:
        RatingError: there is none, it was taken back, or a newer one has replaced it.
    """
    entry = history.get(db, arguments.id)
    if entry.id != arguments.id:
        raise RatingError(
            f"Rating {arguments.id} no longer counts: rating {entry.id} has replaced it. "
            f"Change that one: {follow.command(arguments, 'history', verb, str(entry.id), '...')}"
        )
    return entry


def _line(entry: Entry) -> str:
    prompt = " ".join(printable(entry.messages[-1]["content"]).split())[:FIRST_LETTERS]
    return f"{entry.id:>7}  {when(entry.created_at)}  {entry.verdict:<22} {entry.rater:<9} {prompt}"


def _list_snapshots(arguments: argparse.Namespace) -> int:
    ws = Workspace.existing(arguments.workspace)
    with ws.read() as db:
        used = snapshots.runs_of(db)
        found = snapshots.list_all(db)
    for snapshot in found:
        trained = f"; trained on by {', '.join(used[snapshot.id])}" if snapshot.id in used else ""
        print(f"{when(snapshot.created_at)}  {snapshot.sentence}{trained}")
    if not found:
        print("There are no snapshots yet. A reward run freezes one, and so does: rlhf-studio snapshots freeze")
    return 0


def _freeze(arguments: argparse.Namespace) -> int:
    recipe = settings.read_class(Recipe, "snapshots freeze", None, arguments.set)
    rescue.check(Workspace.existing(arguments.workspace))
    with Workspace.existing(arguments.workspace).write() as db:
        print(snapshots.freeze(db, recipe).sentence)
    return 0


def _compare(arguments: argparse.Namespace) -> int:
    with Workspace.existing(arguments.workspace).read() as db:
        found = snapshot_changes.compare(db, arguments.first, arguments.second)
    for name, (before, after) in found.recipe.items():
        print(f"recipe: {name} is {before} in the first and {after} in the second")
    print(found.sentence)
    for title, rows in (("only in the first", found.only_first), ("only in the second", found.only_second)):
        for row in rows[: arguments.limit]:
            print(f"  {title}: {_pair(row)}")
    for before, after in found.changed[: arguments.limit]:
        print(f"  changed: {_pair(before)}\n       to: {_pair(after)}")
    return 0


def _pair(row: dict[str, Any]) -> str:
    first = {name: " ".join(printable(row[name]).split())[:40] for name in ("prompt", "chosen", "rejected")}
    figures = f"target {row['target_p']:g}, margin {row['margin']:.2f}, weight {row['weight']:.3g}"
    return f"{first['prompt']} | {first['chosen']} > {first['rejected']} ({figures})"
