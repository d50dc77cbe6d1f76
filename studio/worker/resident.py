"""The process that stays with its models and answers question after question: ``python -m studio.worker.resident``.

Answers by one checkpoint grow in one batch, which each joins when it is asked for; those by different checkpoints grow a few tokens
each in turn, and switching between checkpoints of one base model is switching an adapter. On a GPU it holds the GPU's lock, and ends as soon as a run waits for it. Nothing is lost when it is
killed: what it said is with who asked.
"""

import json
import queue
import sys
import threading
import time
from collections import deque
from collections.abc import Generator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from sqlite_utils import Database

from modules.config import SampleConfig
from modules.model import checkpoint
from modules.model.backbone import Backbone
from modules.model.streaming import Batch, Stream
from studio.chat.protocol import (
    Event,
    OfPolicy,
    Predicting,
    Question,
    Reading,
    Reason,
    Scoring,
    Start,
    Stop,
    TextReading,
)
from studio.errors import DataError, StudioError
from studio.models import base_models, loaded
from studio.runs import devices
from studio.runs import queue as waiting_runs
from studio.worker import failures, predict, reading
from studio.worker.borrowed_gpu import borrowed
from studio.worker.sampling import role_of
from studio.workspace import Workspace

TURN_S = 0.05
"""Seconds that answers by one checkpoint are advanced for before others have their turn and their text is told."""
MOST_TOGETHER = 32
"""Answers in a batch; those asked for later wait until one of them ends, in the order in which they were asked for."""
LOOK_S = 1.0
"""Seconds between two looks for a run that waits for this GPU."""
MOST_BASES = 2
MOST_WHOLE = 2
"""Base models, and fully trained models of one, that are held at a time."""


class Models:
    """Base models with the adapters of the checkpoints that were asked for."""

    def __init__(self) -> None:
        self._loaded: dict[tuple[str, ...], tuple[Backbone, list[str]]] = {}
        """By what makes them alike, the most recently asked last; with the checkpoints they have, each as a role."""
        self._reward: tuple[str, Backbone, str] | None = None

    @property
    def names(self) -> list[str]:
        """The checkpoints that are held."""
        return [name for _, names in self._loaded.values() for name in names] + [*(self._reward or ())[2:]]

    def score(self, asked: Scoring) -> Event:
        """Return what a reward model thinks; the last one that was asked stays loaded.

        Raises:
            DataError: A response does not fit into the model.
        """
        backbone = self.reward(asked)
        encoded = predict.encode(backbone, asked.model_dump())
        if encoded is None:
            raise DataError(f"{asked.checkpoint} cannot read these answers: they are too long for it.")
        return Event(id=asked.id, scores=predict.score(backbone, encoded))

    def reward(self, asked: Scoring | Predicting) -> Backbone:
        """Return a reward model, loading it where another one was asked last."""
        if self._reward is None or self._reward[0] != asked.folder:
            self._reward = None
            self._reward = asked.folder, predict.load(Path(asked.folder)), asked.checkpoint
        return self._reward[1]

    def get(self, question: OfPolicy) -> Backbone:
        """Return the model that has the checkpoint as a role, loading what is missing."""
        folder = Path(question.folder)
        meta = checkpoint.load_meta(folder)
        key = (question.base_folder, meta.method, meta.quantisation, question.precision, meta.chat_template)
        name = question.checkpoint
        backbone, names = self._loaded.pop(key, (None, []))
        if meta.method != "lora" and name not in names and len(names) >= MOST_WHOLE:
            backbone = None
        if backbone is None:
            names = []
            while len(self._loaded) >= MOST_BASES:
                del self._loaded[next(iter(self._loaded))]  # the one that was asked least recently
            backbone = Backbone.load(
                base_models.resolve(question.base_folder),
                method=meta.method,
                quantisation=meta.quantisation,
                precision=question.precision,
                chat_template=meta.chat_template,
            )
        self._loaded[key] = backbone, names
        if name not in names:
            checkpoint.check_base(meta, backbone, name)
            backbone.add_role(role_of(name), source=folder / "policy")
            names.append(name)
        return backbone


class Answer:
    """An answer that is being given."""

    def __init__(self, question: Question, backbone: Backbone) -> None:
        self.id, self._stop = question.id, question.stop
        chat = backbone.chat
        prompt = chat.encode_prompt(question.messages).ids if question.messages else []
        if question.text:
            prompt = prompt + (
                chat.encode_response(question.text, "length") if prompt else chat.encode_text(question.text)
            )
        self.num_prompt_tokens = len(prompt)
        self._chat = chat
        self.stream = Stream(backbone, prompt, **question.sampling.model_dump(), num_top=question.num_logprobs)
        self._began = time.monotonic()
        self._told, self._told_tokens = 0, 0
        """Characters and tokens that were told."""

    def news(self) -> Event:
        """Return what was added since the last time, and the end if it has come."""
        text, reason = self.stream.text, self.stream.end_reason
        ends = [at for stop in self._stop if (at := text.find(stop)) >= 0]
        if ends:
            return self._event(text[: min(ends)], "stop")
        # The beginning of a stop text is held back until it is known to be none.
        safe = len(text) if reason else len(text) - _overlap(text, self._stop)
        return self._event(text[:safe], reason)

    def stopped(self) -> Event:
        """End it where it is."""
        return self._event(self.stream.text, "stopped")

    def _event(self, text: str, reason: Reason | None) -> Event:
        added, self._told = text[self._told :], max(self._told, len(text))
        drawn, self._told_tokens = self.stream.drawn[self._told_tokens :], len(self.stream.drawn)
        tokens = [
            self._named(each.token, each.log_prob) | {"top_logprobs": [self._named(*top) for top in each.top]}
            for each in drawn
            if each.token not in self._chat.stop_ids
        ]
        event = Event(id=self.id, text=added, tokens=tokens, reason=reason)
        if reason:
            event.num_prompt_tokens, event.num_tokens = self.num_prompt_tokens, len(self.stream.ids)
            event.seconds = time.monotonic() - self._began
        return event

    def _named(self, token: int, log_prob: float) -> dict[str, Any]:
        text = self._chat.token_text(token)
        return {"token": text, "logprob": log_prob, "bytes": list(text.encode("utf-8", "replace"))}


class Answers:
    """The answers that one checkpoint is giving, in one batch."""

    def __init__(self, backbone: Backbone, role: str) -> None:
        self.key = backbone, role
        self._batch = Batch(backbone, role)
        self._waiting, self._going = deque[Answer](), list[Answer]()
        self._tokens_a_turn = 1
        """Tokens that each is given in a turn."""

    @property
    def ids(self) -> list[int]:
        """The questions that are open."""
        return [answer.id for answer in (*self._going, *self._waiting)]

    def add(self, answer: Answer) -> None:
        """Have an answer join at the next turn."""
        self._waiting.append(answer)

    def advance(self) -> list[Event]:
        """Let those that wait join, and draw tokens for a turn; returns what was added, and ends that have come."""
        faults, num_tokens = [], self._tokens_a_turn
        while self._waiting and len(self._going) < MOST_TOGETHER:
            answer, num_tokens = self._waiting.popleft(), 1  # the first words are told at once
            try:
                self._batch.join(answer.stream)
                self._going.append(answer)
            except Exception as error:
                faults.append(_fault(answer.id, error))
        try:
            began = time.monotonic()
            self._batch.advance(num_tokens)
            took = (time.monotonic() - began) / num_tokens
            self._tokens_a_turn = max(1, min(64, int(TURN_S / max(took, 1e-6))))
        except Exception as error:
            faults += [_fault(answer.id, error) for answer in self._going]
            self._going.clear()
            self._batch = Batch(*self.key)
        events = [(answer, answer.news()) for answer in self._going]
        for answer in [answer for answer, event in events if event.reason]:
            self._leave(answer)
        return faults + [event for _, event in events]

    def end(self, number: int) -> Event:
        """End an answer where it is."""
        answer = next(each for each in (*self._going, *self._waiting) if each.id == number)
        self._leave(answer)
        return answer.stopped()

    def _leave(self, answer: Answer) -> None:
        self._batch.leave(answer.stream)
        (self._going if answer in self._going else self._waiting).remove(answer)


class Prediction:
    """Predictions that are being made, a batch at a time."""

    def __init__(self, ws: Workspace, asked: Predicting, backbone: Backbone) -> None:
        self._id, self._name = asked.id, asked.checkpoint
        self.ids = [asked.id]
        self._counts = (0, 0)
        self._batches = self._made(ws, asked, backbone)

    def advance(self) -> list[Event]:
        """Make a batch; returns the sentence that ends it where nothing waits any more."""
        try:
            self._counts = next(self._batches)
            return []
        except StopIteration as ended:
            said = Event(id=self._id, text=ended.value or predict.told(self._name, *self._counts), reason="eos")
        except Exception as error:
            said = _fault(self._id, error)
        self.ids = []
        return [said]

    def end(self, number: int) -> Event:
        """End it where it is: what was predicted stays."""
        self._batches.close()
        self.ids = []
        return Event(id=number, text=predict.told(self._name, *self._counts), reason="stopped")

    def _made(self, ws: Workspace, asked: Predicting, backbone: Backbone) -> Generator[tuple[int, int], None, str]:
        with predict.alone(ws) as is_mine:
            if not is_mine:
                return predict.BUSY
            yield from predict.batches(ws, asked.checkpoint_id, backbone)
        return ""


def _overlap(text: str, stops: list[str]) -> int:
    """Return the length of the longest end of the text with which a stop text begins."""
    longest = max((len(stop) for stop in stops), default=1) - 1
    lengths = range(min(longest, len(text)), 0, -1)
    return next((n for n in lengths if any(stop.startswith(text[-n:]) for stop in stops)), 0)


def serve(ws: Workspace, start: Start, lines: "queue.Queue[dict[str, Any] | None]", tell: Any) -> None:
    """Answer until nothing was asked for a while, the other end is gone, or a run waits for the GPU."""
    with borrowed(ws, start.device) as device, loaded.Holding(ws) as holding:
        (card,) = devices.cards(SampleConfig())  # the one that is seen here
        models, works = Models(), list[Answers | Prediction]()
        last_asked, last_look = time.monotonic(), 0.0
        while True:
            for line in _said(lines, wait=not works):
                if line is None:
                    return
                last_asked = time.monotonic()
                _take(ws, line, models, works, tell)
                holding.keep(models.names)
            for work in works:
                for event in work.advance():
                    if event.text or event.reason or event.error:
                        tell(event)
                last_asked = time.monotonic()
            works = [work for work in works if work.ids]
            if time.monotonic() - last_asked > start.idle_s:
                return
            if device != devices.CPU and time.monotonic() - last_look > LOOK_S:
                last_look = time.monotonic()
                with ws.read() as db:
                    name = _who_waits(ws, db, card)
                if name:
                    for answering, number in [(each, number) for each in works for number in each.ids]:
                        answering.end(number)  # whoever hears the end may go on at once
                        tell(Event(id=number, error=f"{name} needed the GPU, so this answer was ended."))
                    return


def _said(lines: "queue.Queue[dict[str, Any] | None]", *, wait: bool) -> Iterator[dict[str, Any] | None]:
    """Yield the lines that are there; where `wait`, that come within a while."""
    with suppress(queue.Empty):
        yield lines.get(block=wait, timeout=LOOK_S)
        while True:
            yield lines.get_nowait()


def _take(ws: Workspace, line: dict[str, Any], models: Models, works: list[Answers | Prediction], tell: Any) -> None:
    if "end" in line:
        wanted = Stop.model_validate(line).end
        for work in [each for each in works if wanted in each.ids]:
            tell(work.end(wanted))
        return
    try:
        if "responses" in line:
            tell(models.score(Scoring.model_validate(line)))
        elif "response_ids" in line:
            asked = Reading.model_validate(line)
            tell(Event(id=asked.id, logprobs=reading.logprobs(models.get(asked), asked)))
        elif "checkpoint_id" in line:
            works.append(Prediction(ws, wanted := Predicting.model_validate(line), models.reward(wanted)))
        elif "response" in line:
            tell(reading.of_text(models.get(text := TextReading.model_validate(line)), text))
        else:
            question = Question.model_validate(line)
            backbone, role = models.get(question), role_of(question.checkpoint)
            answer = Answer(question, backbone)
            _together(works, backbone, role).add(answer)
    except Exception as error:
        tell(_fault(line["id"], error))


def _together(works: list[Answers | Prediction], backbone: Backbone, role: str) -> Answers:
    """Return the answers of a role, which may have been begun now."""
    for work in works:
        if isinstance(work, Answers) and work.key == (backbone, role):
            return work
    works.append(begun := Answers(backbone, role))
    return begun


def _fault(number: int, error: Exception) -> Event:
    if isinstance(error, StudioError):
        return Event(id=number, error=str(error), is_refusal=True)
    sentence = failures.explain(error)
    return Event(id=number, error=sentence or f"The model could not answer: {type(error).__name__}: {error}")


def _who_waits(ws: Workspace, db: Database, card: str) -> str:
    """Return the first waiting run that could use this GPU, or whose workspace asks for it; empty if there is none."""
    for run in waiting_runs.waiting(db):
        if not run.pause_requested and card in waiting_runs.claimed([run]):
            return run.name
    other = devices.asked_for_by(ws, card)
    return f"A run of the workspace {other}" if other else ""


def main() -> int:
    """Read the first line, then serve; a refusal is the last line on stderr, and the exit code 1."""
    start = Start.model_validate_json(sys.stdin.readline())
    lines: queue.Queue[dict[str, Any] | None] = queue.Queue()

    def read() -> None:
        for line in sys.stdin:
            lines.put(json.loads(line))
        lines.put(None)

    def tell(event: Event) -> None:
        print(event.model_dump_json(exclude_defaults=True), flush=True)

    threading.Thread(target=read, daemon=True).start()
    try:
        serve(Workspace.existing(start.root), start, lines, tell)
    except StudioError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
