"""The controls of the chosen run: two stops, pause, its place in the queue, other settings while it goes on, and resume."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import gradio as gr

from modules.config import PPOConfig, TrainConfig
from studio.errors import RunError, StudioError
from studio.models import checkpoint_pages as shelf
from studio.models.checkpoints import Checkpoint
from studio.runs import launcher, queue, runs, steering
from studio.runs.row import MEASURING
from studio.runs.runs import Run
from studio.workspace import Database, Workspace
from ui.components import dropdown, html
from ui.handlers import any_of, on

COUNT = 9
CONTINUE = "Continue"
OTHER = "with other settings"
WHILE = "change while it goes on"
EXAMPLES = {
    "sft": "epochs=3 learning_rate=1e-4",
    "reward": "epochs=2 learning_rate=5e-5",
    "ppo": "iterations=300 kl_coef=0.1",
    "dpo": "epochs=2 beta=0.2",
}
"""Stage to settings that one may want to change."""
KEPT = """(name) => window.studio.settingsFor === `runs/${name}`
    ? document.querySelector("#run-other :is(input, textarea)")?.value ?? "" : "" """
"""What was typed for another run is cleared when this one is chosen; the page may hear of the choice while one is typing."""


@dataclass(frozen=True)
class Controls:
    """The buttons, the list of checkpoints to resume from, the settings to resume with, and what these change."""

    components: list[Any]
    origin: gr.Dropdown
    other: gr.Textbox
    differs: Any
    head: gr.HTML

    def bind(self, ws: Workspace, chosen: gr.Textbox, redraw: Callable[..., Any], inputs: Any, outputs: Any) -> None:
        """Bind what they do; `redraw(run name, other inputs)` answers with what the page shows then."""
        stop, kill, pause, earlier, later, resume, *_ = self.components
        for button, act in (
            (stop, _stop),
            (kill, _kill),
            (pause, _pause),
            (earlier, partial(_shift, by=-1)),
            (later, partial(_shift, by=1)),
        ):
            # A press counts though the answer to the one before is still on its way, which Gradio else would not send.
            pressed = partial(_act, ws, act, redraw)
            on(button.click, pressed, [button, *inputs], outputs, trigger_mode="multiple")
        on(self.components[-1].click, partial(_steer, ws), [chosen, self.other], [self.differs, self.other])
        asked = [chosen, self.origin, self.other]
        on(resume.click, partial(_resume, ws), asked, [chosen, self.other])
        chosen.change(None, [chosen], [self.other], js=KEPT)
        on(any_of([self.origin, self.other], "change"), partial(_differs, ws), asked, [self.differs])


def build() -> Controls:
    """Place the controls, below the run's head, with which they stay in sight."""
    with gr.Column(elem_id="run-top"):
        head = html.html(elem_id="run-head")
        buttons = gr.Row(elem_classes="controls")
    with buttons:
        stop = gr.Button("Stop and save", interactive=False, elem_id="run-stop", min_width=150)
        kill = gr.Button("Kill now", interactive=False, elem_id="run-kill", min_width=100)
        pause = gr.Button("Pause", interactive=False, elem_id="run-pause", min_width=90)
        earlier = gr.Button("Earlier", visible=False, elem_id="run-earlier", min_width=90)
        later = gr.Button("Later", visible=False, elem_id="run-later", min_width=90)
        resume = gr.Button("Resume", interactive=False, elem_id="run-resume", min_width=100)
        origin = gr.Dropdown(
            [("from its newest checkpoint", "")],
            value="",
            visible=False,
            container=False,
            show_label=False,
            label="from",
            elem_id="run-origin",
            min_width=200,
        )
    other = gr.Textbox(
        visible=False,
        container=False,
        show_label=False,
        label=OTHER,
        placeholder=OTHER,
        max_lines=1,
        elem_id="run-other",
        min_width=260,
    )
    steer = gr.Button("Change it now", visible=False, elem_id="run-steer", min_width=140)
    differs = html.html("", elem_id="run-differs")
    return Controls([stop, kill, pause, earlier, later, resume, origin, other, steer], origin, other, differs, head)


def states(db: Database, run: Run | None, origin: str = "") -> list[Any]:
    """Return how the controls look for this run; a chosen checkpoint stays chosen."""
    if run is None:
        hidden = gr.Button(visible=False)
        return [*[hidden] * 6, gr.Dropdown(visible=False), gr.Textbox(visible=False), hidden]
    is_open, is_waiting = not run.is_ended, run.state == "queued"
    is_queued = is_waiting and len(queue.waiting(db)) > 1  # else there is nothing to go before or after
    found = shelf.of_run(db, run.id)
    found.sort(key=lambda c: -c.step)
    is_done = run.state == "finished" and bool(found)
    names = [c.name for c in found]
    newest = ("from its end, with more steps" if is_done else "from its newest checkpoint", "")
    is_steerable = _is_steerable(run)
    is_measuring = run.stage in MEASURING and run.state != "finished"
    is_unsaved = (
        run.is_ended and not is_done and (run.started_at is None or run.resumed_from is not None or is_measuring)
    )
    is_resumable = not run.deleted_at and (is_unsaved or (run.stage != "sample" and bool(names)))
    return [
        gr.Button(
            "Cancel" if is_waiting else "Stop and save", visible=True, interactive=is_open and not run.stop_requested
        ),
        gr.Button(visible=True, interactive=is_open or run.is_ending),
        gr.Button(
            CONTINUE if run.pause_requested else "Pause", visible=True, interactive=is_open and not run.stop_requested
        ),
        gr.Button(visible=is_queued),
        gr.Button(visible=is_queued),
        gr.Button("Resume" if run.is_ended else "Branch off", visible=True, interactive=is_resumable),
        dropdown.offer(
            [newest, *((_label(c), c.name) for c in found)],
            origin,
            origin if origin in names else "",
            visible=run.stage != "sample" and bool(names),
        ),
        gr.Textbox(
            visible=is_steerable or (is_resumable and isinstance(run.config, TrainConfig)),
            placeholder=f"{WHILE if is_steerable else OTHER}: {'kl_coef=0.1' if is_steerable else EXAMPLES.get(run.stage, '')}",
        ),
        gr.Button(visible=is_steerable),
    ]


def _is_steerable(run: Run) -> bool:
    return run.state == "running" and isinstance(run.config, PPOConfig)


def known(db: Database, chosen: str) -> Run:
    """Return the run that the buttons act on: the chosen one, or the newest, which is shown when none is chosen."""
    if chosen:
        return runs.get(db, chosen)
    newest = runs.chosen_or_newest(db, "")
    if newest is None:
        raise RunError("There is no run yet. Start one on the Train page.")
    return newest


def _label(checkpoint: Checkpoint) -> str:
    return f"from {checkpoint.name}{checkpoint.remarks}"


def _act(
    ws: Workspace, act: Callable[..., Any], redraw: Callable[..., Any], words: str, chosen: str, *rest: Any
) -> list[Any]:
    """Do what the button said when it was pressed."""
    with ws.read() as db:
        run = known(db, chosen)
    act(ws, run, words)
    return redraw(run.name, *rest)


def _stop(ws: Workspace, run: Run, _: str) -> None:
    with ws.write() as db:
        runs.request_stop(db, run.name)


def _kill(ws: Workspace, run: Run, _: str) -> None:
    launcher.kill(ws, run.name)


def _pause(ws: Workspace, run: Run, words: str) -> None:
    with ws.write() as db:
        (queue.go_on if words == CONTINUE else queue.pause)(db, run.name)


def _shift(ws: Workspace, run: Run, _: str, by: int) -> None:
    with ws.write() as db:
        queue.shift(db, run.name, by)


def _resume(ws: Workspace, chosen: str, origin: str | None, other: str | None) -> tuple[str, str]:
    """Continue the run, or one of its checkpoints, as a new run, and choose that."""
    given = _settings(other)
    with ws.read() as db:
        return launcher.start(ws, runs.resume(ws, _name(db, chosen, origin), given)).name, ""


def _steer(ws: Workspace, chosen: str, other: str | None) -> tuple[str, str]:
    """Let the run go on with other values from its next iteration on."""
    given = _settings(other)
    if not given:
        raise RunError("First type what to change, such as kl_coef=0.1.")
    with ws.write() as db:
        run = known(db, chosen)
        changed = steering.ask(db, run, given)
    said = f"{run.name} goes on with {', '.join(map(str, changed))}, from its next iteration on. A resume keeps it."
    return html.notice(said, "good"), ""


def _differs(ws: Workspace, chosen: str, origin: str | None, other: str | None) -> str:
    """Say what the typed settings would change, or why they cannot; nothing where none are typed."""
    given = _settings(other)
    if not given:
        return ""
    try:
        with ws.read() as db:
            run = known(db, chosen)
            if _is_steerable(run) and not origin:
                changed = steering.look(db, run, given)
                return html.notice(f"It would change: {', '.join(map(str, changed)) or 'nothing'}.")
            found = runs.continuation(ws, _name(db, chosen, origin), given)
    except StudioError as error:
        return html.notice(str(error), "bad")
    lines = found.words() or ["Nothing would differ."]
    begins = f"From {found.origin.name} on" if found.origin else "From its start"
    return html.notice("; ".join([f"{begins}: {lines[0]}", *lines[1:]]))


def _name(db: Database, chosen: str, origin: str | None) -> str:
    """Return the run or checkpoint that Resume continues."""
    run = known(db, chosen)
    name = origin if origin and origin.partition("@")[0] == run.name else run.name
    if name == run.name and not run.is_ended:
        newest = runs.newest_state(db, run)  # a branch of a run that goes on itself
        name = newest.name if newest else name
    return name


def _settings(typed: str | None) -> list[str]:
    """Return the ``key=value`` settings of a line, which spaces or commas separate; a value may hold either."""
    words = re.split(r"[\s,]+(?=\w+\s*=)", str(typed or "").strip(" ,"))
    return [word for word in words if word]
