"""Draws answers and prompts: Markdown and TeX as checked markup, or the text as it is.

What comes in is untrusted and has to be judged by a person, so two things hold for every text: the markup contains only
what `check` allows, and it shows all that the text says. Where one of them does not hold, where the text is very long or
formatting it takes long, there is no markup and the page shows the text itself.
"""

from dataclasses import dataclass
from functools import lru_cache
from html import escape

from ui.rendering.errors import RenderingError, TooSlowError

MOST = 20_000
"""Characters of a text that is formatted; a longer one is shown as it is."""
KEPT = 1000
"""Texts whose markup is kept: a page that is drawn again draws the same ones."""


@dataclass(frozen=True)
class Drawn:
    """A text that was formatted, or the reason why it is shown as it is."""

    html: str = ""
    """Safe markup; empty where the text is to be shown as it is."""
    why: str = ""
    is_plain: bool = False
    """Formatting took nothing away: the markup shows the very characters of the text."""

    def sent(self) -> dict[str, str]:
        """The form in which the browser gets it."""
        return {"html": self.html} if self.html else {"why": self.why}


@lru_cache(maxsize=KEPT)
def draw(text: str) -> Drawn:
    """Format a text. It never fails: what cannot be formatted is shown as it is."""
    if not text.strip():
        return Drawn()
    if len(text) > MOST:
        return Drawn(why=f"Shown as it is: it has more than {MOST:,} characters.")
    from ui.rendering import check, markdown  # loaded with the first text, so that the page starts without them

    try:
        html = markdown.render(text)
        shown = check.read(html)
        check.compare(text, shown)
    except TooSlowError:
        return Drawn(why="Shown as it is: formatting it would take too long.")
    except (RenderingError, RecursionError):
        return Drawn(why="Shown as it is: when formatted, part of it would not be shown.")
    return Drawn(html, is_plain="<math" not in html and check.squeeze(text) == check.squeeze(shown))


def words(text: str) -> str:
    """A text on a page that is drawn whole by the studio, with its characters a click away where formatting hides some."""
    drawn = draw(text)
    if not drawn.html:
        why = f'<p class="quiet">{escape(drawn.why)}</p>' if drawn.why else ""
        return f'{why}<div class="words" dir="auto">{escape(text)}</div>'
    raw = (
        f'<details class="raw"><summary>raw text</summary><div class="words" dir="auto">{escape(text)}</div></details>'
    )
    return f'<div class="formatted">{drawn.html}</div>{"" if drawn.is_plain else raw}'
