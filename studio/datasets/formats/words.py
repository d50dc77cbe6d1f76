"""Judgements in words, as labelling projects call them: *A is much better*, *about the same*, *both bad*, *Response B*."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from studio.datasets.formats.cells import Verdict

STRENGTHS = {
    "negligibly": 1, "slightly": 1, "slight": 1, "a little": 1, "somewhat": 1, "weak": 1, "marginally": 1,
    "much": 3, "far": 3, "strongly": 3, "significantly": 3, "clearly": 3, "clear": 3, "a lot": 3, "strong": 3, "definitely": 3,
}  # fmt: skip
TIES = (
    "tie", "tied", "same", "equal", "equally good", "about the same", "no preference", "both good", "neither is better", "similar",
    "they are about the same", "no difference", "draw", "both are good", "both equal",
)  # fmt: skip
BOTH_BAD = (
    "both bad",
    "bothbad",
    "both are bad",
    "neither",
    "neither is good",
    "tie bothbad",
    "both wrong",
    "none of them",
    "equally bad",
)
_SIDE = re.compile(
    r"(?:(?:response|answer|completion|model|output|option|assistant|side|candidate)[\s:#-]*)?\(?([ab12]|left|right|first|second)\)?(?: one)?"
)
_SIDES: dict[str, Verdict] = {
    **dict.fromkeys(("a", "1", "left", "first"), "first"),
    **dict.fromkeys(("b", "2", "right", "second"), "second"),
}
_SIGN = re.compile(r"\[*\s*([ab12])\s*(>{1,3}|<{1,3}|={1,2})\s*([ab12])\s*\]*")
_NUMBERED = re.compile(r"^\s*\(?[-+]?\d{1,2}\s*[-–.:)=]\s+(?=\S+\s+\S)")
"""The number of a choice before its words: 3 - About the same."""
_SIGNED = re.compile(r"\s*\(?[-−+]\s*\d")
"""A number with a sign, which is a step of a scale and no side."""
_FILLER = re.compile(r"\b(is|was|are|the|better|preferred|wins|won|prefer|i|answer is|than .*)\b")
JUDGEMENT_NAME = re.compile(
    r"prefer|compar|better|best|verdict|winner|choice|strength|likert|which|overall|outcome|judg", re.IGNORECASE
)
WORST_NAME = re.compile(r"worse|worst|least|reject|dislik|lower", re.IGNORECASE)
REWRITE_NAME = re.compile(
    r"re-?writ|edit|ideal|correct(ed|ion)|improv|revis|demonstration|better.answer", re.IGNORECASE
)
_GRADES: tuple[tuple[int, re.Pattern[str]], ...] = tuple(
    (grade, re.compile(rf"\b(?:{pattern})\b"))
    for grade, pattern in (
        (0, "worst|terrible|awful|horrible|unacceptable|very bad|very poor"),
        (5, "best|excellent|perfect|ideal|outstanding|top|gold"),
        (4, "very good|great|very (?:relevant|helpful)|highly (?:relevant|helpful)"),
        (2, "ok|okay|fair|medium|middle|average|neutral|acceptable|mixed|borderline|partly|partial|partially|so so|maybe"),
        (1, "bad|poor|worse|low|bottom|wrong|false|incorrect|irrelevant|biased|unhelpful|useless|reject(?:ed)?|dislike[ds]?|unsafe|harmful|toxic"
            "|hallucinat(?:ed|ion|ions)|misleading|inaccurate|untrue|unusable|discard(?:ed)?|not .*|non .*|no"),
        (3, "good|better|high|right|true|correct|relevant|unbiased|helpful|useful|accept(?:ed)?|like[ds]?|safe|harmless|accurate|truthful"
            "|usable|keep|kept|preferred|chosen|satisfactory|yes"),
    )
)  # fmt: skip
"""Grade, the higher the better, to the words for it; the first that matches counts."""
_PLACE = re.compile(r"(?:rank|place|tier|position|priority|choice)\s*#?(\d{1,2})|(\d{1,2})(?:st|nd|rd|th)\b.*")
_ORDINALS = ("first", "second", "third", "fourth", "fifth")
NOTE_NAME = re.compile(r"note|comment|reason|justif|rational|explan|feedback|why", re.IGNORECASE)


class Said(NamedTuple):
    """What words say: which side, how strongly; None where they do not say it."""

    verdict: Verdict | None = None
    strength: int | None = None

    @property
    def is_judgement(self) -> bool:
        """Whether they say anything."""
        return self.verdict is not None or self.strength is not None


def graded(names: Sequence[str]) -> list[str] | None:
    """Return names such as *good* and *poor*, or *tier 1* and *tier 2*, best first; None where they do not tell an order."""
    words = [" ".join(re.sub(r"[_\W]+", " ", name.lower()).split()) for name in names]
    for key in (_place, _grade):
        keys = [key(name) for name in words]
        known = [each for each in keys if each is not None]
        if len(known) == len(names) and len(set(known)) == len(names):
            return [name for _, name in sorted(zip(known, names, strict=True))]
    return None


def _place(name: str) -> int | None:
    if found := _PLACE.fullmatch(name):
        return int(found[1] or found[2])
    return next((at for at, word in enumerate(_ORDINALS) if word in name.split()), None)


def _grade(name: str) -> int | None:
    return next((-grade for grade, pattern in _GRADES if pattern.search(name)), None)


def judgement(value: object) -> Said:
    """Return what a short text says of two responses; nothing where it says something else."""
    if not isinstance(value, str) or len(value) > 80:
        return Said()
    if (signed := _SIGN.fullmatch(value.lower().strip())) and _SIDES[signed[1]] != _SIDES[signed[3]]:
        return _signed(_SIDES[signed[1]], signed[2])
    value = _NUMBERED.sub("", value, count=1)
    if _SIGNED.match(value):
        return Said()
    text = " ".join(re.sub(r"[_\-.,;()!]+", " ", value.lower()).split())
    if text in TIES:
        return Said("tie")
    if text in BOTH_BAD:
        return Said("both_bad")
    strength = next((step for word, step in STRENGTHS.items() if re.search(rf"\b{word}\b", text)), None)
    for word in STRENGTHS:
        text = re.sub(rf"\b{word}\b", " ", text)
    says_better = re.search(r"\bbetter\b|\bprefer", text) is not None
    side = _SIDE.fullmatch(" ".join(_FILLER.sub(" ", text).split()))
    if side:
        return Said(_SIDES[side[1]], strength or (2 if says_better else None))
    if text.split() in ([], ["better"]) and (strength or says_better):
        return Said(None, strength or 2)
    return Said()


def _signed(first: Verdict, sign: str) -> Said:
    """Return what A>B says, or A>>B, where the first is much better."""
    if "=" in sign:
        return Said("tie")
    better = first if ">" in sign else "second" if first == "first" else "first"
    return Said(better, 3 if len(sign) > 1 else None)
