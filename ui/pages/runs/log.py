"""The end of a run's log, searched where a word is given, and its samples: answers to the same prompts over time."""

import json
from functools import partial
from html import escape
from typing import Any

import gradio as gr

from studio.runs import metrics, runs
from studio.workspace import Database, Workspace
from ui.components import html
from ui.handlers import any_of, on

NUM_LINES = 5000
NUM_SHOWN = 300


def build(ws: Workspace, chosen: gr.Textbox, seen: gr.Textbox) -> None:
    """Place the search; it follows the chosen run, and searches again whenever `seen` says that something is new."""
    word = gr.Textbox(
        "", placeholder="Search the log", show_label=False, container=False, max_lines=1, elem_id="log-search"
    )
    shown = html.html(elem_id="log-found")
    on(any_of([seen, word], "change"), partial(_find, ws), [chosen, word], [shown])


def _find(ws: Workspace, chosen: str, word: str) -> str:
    """Return the last lines that hold the word; nothing without one."""
    wanted = (word or "").strip().casefold()
    if not wanted:
        return ""
    with ws.read() as db:
        run = runs.chosen_or_newest(db, chosen)
    if run is None:
        return ""
    lines = runs.tail_log(ws, run.name, NUM_LINES).splitlines()
    found = [line for line in lines if wanted in line.casefold()]
    body = "\n".join(_marked(line, wanted) for line in found[-NUM_SHOWN:])
    said = f'<p class="quiet">{len(found):,} of the last {len(lines):,} lines contain it.</p>'
    return f'{said}<pre class="log"><code>{body}</code></pre>' if found else said


def _marked(line: str, wanted: str) -> str:
    """Mark in the line what was searched for; where casefolding moves letters, nothing is marked."""
    if len(line.casefold()) != len(line):
        return escape(line)
    pieces, start = [], 0
    while (at := line.casefold().find(wanted, start)) >= 0:
        pieces += [escape(line[start:at]), f"<mark>{escape(line[at : at + len(wanted)])}</mark>"]
        start = at + len(wanted)
    return "".join([*pieces, escape(line[start:])])


def samples(db: Database, run_id: int) -> str:
    """Draw each fixed prompt with its answers, the newest first."""
    found = metrics.samples_by_prompt(db, run_id)
    if not found:
        return '<p class="quiet">No samples. Trainers write some while they evaluate; pairs go to the Rate page.</p>'
    return "".join(_prompt(prompt, rows) for prompt, rows in found.items())


def _prompt(prompt: str, rows: list[dict[str, Any]]) -> str:
    newest, *older = rows
    before = "".join(_answer(row) for row in older)
    more = f"<details><summary>{len(older)} earlier answers</summary>{before}</details>" if older else ""
    asked = html.conversation(metrics.turns_of(prompt))
    return f'<article class="sample">{asked}{_answer(newest)}{more}</article>'


def _answer(row: dict[str, Any]) -> str:
    return f"<header>{_figures(row)}</header>{html.conversation([], row['response'])}"


def _figures(row: dict[str, Any]) -> str:
    figures = [f"{name} {html.number(row[name])}" for name in ("score", "kl") if row[name] is not None]
    components = [f"{name} {html.number(value)}" for name, value in json.loads(row["components"] or "{}").items()]
    cut = ["cut at the length limit"] if row["end_reason"] == "length" else []
    return html.tags([f"step {row['step']}", *figures, *components, *cut])
