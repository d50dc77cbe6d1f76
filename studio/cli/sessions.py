"""Rating sessions at the terminal: ``session`` (start, pause, resume, end, card, guideline, predict); ``rate`` rates in them."""

import argparse
import math
from typing import Any

from sqlite_utils import Database

from studio import settings
from studio.annotation import disagreements, guidelines, predictions, prefetch, session_summary, sessions
from studio.annotation.session_config import SessionConfig
from studio.annotation.session_summary import Card, Share
from studio.annotation.sessions import Session
from studio.cli import arguments as takes
from studio.cli import follow
from studio.cli.printing import printable, when
from studio.errors import RatingError
from studio.insights import active_choice
from studio.workspace import Workspace

FIRST_LETTERS = 100


def add(commands: Any) -> None:
    """Add ``session``."""
    summary = "Rating sessions: start, pause, resume, end; what their votes say."
    command = commands.add_parser("session", help=summary, description=f"{summary} Without a verb: the list.")
    command.set_defaults(action=_list)
    verbs = command.add_subparsers(dest="verb", metavar="VERB")
    start = verbs.add_parser(
        "start",
        help="start a session; rate in it on the page or with: rlhf-studio rate",
        epilog=settings.help_text(SessionConfig),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    start.add_argument("--config", metavar="FILE", help="a JSON file with settings")
    start.add_argument("--set", metavar="KEY=VALUE", action="append", default=[], help="one setting; may be repeated")
    start.set_defaults(action=_start)
    for verb, action, text in (
        ("pause", sessions.pause, "let it wait; other pairs can be rated meanwhile"),
        ("resume", sessions.resume, "go on after a pause, or with the next block"),
        ("end", sessions.end, "end it for good"),
    ):
        parser = verbs.add_parser(verb, help=text)
        parser.add_argument("session", type=takes.identifier, nargs="?", help="its number; the newest by default")
        parser.set_defaults(action=_move, move=action)
    card = verbs.add_parser("card", help="pace, ties, sides, agreement with oneself and with the reward model")
    card.add_argument("session", type=takes.identifier, nargs="?", help="its number; the newest by default")
    card.add_argument("--last", type=takes.count, metavar="N", help="only the newest N votes")
    card.set_defaults(action=_card)
    guideline = verbs.add_parser("guideline", help="show the guideline in force, or put a new version in force")
    guideline.add_argument("text", nargs="?", help="the new text; older versions stay with the ratings they were for")
    guideline.set_defaults(action=_guideline)
    predict = verbs.add_parser("predict", help="let the newest reward model predict what nobody has judged")
    predict.set_defaults(action=_predict)


def _list(arguments: argparse.Namespace) -> int:
    ws = Workspace.existing(arguments.workspace)
    with ws.read() as db:
        found = sessions.list_all(db)
    for session in found:
        print(f"{when(session.created_at)}  {session.sentence}")
    if not found:
        print(f"There are no sessions yet. Start one: {follow.command(arguments, 'session', 'start')}")
    return 0


def _start(arguments: argparse.Namespace) -> int:
    config = settings.read_class(SessionConfig, "session", arguments.config, arguments.set)
    ws = Workspace.existing(arguments.workspace)
    with ws.write() as db:
        session = active_choice.start_session(db, config)
    with ws.read() as db:
        guideline = guidelines.current(db)
        why = "" if prefetch.is_sampled(session) else sessions.why_nothing(db, session)
    print(f"{session.sentence} Guideline: {printable(guideline.text)}")
    if session.reason:
        print(printable(session.reason))
    prefetch.look_after(ws)
    if why:
        print(f"It has nothing to show. {why}\nEnd it: {follow.command(arguments, 'session', 'end')}")
    print(f"Rate: {follow.command(arguments, 'rate')}")
    return 0


def _move(arguments: argparse.Namespace) -> int:
    ws = Workspace.existing(arguments.workspace)
    with ws.write() as db:
        moved = arguments.move(db, _chosen(db, arguments).id)
    print(moved.sentence)
    return 0


def _card(arguments: argparse.Namespace) -> int:
    ws = Workspace.existing(arguments.workspace)
    with ws.read() as db:
        session = _chosen(db, arguments)
        card = session_summary.card(db, session.id, arguments.last)
    print(session.sentence)
    if session.reason:
        print(printable(session.reason))
    print(_told(card))
    return 0


def _told(card: Card) -> str:
    pace = "-" if math.isnan(card.votes_per_hour) else f"{card.votes_per_hour:.0f} votes an hour"
    loss = "-" if math.isnan(card.log_loss) else f"{card.log_loss:.3f} nats a vote (guessing: 0.693)"
    rows = [
        (
            "pace",
            f"{pace}, {card.num_votes} votes and {card.num_skipped} skips in {card.active_s / 60:.1f} active minutes",
        ),
        ("ties", _share(card.ties)),
        ("left", _share(card.left)),
        ("agrees with itself", _share(card.self_agreement)),
        ("  sides as before", _share(card.same_sides)),
        ("  sides swapped", _share(card.swapped_sides)),
        ("reward model agrees", _share(card.reward_agreement)),
        ("its log-loss", loss),
        ("changed after it", str(card.changed)),
    ]
    lines = [f"{name.ljust(20)} {text}" for name, text in rows]
    for found in card.contradictions:
        prompt = " ".join(printable(found.prompt).split())[:FIRST_LETTERS]
        lines.append(
            f"  against a confident reward model: rating {found.event_id}, given {found.probability:.0%}: {prompt}"
        )
    return "\n".join(lines)


def _share(share: Share) -> str:
    if not share.num:
        return "-"
    low, high = share.interval
    hits = f"{share.hits:.1f}".removesuffix(".0")
    return f"{share.value:.0%} ({low:.0%} to {high:.0%}), {hits} of {share.num}"


def _guideline(arguments: argparse.Namespace) -> int:
    ws = Workspace.existing(arguments.workspace)
    if arguments.text is not None:
        with ws.write() as db:
            guidelines.write(db, arguments.text)
    with ws.read() as db:
        found, gaps = guidelines.current(db), disagreements.gaps(db)
    print(f"Version {found.version}: {printable(found.text)}")
    if gaps:
        print("Pairs for which it did not say enough:")
    for gap in gaps:
        prompt = " ".join(printable(gap.prompt).split())[:FIRST_LETTERS]
        print(
            f"  {when(gap.created_at)}  {f'version {gap.guideline_id}' if gap.guideline_id else 'no line yet':<11}  {prompt}"
        )
    return 0


def _predict(arguments: argparse.Namespace) -> int:
    print(predictions.run(Workspace.existing(arguments.workspace)))
    return 0


def _chosen(db: Database, arguments: argparse.Namespace) -> Session:
    if arguments.session is not None:
        return sessions.get(db, arguments.session)
    newest = next(iter(sessions.list_all(db)), None)
    if newest is None:
        raise RatingError(f"There are no sessions yet. Start one: {follow.command(arguments, 'session', 'start')}")
    return newest
