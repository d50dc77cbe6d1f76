"""Talks with checkpoints at the terminal (``chat``): several turns, streamed, stopped by Ctrl-C, judged and corrected.

Everything is in the workspace at once, so a conversation can be gone on with here or on the page Chat.
"""

import argparse
import sys
import uuid
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from pydantic import ValidationError
from sqlite_utils import Database

from studio.chat import conversations, judging, token_view
from studio.chat import resident as residents
from studio.chat.answering import Answering
from studio.chat.conversations import Conversation, Exchange, Settings
from studio.chat.protocol import Sampling
from studio.chat.resident import Resident
from studio.chat.turns import Turn
from studio.children import DEVICES
from studio.cli import arguments as takes
from studio.cli import chat_lines
from studio.cli.printing import printable
from studio.errors import CheckpointError, ConfigError, DataError, StudioError
from studio.preferences import wording
from studio.preferences.vocabulary import SIDES, TYPED
from studio.workspace import Workspace

with suppress(
    ImportError
):  # lets input() edit its line, and take more than the 4,095 bytes at which a terminal cuts one
    import readline  # noqa: F401  # being there is enough

VOTES = f"{', '.join([*TYPED][:-1])} or {[*TYPED][-1]}"
"""The words that /vote takes."""
HELP = f"""Ctrl-C        stops the answer that is being given
Ctrl-D, /quit ends; the conversation stays
\\ at the end   continues on the next line
/again        another attempt at the last answer, with the next seed
/continue     continues answers that were cut off or stopped
/use N        continues from answer 1 or 2
/attempt N    shows the Nth attempt at the last answer
/turn N       goes back to the Nth turn, to which the other commands then apply; /turn alone returns
/edit TEXT    rewords the last turn, in another branch
/version N    shows the Nth version of the last turn
/answer TEXT  writes the last answer by hand, and continues from it
/fork         continues in a copy of this conversation
/vote WHICH   {VOTES}: a rating of the last two answers
/tokens N     after the vote: answer 1 or 2 token by token, with log-probabilities
/ideal TEXT   makes a demonstration of what the answer should have been
/prompt       adds what was asked last to the prompts
/system TEXT  sets the system prompt of the answers to come
/set K=V ...  sets temperature, top_p, top_k, max_new_tokens, seed
/title TEXT   renames the conversation
/show         prints the branch"""


def add(commands: Any) -> None:
    """Add ``chat``."""
    summary = "Talk with a checkpoint, or with two side by side."
    command = commands.add_parser("chat", help=summary, description=summary, epilog=f"While talking:\n{HELP}")
    command.formatter_class = argparse.RawDescriptionHelpFormatter
    command.add_argument(
        "checkpoints", metavar="CHECKPOINT", nargs="*", help="one or two, such as ppo-1@40 (default: the newest policy)"
    )
    command.add_argument("--continue", dest="id", metavar="ID", type=takes.identifier, help="go on with a conversation")
    command.add_argument("--system", metavar="TEXT", help="the system prompt")
    command.add_argument("--temperature", type=takes.finite, help="0 always takes the most likely token (0.7)")
    command.add_argument("--top-p", type=takes.finite, help="sample from the most likely tokens of this share (1)")
    command.add_argument("--top-k", type=int, help="sample from this many most likely tokens; 0 from all (0)")
    command.add_argument("--max-new-tokens", type=int, help="length limit of an answer (256)")
    command.add_argument("--seed", type=int, help="of the first attempts at answers (0)")
    command.add_argument("--blind", action="store_true", default=None, help="hide names until the vote")
    command.add_argument("--device", choices=DEVICES, default="auto", help="auto takes a GPU that no run uses")
    command.set_defaults(action=_chat)


def _chat(arguments: argparse.Namespace) -> int:
    ws = Workspace.existing(arguments.workspace)
    with ws.read() as db:
        conversation_id = _open(db, arguments)
    resident = Resident(ws, arguments.device)
    try:
        _Talk(ws, resident, conversation_id).run()
    finally:
        resident.close()
    return 0


def _open(db: Database, arguments: argparse.Namespace) -> int:
    """Begin a conversation, or go on with one, with what is given of the settings; returns its id."""
    before = conversations.get(db, arguments.id).settings if arguments.id else Settings()
    names = tuple(residents.policy(db, name).name for name in arguments.checkpoints) or before.checkpoints
    names = names or tuple(residents.policies(db)[:1])
    if not names:
        raise CheckpointError("There are no checkpoints yet. Make one with: rlhf-studio sft")
    if len(names) > conversations.MOST_SIDES:
        raise ConfigError("Give one checkpoint, or two to compare.")
    sampling = {name: getattr(arguments, name) for name in Sampling.model_fields}
    given = {"checkpoints": names, "system": arguments.system, "is_blind": arguments.blind}
    settings = changed(before, given, sampling)
    if not arguments.id:
        return conversations.start(db, settings)
    conversations.configure(db, arguments.id, settings)
    return arguments.id


def changed(before: Settings, given: dict[str, Any], sampling: dict[str, Any]) -> Settings:
    """Return settings with those that are given instead.

    Raises:
        ConfigError: one is out of bounds.
    """
    chosen = {name: value for name, value in given.items() if value is not None}
    drawn = before.sampling.model_dump() | {name: value for name, value in sampling.items() if value is not None}
    try:
        return Settings.model_validate(before.model_dump() | chosen | {"sampling": drawn})
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        raise ConfigError(f"{fault['loc'][-1]} = {fault.get('input')!r}: {fault['msg']}.") from error


class _Talk:
    """One conversation at the terminal."""

    def __init__(self, ws: Workspace, resident: Resident, conversation_id: int) -> None:
        self.ws, self.resident, self.answers, self.id = ws, resident, Answering(ws, resident), conversation_id
        self.commands: dict[str, Callable[[str], None]] = {
            "help": lambda _: print(HELP),
            "again": lambda _: self._again(),
            "continue": lambda _: self._go_on(),
            "use": self._use,
            "attempt": self._attempt,
            "turn": self._turn,
            "edit": self._edit,
            "version": self._version,
            "answer": self._answer,
            "fork": lambda _: self._fork(),
            "vote": self._vote,
            "tokens": self._tokens,
            "ideal": self._ideal,
            "prompt": lambda _: self._prompt(),
            "system": lambda text: self._configure({"system": text}, {}),
            "set": self._set,
            "title": self._title,
            "show": lambda _: self._show(),
        }

    def run(self) -> None:
        """Read what is said until the input ends."""
        found = self._conversation()
        names = " and ".join(found.settings.checkpoints)
        print(f"Conversation {self.id} with {names}. /help lists the commands; Ctrl-C stops an answer, Ctrl-D ends.")
        if found.leaf_id:
            self._show()
        while True:
            try:
                text = _read()
                if text is None or text.split()[:1] == ["/quit"]:
                    break
                self._take(text)
            except StudioError as error:
                print(error, flush=True)
            except KeyboardInterrupt:  # while nothing is answered: the line begins again
                print(flush=True)
        with self.ws.write() as db:
            if conversations.get(db, self.id).leaf_id is None:
                conversations.delete(db, self.id)  # nothing was said
                return
        print(f"It is kept. Go on with it: rlhf-studio chat --continue {self.id}")

    def _take(self, text: str) -> None:
        name, _, rest = text.strip().partition(" ")
        if not text.strip():
            return
        if not name.startswith("/") or len(name) == 1:
            return self._say(text)
        if name[1:] not in self.commands:
            raise DataError(f"{printable(name)} is not a command. /help lists them.")
        self.commands[name[1:]](rest.strip())

    def _say(self, text: str) -> None:
        last = self._exchanges()[-1:]
        if last and last[0].chosen is None:
            raise DataError("The last turn has no answer yet: /again asks for one, /edit TEXT rewords it.")
        with self.ws.write() as db:
            said = conversations.say(db, self.id, text, last[0].chosen if last else None)
            begun = conversations.ask(db, said)
        self._hear(begun)

    def _again(self) -> None:
        asked = self._last().asked
        with self.ws.write() as db:
            begun = conversations.ask(db, asked.id)
        self._hear(begun)

    def _go_on(self) -> None:
        cut = [each for each in self._last().answers if each.can_go_on]
        if not cut:
            raise DataError("No answer here was cut off.")
        with self.ws.write() as db:
            begun = [conversations.reopen(db, each.id) for each in cut]
        self._hear(begun)

    def _hear(self, begun: list[Turn]) -> None:
        """Have answers given, and print them one after the other; Ctrl-C stops them all."""
        ids = [each.id for each in begun]
        self.answers.begin(begun)
        for place, answer in enumerate(begun):
            self._head(place, answer, len(begun))
            known, ended = 0, None
            while ended is None:
                try:
                    for news in self.answers.hear({answer.id: known}):
                        added = news.text[known:] if known else news.text.lstrip()
                        print(printable(added), end="", flush=True)
                        known, ended = len(news.text), news if news.end_reason else None
                except KeyboardInterrupt:
                    with suppress(KeyboardInterrupt):  # of an impatient second press
                        self.answers.stop(ids)
            print(f"\n  [{printable(ended.ending)}]", flush=True)

    def _head(self, place: int, answer: Turn, num: int) -> None:
        is_hidden = num > 1 and self._conversation().settings.is_blind
        name = "" if is_hidden else f" {answer.checkpoint}"
        print(f"\n[{chat_lines.side(place)}]{name}" if num > 1 else f"\n{answer.checkpoint}", flush=True)

    def _use(self, text: str) -> None:
        answers = self._last().answers
        chosen = answers[_number(text, len(answers)) - 1]
        with self.ws.write() as db:
            conversations.open_at(db, chosen.id)
        print(f"It goes on from answer {(chosen.place or 0) + 1}.")

    def _attempt(self, text: str) -> None:
        last = self._last()
        number = last.attempts[_number(text, len(last.attempts)) - 1]
        with self.ws.write() as db:
            conversations.open_at(db, last.asked.id, number)
        self._show()

    def _turn(self, text: str) -> None:
        found = [each for each in self._exchanges() if each.chosen]
        with self.ws.write() as db:
            if text:
                conversations.go_back(db, found[_number(text, len(found)) - 1].chosen or 0)
            elif found:
                conversations.open_at(db, found[0].asked.id)
        self._show()

    def _edit(self, text: str) -> None:
        with self.ws.write() as db:
            begun = conversations.ask(db, conversations.edit(db, self._last().asked.id, text))
        self._hear(begun)

    def _version(self, text: str) -> None:
        versions = self._last().versions
        with self.ws.write() as db:
            conversations.open_at(db, versions[_number(text, len(versions)) - 1])
        self._show()

    def _answer(self, text: str) -> None:
        with self.ws.write() as db:
            conversations.edit(db, self._chosen().id, text)
        print("It goes on from your answer.")

    def _fork(self) -> None:
        with self.ws.write() as db:
            self.id = conversations.fork(db, self._chosen().id)
        print(f"This is conversation {self.id} now; the first one stays as it was.")

    def _vote(self, text: str) -> None:
        if text not in TYPED:
            raise DataError(f"Type /vote with {VOTES}.")
        answers = self._last().answers
        with self.ws.write() as db:
            rating = judging.vote(db, [each.id for each in answers], TYPED[text])
            if text in ("left", "right"):
                conversations.open_at(db, answers[text == "right"].id)
            said = f"{wording.of_rating(db, rating)}. {judging.held_out(db, rating)}".rstrip()
        print(f"Recorded: {said} {', '.join(f'{SIDES[each.place or 0]} is {each.checkpoint}' for each in answers)}.")
        with self.ws.read() as db:
            words = judging.score(db, self.resident, [each.id for each in answers])
        if words:
            print(words)

    def _tokens(self, text: str) -> None:
        answers = self._last().answers
        with self.ws.read() as db:
            judged = token_view.judged(db, answers[_number(text, len(answers)) - 1].id)
        view = token_view.read(self.resident, judged)
        print("\n".join(map(printable, token_view.lines(view))))

    def _ideal(self, text: str) -> None:
        with self.ws.write() as db:
            rating = judging.demonstrate(db, self._chosen().id, text, uuid=str(uuid.uuid4()))
        more = ", and preferred to the answer" if rating else ""
        print(f"Recorded: a demonstration{more}.")

    def _prompt(self) -> None:
        with self.ws.write() as db:
            prompt_id, is_new = judging.add_prompt(db, self._last().asked.id)
        print(f"It is prompt {prompt_id}{'' if is_new else ', which was there already'}.")

    def _set(self, text: str) -> None:
        given = {name: value for name, _, value in (word.partition("=") for word in text.split())}
        if not given or not given.keys() <= Sampling.model_fields.keys():
            raise DataError(f"Type /set with {', '.join(Sampling.model_fields)}, such as /set temperature=0.5")
        self._configure({}, given)

    def _configure(self, given: dict[str, Any], sampling: dict[str, Any]) -> None:
        settings = changed(self._conversation().settings, given, sampling)
        with self.ws.write() as db:
            conversations.configure(db, self.id, settings)
        print("This holds from the next answer on.")

    def _title(self, text: str) -> None:
        with self.ws.write() as db:
            conversations.rename(db, self.id, text)

    def _show(self) -> None:
        with self.ws.read() as db:
            print("\n".join(chat_lines.shown(db, self.id)))

    def _conversation(self) -> Conversation:
        with self.ws.read() as db:
            return conversations.get(db, self.id)

    def _exchanges(self) -> list[Exchange]:
        with self.ws.read() as db:
            return conversations.exchanges(db, conversations.get(db, self.id))

    def _last(self) -> Exchange:
        found = self._exchanges()
        if not found:
            raise DataError("Nothing has been said yet.")
        return found[-1]

    def _chosen(self) -> Turn:
        last = self._last()
        for each in last.answers:
            if each.id == last.chosen:
                return each
        raise DataError("There is no answer yet: /again asks for one.")


def _number(text: str, most: int) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= most:
        raise DataError(f"Give a number from 1 to {most}." if most else "There is none to choose from.")
    return int(text)


def _read() -> str | None:
    """Return what is said next, None at the end of the input."""
    said: list[str] = []
    while True:
        try:
            line = input("… " if said else "\n> ") if sys.stdin.isatty() else _line()
        except EOFError:
            return "\n".join(said) or None
        said.append(line.removesuffix("\\"))
        if not line.endswith("\\"):
            return "\n".join(said)


def _line() -> str:
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line.rstrip("\r\n")
