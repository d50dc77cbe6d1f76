"""Suites by name: the built-in ones, the workspace's own files, and public files named by their path.

grammar                       built in
letters                       WORKSPACE/evaluations/letters.jsonl
blimp:FILE, prompts:FILE      a public file, read by `studio.evaluation.readers`
lm_eval:TASK+TASK             tasks of lm-evaluation-harness, where it is installed
held_out, answers             the workspace's held-out demonstrations and test prompts
facts@chat                    with the model's chat template around the prompt; @plain is without
"""

import importlib.util
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sqlite_utils import Database

from assets import EVALUATIONS
from studio.errors import ConfigError, DataError
from studio.evaluation import readers
from studio.preferences import prompts

BUILT_IN = {
    "grammar": "Grammar",
    "facts": "Plain facts",
    "stories": "Stories",
    "caution": "Caution (safe and unsafe requests)",
    "held_out": "Held-out demonstrations",
    "answers": "Answers to test prompts",
}
"""Name to title, in the order in which they are measured."""
FILES = ("grammar", "facts", "stories", "caution")
LM_EVAL = "lm_eval:"
OF_WORKSPACE = ("held_out", "answers")


class Suite(NamedTuple):
    """Items of one kind, and how they are put to a model."""

    name: str
    title: str
    kind: str
    """choice, pair, truth, text (`modules.evaluation.items`); prompt: it is answered, and the answers are scored; or task: lm_eval
    knows its items."""
    uses_template: bool
    items: list[readers.Item]


def find(db: Database, folder: Path, text: str) -> list[Suite]:
    """Return the suites that a setting names; the built-in ones where it is empty.

    Args:
        db: the workspace's database.
        folder: the workspace's folder of own suites.
        text: names, separated by commas.

    Raises:
        StudioError: there is no such suite, or its file cannot be read.
    """
    names = [part for name in text.split(",") if name.strip() for part in _tasks(name.strip())]
    if not names:
        names = [name for name in BUILT_IN if name not in OF_WORKSPACE or _of_workspace(db, name)]
        return [_suite(db, folder, name) for name in names]
    found = [_suite(db, folder, name) for name in dict.fromkeys(names)]
    twice = {suite.name for suite in found if [other.name for other in found].count(suite.name) > 1}
    if twice:
        raise ConfigError(f"suites names two suites {min(twice)}. Name each once, or give its file another name.")
    return found


def offered(folder: Path) -> list[str]:
    """Return the names that need no path: the built-in suites, and the files in the workspace's folder of own ones."""
    found = folder.glob("*.jsonl") if folder.is_dir() else []
    own = sorted(path.stem for path in found if path.is_file())
    return [*BUILT_IN, *(name for name in own if name not in BUILT_IN)]


def files(text: str) -> list[str]:
    """Return the paths that a setting names."""
    parts = (_cut(name.strip())[0].partition(":") for name in text.split(","))
    return [path for name, _, path in parts if name in readers.FORMATS and path]


def _tasks(name: str) -> list[str]:
    """Return the names in ``lm_eval:TASK+TASK``, one a task; any other name as it is."""
    known = name.removeprefix(LM_EVAL)
    tasks = [] if known == name else [f"{LM_EVAL}{task.strip()}" for task in known.split("+") if task.strip()]
    return tasks or [name if known == name else LM_EVAL]


def _suite(db: Database, folder: Path, name: str) -> Suite:
    body, wish = _cut(name)
    if body.startswith(LM_EVAL):
        return _task(body, wish)
    kind, title, items, named = _read(db, folder, body)
    usual = kind == "prompt" or body == "held_out"
    uses_template = usual if wish is None else wish
    if uses_template and any("messages" not in item and not item.get("prompt") for item in items):
        raise ConfigError(
            f"{name}: texts without a prompt, such as sentence pairs, get no chat template. Remove @chat."
        )
    mark = "" if uses_template == usual else "@chat" if uses_template else "@plain"
    return Suite(named + mark, title, kind, uses_template, [{"cluster": ""} | item for item in items])


def _task(name: str, wish: bool | None) -> Suite:
    if name == LM_EVAL:
        raise ConfigError(
            f"{LM_EVAL} names no task of lm-evaluation-harness. Write {LM_EVAL}TASK, or {LM_EVAL}TASK+TASK."
        )
    if wish:
        raise ConfigError(f"{name} brings its own prompts, so it gets no chat template. Remove @chat.")
    if importlib.util.find_spec("lm_eval") is None:
        raise ConfigError(
            f"{name} needs lm-evaluation-harness, which is not installed: pip install -c constraints.txt -e .[eval]"
        )
    return Suite(name, f"{name.removeprefix(LM_EVAL)} (lm_eval)", "task", False, [])


def _cut(name: str) -> tuple[str, bool | None]:
    """Return a name without its mark for the chat template, and what the mark asks for."""
    for mark, wish in (("@chat", True), ("@plain", False)):
        if name.endswith(mark):
            return name.removesuffix(mark), wish
    return name, None


def _read(db: Database, folder: Path, body: str) -> tuple[str, str, list[readers.Item], str]:
    """Return kind, title, items and name of a suite."""
    before, colon, path = body.partition(":")
    if before in readers.FORMATS and colon and not path.strip():
        raise ConfigError(f"{body} names no file. Write {body}FILE, with the path of the file.")
    if colon and before in readers.FORMATS:
        known, file = readers.FORMATS[before], Path(path).expanduser()
        title = f"{known.title}: {file.stem}" if before == "prompts" else known.title
        return (
            known.kind,
            title,
            readers.read_format(before, file),
            f"prompts:{file.stem}" if before == "prompts" else before,
        )
    if body in BUILT_IN and (folder / f"{body}.jsonl").is_file():
        raise ConfigError(
            f"The name {body} is taken by a built-in suite, so the file {folder / body}.jsonl would not be measured. Give the file "
            "another name."
        )
    if body in OF_WORKSPACE:
        items = _of_workspace(db, body)
        if items:
            return ("text" if body == "held_out" else "prompt"), BUILT_IN[body], items, body
        what = "held-out demonstrations" if body == "held_out" else "test prompts"
        raise DataError(f"The workspace has no {what}, so there is no suite {body}. Import some, or leave it out.")
    if body in FILES:
        kind, items = readers.read_own(EVALUATIONS / f"{body}.jsonl")
        return kind, BUILT_IN[body], items, body
    return *_own(folder, body), body


def _own(folder: Path, name: str) -> tuple[str, str, list[readers.Item]]:
    """Read a file of the workspace's folder; neither .. nor a link may lead out of it."""
    path = folder / f"{name.removesuffix('.jsonl')}.jsonl"
    if not path.resolve().is_relative_to(folder.resolve()) or not path.is_file():
        if name.startswith(("classifier", "toxicity")):
            raise ConfigError(
                f"{name[:100]!r} is not a suite. Toxicity is measured on the answers of a suite of prompts: suites=answers with "
                "toxicity=classifier:FOLDER#LABEL, the label being the one that means toxic."
            )
        raise ConfigError(
            f"There is no suite {name[:100]!r}. There are: {', '.join(offered(folder))}. A file of your own lies in {folder}; public "
            f"ones are named by their path, as {', '.join(f'{known}:FILE' for known in readers.FORMATS)}."
        )
    kind, items = readers.read_own(path)
    return kind, path.stem, items


def _of_workspace(db: Database, name: str) -> list[dict[str, Any]]:
    """Return the items of a suite that the workspace's own texts make."""
    if name == "held_out":
        found = [d for split in ("validation", "test") for d in prompts.list_demonstrations(db, split=split)]
        return [{"messages": d.messages, "text": d.response, "cluster": d.category} for d in found]
    rows = prompts.list_prompts(db, split="test")
    return [{"messages": row["messages"], "cluster": row["category"]} for row in rows]


def subset(items: Sequence[Any], limit: int, seed: int) -> list[int]:
    """Return the places of the items that are measured: all, or as many as the limit, always the same for one seed."""
    if not limit or limit >= len(items):
        return list(range(len(items)))
    return sorted(random.Random(seed).sample(range(len(items)), limit))
