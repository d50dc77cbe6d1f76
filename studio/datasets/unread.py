"""Finds what looks like a judgement and is not read: a column, a key of the last turn, a key of the metadata.

A name alone says little (`status`, `valid`, `overall`), so it counts by the value that it holds: a flag only where it speaks
against the answer, a grade where there is a number.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from studio.datasets import conversations
from studio.datasets.formats.chats import ANSWERED, TURNS
from studio.datasets.formats.prompts import IDS, KINDS

JUDGES = re.compile(
    r"(^|[_\W])(chosen|rejected|prefer\w*|win(s|ner)?|better|best|worse|worst|ranks?|ranking|labels?|scores?|ratings?|rate|votes?|choice|"
    r"select\w*|thumbs?|judg\w*|verdict|feedback|reward|likert|quality|helpful\w*|harmless\w*|safe\w*|safer|good|bad|correct|upvotes?|"
    r"annotations?|grade|stars?|desirable|accepted|tie)([_\W]|\d|$)",
    re.IGNORECASE,
)
"""Names of columns that sound like a judgement."""
ANNOTATORS = re.compile(
    r"(annotator|rater|judge|human|expert|labell?er|voter)[-_ ]?\d+|ground_?truth|gold(en)?", re.IGNORECASE
)
"""More such names, of columns next to two responses of which none is called the better one."""
BESIDE = re.compile(
    r"_(source|id|ids|model|name|date|count|type|by|of|prompt|sha256|length|tokens|category|time|ms|seconds|split)$"
    r"|(^|_)(learning|sampl\w+|frame|bit|dropout)_rate$|(^|_)(lang|language|similarity|retrieval|bm25|embedding)_score$",
    re.IGNORECASE,
)
"""Names of what is said about a judgement, or of something else, and not what it is."""
DECIDES = re.compile(r"(preferences?|preferred|winner|labels?|verdict|votes?|better|is_tie|tie)", re.IGNORECASE)
"""Names of columns that could contradict chosen and rejected."""
_GRADES = re.compile(
    r"(^|_)(overall|eval\w*|assess\w*|review\w*|reaction|satisf\w*|correctness|accuracy|coherence|fluency|factual\w*|truthful\w*|honest\w*"
    r"|faithful\w*|useful\w*|relevance|toxic\w*|harm\w*|severity|points|mos|elo|critique|opinion)(_|\d|$)"
)
"""Names under which a number is a grade."""
_FOR = re.compile(
    r"(^|_)(approv\w*|pass|passed|passes|valid|validated|validity|verified|confirmed|ok|okay|success\w*|solved|resolved|keep|kept|usable|useful|accurate"
    r"|truthful|honest|faithful|factual|acceptable|appropriate|relevant|liked?|likes|satisf\w*|clean|upvoted|trusted|endorsed|review_result)(_|\d|$)|^include[ds]?$"
)
"""Names of flags that speak against the answer where they are down."""
_AGAINST = re.compile(
    r"(^|_)(toxic\w*|flag\w*|harm|harmful|unsafe|hallucinat\w*|spam\w*|reject\w*|dislike[ds]?|downvote[ds]?|wrong|incorrect|invalid|fail\w*"
    r"|refus\w*|unhelpful|offensive|nsfw|exclude[ds]?|discard\w*|problematic|inappropriate|irrelevant|biased|violat\w*|broken|unusable"
    r"|needs_(review|fix|edit|revision|correction)\w*|issues?|errors?|mistakes?|untruthful|misleading|deleted|removed|hidden|retracted|reported|garbage|trash|not_\w+)(_|\d|$)"
)
"""Names of flags that speak against it where they are up."""
_STATES = re.compile(
    r"(^|_)(status|state|decision|outcome|result|review\w*|eval\w*|assess\w*|reaction|approval|moderator\w*|qa|qc|check\w*|mark|remarks?"
    r"|opinion|validation|audit\w*|resolution|disposition|emoji|signal)(_|\d|$)"
)
"""Names under which a word such as *rejected* is a judgement."""
_BAD = re.compile(
    r"\b(reject\w*|declin\w*|denied|deny|fail\w*|bad|poor\w*|wrong|incorrect|invalid|negative|discard\w*|flagged|unsafe|harmful|toxic|dislike[ds]?"
    r"|thumbs?\s?down|down|downvote[ds]?|disapprov\w*|unacceptable|not \w+|needs? \w+|hallucinat\w*|refus\w*|irrelevant|unhelpful|low|terrible"
    r"|awful|no|false|spam|useless|unusable)\b|[\U0001f44e\u274c\u2717\u2718\U0001f61e\U0001f620\U0001f621\U0001f641\U0001f4a9]"
)
_REJECTED = re.compile(
    r"\A(reject(ed)?|thumbs?\s?down|downvoted?|disliked?|disapproved?|[\U0001f44e\U0001f61e\U0001f620\U0001f621\U0001f641\U0001f494\u274c]|[\u2605\u2606\u2b50]{1,10})\Z"
)
"""Words that speak against an answer, and stars, under any name."""
_BETTER = re.compile(
    r"(^|_)(correct(ed|ion)|revis(ed|ion)|edited|improved|rewritten|rewrite|fixed|amended|post_?edit\w*)(_|$)"
)
"""Names of a text that was written over the answer."""
_SHARES = re.compile(
    r"(^|_)(p|prob\w*|likelihood|confidence|agreement|delta|diff\w*|gap|advantage)(_|\d|$)|^([ab12]|left|right|first|second)$"
)
"""Names of numbers that may say which of two responses is better."""
_GOOD = re.compile(
    r"\b(accept\w*|approv\w*|pass\w*|good|great|excellent|right|correct|valid|positive|safe|like[ds]?|thumbs?\s?up|up|upvote[ds]?|helpful|high|yes"
    r"|true|best|better|worse|worst|medium|fair|average|neutral|ok|okay)\b|[\U0001f44d\u2705\u2713\u2714\u2605\u2606\u2b50]"
)
_NUMBER = re.compile(r"[-+]?\d+([.,]\d+)?\s*(%|(/|of|out of|stars?|points?)\s*\d*([.,]\d+)?)?")
_PAIRS = re.compile(r"\s*[\w ]+[:=]\s*[-+]?\d+(\.\d+)?\s*([,;]|$)")
"""Grades as one text: quality:0,toxicity:4."""
_SIDE = re.compile(
    r"^(the )?((response|answer|model|output|completion|option|assistant|side|text)\s*[ab12]|[ab]|left|right|first|second|tie|tied|both( \w+)?|neither"
    r"|equal|[ab12]\s*[<>=]+\s*[ab12])( (is|wins|won|better|preferred|much|slightly|one))*$"
)
"""A side of a pair, in a few words."""
_ANSWER = re.compile(
    r"(^|_)(respon\w*|resp|answers?|outputs?|completions?|repl(y|ies)|candidates?|generat\w+|summar\w+|hypothes\w+|translations?|continuations?"
    r"|solutions?|winner|loser|original|edited|draft|final|revis\w+|correct(ed|ion)|rewrit\w+)(_|\d|$)"
)
_PART = re.compile(
    r"^(pos|neg|good|bad|better|worse|best|worst|win\w*|los\w*|a|b)(_|$)|_(pos|neg|good|bad|better|worse|best|worst|w|l|a|b|1|2|win|lose)$"
)
"""Names of answers, and of one of several."""
_TEXTS = ("text", "response", "answer", "content", "output", "completion", "generation", "value", "message")
_MACHINE = re.compile(r"moderation|usage|param|config|schema|token|logprob|stat(s|istics)$")
"""Objects that say how a text was made or filtered."""
_MEDIA = frozenset(
    f"{what}{end}"
    for what in ("image", "video", "audio", "picture", "photo")
    for end in ("", "s", "_path", "_url", "_file")
)
"""Names of columns with what a text is about, and is not text itself."""
_FILE = re.compile(
    r"data:\w+/|https?://|.*\.(png|jpe?g|webp|gif|bmp|tiff?|mp[34]|wav|flac|ogg|m4a|avi|mov|mkv|webm)(\?.*)?\Z",
    re.IGNORECASE,
)
_DEEPEST, _LONGEST_WORD, _MOST_WORDS = 4, 60, 4
Reads = Callable[[str], bool]


def columns(rows: Sequence[Mapping[str, Any]], reads: Reads, judges: Callable[[str], Any] = JUDGES.search) -> list[str]:
    """Return the columns that are not read, hold something in these rows, and sound like a judgement."""
    names = dict.fromkeys(name for row in rows for name, value in row.items() if is_filled(value) and not reads(name))
    return [name for name in names if judges(snake(name)) and not BESIDE.search(snake(name))]


def of_pair(row: Mapping[str, Any], reads: Reads) -> Iterator[str]:
    """Yield the paths in a row at which something may say which of its two responses is better."""
    for name, value in row.items():
        if is_filled(value) and not reads(name):
            folded = snake(name)
            if BESIDE.search(folded) or folded in IDS | KINDS:
                continue
            is_told = _is_said(value, _SIDE) or (_STATES.search(folded) and _is_short(value))
            if is_told or JUDGES.search(folded) or ANNOTATORS.fullmatch(folded) or _is_share(folded, value):
                yield name
            elif not _MACHINE.search(folded):
                yield from (f"{name}.{path}" for path in _inside(_opened(value), 1, _SIDE))


def answers(rows: Sequence[Mapping[str, Any]], reads: Reads) -> list[str]:
    """Return the columns that are not read and may hold answers: lists of them, or two and more by their names."""
    unread = dict.fromkeys(name for row in rows for name, value in row.items() if is_filled(value) and not reads(name))
    lists = [name for name in unread if any(_are_answers(name, row.get(name)) for row in rows)]
    texts = [
        name
        for name in unread
        if (_ANSWER.search(snake(name)) or _PART.search(snake(name))) and not BESIDE.search(snake(name))
    ]
    texts = [name for name in texts if any(isinstance(row.get(name), str | list | dict) for row in rows)]
    return lists or (texts if len(texts) > 1 else [])


def _are_answers(name: str, value: Any) -> bool:
    """Return whether a value is a list of answers: objects with a text, or texts under such a name."""
    value = _opened(value)
    if isinstance(value, dict):
        texts = [
            key for key, each in value.items() if isinstance(each, str) or any(name in _TEXTS for name in _keys(each))
        ]
        return bool(_ANSWER.search(snake(name))) and (len(texts) > 1 or any(key in _TEXTS for key in texts))
    if not isinstance(value, list) or len(value) < 2:
        return False
    if all(isinstance(each, dict) for each in value):
        return any(isinstance(each.get(key), str | list | dict) for each in value for key in _TEXTS)
    return bool(_ANSWER.search(snake(name))) and all(isinstance(each, str) for each in value)


def _keys(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def of_answer(row: Mapping[str, Any], reads: Reads) -> Iterator[str]:
    """Yield the paths in a row at which its answer may be judged: columns, keys of the last turn, keys inside objects."""
    for name, value in row.items():
        if name in TURNS or name in ANSWERED:
            turn = _last_turn(value)
            yield from (f"{name}[-1].{path}" for path in _inside(turn, 1))
        elif value is not None and not reads(name):
            kind = _kind(name)
            is_judged = ("judges" in kind and is_filled(value)) or (kind and _says(kind, value))
            is_better = (
                _BETTER.search(snake(name))
                and isinstance(value, str)
                and value.strip()
                and not BESIDE.search(snake(name))
            )
            if is_judged or is_better or _is_said(value, _REJECTED):
                yield name
            elif not _MACHINE.search(name):
                yield from (f"{name}.{path}" for path in _inside(_opened(value), 1))


def media(row: Mapping[str, Any]) -> str:
    """Return the column of a row with a picture, a film or a sound; "" where there is none."""
    return next((name for name in row.keys() & _MEDIA if _is_media(row[name])), "")


def _is_media(value: Any) -> bool:
    if isinstance(value, list):
        return any(map(_is_media, value))
    if isinstance(value, dict):
        return any(value.get(name) for name in ("bytes", "path", "url"))
    return isinstance(value, bytes) or (isinstance(value, str) and bool(_FILE.match(value.strip())))


def is_filled(value: Any) -> bool:
    """Return whether a cell holds something; NaN stands for a missing one."""
    return not conversations.is_empty(value) and value == value and value != {}


@lru_cache(maxsize=4096)
def snake(name: str) -> str:
    """Return a name in small letters with its words apart: isToxic is is_toxic."""
    return re.sub(r"[\W_]+", "_", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)).lower()


@lru_cache(maxsize=4096)
def _kind(name: str) -> str:
    """Return how a name may judge: by any value, as a grade, as a flag for or against, as a state; "" where it does not."""
    folded = snake(name)
    if BESIDE.search(folded):
        return ""
    kinds = {"judges": JUDGES, "against": _AGAINST, "for": _FOR, "grade": _GRADES, "state": _STATES}
    return " ".join(kind for kind, pattern in kinds.items() if pattern.search(folded))


def _inside(value: Any, depth: int, words: re.Pattern[str] = _GOOD) -> Iterator[str]:
    """Yield the paths inside an object, or the objects of a list, at which something judges: by a number, or one of the words."""
    if depth > _DEEPEST:
        return
    if isinstance(value, list):
        for each in value:
            yield from _inside(each, depth + 1, words)
    elif isinstance(value, dict):
        for name, part in value.items():
            kind = _kind(str(name))
            is_judged = kind and (_says(kind, part) or ("judges" in kind and _is_said(part, words)))
            if is_judged or _is_said(part, _REJECTED):
                yield str(name)
            elif not _MACHINE.search(str(name)):
                yield from (f"{name}.{path}" for path in _inside(part, depth + 1, words))


def _says(kind: str, value: Any) -> bool:
    """Return whether a value under a name of this kind is a judgement: a grade, or a flag or state against the answer."""
    if "judges" in kind:
        return _rates(value)
    if "grade" in kind and _is_number(value):
        return True
    word = str(value).strip().lower() if isinstance(value, bool | int | float | str) else ""
    if "against" in kind and (word in ("true", "yes", "1", "1.0") or (isinstance(value, list) and value)):
        return True
    if "for" in kind and (word in ("false", "no", "0", "0.0", "-1") or _is_bad(value)):
        return True
    return "state" in kind and _is_bad(value)


def _is_bad(value: Any) -> bool:
    return _is_said(value, _BAD)


def _is_said(value: Any, words: re.Pattern[str]) -> bool:
    """Return whether a value is a few words with one of these among them."""
    if not isinstance(value, str) or len(value) > _LONGEST_WORD or len(value.split()) > _MOST_WORDS:
        return False
    return bool(words.search(re.sub(r"[_\-]+", " ", value.lower())))


def _is_short(value: Any) -> bool:
    return isinstance(value, bool | int | float) or (isinstance(value, str) and len(value) <= _LONGEST_WORD)


def _is_share(folded: str, value: Any) -> bool:
    return bool(_SHARES.search(folded)) and (isinstance(value, bool) or _is_number(value))


def rejected(row: Mapping[str, Any], reads: Reads) -> str:
    """Return the column of a row that is not read and whose word speaks against it; "" where there is none."""
    return next(
        (
            name
            for name, value in row.items()
            if isinstance(value, str) and _is_said(value, _REJECTED) and not reads(name)
        ),
        "",
    )


def _is_number(value: Any) -> bool:
    if isinstance(value, dict | list):
        return any(map(_is_number, value.values() if isinstance(value, dict) else value))
    if isinstance(value, str):
        return len(value) <= _LONGEST_WORD and bool(_NUMBER.fullmatch(value.strip()) or _PAIRS.match(value))
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value


def _rates(value: Any) -> bool:
    """Return whether a value under the name of a judgement is one, and not a topic or a text."""
    if isinstance(value, dict | list):
        return any(map(_rates, value.values() if isinstance(value, dict) else value))
    return isinstance(value, bool) or _is_number(value) or _is_said(value, _BAD) or _is_said(value, _GOOD)


def _opened(value: Any) -> Any:
    """Return an object that a table holds as text."""
    return conversations.notation(value) if isinstance(value, str) and value.lstrip()[:1] in ("{", "[") else value


def _last_turn(value: Any) -> Any:
    if isinstance(value, str) and value.lstrip()[:1] == "[":
        value = conversations.notation(value)
    return value[-1] if isinstance(value, list) and value and isinstance(value[-1], dict) else None
