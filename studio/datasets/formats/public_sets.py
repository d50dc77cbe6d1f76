"""Public sets of a form of their own: compar:IA votes, PRISM, BeaverTails, HelpSteer3's edits."""

from collections.abc import Iterable, Iterator
from typing import Any

from studio.datasets import conversations
from studio.datasets.formats import cells
from studio.datasets.formats.arena import vote_between
from studio.datasets.formats.cells import Row, Verdict
from studio.datasets.formats.family import Columns, Family, Outcome
from studio.datasets.formats.item import Dropped, Item
from studio.preferences.prompts import Messages

QUALITIES = (
    "useful", "complete", "creative", "clear_formatting", "incorrect", "superficial", "instructions_not_followed",
)  # fmt: skip
"""What compar:IA lets a person say of a conversation."""
FOLLOWED = "good only means that the edit follows the feedback, which the prompt does not hold"
SAFE = "good only means that the answer was found safe"


def read_comparia(row: Row, columns: Columns) -> Iterator[Item]:
    """Yield a vote of compar:IA: the model that was chosen, or both alike."""
    models = tuple(cells.name(row.get(f"model_{side}_name")) for side in "ab")
    verdict = _comparia_verdict(row, models)
    sides = [_with_system(row, side) for side in "ab"]
    flags: dict[str, tuple[int, ...]] = {}
    for name in QUALITIES:
        found = tuple(at for at, side in enumerate("ab") if cells.yes_or_no(row.get(f"conv_{name}_{side}")))
        flags |= {name: found} if found else {}
    remarks = ((side, row.get(f"conv_comments_{side}")) for side in "ab")
    note = " ".join(
        f"{side.upper()}: {text.strip()}" for side, text in remarks if isinstance(text, str) and text.strip()
    )
    said: dict[str, Any] = {"flags": flags} if flags else {}
    said |= {"note": note} if note else {}
    yield vote_between(sides, verdict, models, row, rater=cells.name(row.get("visitor_id")), **said)


def _comparia_verdict(row: Row, models: tuple[str, ...]) -> Verdict:
    if cells.yes_or_no(row.get("both_equal")):
        return "tie"
    chosen = cells.name(row.get("chosen_model_name"))
    if not chosen or not all(models):
        raise Dropped("no model was chosen" if not chosen else "a model has no name, so the chosen one is not known")
    if models.count(chosen) != 1:
        raise Dropped(
            "the chosen model is neither of the two" if chosen not in models else "both sides are of the chosen model"
        )
    return ("first", "second")[models.index(chosen)]


def _with_system(row: Row, side: str) -> Messages:
    found = conversations.turns(conversations.cell(row.get(f"conversation_{side}")), "user")
    system = row.get(f"system_prompt_{side}")
    if isinstance(system, str) and system.strip() and found[0]["role"] != "system":
        return [{"role": "system", "content": system.strip()}, *found]
    return found


def read_reaction(row: Row, columns: Columns) -> Iterator[Item]:
    """Yield an answer that a person of compar:IA liked or disliked: a thumb.

    Raises:
        Dropped: which answer is meant, or what is thought of it, is not clear.
    """
    is_liked, is_disliked = (cells.yes_or_no(row.get(name)) is True for name in ("liked", "disliked"))
    if is_liked == is_disliked:
        raise Dropped("neither liked nor disliked" if not is_liked else "liked and disliked")
    side = str(row.get("model_pos")).strip().lower()
    if side not in ("a", "b"):
        raise Dropped("it does not say which of the two conversations is meant")
    turns, at = _with_system(row, side), cells.number(row.get("msg_index"), "msg_index")
    text = cells.text(row.get("response_content"))
    places = [
        place for place, turn in enumerate(turns) if turn["role"] == "assistant" and turn["content"].strip() == text
    ]
    places = [place for place in places if place == at] or places
    if len(places) != 1:
        raise Dropped("the answer is not in its conversation once")
    prompt = conversations.ending_with_user(turns[: places[0]])
    qualities: dict[str, tuple[int, ...]] = {name: () for name in QUALITIES if cells.yes_or_no(row.get(name))}
    said: dict[str, Any] = {"flags": qualities} if qualities else {}
    said |= {"note": note.strip()} if isinstance(note := row.get("comment"), str) and note.strip() else {}
    said |= {"rater": rater} if (rater := cells.name(row.get("visitor_id"))) else {}
    yield Item("unpaired", prompt, (text,), label=is_liked, at=cells.when(row.get("timestamp")), **said)


def read_prism(row: Row, columns: Columns) -> Iterator[Outcome]:
    """Yield the rated answers of each turn of a PRISM conversation; a later turn follows the answers that were chosen before it."""
    history = row.get("conversation_history")
    if not isinstance(history, list) or not all(isinstance(each, dict) for each in history):
        raise Dropped("the history is not a list of turns")
    yield from _prism_turns(history, row)


def read_prism_utterances(rows: Iterable[Row]) -> Iterator[Outcome]:
    """Yield the rated answers of each turn, from rows with an answer each."""
    for found in cells.gathered(rows, "conversation_id"):
        if isinstance(found, Dropped):
            yield found
            continue
        asked = [{"turn": row.get("turn"), "role": "user", "content": row.get("user_prompt")} for row in found]
        answers = [dict(row) | {"role": "model", "content": row.get("model_response")} for row in found]
        for _ in found[1:]:
            yield Dropped("joined with another row of its conversation")
        yield from _prism_turns([*asked, *answers], found[0])


def _prism_turns(history: list[dict[str, Any]], row: Row) -> Iterator[Outcome]:
    before: Messages = []
    turns = sorted({str(each.get("turn")) for each in history}, key=lambda text: (len(text), text))
    for turn in turns:
        of_turn = [each for each in history if str(each.get("turn")) == turn]
        answers = [each for each in of_turn if each.get("role") == "model"]
        try:
            asked = cells.text(
                next((each.get("content") for each in of_turn if each.get("role") == "user"), None), "prompt"
            )
            prompt = [*before, {"role": "user", "content": asked}]
            yield _prism_item(prompt, answers, turn, row)
            if turn == turns[-1]:
                return
            chosen = [each for each in answers if cells.yes_or_no(each.get("if_chosen"))]
            if len(chosen) != 1:
                raise Dropped("turns after one in which not exactly one answer is chosen")
            before = [*prompt, {"role": "assistant", "content": cells.text(chosen[0].get("content"))}]
        except Dropped as reason:
            yield reason
            return


def _prism_item(prompt: Messages, answers: list[dict[str, Any]], turn: str, row: Row) -> Item:
    scores = [cells.number(each.get("score"), "score") for each in answers]
    known = [score for score in scores if score is not None]
    if len(known) != len(scores):
        raise Dropped("an answer without a score")
    texts = [cells.text(each.get("content")) for each in answers]
    models = tuple(cells.name(each.get("model_name")) for each in answers)
    said: dict[str, Any] = {"models": models} if all(models) else {}
    conversation = cells.name(row.get("conversation_id"))
    said |= {"event_id": f"{conversation}-{turn}"} if conversation else {}
    rater, at = cells.name(row.get("user_id")), cells.when(row.get("generated_datetime"))
    said |= ({"rater": rater} if rater else {}) | ({"at": at} if at else {})
    return cells.ranking(
        prompt, texts, [-score for score in known], scores={"score": tuple(known)}, axis="score", **said
    )


def read_beavertails(row: Row, columns: Columns) -> Iterator[Item]:
    """Yield an answer that was found safe or not: a thumb, which becomes a pair with one of the other kind on the same prompt."""
    is_safe = cells.yes_or_no(row.get("is_safe"))
    if is_safe is None:
        raise Dropped("is_safe is neither true nor false")
    prompt, response = conversations.prompt(row.get("prompt")), conversations.answer(row.get("response"))
    yield Item("unpaired", prompt, (response,), label=is_safe, warnings=(SAFE,))


def read_edit(row: Row, columns: Columns) -> Iterator[Item]:
    """Yield a person's edit of an answer: a demonstration, and better than what it was written over."""
    prompt, said = _edited(row)
    edited, original = cells.text(row.get("edited_response")), cells.text(row.get("original_response"))
    note = row.get("change_summary")
    said |= {"note": note.strip()} if isinstance(note, str) and note.strip() else {}
    if edited == original:
        raise Dropped("the edit changed nothing")
    yield Item("demonstration", prompt, (edited, original), rewritten=(1,), **said)


def read_edit_quality(row: Row, columns: Columns) -> Iterator[Item]:
    """Yield two edits, of which one follows the feedback."""
    prompt, said = _edited(row)
    sides = [cells.text(row.get(f"{which}_edited_response")) for which in ("good", "bad")]
    yield cells.pair(prompt, sides, "first", warnings=(FOLLOWED,), **said)


def _edited(row: Row) -> tuple[Messages, dict[str, Any]]:
    category = row.get("domain")
    said = {"category": category.strip()} if isinstance(category, str) and category.strip() else {}
    return conversations.prompt(row.get("context")), said


_SIDES = tuple(f"{name}_{side}" for name in ("conversation", "system_prompt", "conv_comments") for side in "ab")
_EDIT = frozenset(("context", "domain", "original_response", "edited_response", "change_summary"))
FAMILIES = (
    Family(
        "comparia", "votes of compar:IA", "preferences",
        (("conversation_a",), ("conversation_b",), ("chosen_model_name",), ("model_a_name",), ("model_b_name",)), read_comparia,
        reads=frozenset((
            *_SIDES, *(f"conv_{name}_{side}" for name in QUALITIES for side in "ab"), "model_a_name", "model_b_name",
            "chosen_model_name", "both_equal", "visitor_id", "timestamp", "id",
        )),
    ),
    Family(
        "comparia-reactions", "reactions of compar:IA to single answers", "demonstrations",
        (("conversation_a",), ("conversation_b",), ("liked",), ("disliked",), ("model_pos",), ("response_content",)), read_reaction,
        reads=frozenset((
            *_SIDES, *QUALITIES, "liked", "disliked", "model_pos", "msg_index", "response_content", "question_content", "comment",
            "visitor_id", "timestamp", "id",
        )),
    ),
    Family(
        "prism", "PRISM conversations, ranked by score", "preferences", (("conversation_history",), ("conversation_id",), ("user_id",)),
        read_prism, reads=frozenset(("conversation_history", "conversation_id", "user_id", "generated_datetime")),
    ),
    Family(
        "prism-utterances", "PRISM utterances, joined by conversation and ranked by score", "preferences",
        (("conversation_id",), ("user_prompt",), ("model_response",), ("score",), ("if_chosen",), ("turn",)),
        read_all=read_prism_utterances,
        reads=frozenset((
            "conversation_id", "user_id", "user_prompt", "model_response", "model_name", "score", "if_chosen", "turn",
            "generated_datetime",
        )),
    ),
    Family(
        "beavertails", "answers found safe or not (BeaverTails)", "preferences", (("prompt",), ("response",), ("is_safe",)),
        read_beavertails, reads=frozenset(("prompt", "response", "is_safe")),
    ),
    Family(
        "helpsteer-edits", "people's edits of answers (HelpSteer3-Edit)", "preferences",
        (("context",), ("original_response",), ("edited_response",)), read_edit, reads=_EDIT,
    ),
    Family(
        "helpsteer-edit-quality", "edits that follow the feedback or not (HelpSteer3-Edit-Quality)", "preferences",
        (("context",), ("good_edited_response",), ("bad_edited_response",)), read_edit_quality,
        reads=frozenset(("context", "domain", "good_edited_response", "bad_edited_response")),
    ),
)  # fmt: skip
