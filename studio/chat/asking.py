"""Asks several checkpoints the same: the page's and the terminal's "try a prompt"."""

from collections import deque
from collections.abc import Generator, Sequence

from studio.chat.protocol import Event, Sampling
from studio.chat.resident import Resident
from studio.preferences.prompts import Messages

CUT = "\n\n[Cut off here: the model has no more positions.]"


def growing(
    resident: Resident, messages: Messages, names: Sequence[str], sampling: Sampling
) -> Generator[dict[str, str]]:
    """Yield the answers so far by the given names, again and again until all have ended; closing it stops them.

    Raises:
        StudioError: a checkpoint gives no answers, the conversation cannot be answered, or the process failed.
    """
    questions = {name: resident.question(name, messages, sampling) for name in names}
    answers = dict.fromkeys(questions, "")
    try:
        streams = {name: resident.answer(question) for name, question in questions.items()}
        while streams:
            for name, stream in list(streams.items()):
                event = next(stream)
                answers[name] += event.text
                if event.reason:
                    answers[name] = answers[name].strip() + (CUT if _is_cut(event, sampling) else "")
                    del streams[name]
            yield dict(answers)
    finally:
        for question in questions.values():
            resident.leave(question)


def final(resident: Resident, messages: Messages, names: Sequence[str], sampling: Sampling) -> dict[str, str]:
    """Return the whole answers; errors as `growing`."""
    return deque(growing(resident, messages, names, sampling), maxlen=1).pop()


def _is_cut(event: Event, sampling: Sampling) -> bool:
    return event.reason == "length" and event.num_tokens < sampling.max_new_tokens
