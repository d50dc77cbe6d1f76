"""The fixed markup of the rating page. Its scripts (`static/rate/`) fill the parts named by data-part with nodes made of text."""

from html import escape

from studio.preferences import ratings
from ui import static
from ui.components.html import key

SCRIPTS = (
    "draw.js",
    "ranking.js",
    "send.js",
    "keys.js",
    "drafts.js",
    "remarks.js",
    "editor.js",
    "rate.js",
)
SCRIPT = "\n".join(static.read(f"rate/{name}") for name in SCRIPTS)
"""The scripts in order, in one scope."""
GUIDELINE = "Which answer would you rather have been given? Right and helpful first; longer is not better."
CHOICES = {
    "Left is": (("1", "left:3", "much better"), ("2", "left:2", "better"), ("3", "left:1", "slightly better")),
    "Neither": (("5", "tie", "both fine"),),
    "Right is": (("8", "right:1", "slightly better"), ("9", "right:2", "better"), ("0", "right:3", "much better")),
}
"""Group to key, press and words, in the order of the buttons."""
OTHERS = (
    ("b", "both_bad", "both bad"), ("s", "skip", "skip …"), ("z", "undo", "undo"), ("e", "edit", "edit to ideal …"),
    ("d", "demonstrate", "demonstrate"), ("n", "note", "note"), ("u", "unsafe", "unsafe …"), ("h", "hallucinated", "hallucinated …"),
    ("r", "refused", "refused …"), ("m", "raw", "raw text"), ("y", "together", "scroll together"), ("a", "attributes", "scales"),
    ("g", "guideline", "guideline"), ("?", "help", "keys"),
)  # fmt: skip
HELP = (
    ("1 2 3", "the left answer is much better, better, slightly better"),
    ("8 9 0", "the right answer is slightly better, better, much better"),
    ("5 or space", "a tie: both are fine"),
    ("b", "both are bad, or all of them"),
    ("1 to 9", "ranking: this answer comes next; once more takes it out again"),
    ("=", "ranking: the next answer ties with the one before"),
    ("⌫ then ⏎", "ranking: take the last one out; record"),
    ("← →", "ranking: move the answer in focus; dragging does the same"),
    ("s then 1 to 4", "skip, with a reason"),
    ("z", "undo, as often as you like"),
    ("e then 1 or 2", "write the ideal answer over this one: a demonstration and a preference"),
    ("d", "write a demonstration for this prompt"),
    ("u h r then 1 or 2", "flag as unsafe, hallucinated, refused"),
    ("n", "a note, recorded with the judgement"),
    ("a", "scales from 1 to 7: helpful, truthful, harmless"),
    ("m", "show the texts raw or formatted"),
    ("j k y", "scroll down, up; scroll answers together or apart"),
    ("g or ?", "the guideline; this list"),
)


def stage() -> str:
    """Return the page, empty."""
    return f"""<div class="rating" data-state="loading">
<header><p class="guideline" data-part="guideline">{escape(GUIDELINE)}</p>
<div class="tally"><span data-part="tally" class="num"></span><div class="meter"><i data-part="bar"></i></div></div></header>
<section class="pair" data-part="pair" hidden>
<details class="earlier" data-part="earlier" hidden><summary>Earlier turns</summary><div data-part="turns"></div></details>
<article class="prompt"><h4>Prompt</h4><div class="body" data-part="prompt" tabindex="0" role="region" aria-label="Prompt"></div></article>
<div class="sides" data-part="sides">{_side(0, "left")}{_side(1, "right")}</div>
<div class="cards" data-part="cards" hidden></div></section>
<section class="nothing" data-part="none" hidden><h3 data-part="none-title"></h3><p data-part="none-text"></p>
<a class="go" data-part="none-link"></a></section>
<footer data-part="controls" hidden>{_controls()}</footer>{_dialogs()}</div>"""


def _side(position: int, name: str) -> str:
    return (
        f'<article data-side="{position}"><h4>{position + 1} · {name.capitalize()}<span class="marks"></span></h4>'
        f'<div class="body" data-part="{name}" tabindex="0" role="region" aria-label="{name.capitalize()} answer"></div>'
        '<div class="attributes" hidden></div></article>'
    )


def _controls() -> str:
    groups = "".join(
        f'<div class="group" role="group" aria-label="{escape(name)}"><span class="side-name">{escape(name)}</span>'
        f"{''.join(_button(*choice) for choice in choices)}</div>"
        for name, choices in CHOICES.items()
    )
    reasons = "".join(
        f'<button type="button" data-reason="{n}">{key(str(n + 1))}<span>{escape(reason)}</span></button>'
        for n, reason in enumerate(ratings.SKIP_REASONS)
    )
    return f"""<p class="said" data-part="said" role="status"></p><p class="noted" data-part="noted"></p>
<div class="presses" data-part="presses">{groups}</div>
<div class="ranking-presses"><div class="ladder" data-part="ladder" role="group" aria-label="Ranking, best first"></div>
<div class="ranking-keys">{_button("=", "same", "ties with it")}{_button("⌫", "back", "take out")}{_button("⏎", "ranking", "record ranking")}</div></div>
<div class="others" data-part="others">{"".join(_button(*other) for other in OTHERS)}</div>
<div class="reasons" data-part="reasons" hidden><span>Skip because</span>{reasons}{_button("s", "skip", "back")}</div>
<div class="reasons" data-part="which" hidden><span data-part="which-words"></span><span class="which-sides" data-part="which-sides"></span>{_button("Esc", "asked", "back")}</div>"""


def _dialogs() -> str:
    rows = "".join(f"<dt>{_drawn(names)}</dt><dd>{escape(text)}</dd>" for names, text in HELP)
    return f"""<dialog class="sheet keys" data-part="help" aria-label="Keys"><h3>Keys</h3><dl>{rows}</dl>
<form method="dialog"><button type="submit">Close</button></form></dialog>
<dialog class="sheet" data-part="guideline-dialog" aria-label="Guideline"><h3>Guideline</h3>
<p class="guideline-text" data-part="guideline-text">{escape(GUIDELINE)}</p>
<form method="dialog"><button type="submit">Close</button></form></dialog>
<dialog class="sheet writer" data-part="writer" aria-label="Write"><h3 data-part="writer-title"></h3><p class="quiet" data-part="writer-words"></p>
<div class="writer-prompt" data-part="writer-prompt" tabindex="0" role="region" aria-label="Prompt"></div><textarea data-part="writer-text" rows="12" dir="auto" spellcheck="true"></textarea>
<p class="said" data-part="writer-said" role="status"></p>
<div class="writer-keys"><button type="button" class="is-primary" data-part="writer-keep"></button><span class="quiet">{key("Ctrl")} {key("⏎")}</span>
<form method="dialog"><button type="submit">Cancel</button></form></div></dialog>"""


def _button(name: str, press: str, words: str) -> str:
    return f'<button type="button" data-press="{escape(press)}">{key(name)}<span>{escape(words)}</span></button>'


def _drawn(names: str) -> str:
    """Draw keys as keycaps, the words between them as words."""
    return "".join(f" {word} " if word in ("or", "then", "to") else key(word) for word in names.split())
