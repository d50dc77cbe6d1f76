"""A table whose rows open in a drawer next to it, by click and by keys: the script, and the markup that it works on.

A page places under one name the list `NAME-list`, its buttons `NAME-newer` and `NAME-older`, and a column `NAME-drawer` of class
`drawer`; each row of the table is a `row`, and what the drawer shows begins with a `head`.
"""

from collections.abc import Sequence
from html import escape

import gradio as gr

from ui import static
from ui.components.html import html

SCRIPT = static.read("rows.js")


def place(name: str, label: str, address: str = "") -> gr.HTML:
    """Place the script. Its value is the number of the row that was opened, told by its submit event.

    Args:
        name: what the ids of the page's components begin with.
        label: what the drawer is called to those who cannot see it.
        address: the address whose next part is the number of a row, or its kind and number; empty: rows have none.
    """
    script = SCRIPT.replace("NAME", name).replace("LABEL", label).replace("ADDRESS", address)
    # An empty template: the value comes from outside and must not be drawn.
    return html("", html_template="", js_on_load=script, elem_id=f"{name}-clicked")


def table(label: str, columns: Sequence[tuple[str, str]], rows: Sequence[str], kind: str = "") -> str:
    """Draw rows made by `row` as a table with a head that stays; `columns` are class and title, `kind` is that of all rows, if any."""
    head = "".join(f'<th scope="col" class="is-{name}">{escape(title)}</th>' for name, title in columns)
    return (
        f'<div class="rows" role="region" aria-label="{escape(label)}" data-kind="{kind}"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def row(number: int, cells: Sequence[tuple[str, str]], kind: str = "") -> str:
    """Draw a row; `cells` are class and safe markup."""
    drawn = "".join(f'<td class="is-{name}">{markup}</td>' for name, markup in cells)
    return f'<tr data-row="{number}" tabindex="-1" class="{kind}">{drawn}</tr>'


def head(number: int, title: str) -> str:
    """Draw the head of an opened row: its title, the ways to its neighbours, and the way out."""
    return (
        f'<header class="drawer-head" data-shown="{number}"><h3>{escape(title)}</h3>'
        '<button type="button" data-step="-1" aria-label="The one above">↑</button>'
        '<button type="button" data-step="1" aria-label="The one below">↓</button>'
        '<button type="button" data-close>Close</button></header>'
    )


def extent(first: int, num: int, total: str) -> str:
    """Say which rows are shown of how many: "26 to 50 of 1,204"."""
    if not num:
        return ""
    shown = f"{first + 1:,} to {first + num:,}" if num > 1 else f"{first + 1:,}"
    return f'<p class="quiet num extent" role="status">{shown} of {escape(total)}</p>'


def first_letters(text: str, most: int = 160) -> str:
    """Return the beginning of a text in one line."""
    line = " ".join(text.split())
    return line[:most] + ("…" if len(line) > most else "")
