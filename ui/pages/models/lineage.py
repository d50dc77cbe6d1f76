"""Draws the family tree of checkpoints."""

from html import escape

from studio.models import checkpoint_pages as shelf
from studio.models.checkpoints import Checkpoint
from studio.runs import run_pages as shelf_runs
from studio.workspace import Workspace
from ui.components import html

COLUMNS = {"sft": 0, "reward": 1, "ppo": 2, "dpo": 2}
WIDTH, ROW, BOX = 720, 44, 150


def draw(ws: Workspace, shown: list[Checkpoint]) -> str:
    """Draw the family tree of checkpoints: a column per stage, a row per run in order of time, an edge from parent to child."""
    if not shown:
        return ""
    run_ids = sorted({c.run_id for c in shown})
    ordered = sorted(shelf.handed_on(ws, run_ids), key=lambda c: c.run_id)
    places = {c.run_name: (COLUMNS[c.stage], row) for row, c in enumerate(ordered) if c.stage in COLUMNS}
    step = (WIDTH - BOX) / max(COLUMNS.values())
    at = {name: (column * step, row * ROW + 30) for name, (column, row) in places.items()}
    with ws.read() as db:
        edges_found = shelf.lineage(db, run_ids)
        states = {run.name: run.state for run in shelf_runs.named(db, [c.run_name for c in ordered])}
    edges = "".join(
        _edge(at[parent], at[child], role) for parent, role, child in edges_found if parent in at and child in at
    )
    boxes = "".join(_box(at[c.run_name], c, states.get(c.run_name, "")) for c in ordered if c.run_name in at)
    heads = "".join(f'<text class="head" x="{column * step + 2}" y="12">{name}</text>' for name, column in
                    (("SFT", 0), ("Reward model", 1), ("PPO, DPO", 2)))  # fmt: skip
    height = len(ordered) * ROW + 30
    return f'<section class="tree"><h2>Lineage</h2><div class="scroll"><svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="Lineage of the checkpoints">{heads}{edges}{boxes}</svg></div></section>'


def _edge(start: tuple[float, float], end: tuple[float, float], role: str) -> str:
    """Draw a line along the parent's row, which is free, then down into the child from the left."""
    x0, y0, y1 = start[0] + BOX, start[1] + 14, end[1] + 14
    is_forward = end[0] > start[0]
    x1 = end[0] if is_forward else end[0] + BOX
    turn, bend = (x1 - 56, 44) if is_forward else (x0, 36)
    path = f"M{x0:.0f} {y0:.0f}H{turn:.0f}C{turn + bend:.0f} {y0:.0f} {turn + bend - 32:.0f} {y1:.0f} {x1:.0f} {y1:.0f}"
    return f'<path class="edge is-{escape(role)}" d="{path}"><title>{escape(role)}</title></path>'


def _box(at: tuple[float, float], checkpoint: Checkpoint, state: str) -> str:
    x, y = at
    known_by = escape(f"{html.figure(checkpoint.stage, checkpoint.metrics)}, {state}")
    return (
        f'<a href="#runs/{escape(checkpoint.run_name)}">'
        f'<rect class="node" x="{x:.0f}" y="{y:.0f}" width="{BOX}" height="28" rx="4"/>'
        f'<text x="{x + 10:.0f}" y="{y + 18:.0f}">{escape(checkpoint.name)}</text><title>{known_by}</title></a>'
    )
