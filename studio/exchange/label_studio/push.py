"""Pushes tasks to a Label Studio server: each one once, also after a connection that was cut half-way.

The server is asked which of our tasks it has, before and after. So a batch that arrived although its answer was lost is
not sent again, and a task counts as pushed only once it was seen there.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlite_utils import Database

from studio.errors import DataError, ExchangeError
from studio.exchange import tasks as gathering
from studio.exchange.label_studio import project as ours
from studio.exchange.label_studio import tables
from studio.exchange.label_studio.client import Server
from studio.exchange.label_studio.tables import Project
from studio.exchange.tasks import WHAT, Task, What
from studio.preferences import elsewhere
from studio.workspace import Workspace

BATCH = 50
LONGEST_TITLE = 50
"""Most characters of a project's title, says the server."""
Tell = Callable[[int, int], None]


@dataclass(frozen=True)
class Pushed:
    """What a push did to one project."""

    title: str
    what: What
    num_new: int
    num_there: int

    @property
    def sentence(self) -> str:
        """The counts in words."""
        there = f", {self.num_there:,} were there already" if self.num_there else ""
        return f"{self.title}: {self.num_new:,} {self.what} pushed{there}."


def push(
    ws: Workspace,
    server: Server,
    name: str,
    what: Sequence[What] = ("pairs", "rankings"),
    *,
    is_all: bool = False,
    run: str | None = None,
    limit: int | None = None,
    annotators: int = 1,
    tell: Tell = lambda done, of: None,
) -> list[Pushed]:
    """Push what others are to label into the projects `NAME: pairs`, `NAME: rankings`, `NAME: prompts`.

    A project that does not exist is made with our configuration. What is there already is not pushed again.

    Args:
        ws: the workspace.
        server: the server.
        name: the common part of the projects' titles.
        what: which kinds; a kind of which there is nothing is left out.
        is_all: also what is judged here already.
        run: only comparisons of this sampling run.
        limit: at most this many of each kind.
        annotators: how many people are to judge each task, in a project that is made.
        tell: called with the numbers of tasks sent and to send.

    Raises:
        DataError: there is nothing to label.
        ExchangeError: the server cannot be used; what arrived there is known the next time.
    """
    found: dict[What, list[Task]] = {}
    nothing = []
    for kind in what:
        try:
            with ws.write() as db:
                found[kind] = gathering.gather(db, kind, is_all=is_all, run=run, limit=limit)
        except DataError as error:
            nothing.append(str(error))
    if not found:
        raise DataError(" ".join(nothing))
    return [_push(ws, server, title(name, kind), tasks, annotators, tell) for kind, tasks in found.items()]


def title(name: str, what: What) -> str:
    """Return the title of the project of one kind.

    Raises:
        DataError: it is empty or too long for the server.
    """
    longest = LONGEST_TITLE - max(len(kind) for kind in WHAT) - 2
    if not 0 < len(name.strip()) <= longest:
        raise DataError(f"The project's name has 1 to {longest} characters; {name[:80]!r} has {len(name.strip())}.")
    return f"{name.strip()}: {what}"


def adopt(ws: Workspace, server: Server, project: Project) -> dict[str, int]:
    """Ask the server for its tasks and store those of this workspace; returns our name of each -> the server's number."""
    there: dict[str, int] = {}
    for page in server.pages(project.project_id, is_full=False):
        with ws.write() as db:
            for task in page:
                if key := keep(db, project, task):
                    there[key] = task["id"]
    return there


def keep(db: Database, project: Project, task: dict[str, Any]) -> str:
    """Store a task of the server that is one of ours, and return its name; empty for any other."""
    data = data_of(task)
    try:
        if joined := elsewhere.find(db, data):
            tables.keep_task(db, project, task["id"], comparison_id=joined.comparison_id)
            return str(data[elsewhere.COMPARISON])
        if prompt_id := elsewhere.find_prompt(db, data):
            tables.keep_task(db, project, task["id"], prompt_id=prompt_id)
            return f"p-{data[elsewhere.PROMPT]}"
    except DataError:  # changed on the server, or of an older backup
        pass
    return ""


def data_of(task: dict[str, Any]) -> dict[str, Any]:
    """Return a task's data; empty where the server tells none."""
    data = task.get("data")
    return data if isinstance(data, dict) else {}


def _push(ws: Workspace, server: Server, name: str, tasks: list[Task], annotators: int, tell: Tell) -> Pushed:
    what = tasks[0].what
    remote = _remote(server, name, what, annotators)
    with ws.write() as db:
        project = tables.keep_project(db, server.url, remote, what)
    there = adopt(ws, server, project)
    missing = [task for task in tasks if task.key not in there]
    for start in range(0, len(missing), BATCH):
        tell(start, len(missing))
        server.add_tasks(project.project_id, [{"data": ours.data(task)} for task in missing[start : start + BATCH]])
    tell(len(missing), len(missing))
    if missing:
        arrived = adopt(ws, server, project)
        lost = sum(task.key not in arrived for task in missing)
        if lost:
            raise ExchangeError(
                f"{lost:,} of {len(missing):,} tasks did not arrive in {name}. Give the same command again."
            )
    return Pushed(name, project.what, len(missing), len(tasks) - len(missing))


def _remote(server: Server, name: str, what: What, annotators: int) -> dict[str, Any]:
    """Return the server's project of this name, made now where it has none."""
    remote = server.find_project(name)
    if remote is None:
        remote = server.create_project(name, ours.CONFIG[what], annotators)
    elif f'name="{ours.CONTROL[what]}"' not in str(remote.get("label_config")):
        raise ExchangeError(
            f'The project {name} has another labelling configuration, without the control "{ours.CONTROL[what]}". '
            "Choose another --project, or give it the config.xml of: rlhf-studio export to-label"
        )
    return remote
