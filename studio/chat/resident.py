"""The other end of the resident process (`studio.worker.resident`): starts it when it is needed, and hands on what it says.

The process ends by itself after an idle time, gives a GPU back to a run that waits for it, and may be killed at any moment:
the next question starts another.
"""

import queue
import subprocess
import threading
from collections import deque
from collections.abc import Generator, Sequence
from contextlib import closing, suppress

from sqlite_utils import Database

from studio import children
from studio.chat.protocol import (
    Event,
    OfPolicy,
    Predicting,
    Question,
    Reading,
    Sampling,
    Scoring,
    Start,
    Stop,
    TextReading,
)
from studio.errors import CheckpointError, DataError, RunError
from studio.models import base_models, checkpoints, parents
from studio.models.checkpoints import Checkpoint
from studio.preferences.prompts import Messages, check_messages
from studio.workspace import Workspace

MODULE = "studio.worker.resident"
Scores = list[list[float]]
Asking = Question | Reading | TextReading | Scoring | Predicting
IDLE_S = 300.0
LINES_KEPT = 20


class _Asked:
    """A question that is open."""

    def __init__(self, question: Asking, events: queue.Queue[Event]) -> None:
        self.question, self.events = question, events
        self.has_begun = False


class Resident:
    """Answers of a workspace's checkpoints, by one process that stays; may be used by several threads at once.

    Args:
        ws: The workspace.
        device: ``auto`` takes a GPU that no run uses; ``cpu`` takes none.
        idle_s: Seconds without a question after which the process ends.
    """

    def __init__(self, ws: Workspace, device: str = "auto", idle_s: float = IDLE_S) -> None:
        self._ws, self._device, self._idle_s = ws, children.check_device(device), idle_s
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._open: dict[int, _Asked] = {}
        self._last_id = 0

    def question(
        self,
        name: str,
        messages: Messages,
        sampling: Sampling | None = None,
        *,
        text: str = "",
        stop: Sequence[str] = (),
        num_logprobs: int | None = None,
    ) -> Question:
        """Return a question to a checkpoint, checked.

        Args:
            name: The checkpoint.
            messages: The conversation up to a user's turn; empty to go on from `text` alone.
            sampling: How it is sampled.
            text: What the answer is to begin with.
            stop: Texts at which it ends.
            num_logprobs: Tell log-probabilities, and so many of the most likely tokens; None tells none.

        Raises:
            CheckpointError: It is missing or not a policy.
            DataError: The messages do not end with a user's turn.
        """
        of_policy = self._of_policy(name)
        if messages or not text:
            messages = check_messages(messages, last="user")
        return Question(
            **of_policy.model_dump(),
            messages=messages,
            text=text,
            sampling=sampling or Sampling(),
            stop=[each for each in stop if each],
            num_logprobs=num_logprobs,
        )

    def read(
        self,
        name: str,
        prompt_ids: Sequence[int],
        response_ids: Sequence[int],
        texts: Sequence[str | None],
        temperature: float,
    ) -> list[float]:
        """Return the log-probability that a checkpoint gives each token of a response, in nats.

        Raises:
            CheckpointError: It is missing or not a policy.
            DataError: It has another vocabulary, or the text does not fit into the model.
            RunError: The process could not start, failed or was killed.
        """
        asked = Reading(
            **self._of_policy(name).model_dump(),
            prompt_ids=list(prompt_ids),
            response_ids=list(response_ids),
            texts=list(texts),
            temperature=temperature,
        )
        return next(event.logprobs for event in self.answer(asked) if event.logprobs)

    def read_text(self, name: str, messages: Messages, response: str, end_reason: str) -> list[tuple[str, float]]:
        """Return each token of an answer, as the checkpoint cuts it, with the log-probability that it gives it, in nats.

        Raises:
            CheckpointError: It is missing or not a policy.
            DataError: The answer does not fit into the model.
            RunError: The process could not start, failed or was killed.
        """
        of_policy = self._of_policy(name).model_dump()
        asked = TextReading(**of_policy, messages=messages, response=response, end_reason=end_reason)
        event = next(event for event in self.answer(asked) if event.logprobs)
        return list(zip(event.texts, event.logprobs, strict=True))

    def _of_policy(self, name: str) -> OfPolicy:
        with self._ws.read() as db:
            found = policy(db, name)
            traits = parents.read(db, found)
        return OfPolicy(
            id=self._number(),
            checkpoint=found.name,
            folder=str(found.folder),
            base_folder=base_models.resolve(traits.base_model),
            precision=traits.precision,
        )

    def score(
        self, name: str, messages: Messages, responses: Sequence[str], end_reasons: Sequence[str | None]
    ) -> Scores:
        """Return the score of each response by each member of a reward model.

        Raises:
            CheckpointError: It is missing or not a reward model.
            DataError: A response does not fit into the model.
            RunError: The process could not start, failed or was killed.
        """
        with self._ws.read() as db:
            found = checkpoints.get(db, name)
        if found.stage != "reward":
            raise CheckpointError(f"Checkpoint {found.name} is a {found.stage} model and gives no scores.")
        asked = Scoring(
            id=self._number(),
            checkpoint=found.name,
            folder=str(found.folder),
            messages=messages,
            responses=list(responses),
            end_reasons=list(end_reasons),
        )
        return next(event.scores for event in self.answer(asked) if event.scores)

    def predict(self, reward: Checkpoint) -> str:
        """Have a reward model predict the comparisons that wait for it, between answers to others; returns what it says of it.

        Raises:
            DataError: The model cannot be used.
            RunError: The process could not start, failed or was killed, or a run needed its GPU. What was predicted stays.
        """
        asked = Predicting(
            id=self._number(), checkpoint=reward.name, folder=str(reward.folder), checkpoint_id=reward.id
        )
        return "".join(event.text for event in self.answer(asked))

    @property
    def is_idle(self) -> bool:
        """True if no question is open."""
        return not self._open

    def _number(self) -> int:
        with self._lock:
            self._last_id += 1
            return self._last_id

    def answer(self, question: Asking) -> Generator[Event]:
        """Ask now; yields what is added to the answer, and its end last. Errors and closing as with `answers`."""
        return _of_one(self.answers([question]))

    def answers(self, questions: Sequence[Asking]) -> Generator[tuple[int, Event]]:
        """Ask all now; yields, as it comes, what is added to each answer and its end, with the question's place in the sequence.

        Closing the generator, or an error of one answer, stops all.

        Raises:
            DataError: A question cannot be answered as it is; raised by the generator.
            RunError: The process could not start, failed or was killed.
        """
        events: queue.Queue[Event] = queue.Queue()
        try:
            with self._lock:
                for question in questions:
                    self._open[question.id] = _Asked(question, events)
                    self._send(question)
        except BaseException:
            self.leave(questions)
            raise
        return self._events(questions, events)

    def _events(self, questions: Sequence[Asking], events: queue.Queue[Event]) -> Generator[tuple[int, Event]]:
        places = {question.id: place for place, question in enumerate(questions)}
        try:
            while places:
                event = events.get()
                place = places[event.id]
                if event.error or event.reason or event.scores or event.logprobs:
                    del places[event.id]
                    with self._lock:
                        self._open.pop(event.id, None)
                if event.error:
                    raise (DataError if event.is_refusal else RunError)(event.error)
                yield place, event
        finally:
            self.leave(questions)

    def leave(self, questions: Sequence[Asking]) -> None:
        """Hear no more of these answers, and have them end; also where the generator of `answers` was never begun."""
        for question in questions:
            self.stop(question)
            with self._lock:
                self._open.pop(question.id, None)

    def stop(self, question: Asking) -> None:
        """Have an answer end where it is: its last event follows. Does nothing after its end."""
        with self._lock:
            if question.id in self._open:
                self._send(Stop(end=question.id), may_start=False)

    def close(self) -> None:
        """End the process, if there is one."""
        with self._lock:
            process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    @property
    def pid(self) -> int | None:
        """Number of the process while it lives."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    def _send(self, what: Asking | Stop, *, may_start: bool = True) -> None:
        """Write a line to the process, starting one if there is none. The lock is held."""
        for _ in range(2):
            if self._process is None or self._process.poll() is not None:
                if not may_start:
                    return
                self._process = self._start()
            assert self._process.stdin is not None
            try:
                self._process.stdin.write(what.model_dump_json() + "\n")
                self._process.stdin.flush()
                return
            except (BrokenPipeError, ValueError):  # it is just ending, after its idle time or for a run
                self._process.kill()
                self._process.wait()
        raise RunError("The process that answers could not be reached. Ask again.")

    def _start(self) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            children.command(MODULE),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self._ws.root,
            env=children.environment(),
            start_new_session=True,  # Ctrl-C at a terminal is for this program; that one ends when its input does
        )
        words: deque[str] = deque(maxlen=LINES_KEPT)
        assert process.stdin is not None
        with suppress(BrokenPipeError):  # what it said is told by `_listen`
            start = Start(root=str(self._ws.root), device=self._device, idle_s=self._idle_s)
            process.stdin.write(start.model_dump_json() + "\n")
        hearing = threading.Thread(target=_keep, args=(process, words), daemon=True)
        hearing.start()
        threading.Thread(target=self._listen, args=(process, words, hearing), daemon=True).start()
        return process

    def _listen(self, process: subprocess.Popen[str], words: deque[str], hearing: threading.Thread) -> None:
        """Hand on what a process says; at its end tell those who still wait."""
        assert process.stdout is not None
        for line in process.stdout:
            event = Event.model_validate_json(line)
            with self._lock:
                asked = self._open.get(event.id)
            if asked is not None:
                asked.has_begun = True
                asked.events.put(event)
        code = process.wait()
        hearing.join()
        said = words[-1].rstrip(".") if words and code == 1 else "its process was ended; ask again"
        for stream in (process.stdin, process.stdout, process.stderr):
            with suppress(OSError):
                stream.close()  # type: ignore[union-attr]  # all three are pipes
        with self._lock:
            if self._process not in (process, None):  # another has been started, which got the questions
                return
            for number, asked in self._open.items():
                if (
                    code == 0 and not asked.has_begun
                ):  # asked in the moment in which it ended, for idleness or for a run
                    self._send(asked.question)
                else:
                    asked.events.put(Event(id=number, error=f"The model could not answer: {said}."))


def _of_one(events: Generator[tuple[int, Event]]) -> Generator[Event]:
    with closing(events):
        for _, event in events:
            yield event


def _keep(process: subprocess.Popen[str], words: deque[str]) -> None:
    assert process.stderr is not None
    for line in process.stderr:
        if line.strip():
            words.append(line.strip())


def policy(db: Database, name: str) -> Checkpoint:
    """Return a checkpoint that gives answers.

    Raises:
        CheckpointError: There is none of this name, or it is a reward model.
    """
    found = checkpoints.get(db, name)
    if found.stage not in checkpoints.POLICIES:
        raise CheckpointError(f"Checkpoint {found.name} is a {found.stage} model and gives no answers.")
    return found


def policies(db: Database) -> list[str]:
    """Return the names of the checkpoints that give answers, the newest first."""
    return [found.name for found in checkpoints.list_all(db, *checkpoints.POLICIES)]
