"""Asks several checkpoints the same: the page's and the terminal's "try a prompt"."""

from collections import deque
from collections.abc import Generator, Sequence
from contextlib import closing

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
    names = list(dict.fromkeys(names))
    answers = dict.fromkeys(names, "")
    with closing(resident.answers([resident.question(name, messages, sampling) for name in names])) as events:
        for place, event in events:
            answers[names[place]] += event.text
            if event.reason:
                answers[names[place]] = answers[names[place]].strip() + (CUT if _is_cut(event, sampling) else "")
            yield dict(answers)


def final(resident: Resident, messages: Messages, names: Sequence[str], sampling: Sampling) -> dict[str, str]:
    """Return the whole answers; errors as `growing`."""
    return deque(growing(resident, messages, names, sampling), maxlen=1).pop()


def _is_cut(event: Event, sampling: Sampling) -> bool:
    return event.reason == "length" and event.num_tokens < sampling.max_new_tokens
