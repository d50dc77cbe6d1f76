"""Rate: two answers side by side, judged by one key press that is in SQLite before the page says so.

The page's own script (`rate.js`) shows a pair and sends each press with a uuid of its own; it repeats a press that got no
answer, and the uuid makes a repeated press one rating. So a killed server or a reload loses and doubles nothing. The
presses go past Gradio's event queue, as plain calls that answer with the next pair. Rating is blind: what the browser
gets holds texts and no model name.
"""

from html import escape
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from studio import comparisons, ratings, sessions
from studio.errors import RatingError
from studio.workspace import Workspace
from ui import parts
from ui.border import served
from ui.pages import Page, rate_session
from ui.parts import key

SCRIPT = (Path(__file__).parent.parent / "rate.js").read_text(encoding="utf-8")
GUIDELINE = "Which answer would you rather have been given? Right and helpful first; longer is not better."
STRENGTHS = {3: "much better", 2: "better", 1: "slightly better"}
CHOICES = (
    ("1", "left:3", "much better"),
    ("2", "left:2", "better"),
    ("3", "left:1", "slightly better"),
    ("5", "tie", "both fine"),
    ("8", "right:1", "slightly better"),
    ("9", "right:2", "better"),
    ("0", "right:3", "much better"),
)
"""Key, press, words: in the order of the buttons."""
HELP = (
    ("1 2 3", "the left answer is much better, better, slightly better"),
    ("8 9 0", "the right answer is slightly better, better, much better"),
    ("5 or space", "a tie: both are fine"),
    ("b", "both are bad"),
    ("s then 1 to 4", "skip, with a reason"),
    ("z", "undo, as often as you like"),
    ("m", "show the texts raw or formatted"),
    ("?", "this list"),
)


class Press(BaseModel):
    """One press of the person, as the browser sends it; checked as if a stranger had."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    uuid: Annotated[str, Field(pattern=r"^[0-9a-f-]{36}$")]
    showing: int
    outcome: Literal["left", "right", "tie", "both_bad", "skip"]
    strength: Literal[1, 2, 3] | None = None
    reason: Annotated[int, Field(ge=0, lt=len(ratings.SKIP_REASONS))] | None = None
    elapsed_ms: Annotated[int, Field(ge=0, le=86_400_000)]


def build(ws: Workspace) -> Page:
    """Place the page; its script keeps it fresh."""

    def open_pair(_: Any) -> dict[str, Any]:
        return _state(ws)

    def record(sent: Any) -> dict[str, Any]:
        return _record(ws, sent)

    def undo(sent: Any) -> dict[str, Any]:
        return _undo(ws, sent)

    functions = [served(open_pair), served(record), served(undo)]
    parts.html(_stage(), elem_id="rate", js_on_load=SCRIPT, server_functions=functions)
    return Page(lambda: None, [], [])


def _record(ws: Workspace, sent: Any) -> dict[str, Any]:
    """Record a press; answers with what was recorded and the next pair."""
    try:
        press = Press.model_validate(sent)
    except ValidationError as error:
        raise RatingError("This press was not understood, so nothing was recorded. Reload the page.") from error
    reason = ratings.SKIP_REASONS[press.reason] if press.reason is not None and press.outcome == "skip" else None
    try:
        rating = ratings.record(
            ws,
            press.showing,
            press.outcome,
            strength=press.strength,
            reason=reason,
            uuid=press.uuid,
            elapsed_ms=press.elapsed_ms,
        )
    except RatingError as error:  # for instance: rated in another tab meanwhile; go on with the next pair
        return _state(ws) | {"error": str(error)}
    seen = rate_session.prediction(ws, press.showing, rating.id)
    return _state(ws) | {"recorded": _words(rating), "prediction": seen}


def _undo(ws: Workspace, sent: Any) -> dict[str, Any]:
    """Take back the newest rating; answers with what was taken back and its pair, shown as it was."""
    uuid = sent.get("uuid") if isinstance(sent, dict) else None
    if not isinstance(uuid, str) or len(uuid) != 36:
        raise RatingError("This press was not understood, so nothing was undone. Reload the page.")
    taken = ratings.undo(ws, uuid=uuid)
    if taken is None:
        return _state(ws) | {"error": "There is nothing to undo."}
    return _state(ws) | {"undone": _words(taken)}


def _state(ws: Workspace) -> dict[str, Any]:
    """The pair to show now, or why there is none, with the counts."""
    showing, counts, rated = sessions.next_showing(ws), comparisons.counts(ws), ratings.summary(ws)
    pair = None
    if showing:
        pair = {"id": showing.id, "messages": showing.messages, "left": showing.left, "right": showing.right}
    return {
        "pair": pair,
        "to_rate": counts["unrated"],
        "total": counts["comparisons"],
        "rated": rated["rated"],
        "by_person": rated["person"],
        "session": rate_session.state(ws),
    }


def _words(rating: ratings.Rating) -> str:
    if rating.outcome in ("left", "right"):
        return f"{rating.outcome} {STRENGTHS[rating.strength]}" if rating.strength else f"{rating.outcome} better"
    return {"tie": "tie, both fine", "both_bad": "both bad", "skip": "skipped"}.get(rating.outcome, rating.outcome)


def _stage() -> str:
    """The page's fixed markup; the script fills the parts named by data-part with text nodes only."""
    presses = "".join(_button(k, press, words) for k, press, words in CHOICES)
    reasons = "".join(
        f'<button type="button" data-reason="{n}">{key(str(n + 1))}<span>{escape(reason)}</span></button>'
        for n, reason in enumerate(ratings.SKIP_REASONS)
    )
    rows = "".join(f"<dt>{_drawn(names)}</dt><dd>{escape(text)}</dd>" for names, text in HELP)
    return f"""<div class="rating">
<header><p class="guideline">{escape(GUIDELINE)}</p>
<div class="tally"><span data-part="session" class="num"></span> <span data-part="tally" class="num"></span><div class="meter"><i data-part="bar"></i></div></div></header>
<section class="pair" data-part="pair" hidden>
<details class="earlier" data-part="earlier" hidden><summary>Earlier turns</summary><div data-part="turns"></div></details>
<article class="prompt"><h4>Prompt</h4><div class="body" data-part="prompt"></div></article>
<div class="sides"><article><h4>Left</h4><div class="body" data-part="left"></div></article>
<article><h4>Right</h4><div class="body" data-part="right"></div></article></div></section>
<section class="nothing" data-part="none" hidden><h3 data-part="none-title"></h3><p data-part="none-text"></p>
<a class="go" data-part="none-link"></a></section>
<footer data-part="controls" hidden><p class="said" data-part="said" role="status"></p>
<div class="presses"><span class="side-name">Left is</span><span class="side-name">Right is</span>{presses}</div>
<div class="others" data-part="others">{_button("b", "both_bad", "both bad")}{_button("s", "skip", "skip …")}{_button("z", "undo", "undo")}
{_button("m", "raw", "raw text")}{_button("?", "help", "keys")}</div>
<div class="reasons" data-part="reasons" hidden><span>Skip because</span>{reasons}{_button("s", "skip", "back")}</div></footer>
<dialog class="keys" data-part="help"><h3>Keys</h3><dl>{rows}</dl>
<form method="dialog"><button type="submit">Close</button></form></dialog></div>"""


def _button(name: str, press: str, words: str) -> str:
    return f'<button type="button" data-press="{escape(press)}">{key(name)}<span>{escape(words)}</span></button>'


def _drawn(names: str) -> str:
    """Keys as keycaps, the words between them as words."""
    return "".join(f" {word} " if word in ("or", "then", "to") else key(word) for word in names.split())
