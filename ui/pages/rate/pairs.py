"""Rate: two answers side by side, or three to nine in a row, judged by keys; a judgement is in SQLite before the page says so.

The page's own scripts (`static/rate/`) show what is to be judged and send each press with a uuid of its own; they repeat a
press that got no answer, and the uuid makes a repeated press one rating. So a killed server or a reload loses and doubles
nothing. The presses go past Gradio's event queue, as plain calls that answer with the next items: each is one transaction
that records the press and stores the order of what is shown after it. Rating is blind: what the browser gets holds texts
and no model name.
"""

from dataclasses import asdict
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from studio.annotation import disagreements, session_status, sessions
from studio.errors import RatingError, StudioError, WorkspaceUnavailable
from studio.preferences import comparisons, edits, prompts, ratings, undo, wording
from studio.preferences.judgements import LONGEST_NOTE, Remarks
from studio.preferences.vocabulary import SKIP_REASONS, Outcome
from studio.workspace import Database, Workspace
from ui import rendering
from ui.components import html
from ui.handlers import served
from ui.page import Page
from ui.pages.rate import second_looks
from ui.pages.rate.markup import SCRIPT, stage

RATER = "person"
AHEAD = 4
"""Items the browser holds: the one on the screen and the next ones."""
LONGEST_TEXT = 400_000
"""Characters of an ideal answer or a demonstration."""
Uuid = Annotated[str, Field(pattern=r"^[0-9a-f-]{36}$")]
Milliseconds = Annotated[int, Field(ge=0, le=86_400_000)]
Position = Annotated[int, Field(ge=0, le=8)]
Checked = TypeVar("Checked", bound="Sent")


class Sent(BaseModel):
    """A message from the browser; checked as if a stranger had sent it."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    known: Annotated[list[int], Field(max_length=100)] = []
    """Showings whose texts the browser has."""


class Press(Sent):
    """One judgement of the person."""

    uuid: Uuid
    showing: int
    outcome: Outcome
    strength: Literal[1, 2, 3] | None = None
    reason: Annotated[int, Field(ge=0, lt=len(SKIP_REASONS))] | None = None
    ranks: Annotated[list[Annotated[int, Field(ge=1, le=9)]], Field(min_length=3, max_length=9)] | None = None
    note: Annotated[str, Field(max_length=LONGEST_NOTE)] = ""
    flags: dict[str, Annotated[list[Position], Field(max_length=9)]] = {}
    attributes: dict[str, Annotated[list[int | None], Field(max_length=9)]] = {}
    elapsed_ms: Milliseconds


class Undo(Sent):
    """One undo of the person."""

    uuid: Uuid


class Settle(Sent):
    """The answer to the question after a second look; with gap, the guideline as it is to be."""

    uuid: Uuid
    showing: int
    outcome: disagreements.Outcome
    text: Annotated[str, Field(max_length=LONGEST_TEXT)] = ""


class Draft(Sent):
    """Text that is being written, or, of kind remarks, note, flags and scales as the browser's own scripts hold them."""

    kind: Literal["edit", "demonstrate", "note", "remarks", "gap"]
    position: Position | None = None
    showing: int
    text: Annotated[str, Field(max_length=1_000_000)]


class Written(Sent):
    """An ideal answer, or a demonstration."""

    kind: Literal["edit", "demonstrate"]
    position: Position | None = None
    showing: int
    uuid: Uuid
    text: Annotated[str, Field(max_length=LONGEST_TEXT)]
    elapsed_ms: Milliseconds


def build(ws: Workspace) -> Page:
    """Place the page; its scripts keep it fresh."""

    def open_items(sent: Any) -> dict[str, Any]:
        with ws.write() as db:
            answer = _state(ws, db, _checked(Sent, sent).known)
        return _with_markup(answer)

    def record(sent: Any) -> dict[str, Any]:
        return _with_markup(_record(ws, _checked(Press, sent)))

    def undo(sent: Any) -> dict[str, Any]:
        return _with_markup(_undo(ws, _checked(Undo, sent)))

    def write(sent: Any) -> dict[str, Any]:
        return _with_markup(_write(ws, _checked(Written, sent)))

    def settle(sent: Any) -> dict[str, Any]:
        return _with_markup(_settle(ws, _checked(Settle, sent)))

    def draft(sent: Any) -> dict[str, Any]:
        found = _checked(Draft, sent)
        with ws.write() as db:
            return _draft(db, found)

    functions = [served(each) for each in (open_items, record, undo, write, settle, draft)]
    html.html(stage(), elem_id="rate", js_on_load=SCRIPT, server_functions=functions)
    return Page(lambda: None, [], [])


def _checked(kind: type[Checked], sent: Any) -> Checked:
    try:
        return kind.model_validate(sent)
    except ValidationError as error:
        raise RatingError(_refusal(error)) from error


def _refusal(error: ValidationError) -> str:
    """Return why what was sent cannot be recorded."""
    fault = error.errors(include_url=False, include_input=False)[0]
    field = fault["loc"][0] if fault["loc"] else ""
    if fault["type"] == "string_too_long" and field in ("note", "text"):
        what = "A note" if field == "note" else "A text"
        return f"{what} has at most {fault.get('ctx', {}).get('max_length', 0):,} characters; this one has more, so nothing was recorded. Shorten it."
    return "This press was not understood, so nothing was recorded. Reload the page."


def _record(ws: Workspace, press: Press) -> dict[str, Any]:
    """Record a press; answers with what was recorded and what comes next."""
    reason = SKIP_REASONS[press.reason] if press.reason is not None and press.outcome == "skip" else None
    with ws.write() as db:
        try:
            rating = ratings.record(
                db,
                press.showing,
                press.outcome,
                strength=press.strength,
                reason=reason,
                ranks=press.ranks,
                remarks=Remarks(press.note, press.flags, press.attributes),
                uuid=press.uuid,
                elapsed_ms=press.elapsed_ms,
            )
        except RatingError as error:  # for instance: rated in another tab meanwhile; continue with the next item
            return _state(ws, db, press.known) | {"error": str(error)}
        for kind in ("note", "remarks"):
            prompts.save_draft(db, edits.draft_name(kind, press.showing), "")
        seen = session_status.prediction(db, RATER, press.showing, rating.id)
        return _state(ws, db, press.known) | {"recorded": wording.of_rating(db, rating), "prediction": seen}


def _undo(ws: Workspace, sent: Undo) -> dict[str, Any]:
    """Take back the newest rating; answers with what was taken back and its item, shown as it was."""
    with ws.write() as db:
        since = sessions.undo_since(db, RATER)
        if settled := disagreements.take_back(db, RATER, sent.uuid, since):
            return _state(ws, db, sent.known) | {"undone": settled.said, "back": "here", "again": ""}
        taken = undo.newest(db, RATER, sent.uuid, since)
        edits.put_back(db, taken, sessions.upcoming(db, RATER, AHEAD))
        state = _state(ws, db, sent.known)
        if taken and taken.edited_response_id:
            for item in state["items"]:
                item["drafts"] = _drafts(db, item["id"])
        if taken is None:
            return state | {"error": sessions.nothing_to_undo(db, RATER)}
        again = undo.counting(db, taken)
        told = {"undone": wording.of_rating(db, taken), "again": wording.of_rating(db, again) if again else ""}
        if taken.showing_id is not None and again is None:
            told["back"] = "here" if [taken.showing_id] == [each["id"] for each in state["items"][:1]] else "elsewhere"
        return state | told


def _write(ws: Workspace, sent: Written) -> dict[str, Any]:
    """Keep an ideal answer or a demonstration. The item on the screen stays."""
    try:
        with ws.write() as db:
            if sent.kind == "edit":
                edits.edit_to_ideal(
                    db, sent.showing, sent.position or 0, sent.text, uuid=sent.uuid, elapsed_ms=sent.elapsed_ms
                )
                answer = {"recorded": wording.IDEAL}
            else:
                edits.demonstrate(db, sent.showing, sent.text)
                answer = {"said": "Recorded: a demonstration for this prompt. Undo takes back judgements, not this."}
            prompts.save_draft(db, edits.draft_name(sent.kind, sent.showing, sent.position), "")
    except WorkspaceUnavailable:  # the browser keeps the text and sends it again
        raise
    except StudioError as error:
        answer = {"error": str(error)}
    with ws.write() as db:
        return _state(ws, db, sent.known) | answer


def _settle(ws: Workspace, sent: Settle) -> dict[str, Any]:
    """Store what the two votes were; answers with what comes next."""
    try:
        with ws.write() as db:
            settled = disagreements.settle(db, sent.showing, sent.outcome, uuid=sent.uuid, text=sent.text)
            prompts.save_draft(db, edits.draft_name(second_looks.DRAFT, sent.showing), "")
            return _state(ws, db, sent.known) | {"recorded": settled.said}
    except WorkspaceUnavailable:  # the browser keeps the answer and sends it again
        raise
    except StudioError as error:
        answer = {"error": str(error)}
    with ws.write() as db:
        return _state(ws, db, sent.known) | answer


def _draft(db: Database, sent: Draft) -> dict[str, Any]:
    # What arrives after its judgement is recorded with that judgement.
    if sent.kind in ("edit", "demonstrate", second_looks.DRAFT) or not ratings.is_rated(db, sent.showing):
        prompts.save_draft(db, edits.draft_name(sent.kind, sent.showing, sent.position), sent.text)
    return {"kept": True}


def _state(ws: Workspace, db: Database, known: list[int]) -> dict[str, Any]:
    """Return what to show now and next, with the counts; texts the browser has are not sent again."""
    counts, rated = comparisons.counts(db), ratings.summary(db)
    return {
        "items": [_item(db, showing_id, known) for showing_id in sessions.upcoming(db, RATER, AHEAD)],
        "to_rate": counts["unrated"],
        "total": counts["comparisons"],
        "rated": rated["rated"],
        "enough": ratings.ENOUGH,
        "by_person": rated["person"],
        "question": second_looks.question(db, RATER),
    } | session_status.state(ws, db, RATER)


def _item(db: Database, showing_id: int, known: list[int]) -> dict[str, Any]:
    """Return an item with what was typed on it: drafts, and the remarks of a judgement that was taken back."""
    told = {"id": showing_id, "remarks": asdict(undo.remarks_taken_back(db, showing_id))}
    if showing_id in known:
        return told
    showing = comparisons.get_showing(db, showing_id)
    assert showing is not None
    return told | {
        "messages": showing.messages,
        "texts": showing.texts,
        "drafts": _drafts(db, showing_id),
    }


def _drafts(db: Database, showing_id: int) -> list[dict[str, Any]]:
    """Return the texts that are kept but not recorded yet."""
    places = [("edit", position) for position in range(9)] + [
        (kind, None) for kind in ("demonstrate", "note", "remarks")
    ]
    names = {edits.draft_name(kind, showing_id, position): (kind, position) for kind, position in places}
    kept = prompts.read_drafts(db, list(names))
    return [{"kind": names[name][0], "position": names[name][1], "text": text} for name, text in kept.items()]


def _with_markup(answer: dict[str, Any]) -> dict[str, Any]:
    """Format the answer's new texts: they are ready before they are shown, and no transaction waits for it."""
    for item in [*answer["items"], *filter(None, [answer["question"]])]:
        if "texts" in item:
            item["drawn"] = {
                "messages": [rendering.draw(turn["content"]).sent() for turn in item["messages"]],
                "texts": [rendering.draw(text).sent() for text in item["texts"]],
            }
    return answer
