"""Loads the starter kit's prompts and demonstrations into a workspace, to try the loop without own data."""

import hashlib
import json
from typing import Any

from sqlite_utils import Database

from assets import STARTER
from studio.errors import WorkspaceError
from studio.preferences import prompts
from studio.preferences.prompts import NewPrompt

SOURCE = "starter kit"


def load(db: Database) -> None:
    """Put the kit's prompts (with split, category and reference) and demonstrations into the workspace, once.

    Raises:
        WorkspaceError: the kit is missing from this installation.
    """
    files = _files()
    sha256 = _sha256(files)
    asked, answered = (_rows(raw) for raw in files)
    if prompts.find_import(db, sha256, "demonstrations"):
        return
    import_id = prompts.record_import(db, SOURCE, sha256, "demonstrations")
    for row in asked:
        prompt = NewPrompt(row["messages"], row["category"], row["split"], row["reference"])
        prompts.add_prompt(db, prompt, import_id)
    for row in answered:
        *messages, answer = row["messages"]
        prompt_id = prompts.add_prompt(db, NewPrompt(messages, row["category"], row["split"]), import_id)
        prompts.add_response(db, prompt_id, answer["content"], "demonstration", import_id=import_id)
    prompts.close_import(db, import_id, len(asked) + len(answered), {})


def is_loaded(db: Database) -> bool:
    """Return whether this kit is in the workspace.

    Raises:
        WorkspaceError: the kit is missing from this installation.
    """
    return prompts.find_import(db, _sha256(_files()), "demonstrations") is not None


def _files() -> list[bytes]:
    try:
        return [(STARTER / name).read_bytes() for name in ("prompts.jsonl", "demonstrations.jsonl")]
    except OSError as error:
        raise WorkspaceError(
            f"The starter kit is missing from this installation ({error.filename}). Install the studio again."
        ) from error


def _sha256(files: list[bytes]) -> str:
    return hashlib.sha256(b"".join(files)).hexdigest()


def _rows(raw: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in raw.decode("utf-8").splitlines()]
