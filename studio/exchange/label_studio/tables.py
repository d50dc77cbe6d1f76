"""What was pushed to servers of Label Studio and what came back: the owner of the tables `label_studio_*`."""

from dataclasses import dataclass
from typing import Any

from sqlite_utils import Database

from studio.exchange.tasks import What
from studio.workspace import now


@dataclass(frozen=True)
class Project:
    """A project on a server; `project_id` is the server's number."""

    id: int
    url: str
    project_id: int
    title: str
    what: What


@dataclass(frozen=True)
class Answer:
    """An annotation as it was read last; `version` is empty when it is gone on the server."""

    id: int
    annotation_id: int
    version: str
    showing_id: int | None


def keep_project(db: Database, url: str, remote: dict[str, Any], what: What) -> Project:
    """Store a project of the server, once; a server made again has other projects under the same numbers."""
    born = str(remote.get("created_at") or "")
    sql = "SELECT id, url, project_id, title, what FROM label_studio_projects WHERE url = ? AND project_id = ? AND born = ?"
    for row in db.query(sql, [url, remote["id"], born]):
        return Project(**row)
    db.execute(
        "INSERT INTO label_studio_projects (url, project_id, born, title, what, created_at) VALUES (?, ?, ?, ?, ?, ?)",
        [url, remote["id"], born, remote["title"], what, now()],
    )
    return Project(**next(db.query(sql, [url, remote["id"], born])))


def keep_task(
    db: Database, project: Project, task_id: int, *, comparison_id: int | None = None, prompt_id: int | None = None
) -> None:
    """Store that a task is on the server, once."""
    db.execute(
        "INSERT INTO label_studio_tasks (label_studio_project_id, task_id, comparison_id, prompt_id, created_at)"
        " VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        [project.id, task_id, comparison_id, prompt_id, now()],
    )


def find_task(db: Database, project: Project, task_id: int) -> int | None:
    """Return the row of a task of the server, or None."""
    sql = "SELECT id FROM label_studio_tasks WHERE label_studio_project_id = ? AND task_id = ?"
    return next((row["id"] for row in db.query(sql, [project.id, task_id])), None)


def answers(db: Database, task: int) -> dict[int, Answer]:
    """Return the annotations of a task that were read, by the server's number."""
    sql = "SELECT id, annotation_id, version, showing_id FROM label_studio_answers WHERE label_studio_task_id = ?"
    return {row["annotation_id"]: Answer(**row) for row in db.query(sql, [task])}


def keep_answer(db: Database, task: int, annotation_id: int, version: str, showing_id: int | None) -> None:
    """Store which version of an annotation was read, and the showing of its judgement."""
    db.execute(
        "INSERT INTO label_studio_answers (label_studio_task_id, annotation_id, version, showing_id, created_at)"
        " VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET version = excluded.version, showing_id = excluded.showing_id",
        [task, annotation_id, version, showing_id, now()],
    )


def list_projects(db: Database) -> list[dict[str, Any]]:
    """Return the projects that this workspace pushed to or pulled from, newest first, with numbers of tasks and answers."""
    return list(
        db.query(
            "SELECT p.url, p.title, p.what, count(DISTINCT t.id) AS tasks, count(a.showing_id) AS judgements"
            " FROM label_studio_projects p LEFT JOIN label_studio_tasks t ON t.label_studio_project_id = p.id"
            " LEFT JOIN label_studio_answers a ON a.label_studio_task_id = t.id GROUP BY p.id ORDER BY p.id DESC"
        )
    )
