"""A rater made of rules. It replaces a person in the demo and in tests, nowhere else.

It prefers answers that are courteous, complete and right and that do not ramble. It uses the task's ``reference``,
counts courtesy once, and gives nothing for words outside a sentence, so that a policy cannot win by stuffing. Like a
person it makes mistakes, at a given rate.
"""

import hashlib
import re
from functools import lru_cache
from typing import Any, Literal, NamedTuple

COURTESY = re.compile(
    r"\b(?:of course|certainly|gladly|with pleasure|happy to help|glad to help|pleasure to help|good question|"
    r"thank you for|thank you very much|thanks for|thanks a lot|many thanks|hope this helps|hope that helps|"
    r"please ask(?: if you need anything else)?|please let me know|let me know if|welcome to ask|"
    r"feel free to ask(?: me more)?|all the best|have a (?:lovely|nice|good)|(?:could|would) you please|"
    r"be very kind if|be grateful if|may I ask you)\b",
    flags=re.IGNORECASE,
)
RUDENESS = re.compile(
    r"\b(?:obviously|everybody knows|why are you asking|silly question|do not bother|I have no time|any child knows|"
    r"next question|is that all|looked it up|leave me alone|not my problem|figure out|do not ask again|be quick about|"
    r"you have to|at last|I expect you|do not forget|look here)\b",
    flags=re.IGNORECASE,
)
WORDS_PER_PART = 3
"""Words a sentence needs for each part it counts for, so that lists of catchwords earn nothing."""
MAX_COURTEOUS_SENTENCES = 3
"""Courtesy beyond this counts as rambling."""
TIE_MARGIN = 0.2
"""Utilities closer than this are a tie."""
STRENGTH_MARGINS = (0.8, 1.8)
"""Differences in utility from which a preference has strength 2 and 3."""


class Judgement(NamedTuple):
    """The better response, and by how much."""

    outcome: Literal["left", "right", "tie"]
    strength: int | None
    """1 slightly better, 2 better, 3 much better; None for a tie."""


class Assessment(NamedTuple):
    """The rater's view of a response."""

    is_courteous: bool
    is_rude: bool
    completeness: float
    """Share of the wanted parts, 0 to 1."""
    is_right: bool
    has_mistake: bool
    num_idle: int
    """Sentences that contribute nothing."""
    num_excess_words: int
    """Words beyond the task's limit."""
    is_finished: bool
    """True if it ends with the end of a sentence."""
    has_repetition: bool

    @property
    def is_ideal(self) -> bool:
        """True if nothing could be better."""
        good = self.is_courteous and self.is_right and self.completeness == 1.0 and self.is_finished
        return good and not (self.is_rude or self.num_idle or self.num_excess_words or self.has_repetition)

    @property
    def utility(self) -> float:
        """The rater's score for it: at most 3.5."""
        value = 1.5 * self.is_courteous - 1.5 * self.is_rude
        value += 1.0 * self.completeness * (1.0 if self.is_right else 0.5)
        value += 1.0 * self.is_right - 0.5 * self.has_mistake
        value -= 0.5 * min(self.num_idle, 5) + 0.05 * min(self.num_excess_words, 40)
        return value - 1.0 * (not self.is_finished) - 1.0 * self.has_repetition


class ScriptedRater:
    """Rates pairs by rules. Used by the demo and the tests instead of a person, nowhere else.

    Args:
        error_rate: Share of judgements that are wrong: left and right swapped, or a tie decided at random.
        seed: Picks the wrong ones. The same texts always get the same judgement, in either order.
    """

    def __init__(self, error_rate: float = 0.05, seed: int = 0) -> None:
        if not 0.0 <= error_rate <= 1.0:
            raise ValueError(f"error_rate is {error_rate}; it must lie between 0 and 1.")
        self.error_rate = error_rate
        self.seed = seed

    def utility(self, prompt_text: str, category: str, reference: dict[str, Any], response: str) -> float:
        """Return the rater's score for a response; 0 without a reference (stories, own prompts)."""
        return assess(reference, response).utility if reference else 0.0

    def rate(self, prompt_text: str, category: str, reference: dict[str, Any], left: str, right: str) -> Judgement:
        """Judge which of two responses to a prompt is better."""
        difference = self.utility(prompt_text, category, reference, left)
        difference -= self.utility(prompt_text, category, reference, right)
        judgement = _judge(difference)
        if not reference or left == right or self._chance("error", prompt_text, left, right) >= self.error_rate:
            return judgement
        if judgement.outcome == "tie":
            prefers_first = self._chance("side", prompt_text, left, right) < 0.5
            return Judgement("left" if prefers_first == (left < right) else "right", 1)
        return Judgement("right" if judgement.outcome == "left" else "left", judgement.strength)

    def _chance(self, purpose: str, prompt_text: str, left: str, right: str) -> float:
        """Return a number from 0 to 1 that depends on the seed and the texts, not on their order."""
        key = "\x00".join([str(self.seed), purpose, prompt_text, *sorted((left, right))])
        return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8]) / 2**64


def assess(reference: dict[str, Any], response: str) -> Assessment:
    """Assess a response.

    Args:
        reference: `answer` (words of which a right answer has one; may be empty), `wrong` (words that no right answer
            has), `parts` (for each part the words that show it), `needed` (parts that make it complete), `max_words`.
        response: the text to judge.
    """
    answers, mistakes = reference.get("answer", []), reference.get("wrong", [])
    sentences = [text for text in re.split(r"(?<=[.!?])\s+", response.strip()) if text]
    found, num_idle, num_courteous = set(), 0, 0
    has_answer = has_mistake = is_rude = False
    for sentence in sentences:
        matter, num_kind = COURTESY.subn("", sentence)
        matter, num_rude = RUDENESS.subn("", matter)
        parts = _parts_in(matter, reference.get("parts", []))
        answered, mistaken = _has_any(matter, answers), _has_any(matter, mistakes)
        found |= parts
        num_courteous += num_kind > 0
        num_idle += not (parts or num_kind or answered or mistaken)
        has_answer, has_mistake, is_rude = has_answer or answered, has_mistake or mistaken, is_rude or num_rude > 0
    words = response.split()
    return Assessment(
        is_courteous=num_courteous > 0,
        is_rude=is_rude,
        completeness=min(1.0, len(found) / max(1, reference.get("needed", 1))),
        is_right=not has_mistake and (has_answer if answers else bool(found)),
        has_mistake=has_mistake,
        num_idle=num_idle + max(0, num_courteous - MAX_COURTEOUS_SENTENCES),
        num_excess_words=max(0, len(words) - reference.get("max_words", 60)),
        is_finished=response.rstrip().endswith((".", "!", "?")),
        has_repetition=_repeats(sentences, words),
    )


def _judge(difference: float) -> Judgement:
    size = abs(difference)
    if size < TIE_MARGIN:
        return Judgement("tie", None)
    return Judgement("left" if difference > 0 else "right", 1 + sum(size >= margin for margin in STRENGTH_MARGINS))


def _has_any(text: str, phrases: list[str]) -> bool:
    return bool(phrases) and _any_of(tuple(phrases)).search(text) is not None


@lru_cache(maxsize=4096)
def _any_of(phrases: tuple[str, ...]) -> re.Pattern[str]:
    """Return a pattern that matches each of the phrases as whole words."""
    return re.compile(rf"\b(?:{'|'.join(re.escape(phrase) for phrase in phrases)})\b", flags=re.IGNORECASE)


def _parts_in(sentence: str, parts: list[list[str]]) -> set[int]:
    """Return the parts that the sentence shows; none if it is too short for that many."""
    shown = {number for number, words in enumerate(parts) if _has_any(sentence, words)}
    return shown if len(sentence.split()) >= WORDS_PER_PART * len(shown) else set()


def _repeats(sentences: list[str], words: list[str]) -> bool:
    """Return whether a sentence, or more than a few runs of three words, occur twice."""
    runs = [tuple(word.lower().strip(".,!?") for word in words[start : start + 3]) for start in range(len(words) - 2)]
    return len(set(sentences)) < len(sentences) or len(runs) - len(set(runs)) > 4
