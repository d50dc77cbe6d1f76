"""Snapshots, a section of Rate: freeze the current ratings by a recipe, see which runs trained on what, compare two."""

from functools import partial
from html import escape
from typing import Any

import gradio as gr

from studio.errors import StudioError
from studio.preferences import snapshot_changes, snapshots
from studio.preferences.snapshot_changes import Difference
from studio.preferences.snapshots import Recipe
from studio.workspace import Database, Workspace
from ui.components import dropdown, form, html
from ui.handlers import on
from ui.page import Page

ESSENTIALS = tuple(Recipe.model_fields)
MOST = 12
UNFOLDED = 300
FIRST_LETTERS = 90


def build(ws: Workspace) -> Page:
    """Place the section."""
    with gr.Row(elem_classes="split"):
        with gr.Column(scale=3, min_width=300):
            table = html.html(elem_id="snapshot-list")
            with gr.Row(elem_classes="controls"):
                first = gr.Dropdown([], label="Compare", elem_id="snapshot-first", min_width=150)
                second = gr.Dropdown([], label="with", elem_id="snapshot-second", min_width=150)
                compare = gr.Button("Show the difference", elem_id="snapshot-compare", min_width=200)
            difference = html.html(elem_id="snapshot-difference")
        with gr.Column(scale=2, min_width=300), gr.Accordion("Freeze the current ratings", elem_classes="card"):
            with ws.read() as db:
                fields = form.build(db, Recipe, ESSENTIALS, "recipe")
            freeze = gr.Button("Freeze", variant="primary", elem_id="snapshot-freeze")
            told = html.html(html.notice(""), elem_id="snapshot-told")
    outputs = [table, first, second]
    frozen = on(
        freeze.click, partial(_freeze, ws), list(fields.values()), [told], validator=partial(form.validate, Recipe)
    )
    on(frozen.then, partial(_refresh, ws), [first, second], outputs)
    on(compare.click, partial(_compare, ws), [first, second], [difference])
    return Page(partial(_refresh, ws), [first, second], outputs)


def _refresh(ws: Workspace, first: str | None, second: str | None) -> list[Any]:
    """Draw the list; the two newest ones are offered for a comparison."""
    with ws.read() as db:
        found = snapshots.list_all(db)
        table = _table(db, found)
    names = [each.name for each in found]
    default = (names[1:2] or names[:1] or [None])[0], (names[:1] or [None])[0]
    is_pair = first in names and second in names and first != second
    kept = [first, second] if is_pair else list(default)
    return [table, *(dropdown.offer(names, *each) for each in zip((first, second), kept, strict=True))]


def _table(db: Database, found: list[snapshots.Snapshot]) -> str:
    if not found:
        return html.empty(
            "No snapshot yet",
            "A snapshot is a frozen, hashed set of preferences: exactly what a reward model was trained on. Each reward run "
            "makes one from the current ratings, or trains on one that you froze.",
        )
    used = snapshots.runs_of(db)
    rows = "".join(
        f'<tr><th scope="row">{each.name}</th><td class="num">{each.row_count:,}</td><td>{_recipe(each.recipe)}</td>'
        f"<td>{html.tags(used.get(each.id, []))}</td><td><code>{each.sha256[:12]}</code></td>"
        f'<td class="num">{html.ago(each.created_at)}</td></tr>'
        for each in found
    )
    return (
        f'{html.wide("Snapshots")}<table class="rollouts snapshots"><thead><tr><th>snapshot</th><th class="num">preferences</th>'
        f"<th>recipe</th><th>trained on by</th><th>sha256</th><th class='num'>frozen</th></tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _recipe(text: str) -> str:
    return escape(", ".join(f"{name} {value}" for name, value in snapshots.read_recipe(text).items()))


def _freeze(ws: Workspace, *values: Any) -> str:
    return form.submit(Recipe, values, partial(_freeze_now, ws))


def _freeze_now(ws: Workspace, recipe: Recipe) -> str:
    with ws.write() as db:
        found = snapshots.freeze(db, recipe)
    return html.notice(f"{found.sentence}. Train on it with snapshot = {found.name}.", "good")


def _compare(ws: Workspace, first: str | None, second: str | None) -> str:
    if not first or not second:
        return html.notice("Choose two snapshots.", "bad")
    try:
        with ws.read() as db:
            found = snapshot_changes.compare(db, first, second)
    except StudioError as error:
        return html.notice(str(error), "bad")
    changes = "".join(
        f"<li><code>{escape(name)}</code> is {escape(str(before))} in {escape(first)} and {escape(str(after))} in {escape(second)}</li>"
        for name, (before, after) in found.recipe.items()
    )
    return f"<section class='difference'><p>{escape(found.sentence)}</p><ul>{changes}</ul>{_pairs(found, first, second)}</section>"


def _pairs(found: Difference, first: str, second: str) -> str:
    groups = [
        (f"only in {first}", [_pair(row) for row in found.only_first[:UNFOLDED]], len(found.only_first)),
        (f"only in {second}", [_pair(row) for row in found.only_second[:UNFOLDED]], len(found.only_second)),
        ("changed", [f"{_pair(a)} → {_pair(b)}" for a, b in found.changed[:UNFOLDED]], len(found.changed)),
    ]
    return "".join(
        f"<h4>{escape(title)} ({num:,})</h4>{_list(rows[:MOST])}{_folded(rows[MOST:], num - MOST, first, second)}"
        for title, rows, num in groups
        if num
    )


def _folded(rows: list[str], num: int, first: str, second: str) -> str:
    """Draw the pairs after the first ones, behind a line that unfolds them; the last of very many need the terminal."""
    if not rows:
        return ""
    rest = num - len(rows)
    command = f"rlhf-studio snapshots diff {escape(first)} {escape(second)} --limit {MOST + num}"
    words = f'<p class="quiet">{rest:,} more: <code>{command}</code> prints all.</p>' if rest else ""
    return f"<details><summary>{num:,} more</summary>{_list(rows)}{words}</details>"


def _list(rows: list[str]) -> str:
    return f"<ul>{''.join(f'<li>{row}</li>' for row in rows)}</ul>"


def _pair(row: dict[str, Any]) -> str:
    prompt, chosen, rejected = (escape(_first(row[name])) for name in ("prompt", "chosen", "rejected"))
    figures = f"target {row['target_p']:g}, margin {row['margin']:.2f}, weight {row['weight']:.3g}"
    return f"<span class='quiet'>{prompt}</span> {chosen} <b>over</b> {rejected} <span class='num quiet'>({figures})</span>"


def _first(text: str) -> str:
    line = " ".join(text.split())
    return line[:FIRST_LETTERS] + ("…" if len(line) > FIRST_LETTERS else "")
