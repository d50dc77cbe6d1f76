"""Writes pairs, rankings and prompts for other tools to label: a folder in `exports/` for each tool and kind.

Blind, in a stored order. What comes back by `rlhf-studio import` joins the same comparison.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from studio.exchange import tasks as gathering
from studio.exchange import vendors
from studio.exchange.files import json_text, write_folder
from studio.exchange.label_studio import project
from studio.exchange.tasks import Task, What
from studio.workspace import Workspace


def label_studio(tasks: Sequence[Task]) -> vendors.Files:
    """Return the tasks to import, and the labelling configuration of the project."""
    rows = [{"data": project.data(task)} for task in tasks]
    return {"tasks.json": json_text(rows), "config.xml": project.CONFIG[tasks[0].what]}


FORMATS: dict[str, Callable[[Sequence[Task]], vendors.Files]] = {
    "label-studio": label_studio,
    "labelbox": vendors.labelbox,
    "scale": vendors.scale,
    "surge": vendors.surge,
    "argilla": vendors.argilla,
}


@dataclass(frozen=True)
class Exported:
    """A folder of tasks for another tool."""

    folder: Path
    what: What
    num: int

    @property
    def sentence(self) -> str:
        """What was written, and what to do with the result."""
        names = ", ".join(sorted(path.name for path in self.folder.iterdir()))
        return (
            f"{self.num:,} {self.what} in {self.folder.name} ({names}), without names of models. Import the result here: "
            f"each judgement joins its {'prompt' if self.what == 'prompts' else 'comparison'}."
        )


def export(
    ws: Workspace,
    form: str,
    what: What = "pairs",
    *,
    is_all: bool = False,
    run: str | None = None,
    limit: int | None = None,
) -> Exported:
    """Write a folder of tasks for the tool `form` (a key of FORMATS); arguments as `tasks.gather`.

    Raises:
        DataError: there is nothing to label.
        WorkspaceError: the folder cannot be written.
    """
    with ws.write() as db:
        tasks = gathering.gather(db, what, is_all=is_all, run=run, limit=limit)
    files = FORMATS[form](tasks)

    def write(folder: Path) -> None:
        for name, text in files.items():
            (folder / name).write_text(text, encoding="utf-8")

    return Exported(write_folder(ws.exports / f"to-label-{form}-{what}", write), what, len(tasks))
