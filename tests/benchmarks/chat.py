"""Measures how soon the resident process answers: first words, switching checkpoints, and several who ask at once.

Run it: ``python -m tests.benchmarks.chat``. A stored message is answered by the starter model with two LoRA checkpoints, on the
CPU, as the page Chat has it answered; the time is that from asking to the first words that the page would paint. Then answers of 200
tokens are given to several people one after another, and to all at once.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from studio.chat import conversations
from studio.chat.answering import Answering
from studio.chat.conversations import Settings
from studio.chat.protocol import Question, Sampling
from studio.chat.resident import Resident
from studio.chat.turns import Turn
from studio.workspace import Workspace
from tests.support import policies

NAMES = ("sft-1@1", "sft-2@1")


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=40, help="answers measured of each kind")
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        ws = policies.workspace(Path(folder) / "studio")
        resident = Resident(ws, "cpu")
        try:
            measure(ws, Answering(ws, resident), rounds)
            for num_people in (2, 4, 8):
                compare(resident, num_people, max(1, rounds // 8))
        finally:
            resident.close()


def measure(ws: Workspace, answers: Answering, rounds: int) -> None:
    """Print the milliseconds until an answer's first words."""
    cold = first_words(ws, answers, NAMES[0])
    new = first_words(ws, answers, NAMES[1])
    first_words(ws, answers, NAMES[0])
    same = [first_words(ws, answers, NAMES[0]) for _ in range(rounds)]
    other = [first_words(ws, answers, NAMES[number % 2 == 0]) for number in range(rounds)]
    print(f"the process starts and loads the model      {1000 * cold:7.0f} ms")
    print(f"a checkpoint that was not asked before      {1000 * new:7.0f} ms")
    for words, times in (("the checkpoint asked before", same), ("the other checkpoint, in turns", other)):
        median, slow = statistics.median(times), sorted(times)[int(0.9 * len(times))]
        print(f"{words:<43} {1000 * median:7.0f} ms (median of {len(times)}; nine in ten under {1000 * slow:.0f})")
    print(
        f"so a switch costs                           {1000 * (statistics.median(other) - statistics.median(same)):7.0f} ms"
    )


def compare(resident: Resident, num_people: int, rounds: int) -> None:
    """Print the seconds of answers to several people, one after another and in one batch."""
    in_turns, together = [], []
    for number in range(rounds):
        began = time.perf_counter()
        alone = [_drained([question], resident) for question in _asked(resident, num_people, number)]
        then = time.perf_counter()
        at_once = _drained(_asked(resident, num_people, number), resident)
        in_turns.append(then - began)
        together.append(time.perf_counter() - then)
        assert sum(alone) == at_once
    turns, batch = statistics.median(in_turns), statistics.median(together)
    print(
        f"{num_people} answers, one after another {turns:.2f} s, at once {batch:.2f} s: {turns / batch:.1f} times as fast"
    )


def _asked(resident: Resident, num_people: int, number: int) -> list[Question]:
    message = [{"role": "user", "content": "Tell me a long story about a fox."}]
    return [
        resident.question(NAMES[0], message, Sampling(max_new_tokens=200, temperature=5, seed=100 * number + person))
        for person in range(num_people)
    ]


def _drained(questions: list[Question], resident: Resident) -> int:
    """Hear answers that are given at the same time; returns their tokens."""
    streams = [resident.answer(question) for question in questions]
    return sum(event.num_tokens for stream in streams for event in stream)


def first_words(ws: Workspace, answers: Answering, name: str) -> float:
    """Return the seconds from a stored message until the first words of its answer."""
    with ws.write() as db:
        made = conversations.start(db, Settings(checkpoints=(name,), sampling=Sampling(max_new_tokens=64)))
        (answer,) = conversations.ask(db, conversations.say(db, made, "What is the capital of Poland?"))
    began = time.perf_counter()
    answers.begin([answer])
    while not any(each.text.strip() for each in answers.hear({answer.id: 0})):
        pass
    took = time.perf_counter() - began
    _end(answers, answer)
    return took


def _end(answers: Answering, answer: Turn) -> None:
    answers.stop([answer.id])
    while answers.is_live(answer.id):
        answers.hear({answer.id: 10**9})


if __name__ == "__main__":
    main()
