"""Exports ratings and demonstrations as JSONL, checkpoints as folders that plain peft and transformers open.

The native file holds all records. The TRL file holds what its format can, and a sidecar `.loss.json` counts the rest.
Each export is written under a temporary name and then renamed.
"""

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from studio import children
from studio.children import ChildError, check_device
from studio.datasets import export_rows
from studio.errors import CheckpointError, DataError, WorkspaceError
from studio.files import earlier, whole
from studio.models import base_models, checkpoints
from studio.models.checkpoints import Checkpoint
from studio.models.model_card import model_card
from studio.preferences import comparisons
from studio.runs import runs
from studio.workspace import Workspace


def export_ratings(ws: Workspace, form: Literal["native", "trl"] = "native") -> Path:
    """Write the ratings to `exports/` and return the file.

    native: one comparison a line, with prompt, responses and their provenance, every showing and every event, undone
    ones too. trl: one preference a line as prompt, chosen and rejected messages, with category, split and strength as
    extra columns, and `preferences.loss.json` next to it.

    Raises:
        DataError: there is nothing to export.
    """
    return _native(ws) if form == "native" else _trl(ws)


def count_lines(path: Path) -> int:
    """Count the rows of an exported file."""
    with path.open("rb") as file:
        return sum(1 for _ in file)


def export_demonstrations(ws: Workspace) -> Path:
    """Write all demonstrations to `exports/demonstrations.jsonl` as chat messages and return the file.

    Raises:
        DataError: there are none.
    """
    with ws.read() as db:
        db.execute("BEGIN")
        rows = export_rows.demonstrations(db)
        return _write_lines(
            ws.exports / "demonstrations.jsonl",
            rows,
            "There are no demonstrations to export. Import some or write one first.",
        )


def export_checkpoint(ws: Workspace, name: str, is_merged: bool = False, device: str = "auto") -> Path:
    """Copy a checkpoint with a model card to `exports/` and return the folder.

    Args:
        ws: the workspace.
        name: a checkpoint, or a run for its newest one.
        is_merged: merge the adapter into the base model (a child process; needs memory for the whole model), giving a
            plain transformers folder. A 4-bit base is dequantised first; the card states the largest change of a logit.
        device: where to merge: auto takes a GPU that no run uses, cpu takes none.

    Raises:
        CheckpointError: there is no such checkpoint, or it cannot be merged.
        WorkspaceError: the folder cannot be written.
    """
    found = checkpoints.get(ws, name)
    parents = checkpoints.parents(ws, found.name)
    config = runs.get(ws, found.run_name).config
    meta = _read_meta(found)
    target = ws.exports / (f"{found.name}-merged" if is_merged else found.name)

    def write(folder: Path) -> None:
        figures = None
        if is_merged:
            figures = _merge(ws, found.folder, folder, check_device(device))
        else:
            _copy_roles(found.folder, folder, meta)
        card = model_card(found, parents, config, meta, figures)
        (folder / "README.md").write_text(card, encoding="utf-8")

    return _write_folder(target, write)


def _native(ws: Workspace) -> Path:
    with ws.read() as db:
        db.execute("BEGIN")  # later ratings are in the next export
        rows = ({"format": "rlhf-studio/1"} | row for row in export_rows.comparisons(db))
        nothing = "There are no comparisons to export. Sample some pairs or import preferences first."
        return _write_lines(ws.exports / "ratings.jsonl", rows, nothing)


def _trl(ws: Workspace) -> Path:
    seen: Counter[str] = Counter()
    with ws.read() as db:
        db.execute("BEGIN")
        rows = _trl_rows(export_rows.preferences(db), seen)
        nothing = "There are no preferences to export. Rate some pairs first, or import preferences."
        path = _write_lines(ws.exports / "preferences.jsonl", rows, nothing)
        seen["events"] = export_rows.count_events(db)
    _write(ws.exports / "preferences.loss.json", [json.dumps(_trl_loss(ws, seen), indent=2) + "\n"])
    return path


def _trl_rows(rated: Iterable[dict[str, Any]], seen: Counter[str]) -> Iterator[dict[str, Any]]:
    """Yield the rows that the format can hold; count in `seen` what it cannot."""
    for row in rated:
        seen["rated"] += 1
        seen[row["outcome"]] += 1
        if row["outcome"] in ("left", "right"):
            seen["written"] += 1
            seen["shown"] += row["showing_id"] is not None
            seen["timed"] += row["elapsed_ms"] is not None
            yield _trl_row(row)


def _trl_row(row: dict[str, Any]) -> dict[str, Any]:
    sides = (row["left"], row["right"]) if row["outcome"] == "left" else (row["right"], row["left"])
    chosen, rejected = ([{"role": "assistant", "content": text}] for text in sides)
    kept = {"prompt": row["messages"], "chosen": chosen, "rejected": rejected}
    extra = {"category": row["category"], "split": row["split"], "strength": row["strength"]}
    return kept | {name: value for name, value in extra.items() if value}


def _trl_loss(ws: Workspace, seen: Counter[str]) -> dict[str, Any]:
    """Count what the TRL file leaves out: whole judgements, and facts about those it has."""
    return {
        "format": "TRL preference (prompt, chosen, rejected)",
        "rows": seen["written"],
        "rows_dropped": {
            name: seen[name] for name in ("tie", "both_bad", "ranking", "skip") if name != "ranking" or seen[name]
        }
        | {"unrated": comparisons.counts(ws)["unrated"]},
        "facts_dropped": {
            "order on the screen": seen["shown"],
            "time taken": seen["timed"],
            "rater": seen["written"],
            "provenance of the responses": seen["written"],
            "events undone or superseded": seen["events"] - seen["rated"],
        },
        "extra_columns": "category, split, strength: TRL ignores them; strength is not a margin",
    }


def _read_meta(found: Checkpoint) -> dict[str, Any]:
    """Return the checkpoint's meta.json, with the base model's name as plain peft finds it: a folder or a hub id."""
    try:
        meta = json.loads((found.folder / "meta.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"Checkpoint {found.name} is damaged: its meta.json cannot be read. Choose another."
        ) from error
    return meta | {"base_model": base_models.resolve(found.base_model)}


def _copy_roles(source: Path, folder: Path, meta: dict[str, Any]) -> None:
    """Copy the role folders without the optimizer's state; write into each adapter where its base model is."""
    for role in meta["roles"]:
        shutil.copytree(source / role, folder / role)
        adapter = folder / role / "adapter_config.json"
        if adapter.exists():
            content = json.loads(adapter.read_text(encoding="utf-8")) | {"base_model_name_or_path": meta["base_model"]}
            adapter.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _merge(ws: Workspace, source: Path, folder: Path, device: str) -> dict[str, Any]:
    """Merge in a child process, so that its memory is freed and no torch is loaded here."""
    try:
        return children.ask("studio.worker.merge", None, str(source), str(folder), str(ws.root), device)
    except ChildError as error:
        raise CheckpointError(f"The checkpoint could not be merged: {error}") from error


def _write_lines(path: Path, rows: Iterator[dict[str, Any]], nothing: str) -> Path:
    """Write a line for each row; where there is none, raise `nothing` and keep an earlier file."""
    first = next(rows, None)
    if first is None:
        raise DataError(nothing)
    return _write(path, (json.dumps(row, ensure_ascii=False) + "\n" for row in chain([first], rows)))


def _write(path: Path, texts: Iterable[str]) -> Path:
    """Write the file under a temporary name as its parts come, then rename; an earlier one that differs is put aside."""
    try:
        with whole.beside(path) as part:
            with part.open("x", encoding="utf-8") as file:
                file.writelines(texts)
            whole.place(part, path)
            earlier.bound(path)
            return path
    except OSError as error:
        raise _not_written(path, error) from error


def _write_folder(path: Path, write: Callable[[Path], None]) -> Path:
    """Let `write` fill a temporary folder, then rename it; an earlier export of the same name that differs is put aside."""
    try:
        with whole.beside(path) as part:
            part.mkdir(parents=True)
            write(part)
            whole.place(part, path)
            earlier.bound(path)
            return path
    except OSError as error:
        raise _not_written(path, error) from error


def _not_written(path: Path, error: OSError) -> WorkspaceError:
    cause = error.strerror or str(error)
    return WorkspaceError(f"The export {path.name} could not be written: {cause}. Free some space and try again.")
