"""Rate: two answers side by side, or three to nine in a row, judged by keys; a judgement is in SQLite before the page says so.

The page's own scripts (`rate*.js`) show what is to be judged and send each press with a uuid of its own; they repeat a
press that got no answer, and the uuid makes a repeated press one rating. So a killed server or a reload loses and doubles
nothing. The presses go past Gradio's event queue, as plain calls that answer with the next items: each is one transaction
that records the press and stores the order of what is shown after it. Rating is blind: what the browser gets holds texts
and no model name.
"""

from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from studio import comparisons, edits, prompts, ratings, session_state, sessions
from studio.errors import RatingError, StudioError, WorkspaceUnavailable
from studio.judgements import ranking_words
from studio.ratings import Remarks
from studio.workspace import Workspace
from ui import parts
from ui.border import served
from ui.pages import Page
from ui.rate_stage import SCRIPT, stage

RATER = "person"
AHEAD = 4
"""Items the browser holds: the one on the screen and those behind it."""
STRENGTHS = {3: "much better", 2: "better", 1: "slightly better"}
Uuid = Annotated[str, Field(pattern=r"^[0-9a-f-]{36}$")]
Milliseconds = Annotated[int, Field(ge=0, le=86_400_000)]
Position = Annotated[int, Field(ge=0, le=8)]
Checked = TypeVar("Checked", bound="Sent")


class Sent(BaseModel):
    """What the browser sends; checked as if a stranger had sent it."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    known: Annotated[list[int], Field(max_length=100)] = []
    """Showings whose texts the browser has."""


class Press(Sent):
    """One judgement of the person."""

    uuid: Uuid
    showing: int
    outcome: ratings.Outcome
    strength: Literal[1, 2, 3] | None = None
    reason: Annotated[int, Field(ge=0, lt=len(ratings.SKIP_REASONS))] | None = None
    ranks: Annotated[list[Annotated[int, Field(ge=1, le=9)]], Field(min_length=3, max_length=9)] | None = None
    note: Annotated[str, Field(max_length=5000)] = ""
    flags: dict[str, Annotated[list[Position], Field(max_length=9)]] = {}
    attributes: dict[str, Annotated[list[int | None], Field(max_length=9)]] = {}
    elapsed_ms: Milliseconds


class Undo(Sent):
    """One undo of the person."""

    uuid: Uuid


class About(Sent):
    """What a text is written for."""

    kind: Literal["edit", "demonstrate"]
    position: Position | None = None
    showing: int

    @property
    def name(self) -> str:
        """The draft's key in the workspace."""
        return f"rate-{self.kind}-{self.showing}-{self.position}"


class Draft(About):
    """Text that is being written; without `text` the kept one is asked for."""

    text: Annotated[str, Field(max_length=400_000)] | None = None


class Written(About):
    """An ideal answer, or a demonstration."""

    uuid: Uuid
    text: Annotated[str, Field(max_length=400_000)]
    elapsed_ms: Milliseconds


def build(ws: Workspace) -> Page:
    """Place the page; its scripts keep it fresh."""

    def open_items(sent: Any) -> dict[str, Any]:
        with ws.write() as db:
            return _state(ws, db, _checked(Sent, sent).known)

    def record(sent: Any) -> dict[str, Any]:
        return _record(ws, _checked(Press, sent))

    def undo(sent: Any) -> dict[str, Any]:
        return _undo(ws, _checked(Undo, sent))

    def write(sent: Any) -> dict[str, Any]:
        return _write(ws, _checked(Written, sent))

    def draft(sent: Any) -> dict[str, Any]:
        return _draft(ws, _checked(Draft, sent))

    functions = [served(each) for each in (open_items, record, undo, write, draft)]
    parts.html(stage(), elem_id="rate", js_on_load=SCRIPT, server_functions=functions)
    return Page(lambda: None, [], [])


def _checked(kind: type[Checked], sent: Any) -> Checked:
    try:
        return kind.model_validate(sent)
    except ValidationError as error:
        raise RatingError("This press was not understood, so nothing was recorded. Reload the page.") from error


def _record(ws: Workspace, press: Press) -> dict[str, Any]:
    """Record a press; answers with what was recorded and what comes next."""
    reason = ratings.SKIP_REASONS[press.reason] if press.reason is not None and press.outcome == "skip" else None
    with ws.write() as db:
        try:
            rating = ratings.record_in(
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
        except RatingError as error:  # for instance: rated in another tab meanwhile; go on with the next item
            return _state(ws, db, press.known) | {"error": str(error)}
        seen = session_state.prediction(db, RATER, press.showing, rating.id)
        return _state(ws, db, press.known) | {"recorded": _said(db, rating), "prediction": seen}


def _undo(ws: Workspace, sent: Undo) -> dict[str, Any]:
    """Take back the newest rating; answers with what was taken back and its item, shown as it was."""
    with ws.write() as db:
        taken = ratings.undo_in(db, RATER, sent.uuid, sessions.undo_since(db, RATER))
        state = _state(ws, db, sent.known)
        if taken is None:
            return state | {"error": sessions.nothing_to_undo(db, RATER)}
        again = ratings.counting(db, taken)
        told = {"undone": _said(db, taken), "again": _said(db, again) if again else ""}
        if taken.showing_id is not None and again is None:
            told["back"] = "here" if [taken.showing_id] == [each["id"] for each in state["items"][:1]] else "elsewhere"
        return state | told


def _write(ws: Workspace, sent: Written) -> dict[str, Any]:
    """Keep an ideal answer or a demonstration. The item on the screen stays."""
    try:
        if sent.kind == "edit":
            rating = edits.edit_to_ideal(
                ws, sent.showing, sent.position or 0, sent.text, uuid=sent.uuid, elapsed_ms=sent.elapsed_ms
            )
            answer = {"recorded": _words(rating)}
        else:
            edits.demonstrate(ws, sent.showing, sent.text)
            answer = {"said": "Recorded: a demonstration for this prompt. Undo takes back judgements, not this."}
        prompts.save_draft(ws, sent.name, "")
    except WorkspaceUnavailable:  # the browser keeps the text and sends it again
        raise
    except StudioError as error:
        answer = {"error": str(error)}
    with ws.write() as db:
        return _state(ws, db, sent.known) | answer


def _draft(ws: Workspace, sent: Draft) -> dict[str, Any]:
    if sent.text is None:
        return {"text": prompts.load_draft(ws, sent.name)}
    prompts.save_draft(ws, sent.name, sent.text)
    return {"kept": True}


def _state(ws: Workspace, db: Any, known: list[int]) -> dict[str, Any]:
    """What to show now and after it, with the counts; texts the browser has are not sent again."""
    counts, rated = comparisons.read_counts(db), ratings.read_summary(db)
    return {
        "items": [_item(db, showing_id, known) for showing_id in sessions.upcoming(ws, db, RATER, AHEAD)],
        "to_rate": counts["unrated"],
        "total": counts["comparisons"],
        "rated": rated["rated"],
        "by_person": rated["person"],
    } | session_state.state(ws, db, RATER)


def _item(db: Any, showing_id: int, known: list[int]) -> dict[str, Any]:
    if showing_id in known:
        return {"id": showing_id}
    showing = comparisons.read_showing(db, showing_id)
    assert showing is not None
    return {"id": showing.id, "messages": showing.messages, "texts": showing.texts}


def _said(db: Any, rating: ratings.Rating) -> str:
    """A judgement in words that fit the number of answers."""
    if rating.outcome == "both_bad" and rating.showing_id is not None:
        showing = comparisons.read_showing(db, rating.showing_id)
        return "all bad" if showing and len(showing.texts) > 2 else "both bad"
    return _words(rating)


def _words(rating: ratings.Rating) -> str:
    """A judgement as the page says it."""
    if rating.edited_response_id is not None:
        return "your ideal answer, better than the one it was made from"
    if rating.outcome in ("left", "right"):
        return f"{rating.outcome} {STRENGTHS[rating.strength]}" if rating.strength else f"{rating.outcome} better"
    if rating.ranks:
        return f"ranking {ranking_words(rating.ranks)}"
    return {"tie": "tie, both fine", "both_bad": "both bad", "skip": "skipped"}.get(rating.outcome, rating.outcome)
