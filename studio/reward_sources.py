"""What a reward names outside the database: classifiers, and files with Python functions.

A run executes the functions it names, and a run can be started by a request to the page. So a file has to lie in the
workspace's folder ``rewards/``, into which no page writes; its text is frozen with the run's rows, and that text is what
the worker executes.
"""

from collections.abc import Sequence
from typing import Any

from modules.reward_terms import RewardTerm
from studio import base_models
from studio.errors import RewardError
from studio.workspace import Workspace

LARGEST_FILE = 2**20


def freeze(ws: Workspace, terms: Sequence[RewardTerm]) -> tuple[str, list[dict[str, Any]]]:
    """The reward with every folder absolute, as text, and one row {file, source} for each file.

    Raises:
        StudioError: a classifier or a file is none, or a file lies outside the workspace's folder rewards/.
    """
    found = [
        term._replace(source=base_models.absolute(term.source)) if term.kind == "classifier" else term for term in terms
    ]
    files = dict.fromkeys(term.source for term in terms if term.kind == "function")
    return " + ".join(map(str, found)), [{"file": file, "source": _read(ws, file)} for file in files]


def _read(ws: Workspace, file: str) -> str:
    """The text of a file of rewards/; neither .. nor a link leads out of it."""
    path = (ws.rewards / file).resolve()
    if not path.is_relative_to(ws.rewards):
        raise RewardError(
            f"The reward file {file} lies outside {ws.rewards}. A run executes it, so only files that somebody put into that "
            "folder are taken: copy it there and name it by its place in it."
        )
    if not path.is_file():
        known = ", ".join(sorted(str(p.relative_to(ws.rewards)) for p in ws.rewards.rglob("*.py"))[:5]) or "none"
        raise RewardError(
            f"There is no reward file {file} in {ws.rewards} (there: {known}). Put it there, or correct its name."
        )
    if path.stat().st_size > LARGEST_FILE:
        raise RewardError(f"The reward file {file} has more than 1 MiB, which is no code. Choose another.")
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RewardError(
            f"The reward file {file} cannot be read as text ({type(error).__name__}). Save it as UTF-8."
        ) from error
