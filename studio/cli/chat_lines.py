"""A conversation as lines for the terminal."""

from sqlite_utils import Database

from studio.chat import conversations, judging
from studio.chat.answering import of_turn
from studio.chat.conversations import Exchange
from studio.chat.turns import Turn
from studio.cli.printing import printable
from studio.preferences.vocabulary import SIDES


def shown(db: Database, conversation_id: int) -> list[str]:
    """Return the branch at which a conversation opens as lines for the terminal."""
    found = conversations.get(db, conversation_id)
    told = [f"system: {found.settings.system}"] if found.settings.system else []
    for exchange in conversations.exchanges(db, found):
        told.append(f"\nyou{_which(exchange.versions, exchange.asked.id)}\n{exchange.asked.text}")
        is_hidden = judging.is_hidden(db, found, exchange.answers)
        told += [
            f"\n{_name(exchange, each, is_hidden)}\n{each.text}\n  [{of_turn(each).ending}]"
            for each in exchange.answers
        ]
    return [printable(line) for line in told]


def side(place: int) -> str:
    """Return what one of two answers is called: by its number for /use, by its side for /vote."""
    return f"{place + 1}, {SIDES[place]}"


def _name(exchange: Exchange, answer: Turn, is_hidden: bool) -> str:
    name = "hidden" if is_hidden else answer.checkpoint or "you"
    place = f"[{side(answer.place or 0)}] " if len(exchange.answers) > 1 else ""
    used = " (it goes on from here)" if len(exchange.answers) > 1 and answer.id == exchange.chosen else ""
    attempts = exchange.attempts
    which = (
        f", attempt {attempts.index(answer.attempt) + 1} of {len(attempts)}"
        if answer.attempt in attempts and len(attempts) > 1
        else ""
    )
    return f"{place}{name}{which}{used}"


def _which(versions: list[int], turn_id: int) -> str:
    return f", version {versions.index(turn_id) + 1} of {len(versions)}" if len(versions) > 1 else ""
