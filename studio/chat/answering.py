"""Has checkpoints answer in conversations, and stores what they say while they say it.

Each answer is heard by a thread, which stores its text every second and its end, whoever looks at it or does not: a page that is
reloaded or a terminal that is closed stops nothing. Whoever looks asks `hear`, which waits until there is more.
"""

import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

from studio.chat import turns
from studio.chat.protocol import Event, Question
from studio.chat.resident import Resident
from studio.chat.turns import Turn
from studio.errors import DataError, StudioError
from studio.workspace import Workspace

STORE_S = 1.0
"""Seconds of text that a killed process loses at most."""
FULL = "The model has no more positions."
ENDINGS = {
    "eos": "ended by itself",
    "length": "reached the length limit",
    "stop": "reached a stop text",
    "stopped": "stopped",
    "written": "written by you",
}
"""End reason in words."""
LOST = "It was cut off: the program that received it ended."


@dataclass
class Growing:
    """An answer that is given, or that has ended."""

    turn_id: int
    text: str
    end_reason: str | None = None
    """None while it grows."""
    num_tokens: int = 0
    seconds: float = 0.0
    message: str = ""

    @property
    def ending(self) -> str:
        """How many tokens it has, how fast they came, and how it ended, in words; empty while it grows."""
        if self.end_reason is None:
            return ""
        count = f"{self.num_tokens:,} token{'' if self.num_tokens == 1 else 's'}"
        speed = f"{self.num_tokens / self.seconds:,.0f} tokens/s" if self.num_tokens and self.seconds else ""
        how = self.message or ENDINGS.get(self.end_reason, "")
        return " · ".join(filter(None, (count if self.num_tokens else "", speed, how)))


@dataclass
class _Live:
    """An answer that is being heard."""

    growing: Growing
    question: Question | None = None
    """None until it is asked."""
    is_stopped: bool = False


class Answering:
    """The answers that this process is having given.

    Args:
        ws: The workspace.
        resident: Gives them.
    """

    def __init__(self, ws: Workspace, resident: Resident) -> None:
        self._ws, self._resident = ws, resident
        self._live: dict[int, _Live] = {}
        self._changed = threading.Condition()

    def begin(self, answers: Sequence[Turn]) -> None:
        """Have the models give these stored answers, all at once; one that cannot be asked ends with the reason."""
        for answer in answers:
            live = _Live(Growing(answer.id, answer.text, None, answer.num_tokens or 0, answer.seconds or 0.0))
            with self._changed:
                self._live[answer.id] = live
            threading.Thread(target=self._follow, args=(answer, live), daemon=True).start()

    def is_live(self, turn_id: int) -> bool:
        """Return whether an answer is being given by this process."""
        return turn_id in self._live

    def stop(self, turn_ids: Sequence[int]) -> None:
        """Have answers end where they are; what there is of them is stored."""
        for turn_id in turn_ids:
            with self._changed:
                live = self._live.get(turn_id)
                question = live.question if live else None
                if live:
                    live.is_stopped = True
            if question is not None:
                self._resident.stop(question)

    def hear(self, known: Mapping[int, int], wait_s: float = 10.0) -> list[Growing]:
        """Return those answers that have more characters than is known of them, or have ended.

        Args:
            known: Id of an answer to the number of its characters that are known.
            wait_s: Wait so long until there is one; then the list is empty.
        """
        until = time.monotonic() + wait_s
        with self._changed:
            while True:
                live = {turn_id: self._live[turn_id].growing for turn_id in known if turn_id in self._live}
                news = [Growing(**vars(each)) for each in live.values() if len(each.text) > known[each.turn_id]]
                if news or len(live) < len(known) or time.monotonic() > until:
                    break
                self._changed.wait(until - time.monotonic())
        with self._ws.read() as db:
            return news + [of_turn(turns.turn(db, turn_id)) for turn_id in known if turn_id not in live]

    def _follow(self, answer: Turn, live: _Live) -> None:
        """Hear an answer to its end, and store it."""
        reason, message, last = "failed", LOST, Event(id=0)
        try:
            question = self._question(answer)
            with closing(self._resident.answer(question)) as events:
                with self._changed:
                    live.question, is_stopped = question, live.is_stopped
                if is_stopped:
                    self._resident.stop(question)
                for last in self._stored_while_heard(events, live.growing):
                    if last.reason:
                        is_full = last.reason == "length" and last.num_tokens < answer.sampling.max_new_tokens
                        reason, message = last.reason, FULL if is_full else ""
        except StudioError as error:
            message = str(error)
        finally:
            self._end(live.growing, reason, message, last)

    def _stored_while_heard(self, events: Iterable[Event], growing: Growing) -> Iterator[Event]:
        """Yield what is heard of an answer, its text taken in, and stored now and then."""
        stored_at = time.monotonic()
        for event in events:
            if event.text:
                with self._changed:
                    growing.text += event.text
                    self._changed.notify_all()
            if time.monotonic() - stored_at > STORE_S and not event.reason:
                stored_at = time.monotonic()
                with self._ws.write() as db:
                    turns.write(db, growing.turn_id, growing.text)
            yield event

    def _question(self, answer: Turn) -> Question:
        if answer.parent_id is None or answer.checkpoint is None:
            raise DataError("This answer was written by a person; no model can continue it.")
        with self._ws.read() as db:
            said = turns.messages(db, answer.parent_id, answer.system)
        return self._resident.question(answer.checkpoint, said, answer.sampling, text=answer.text)

    def _end(self, growing: Growing, reason: str, message: str, last: Event) -> None:
        num_tokens, seconds = growing.num_tokens + last.num_tokens, growing.seconds + last.seconds
        try:
            with self._ws.write() as db:
                turns.end(
                    db, growing.turn_id, growing.text, reason, num_tokens=num_tokens, seconds=seconds, message=message
                )
        finally:
            with self._changed:
                self._live.pop(growing.turn_id, None)
                self._changed.notify_all()


def of_turn(turn: Turn) -> Growing:
    """Return a stored answer that nobody hears any more: one without an end was cut off."""
    message = turn.message if turn.end_reason else LOST
    return Growing(turn.id, turn.text, turn.end_reason or "failed", turn.num_tokens or 0, turn.seconds or 0.0, message)
