"""The process that stays with its models and answers question after question: ``python -m studio.worker.resident``.

Several answers grow at the same time, a few tokens each in turn; switching between checkpoints of one base model is
switching an adapter. On a GPU it holds the GPU's lock, and ends as soon as a run waits for it. Nothing is lost when it is
killed: what it said is with who asked.
"""

import json
import queue
import sys
import threading
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

from sqlite_utils import Database

from modules.model import checkpoint
from modules.model.backbone import Backbone
from modules.model.streaming import Stream
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
"""Seconds that an answer is advanced for before the others have their turn and its text is told."""
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
        self._stream = Stream(
            backbone,
            role_of(question.checkpoint),
            prompt,
            **question.sampling.model_dump(),
            num_top=question.num_logprobs,
        )
        self._began = time.monotonic()
        self._told_tokens = 0
        self._told, self._tokens_a_turn = 0, 1
        """Characters that were told, and tokens that fit into a turn."""

    def advance(self) -> Event:
        """Draw tokens for a turn; returns what was added, and the end if it has come."""
        began = time.monotonic()
        self._stream.advance(self._tokens_a_turn)
        took = (time.monotonic() - began) / self._tokens_a_turn
        self._tokens_a_turn = max(1, min(64, int(TURN_S / max(took, 1e-6))))
        text, reason = self._stream.text, self._stream.end_reason
        ends = [at for stop in self._stop if (at := text.find(stop)) >= 0]
        if ends:
            return self._event(text[: min(ends)], "stop")
        # The beginning of a stop text is held back until it is known to be none.
        safe = len(text) if reason else len(text) - _overlap(text, self._stop)
        return self._event(text[:safe], reason)

    def stopped(self) -> Event:
        """End it where it is."""
        return self._event(self._stream.text, "stopped")

    def _event(self, text: str, reason: Reason | None) -> Event:
        added, self._told = text[self._told :], max(self._told, len(text))
        drawn, self._told_tokens = self._stream.drawn[self._told_tokens :], len(self._stream.drawn)
        tokens = [
            self._named(each.token, each.log_prob) | {"top_logprobs": [self._named(*top) for top in each.top]}
            for each in drawn
            if each.token not in self._chat.stop_ids
        ]
        event = Event(id=self.id, text=added, tokens=tokens, reason=reason)
        if reason:
            event.num_prompt_tokens, event.num_tokens = self.num_prompt_tokens, len(self._stream.ids)
            event.seconds = time.monotonic() - self._began
        return event

    def _named(self, token: int, log_prob: float) -> dict[str, Any]:
        text = self._chat.token_text(token)
        return {"token": text, "logprob": log_prob, "bytes": list(text.encode("utf-8", "replace"))}


class Prediction:
    """Predictions that are being made, a batch at a time."""

    def __init__(self, ws: Workspace, asked: Predicting, backbone: Backbone) -> None:
        self.id, self._name = asked.id, asked.checkpoint
        self._counts = (0, 0)
        self._batches = self._made(ws, asked, backbone)

    def advance(self) -> Event:
        """Make a batch; returns the sentence that ends it where nothing waits any more."""
        try:
            self._counts = next(self._batches)
        except StopIteration as ended:
            return Event(id=self.id, text=ended.value or predict.told(self._name, *self._counts), reason="eos")
        return Event(id=self.id)

    def stopped(self) -> Event:
        """End it where it is: what was predicted stays."""
        self._batches.close()
        return Event(id=self.id, text=predict.told(self._name, *self._counts), reason="stopped")

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
        models, answers = Models(), list[Answer | Prediction]()
        last_asked, last_look = time.monotonic(), 0.0
        while True:
            try:
                line = lines.get(block=not answers, timeout=LOOK_S)
            except queue.Empty:
                pass
            else:
                if line is None:
                    return
                last_asked = time.monotonic()
                _take(ws, line, models, answers, tell)
                holding.keep(models.names)
            for answer in list(answers):
                event = _advance(answer)
                if event.reason or event.error:
                    answers.remove(answer)
                if event.text or event.reason or event.error:
                    tell(event)
                last_asked = time.monotonic()
            if time.monotonic() - last_asked > start.idle_s:
                return
            if device != devices.CPU and time.monotonic() - last_look > LOOK_S:
                last_look = time.monotonic()
                with ws.read() as db:
                    name = _who_waits(db, device)
                if name:
                    for answer in answers:
                        answer.stopped()  # whoever hears the end may go on at once
                        tell(Event(id=answer.id, error=f"{name} needed the GPU, so this answer was ended."))
                    return


def _take(ws: Workspace, line: dict[str, Any], models: Models, answers: list[Answer | Prediction], tell: Any) -> None:
    if "end" in line:
        wanted = Stop.model_validate(line).end
        for answer in [each for each in answers if each.id == wanted]:
            answers.remove(answer)
            tell(answer.stopped())
        return
    try:
        if "responses" in line:
            tell(models.score(Scoring.model_validate(line)))
        elif "response_ids" in line:
            asked = Reading.model_validate(line)
            tell(Event(id=asked.id, logprobs=reading.logprobs(models.get(asked), asked)))
        elif "checkpoint_id" in line:
            answers.append(Prediction(ws, wanted := Predicting.model_validate(line), models.reward(wanted)))
        elif "response" in line:
            tell(reading.of_text(models.get(text := TextReading.model_validate(line)), text))
        else:
            question = Question.model_validate(line)
            answers.append(Answer(question, models.get(question)))
    except Exception as error:
        tell(_fault(line["id"], error))


def _advance(answer: Answer | Prediction) -> Event:
    try:
        return answer.advance()
    except Exception as error:
        return _fault(answer.id, error)


def _fault(number: int, error: Exception) -> Event:
    if isinstance(error, StudioError):
        return Event(id=number, error=str(error), is_refusal=True)
    sentence = failures.explain(error)
    return Event(id=number, error=sentence or f"The model could not answer: {type(error).__name__}: {error}")


def _who_waits(db: Database, device: str) -> str:
    """Return the first waiting run that could use this GPU; empty if there is none."""
    num_gpus = int(device.removeprefix("gpu")) + 1
    for run in waiting_runs.waiting(db):
        if not run.pause_requested and device in devices.usable(run.config, num_gpus):
            return run.name
    return ""


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
