"""Pairs whose columns say which response was chosen: HH, TRL, UltraFeedback binarised, Skywork, Tulu, Orca, LLaMA-Factory, axolotl."""

from collections.abc import Iterator
from typing import Any

from studio.datasets import conversations
from studio.datasets.conversations import first
from studio.datasets.formats import cells
from studio.datasets.formats.cells import Row
from studio.datasets.formats.family import Columns, Family
from studio.datasets.formats.item import Dropped, Item
from studio.datasets.formats.prompts import (
    ASKED,
    ASKED_WITH,
    IDS,
    LONE,
    SYSTEM,
    TURNS,
    asked,
    prompt_of,
    unknown,
    with_context,
    written,
)
from studio.preferences.prompts import Messages

CHOSEN = ("chosen", "chosen_response", "response_j")
REJECTED = ("rejected", "rejected_response", "response_k")
SCORES = (
    ("score_chosen", "score_rejected"), ("chosen_score", "rejected_score"), ("rating_chosen", "rating_rejected"),
    ("chosen_rating", "rejected_rating"), ("chosen_avg_rating", "rejected_avg_rating"), ("chosen-rating", "rejected-rating"),
    ("chosen_reward", "rejected_reward"), ("reward_chosen", "reward_rejected"), ("votes_chosen", "votes_rejected"), ("chosen_votes", "rejected_votes"),
)  # fmt: skip
MODELS = (
    ("chosen_model", "rejected_model"), ("model_chosen", "model_rejected"), ("chosen-model", "rejected-model"), ("chosen_policy", "rejected_policy"),
)  # fmt: skip
READS = frozenset(
    (*CHOSEN, *REJECTED, *ASKED_WITH, "status", *TURNS, *(c for pair in (*SCORES, *MODELS) for c in pair))
) | cells.COMMON  # fmt: skip
_PROMPTS = frozenset((*ASKED, *TURNS))
_KNOWN = READS - {*ASKED_WITH, *TURNS} | IDS
"""Columns that are not the prompt."""
_OPEN = "\n\nAssistant:"


def read(row: Row, columns: Columns) -> Iterator[Item]:
    """Yield the pair of a row, or the ranking where it has several chosen or rejected answers."""
    chosen, rejected = (conversations.cell(first(row, names)) for names in (CHOSEN, REJECTED))
    for side in (chosen, rejected):
        if conversations.is_empty(side):
            raise Dropped("empty response")
    if chosen == rejected:
        raise Dropped("chosen and rejected are the same")
    said = _said(row) if columns - {*CHOSEN, *REJECTED} else {}
    if _are_texts(chosen) and _are_texts(rejected):
        said = {name: value for name, value in said.items() if name != "models"}
        texts = [text.strip() for text in (*chosen, *rejected)]
        yield cells.ranking(prompt_of(row, columns, _KNOWN), texts, [0] * len(chosen) + [1] * len(rejected), **said)
        return
    if isinstance(chosen, str) and isinstance(rejected, str):
        prompt, sides = _of_texts(row, chosen, rejected, columns)
        said["warnings"] = (*said.get("warnings", ()), *cells.repeats(prompt, sides))
    else:
        prompt, sides, warning = _of_turns(row, _turns(chosen), _turns(rejected), columns)
        said["warnings"] = (*said.get("warnings", ()), *warning)
    verdict = "tie" if row.get("status") == "tie" else "first"
    yield cells.pair(prompt, sides, verdict, **said)


def read_last(row: Row, columns: Columns) -> Iterator[Item]:
    """Yield the pair of a conversation, whose last answer is the better one, and of a worse answer, or a worse conversation, apart."""
    better = _turns(conversations.cell(row.get("messages")))
    worse = conversations.cell(first(row, _WORSE))
    if conversations.is_empty(worse):
        raise Dropped("empty response")
    if isinstance(worse, str):
        worse = [*better[:-1], {"role": "assistant", "content": worse}]
    apart = {name: value for name, value in row.items() if name not in ("messages", *_WORSE)}
    yield from read({**apart, "chosen": better, "rejected": worse}, columns)


def _are_texts(side: Any) -> bool:
    """Return whether a side is a list of answers, each better, or worse, than those of the other side."""
    return isinstance(side, list) and all(isinstance(text, str) for text in side)


def _said(row: Row) -> dict[str, Any]:
    """Return what else is said about the pair: rater, strength, scores and models."""
    said = cells.common(row) | cells.strength(row)
    warnings = list(said.get("warnings", ()))
    for names in SCORES:
        scores = tuple(_score(row.get(name)) for name in names)
        if None not in scores:
            said["scores"] = {"score": scores}
            warnings += cells.contradiction(*scores)
            break
    for names in MODELS:
        models = tuple(cells.name(row.get(name)) for name in names)
        if all(models):
            said["models"] = models
    return said | ({"warnings": tuple(warnings)} if warnings else {})


def _score(value: Any) -> float | None:
    try:
        return cells.number(value, "score")
    except Dropped:
        return None


def _turns(side: Any) -> Messages:
    return conversations.turns(side, "assistant")


def _of_texts(row: Row, chosen: str, rejected: str, columns: Columns) -> tuple[Messages, tuple[str, str]]:
    has_prompt = not (_PROMPTS.isdisjoint(columns) and _PROMPTS.isdisjoint(row))
    if has_prompt and any(not conversations.is_empty(conversations.cell(row.get(name))) for name in _PROMPTS):
        return _beside_prompt(asked(row), chosen, rejected)
    if conversations.is_transcript(chosen):
        return _of_transcripts(row, chosen, rejected)
    if has_prompt:  # a common beginning is not a prompt where a column holds it
        raise Dropped("empty prompt")
    here = written(row, _KNOWN)
    if here and here[0] in LONE:
        return prompt_of(row, columns, _KNOWN), (chosen.strip(), rejected.strip())
    if others := here or sorted((columns - READS - IDS - {"metadata"}) or _systems(row)):
        raise unknown(row, others)
    return _shared_words(chosen, rejected)


def _systems(row: Row) -> list[str]:
    return [name for name in SYSTEM if not conversations.is_empty(row.get(name))]


def _beside_prompt(prompt: Messages, chosen: str, rejected: str) -> tuple[Messages, tuple[str, str]]:
    """Return the answers of a row with a prompt; where both hold it once more, as transcripts, only what follows it.

    Raises:
        Dropped: both are the same transcript but for the answer, and it is not of this prompt.
    """
    sides = (conversations.after(prompt, chosen), conversations.after(prompt, rejected))
    are_whole = sides == (chosen.strip(), rejected.strip()) and all(map(conversations.is_transcript, sides))
    before, before_too = chosen.rpartition(_OPEN)[0].strip(), rejected.rpartition(_OPEN)[0].strip()
    if are_whole and before and before == before_too:
        inside, found = _of_transcripts({}, chosen, rejected)
        asked_here = [turn for turn in prompt if turn["role"] != "system"]
        if inside[: len(asked_here)] != asked_here and inside[-len(asked_here) :] != asked_here:
            raise Dropped("the prompt column and the prompt inside differ")
        return [*prompt[: len(prompt) - len(asked_here)], *inside], found
    return prompt, sides


def _of_transcripts(row: Row, chosen: str, rejected: str) -> tuple[Messages, tuple[str, str]]:
    """Read two transcripts; their shared turns only once, which is most of the work."""
    before, _, answer = chosen.rpartition(_OPEN)
    before_too, _, other = rejected.rpartition(_OPEN)
    if before == before_too and "\n\nHuman:" not in answer and "\n\nHuman:" not in other and before.startswith("\n\n"):
        if not answer.strip() or not other.strip():
            raise Dropped("empty response")
        return conversations.ending_with_user(conversations.transcript(before)), (answer.strip(), other.strip())
    prompt, sides, _ = _of_turns(row, conversations.transcript(chosen), conversations.transcript(rejected))
    return prompt, sides


def _shared_words(chosen: str, rejected: str) -> tuple[Messages, tuple[str, str]]:
    pairs = enumerate(zip(chosen, rejected, strict=False))
    shared = chosen[: next((i for i, (one, other) in pairs if one != other), min(len(chosen), len(rejected)))]
    shared = shared[: max((shared.rfind(space) for space in " \n\t"), default=-1) + 1]  # end the prompt at a whole word
    if not shared.strip():
        raise Dropped("the two sides share no prompt")
    sides = (chosen[len(shared) :].strip(), rejected[len(shared) :].strip())
    return [{"role": "user", "content": shared.strip()}], sides


def _of_turns(
    row: Row, chosen: Messages, rejected: Messages, columns: Columns = frozenset(ASKED)
) -> tuple[Messages, tuple[str, str], tuple[str, ...]]:
    """Read both sides as turns: with the prompt inside, or as the one answer to the row's prompt."""
    for side in (chosen, rejected):
        if side[-1]["role"] != "assistant":
            raise Dropped("does not end with an assistant turn")
    if chosen[:-1] != rejected[:-1]:
        raise Dropped("prompts of the two sides differ")
    inside = chosen[:-1]
    sides = (chosen[-1]["content"].strip(), rejected[-1]["content"].strip())
    if not inside:
        return prompt_of(row, columns, _KNOWN), sides, ()
    prompt = conversations.cell(row.get("prompt"))
    if isinstance(prompt, list) and prompt and conversations.turns(prompt, "user") != inside:
        raise Dropped("the prompt column and the prompt inside differ")
    is_other = isinstance(prompt, str) and prompt.strip() and prompt.strip() not in inside[-1]["content"]
    warning = ("the prompt column differs from the conversation, which counts",) if is_other else ()
    return conversations.ending_with_user(with_context(row, inside)), sides, warning


def _is_hh(rows: Any) -> bool:
    found = next((row for row in rows if row.get("chosen")), {})
    is_bare = all(conversations.is_empty(found.get(name)) for name in ASKED)
    return is_bare and isinstance(found.get("chosen"), str) and conversations.is_transcript(found["chosen"])


_NEEDS = (CHOSEN, REJECTED)
_WORSE = ("rejected_response", "rejected_messages")
HH = Family("hh", "Anthropic HH transcripts", "preferences", _NEEDS, read, reads=READS, looks=_is_hh)
PAIRS = Family(
    "chosen-rejected", "prompt, chosen, rejected", "preferences", _NEEDS, read, reads=READS, looks=lambda rows: not _is_hh(rows)
)  # fmt: skip
LAST = Family(
    "messages-rejected", "a conversation, and a worse answer apart (ms-swift)", "preferences", (("messages",), _WORSE), read_last,
    reads=READS | {*_WORSE}, looks=lambda rows: not any(name in row for row in rows for name in CHOSEN),
)  # fmt: skip
