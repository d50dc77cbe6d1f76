"""The fixed markup of the rating page. Its scripts (`static/rate/`) fill the parts named by data-part with nodes made of text."""

from html import escape

from studio.annotation import guidelines
from studio.annotation.session_summary import IDLE_S
from studio.preferences import vocabulary
from studio.preferences.vocabulary import Command
from ui import static
from ui.components.html import key
from ui.pages.rate import second_looks

SCRIPTS = (
    "draw.js",
    "rate/ranking.js",
    "rate/send.js",
    "rate/keys.js",
    "rate/drafts.js",
    "rate/remarks.js",
    "rate/editor.js",
    "rate/second_look.js",
    "rate/rate.js",
)
CONSTANTS = f"const VOCABULARY = {vocabulary.as_json()}, IDLE_MS = {1000 * IDLE_S:.0f};"
SCRIPT = "\n".join([CONSTANTS, *(static.read(name) for name in SCRIPTS)])
"""The constants and the scripts in order, in one scope."""


def stage() -> str:
    """Return the page, empty."""
    return f"""<div class="rating" data-state="loading">
<header><p class="guideline" data-part="guideline">{escape(guidelines.FIRST)}</p>
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
        f'<article data-side="{position}"><h4>{name.capitalize()}<span class="marks"></span></h4>'
        f'<div class="body" data-part="{name}" tabindex="0" role="region" aria-label="{name.capitalize()} answer"></div>'
        '<div class="attributes" hidden></div></article>'
    )


def _controls() -> str:
    groups = "".join(
        f'<div class="group" role="group" aria-label="{escape(name)}"><span class="side-name">{escape(name)}</span>'
        f"{''.join(map(_command, commands))}</div>"
        for name, commands in vocabulary.PAIR.items()
    )
    reasons = "".join(
        f'<button type="button" data-reason="{n}">{key(str(n + 1))}<span>{escape(reason)}</span></button>'
        for n, reason in enumerate(vocabulary.SKIP_REASONS)
    )
    return f"""<p class="said" data-part="said" role="status"></p><p class="noted" data-part="noted"></p>{second_looks.markup()}
<div class="presses" data-part="presses">{groups}</div>
<div class="ranking-presses"><div class="ladder" data-part="ladder" role="group" aria-label="Ranking, best first"></div>
<div class="ranking-keys">{"".join(map(_command, vocabulary.RANKING))}</div></div>
<div class="others" data-part="others">{"".join(map(_command, vocabulary.OTHERS))}</div>
<div class="reasons" data-part="reasons" hidden><span>Skip because</span>{reasons}{_button(vocabulary.cap("skip"), "skip", "back")}</div>
<div class="reasons" data-part="which" hidden><span data-part="which-words"></span><span class="which-sides" data-part="which-sides"></span>{_button("Esc", "asked", "back")}</div>"""


def _dialogs() -> str:
    rows = "".join(f"<dt>{_drawn(row.keys)}</dt><dd>{escape(row.words)}</dd>" for row in vocabulary.HELP)
    return f"""<dialog class="sheet keys" data-part="help" aria-label="Keys"><h3>Keys</h3><div class="others">{"".join(map(_command, vocabulary.MORE))}</div><dl>{rows}</dl>
<form method="dialog"><button type="submit">Close</button></form></dialog>
<dialog class="sheet" data-part="guideline-dialog" aria-label="Guideline"><h3>Guideline</h3>
<p class="guideline-text" data-part="guideline-text">{escape(guidelines.FIRST)}</p>
<form method="dialog"><button type="submit">Close</button></form></dialog>
<dialog class="sheet writer" data-part="writer" aria-label="Write"><h3 data-part="writer-title"></h3><p class="quiet" data-part="writer-words"></p>
<div class="writer-prompt" data-part="writer-prompt" tabindex="0" role="region" aria-label="Prompt"></div><textarea data-part="writer-text" rows="12" dir="auto" spellcheck="true"></textarea>
<p class="said" data-part="writer-said" role="status"></p>
<div class="writer-keys"><button type="button" class="is-primary" data-part="writer-keep"></button><span class="quiet">{key("Ctrl")} {key(vocabulary.CAPS["enter"])}</span>
<form method="dialog"><button type="submit">Cancel</button></form></div></dialog>"""


def _command(command: Command) -> str:
    return _button(vocabulary.cap(command.name), command.name, command.words)


def _button(name: str, press: str, words: str) -> str:
    return f'<button type="button" data-press="{escape(press)}">{key(name)}<span>{escape(words)}</span></button>'


def _drawn(names: str) -> str:
    """Draw keys as keycaps, the words between them as words."""
    return "".join(f" {word} " if word in ("or", "then", "to") else key(word) for word in names.split())
