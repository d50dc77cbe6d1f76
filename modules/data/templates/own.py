"""A tokenizer's own chat template: renders a conversation and finds each answer in the text.

Where the template marks what the assistant says (``{% generation %}``), those marks are taken. Else an answer is found by
rendering the conversation again with another answer instead: what differs is the answer. Nothing is ever looked
for by its words, which may also stand in a marker or in another turn.
"""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import takewhile
from typing import TYPE_CHECKING, Any, NamedTuple

from modules.data.templates import thoughts, trial
from modules.data.templates.trial import TooLong, fault_of, in_time
from modules.errors import BaseModelError, ConfigError, RowError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Message = Mapping[str, str]
"""One turn: ``{"role": "system" | "user" | "assistant", "content": ...}``."""

QUESTION, ANSWER = "qxa", "zwb"
PROBE: tuple[Message, ...] = (
    {"role": "user", "content": QUESTION},
    {"role": "assistant", "content": ANSWER},
    {"role": "user", "content": "vky"},
)
_MARKS = re.compile(r"\{%[-+]?\s*generation\s*[-+]?%\}")
MOST_TIMES = 10
"""Times that a template may write what was said, on top of what it may write around it."""
INSTEAD = "choose the chat template chatml or plain"


class Place(NamedTuple):
    """The place of an answer in a rendered text."""

    start: int
    end: int


def source_of(tokenizer: "PreTrainedTokenizerBase") -> str:
    """Return the text of the tokenizer's template, of several the default one; empty where it has none.

    Raises:
        ConfigError: There are several, but none is called default.
    """
    found: Any = tokenizer.chat_template
    if not isinstance(found, Mapping):
        return found or ""
    if found and not found.get("default"):
        raise ConfigError(
            f"The tokenizer has the chat templates {', '.join(sorted(map(str, found)))}, but none called default, so "
            f"none is used: {INSTEAD}, or call one of them default in the tokenizer's files."
        )
    return found.get("default", "")


def fault_of_template(tokenizer: "PreTrainedTokenizerBase") -> str:
    """Return why a tokenizer's template cannot be run at all, such as "does not end"; empty where it can."""
    return _fault(source_of(tokenizer), tuple(sorted(_special(tokenizer).items())))


def _special(tokenizer: "PreTrainedTokenizerBase") -> dict[str, str]:
    return {name: str(token) for name, token in tokenizer.special_tokens_map.items()}


class OwnTemplate:
    """The template with the names of the special tokens filled in.

    Args:
        tokenizer: Whose template it is.

    Raises:
        BaseModelError: The template does not end, or takes or writes too much.
        ConfigError: It does not write what is said, or training and sampling would differ.
    """

    def __init__(self, tokenizer: "PreTrainedTokenizerBase") -> None:
        self.source = source_of(tokenizer)
        self._special = _special(tokenizer)
        fault = fault_of_template(tokenizer)
        if fault:
            raise BaseModelError(f"The tokenizer's chat template cannot be used, since it {fault}: {INSTEAD}.")
        whole = self.render(PROBE[:2])
        _check(whole, self.render(PROBE[:1], asks=True))
        self.after = self._after_answer(whole)
        """Text that the template writes after an answer."""
        self.knows_thinking = thoughts.are_mentioned(self.source)
        self._strips = self._find_strips(whole)
        self.has_marks = self._are_marks_right(whole)

    def render(self, messages: Sequence[Message], *, asks: bool = False, thinks: bool = False) -> str:
        """Return the conversation as text.

        Args:
            messages: Its turns.
            asks: Goes on to where the assistant is to speak.
            thinks: Lets a template that knows of it leave room for thinking.

        Raises:
            RowError: The template refuses the conversation.
        """
        return self._render(messages, asks=asks, thinks=thinks)[0]

    def places(self, messages: Sequence[Message], text: str, end: str, *, thinks: bool = False) -> list[Place]:
        """Find in `text`, the rendered conversation up to a further answer, its answers that can be taught.

        An answer counts if the template wrote it unchanged, closed as the last one would be, right behind what
        the model would be asked with.

        Args:
            messages: The turns, contents marked by `Controls`.
            text: What `render` makes of them with `asks` and `thinks`.
            end: How the template ends an answer.
        """
        numbers = [
            i for i, message in enumerate(messages) if message["role"] == "assistant" and message["content"].strip()
        ]
        if not numbers:
            return []
        if self.has_marks:
            found = [_within(text, span, end) for span in self._render(messages, asks=True, thinks=thinks)[1]]
        else:
            found = [self._place(messages, number, text, thinks) for number in numbers]
        return sorted(place for place in found if place and text.startswith(end, place.end))

    def as_written(self, answer: str) -> str:
        """Return an answer as the template writes it: some strip the space around it."""
        answer = answer.lstrip() if self._strips[0] else answer
        return answer.rstrip() if self._strips[1] else answer

    def _place(self, messages: Sequence[Message], number: int, text: str, thinks: bool) -> Place | None:
        content = messages[number]["content"]
        place = _difference(text, *self._around(messages, number, text, thinks))
        if place is None or text[place.start : place.end].strip() != content.strip():
            return None
        asked = self.render(messages[:number], asks=True)
        return place if thoughts.without(asked) == thoughts.without(text[: place.start]) else None

    def _around(self, messages: Sequence[Message], number: int, text: str, thinks: bool) -> tuple[str, str]:
        """Return what stands before and behind an answer, whatever it is."""
        other = ANSWER
        while other in text:
            other += ANSWER[-1]
        changed = [*messages[:number], {**messages[number], "content": other}, *messages[number + 1 :]]
        before, _, behind = self.render(changed, asks=True, thinks=thinks).partition(other)
        return before, behind

    def _render(self, messages: Sequence[Message], *, asks: bool, thinks: bool) -> tuple[str, list[tuple[int, int]]]:
        try:
            with in_time():
                found = _jinja(self.source, self._special, messages, asks, thinks)
        except TooLong as error:
            first = next((message["content"] for message in messages if message["content"].strip()), "")
            raise BaseModelError(
                f"The tokenizer's chat template cannot be used, since for a conversation that begins {first[:60]!r} it does not end "
                f"within {trial.TIME_LIMIT_S:g} seconds: {INSTEAD}."
            ) from error
        except Exception as error:  # jinja raises whatever a template's author chose
            words = " ".join(str(error).split()) or type(error).__name__
            raise RowError(
                f"The model's chat template refuses a conversation ({words}): correct the order of its roles, or {INSTEAD}.",
                f"refused by the chat template ({words})",
            ) from error
        if len(found[0]) > trial.LONGEST + MOST_TIMES * sum(len(message["content"]) for message in messages):
            raise RowError(
                f"The model's chat template makes {len(found[0]):,} characters of a conversation: {INSTEAD}.",
                "blown up by the chat template",
            )
        return found

    def _after_answer(self, whole: str) -> str:
        """Return what the template writes behind an answer; some write nothing behind the last turn of all."""
        last = whole[whole.rindex(ANSWER) + len(ANSWER) :]
        if last.strip():
            return last
        try:
            longer = self.render(PROBE)
        except RowError:
            return last
        if ANSWER not in longer:
            return last
        between = longer[longer.index(ANSWER) + len(ANSWER) :].partition(PROBE[2]["content"])[0]
        before = whole[: whole.index(QUESTION)]  # ends with what begins a user's turn, which ends no answer
        shared = takewhile(lambda pair: pair[0] == pair[1], zip(reversed(between), reversed(before), strict=False))
        return between[: len(between) - len(list(shared))]

    def _find_strips(self, whole: str) -> tuple[bool, bool]:
        before, _, behind = whole.partition(ANSWER)
        text = self.render([PROBE[0], {"role": "assistant", "content": f"\n {ANSWER} \n"}])
        place = _difference(text, before, behind)
        written = text[place.start : place.end] if place else f" {ANSWER} "
        return written.startswith(ANSWER), written.endswith(ANSWER)

    def _are_marks_right(self, whole: str) -> bool:
        """Return whether the template marks just the answer, with or without what ends it."""
        if not _MARKS.search(self.source):
            return False
        spans = self._render(PROBE[:2], asks=False, thinks=False)[1]
        marked = [thoughts.without(whole[start:end]) for start, end in spans]
        return (
            len(marked) == 1
            and marked[0].startswith(ANSWER)
            and self.after.strip().startswith(marked[0][len(ANSWER) :].strip())
        )


def _within(text: str, span: tuple[int, int], end: str) -> Place | None:
    """Return the answer in a marked stretch, without what ends it where that is marked too."""
    start, stop = span
    if not text.startswith(end, stop):
        stop = text.rfind(end, start, stop)
    return Place(start, stop) if stop > start else None


def _difference(text: str, before: str, behind: str) -> Place | None:
    """Return the stretch of a text between two others that it begins and ends with."""
    is_between = len(before) + len(behind) <= len(text) and text.startswith(before) and text.endswith(behind)
    return Place(len(before), len(text) - len(behind)) if is_between else None


def _check(whole: str, prompt: str) -> None:
    """Refuse a template under which training and sampling would see different texts."""
    for message in PROBE[:2]:
        if message["content"] not in whole:
            raise ConfigError(
                f"The tokenizer's chat template leaves out or rewrites what the {message['role']} says, so it cannot be "
                f"taught: {INSTEAD}."
            )
    if whole.count(ANSWER) > 1:
        raise ConfigError(
            f"The tokenizer's chat template writes what the assistant says {whole.count(ANSWER)} times, so it cannot be "
            f"taught: {INSTEAD}."
        )
    between = whole[whole.index(QUESTION) + len(QUESTION) : whole.index(ANSWER)]
    opening = prompt[prompt.index(QUESTION) + len(QUESTION) :] if QUESTION in prompt else ""
    if thoughts.without(between) != thoughts.without(opening):
        raise ConfigError(
            f"The tokenizer's chat template puts {between.strip()!r} before an answer in a conversation, but "
            f"{opening.strip()!r} where an answer is asked for, so training and sampling would differ: {INSTEAD}, or "
            "correct add_generation_prompt in the template."
        )


@lru_cache(maxsize=64)
def _fault(source: str, special: tuple[tuple[str, str], ...]) -> str:
    """Return why a template cannot be run at all, found out in another process; see `trial`."""
    system: Message = {"role": "system", "content": QUESTION}

    def render() -> str:
        texts = []
        for messages in (PROBE[:1], PROBE[:2], PROBE, (system, *PROBE)):
            for asks in (False, True):
                try:
                    texts.append(_jinja(source, dict(special), messages, asks, not asks)[0])
                except MemoryError:
                    raise
                except Exception:
                    texts.append("")  # it refuses this conversation, which is told where it matters
        return "".join(texts)

    return fault_of(render)


def _jinja(
    source: str, special: Mapping[str, str], messages: Sequence[Message], asks: bool, thinks: bool
) -> tuple[str, list[tuple[int, int]]]:
    """Return the text, and the stretches that the template marks as said by the assistant."""
    names: dict[str, Any] = dict(special)
    from transformers.utils.chat_template_utils import render_jinja_template  # here: the page imports this module too

    found: Any = render_jinja_template(
        [[dict(message) for message in messages]],
        chat_template=source,
        return_assistant_tokens_mask=bool(_MARKS.search(source)),
        add_generation_prompt=asks,
        enable_thinking=thinks,  # the names that templates know it under
        thinking=thinks,
        **names,
    )
    texts, spans = found
    return texts[0], list(spans[0]) if spans else []
