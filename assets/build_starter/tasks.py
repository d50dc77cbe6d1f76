"""What can be asked, and what a good answer holds: a `Task` is one thing a person may want, in several wordings.

The tables mark the words that count with ``[brackets]``; `plain` drops the marks, `marked` reads them.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Task:
    """One thing to ask for, with the sentences that answer it."""

    category: str
    """Family of the task, such as capital or howto."""
    group: str
    """Tasks of one group ask nearly the same and always share a split."""
    questions: tuple[str, ...]
    """Wordings of the prompt."""
    parts: tuple[tuple[str, ...], ...]
    """Parts of a complete answer in order, each in several wordings."""
    wrong: tuple[tuple[int, tuple[str, ...]], ...]
    """Which part a mistake replaces, and wordings of the mistake."""
    terse: tuple[str, ...]
    """The shortest right answers."""
    terse_wrong: tuple[str, ...]
    """The shortest wrong answers."""
    answer: tuple[str, ...]
    """Words of which a right answer has at least one; empty where no single answer exists."""
    mistakes: tuple[str, ...]
    """Words that no right answer has."""
    keywords: tuple[tuple[str, ...], ...]
    """For each part that the rater looks for, the words that show it."""
    needed: int
    """How many of those parts make an answer complete."""
    max_words: int = 45
    """Longer answers ramble."""
    curt_parts: tuple[tuple[str, ...], ...] = ()
    """Parts in an unfriendly wording, where courtesy lies in the answer itself (letters)."""

    @property
    def reference(self) -> dict[str, Any]:
        """What the rater is told about the task."""
        return {
            "answer": list(self.answer),
            "wrong": list(self.mistakes),
            "parts": [list(words) for words in self.keywords],
            "needed": self.needed,
            "max_words": self.max_words,
        }


def rows(table: str) -> list[list[str]]:
    """The lines of a table, cut into columns."""
    return [line.split("|") for line in table.strip().splitlines()]


def choices(line: str) -> tuple[str, ...]:
    """The words or phrases of a line that ``|`` parts."""
    return tuple(line.split("|"))


def plain(text: str) -> str:
    """The text without its marks."""
    return text.replace("[", "").replace("]", "")


def marked(text: str) -> tuple[str, ...]:
    """The marked words of a text."""
    return tuple(re.findall(r"\[(.+?)\]", text))


def upper_first(text: str) -> str:
    """The text with a capital first letter."""
    return text[:1].upper() + text[1:]


def lower_first(text: str) -> str:
    """The text with a small first letter, unless it begins with the word I."""
    return text if text.startswith(("I ", "I'")) else text[:1].lower() + text[1:]


def with_article(noun: str) -> str:
    """The noun behind a or an."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def has_word(text: str, words: str) -> bool:
    """Whether the words stand in the text as whole words, small and capital letters alike."""
    return re.search(rf"\b{re.escape(words)}\b", text, flags=re.IGNORECASE) is not None


def others(table: list[str], index: int, text: str, count: int = 2) -> tuple[str, ...]:
    """The next `count` different entries after `index` that do not occur in `text`: the mistakes people make."""
    found: list[str] = []
    for step in range(1, len(table)):
        entry = table[(index + step) % len(table)]
        if entry not in found and not any(has_word(text, word) for word in marked(entry) or (entry,)):
            found.append(entry)
        if len(found) == count:
            break
    return tuple(found)


def fact(
    category: str,
    group: str,
    questions: tuple[str, ...],
    answer: str,
    mistakes: tuple[str, ...],
    say: Callable[[str], tuple[str, ...]],
    detail: str,
    detail_start: tuple[str, ...] = ("",),
) -> Task:
    """A task with one right answer and one sentence that belongs to it.

    Args:
        category: family.
        group: what it is about.
        questions: wordings of the prompt.
        answer: the right answer; marked words count, or all of it where none are marked.
        mistakes: wrong answers, marked alike.
        say: makes full sentences of an answer.
        detail: the sentence that makes the answer complete, with its marks.
        detail_start: other beginnings of that sentence, put before it in small letters.
    """
    detail_text = plain(detail)
    starts = tuple(f"{start} {lower_first(detail_text)}" if start else detail_text for start in detail_start)
    bare = upper_first(plain(answer))
    wrong_texts = tuple(plain(mistake) for mistake in mistakes)
    return Task(
        category=category,
        group=f"{category}:{group}",
        questions=questions,
        parts=(say(plain(answer)), starts),
        wrong=tuple((0, say(text)) for text in wrong_texts),
        terse=(f"{bare}.",) if category in ("animal", "job") else (f"{bare}.", f"It is {plain(answer)}."),
        terse_wrong=tuple(f"{upper_first(text)}." for text in wrong_texts),
        answer=marked(answer) or (answer,),
        mistakes=tuple(word for mistake in mistakes for word in (marked(mistake) or (mistake,))),
        keywords=(marked(detail),),
        needed=1,
    )
