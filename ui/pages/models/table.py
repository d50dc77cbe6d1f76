"""Draws checkpoints as tables, one a stage, so that figures which belong together stand below each other."""

from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape

from studio.evaluation.leaderboard import HeadToHead
from studio.models import disk
from studio.models.checkpoints import Checkpoint
from studio.models.figures import STAGES, Figure
from studio.models.notes import Note
from ui.components import html

TITLES = {"ppo": "PPO", "dpo": "DPO", "reward": "Reward models", "sft": "SFT"}
"""Stage to its heading, in the order of the tables."""


def draw(
    found: Sequence[Checkpoint], handed_on: set[int], said: Mapping[int, Note], won: Mapping[str, HeadToHead]
) -> str:
    """Draw the checkpoints, in each table pinned ones first.

    Args:
        found: the checkpoints, in their order.
        handed_on: ids of those that their runs hand on.
        said: notes by the checkpoint's id.
        won: votes against the SFT checkpoint that one began with, by name.
    """
    siblings = Counter(c.run_id for c in found)
    stages = [*TITLES, *sorted({c.stage for c in found} - TITLES.keys())]
    tables = []
    for stage in stages:
        rows = sorted((c for c in found if c.stage == stage), key=lambda c: not said.get(c.id, Note()).is_pinned)
        if rows:
            figures = [each for each in STAGES.get(stage, ()) if any(each.metric in c.metrics for c in rows)]
            has_votes = any(c.name in won for c in rows)
            head = _head([each.words for each in figures], has_votes)
            body = "".join(
                _row(c, c.id in handed_on, siblings[c.run_id] > 1, said.get(c.id, Note()), figures, won, has_votes)
                for c in rows
            )  # fmt: skip
            tables.append(
                f"<h2>{escape(TITLES.get(stage, stage))}</h2>"
                f'{html.wide(TITLES.get(stage, stage))}<table class="checkpoints">{head}<tbody>{body}</tbody></table></div>'
            )
    return "".join(tables)


def _head(figures: Sequence[str], has_votes: bool) -> str:
    numbers = [*figures, *(["won against SFT"] if has_votes else []), "size"]
    cells = [f'<th scope="col" class="num">{escape(name)}</th>' for name in numbers]
    rest = [f'<th scope="col">{name}</th>' for name in ("base model", "saved")]
    return f'<thead><tr><th scope="col">checkpoint</th>{"".join([*cells, *rest])}</tr></thead>'


def _row(
    c: Checkpoint, is_handed_on: bool, has_siblings: bool, note: Note, figures: Sequence[Figure],
    won: Mapping[str, HeadToHead], has_votes: bool,
) -> str:  # fmt: skip
    link = f'<a href="#runs/{escape(c.run_name)}">{escape(c.name)}</a>'
    cells = [
        f'<td class="named">{link} {_marks(c, is_handed_on and has_siblings, note)}{_note(c, is_handed_on, note)}</td>',
        *(f'<td class="num" title="{escape(each.sentence)}">{_value(c, each)}</td>' for each in figures),
        *([f'<td class="num">{_won(won.get(c.name))}</td>'] if has_votes else []),
        f'<td class="num">{disk.words(disk.taken(c.folder))}</td>',
        f"<td>{escape(c.base_model)}</td>",
        f"<td>{html.ago(c.created_at)}</td>",
    ]
    return f"<tr>{''.join(cells)}</tr>"


def _marks(c: Checkpoint, is_last_handed_on: bool, note: Note) -> str:
    said = c.remarks.removeprefix(" (").removesuffix(")")
    return html.tags(
        [*(["handed on"] if is_last_handed_on and not c.is_chosen else []), *said.split(", "), *note.marks]
    )


def _value(c: Checkpoint, figure: Figure) -> str:
    value = c.metrics.get(figure.metric)
    if value is None:
        return "–"
    low, high = (c.metrics.get(name) for name in figure.bounds)
    shown = html.number(value)
    return shown if low is None or high is None else f"{shown} <small>{html.number(low)} to {html.number(high)}</small>"


def _won(found: HeadToHead | None) -> str:
    if found is None:
        return "–"
    return f"{found.half:.0%} <small>{found.half_low:.0%} to {found.half_high:.0%}, {escape(found.counted)}</small>"


def _note(c: Checkpoint, is_handed_on: bool, note: Note) -> str:
    """Draw the note and the button that opens its dialog, with what the dialog shows."""
    handed = "by choice" if c.is_own_choice else "by run" if is_handed_on else "no"
    name, tags = escape(c.name), escape(", ".join(note.tags))
    pinned = "true" if note.is_pinned else "false"
    look = "note" if note.text else "note is-empty"
    return (
        f'<button type="button" class="{look}" data-checkpoint="{name}" data-note="{escape(note.text)}" data-tags="{tags}"'
        f' data-pinned="{pinned}" data-handed="{handed}" aria-label="Note, tags and pin of {name}" title="{escape(note.text)}">'
        f"{escape(note.text) or 'note'}</button>"
    )
