"""Resolves a reward's sources outside the database: classifiers, and files with Python functions.

A run executes the functions it names, and a request to the page can start a run. So a file must be in the workspace's
folder ``rewards/``, into which no page writes; its text is frozen with the run's rows, and the worker executes that
text.
"""

import ast
from collections.abc import Sequence
from typing import Any

from modules.config.reward_terms import RewardTerm
from studio.errors import BaseModelError, RewardError
from studio.models import base_models
from studio.workspace import Workspace

LARGEST_FILE = 2**20


def resolve(ws: Workspace, terms: Sequence[RewardTerm]) -> tuple[str, list[dict[str, Any]]]:
    """Return the reward with every folder absolute, as text, and one row {file, source} for each file.

    Raises:
        StudioError: a classifier or a file does not exist, or a file is outside the workspace's folder rewards/.
    """
    found = [term._replace(source=_classifier(term.source)) if term.kind == "classifier" else term for term in terms]
    functions = [term for term in terms if term.kind == "function"]
    texts = {term.source: _read(ws, term.source) for term in functions}
    for term in functions:
        _check_name(term, texts[term.source])
    return " + ".join(map(str, found)), [{"file": file, "source": text} for file, text in texts.items()]


def _classifier(source: str) -> str:
    """Return the folder, absolute, or the hub id."""
    if source == base_models.STARTER_NAME:
        raise RewardError("starter is a language model, not a classifier. Give a sequence-classification model.")
    try:
        return base_models.absolute(source)
    except BaseModelError as error:
        if "://" in source or base_models.is_there(source):
            raise
        raise RewardError(
            f"There is no classifier {base_models.short(source)!r}: it is neither a folder nor a hub id. Give the folder of a sequence-classification "
            "model in Hugging Face format, or its hub id."
        ) from error


def _check_name(term: RewardTerm, text: str) -> None:
    """Refuse a file that does not define the function's name, as far as can be seen without running it."""
    try:
        nodes = list(ast.walk(ast.parse(text)))
    except (SyntaxError, ValueError) as error:
        raise RewardError(f"The reward file {term.source} is not valid Python: {error}. Correct it.") from error
    defined = [node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    assigned = [node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)]
    imported = [node.asname or node.name for node in nodes if isinstance(node, ast.alias)]
    if not {term.item, "*"} & {*defined, *assigned, *imported}:
        known = ", ".join(defined) or "none"
        raise RewardError(f"There is no function {term.item} in {term.source} (there: {known}). Correct its name.")


def _read(ws: Workspace, file: str) -> str:
    """Return the text of a file in rewards/; neither .. nor a link may lead out of it."""
    path = (ws.rewards / file).resolve()
    if not path.is_relative_to(ws.rewards):
        raise RewardError(
            f"The reward file {file} is outside {ws.rewards}. A run executes it, so only files put into that "
            "folder are accepted: copy it there and give its path within it."
        )
    if not path.is_file():
        known = ", ".join(sorted(str(p.relative_to(ws.rewards)) for p in ws.rewards.rglob("*.py"))[:5]) or "none"
        raise RewardError(
            f"There is no reward file {file} in {ws.rewards} (there: {known}). Put it there, or correct its name."
        )
    if path.stat().st_size > LARGEST_FILE:
        raise RewardError(f"The reward file {file} is larger than 1 MiB, too large for code. Choose another.")
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RewardError(
            f"The reward file {file} cannot be read as text ({type(error).__name__}). Save it as UTF-8."
        ) from error
