"""Runs a bundle again: on its rows, from checkpoints of this workspace that equal those it names."""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from sqlite_utils import Database

from modules.config import STAGES, PPOConfig, StageConfig, TrainConfig
from studio.errors import CheckpointError, ConfigError, ImportRefused, RewardError, RunError
from studio.models import checkpoints, disk, reward_sources
from studio.preferences import prompts, snapshots
from studio.reproduction import measured, surroundings
from studio.reproduction.contents import FIELDS, Contents, Saved, is_compared, of_file
from studio.reproduction.opening import Bundle
from studio.runs import earlier_configs, prepare, revision, runs, steering
from studio.runs.runs import Run
from studio.workspace import Workspace


class Plan(NamedTuple):
    """How a bundle would be run again here."""

    config: StageConfig
    parents: dict[str, int]
    resumed_from: int | None
    surroundings: list[str]
    """What differs from where it was run, in sentences."""


def plan(db: Database, bundle: Bundle) -> Plan:
    """Look for everything that the bundle needs; nothing is written.

    Raises:
        StudioError: something is missing here, or a setting is not known; the sentence names it.
    """
    found = bundle.contents
    parents = {role: _equal(db, each, role) for role, each in found.parents.items()}
    origin = _equal(db, found.resumed_from, "the checkpoint that it was resumed from") if found.resumed_from else None
    names = {found.parents[role].name: each.name for role, each in parents.items()}
    config = _config(found, names)
    prepare.check_alone(config)
    if strange := next((name for name, _, _ in found.steered if name not in steering.STEERABLE), None):
        raise ConfigError(f"The bundle changes {strange[:100]!r} on the way, which no run can. Write it again.")
    ids = {role: each.id for role, each in parents.items()}
    return Plan(config, ids, origin and origin.id, different_surroundings(found))


def start(ws: Workspace, bundle: Bundle, found: Plan) -> Run:
    """Create the run, queued.

    Raises:
        StudioError: its rows are not whole, name prompts that are others here, or would execute code that is not here.
    """
    with tempfile.TemporaryDirectory(prefix=".bundle-", dir=ws.root) as folder:
        try:
            bundle.unpack_rows(Path(folder))
            if not isinstance(found.config, TrainConfig):
                measured.mark(Path(folder))
        except OSError as error:
            raise RunError(
                f"The rows could not be unpacked: {error.strerror}. Free some space and try again."
            ) from error
        if isinstance(found.config, PPOConfig):
            _check_code(ws, found.config, Path(folder))
            with ws.read() as db:
                _check_prompts(db, bundle, Path(folder))
        with ws.read() as db:
            same = [each.id for each in snapshots.list_all(db) if each.sha256 == bundle.contents.snapshot]
        prepared = prepare.Prepared(found.config, found.parents, {}, same[0] if same else None)
        return runs.repeat(ws, prepared, found.resumed_from, Path(folder), bundle.contents.steered)


def different_surroundings(found: Contents) -> list[str]:
    """Say what differs between here and where the bundle's run was run: code, packages, machine."""
    here = surroundings.here()
    code = revision.current()
    said = [] if code == found.revision else [f"the studio's code: {found.revision} there, {code} here"]
    for name, there in found.surroundings.items():
        if name in here and here[name] != there:
            said.append(f"{name}: {there} there, {here[name]} here")
    if not found.has_own_surroundings:
        said.append("its packages were written down when it was bundled, not when it ran")
    return said


def _config(found: Contents, names: Mapping[str, str]) -> StageConfig:
    """Return the settings, with the names that the checkpoints have here.

    Raises:
        ConfigError: this version does not know them.
    """
    if found.stage not in STAGES:
        raise ConfigError(
            f"The bundle is of a stage {found.stage[:100]!r}, which this studio does not have. Update it."
        )
    if bool(found.measured) == issubclass(STAGES[found.stage], TrainConfig):
        raise ConfigError(f"The bundle does not hold what a run of {found.stage} makes. Write it again.")
    named = {field: _renamed(value, names) for field, value in found.config.items() if field in FIELDS}
    config, unread = earlier_configs.read(found.stage, json.dumps(found.config | named))
    if unread:
        raise ConfigError(
            f"The bundle has settings that this version of the studio does not know ({', '.join(unread)}), so it would not be the "
            "same run. Use the version that wrote it: " + found.revision
        )
    return config


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    """Return a checkpoint's name, or several between commas, as they are called here."""
    return (
        ", ".join(names.get(name.strip(), name.strip()) for name in value.split(","))
        if isinstance(value, str)
        else value
    )


def _equal(db: Database, wanted: Saved, role: str) -> checkpoints.Checkpoint:
    """Return the checkpoint of this workspace with the same files, whatever its name.

    Raises:
        CheckpointError: there is none.
    """
    known = checkpoints.list_all(db)
    known.sort(key=lambda each: each.name != wanted.name)
    for each in known:
        if each.step == wanted.step and each.base_fingerprint == wanted.base_fingerprint and _has(each, wanted):
            return checkpoints.get(db, each.name)
    raise CheckpointError(
        f"This workspace has no checkpoint that equals {wanted.name} ({role}), from which the bundle's run began. Open the workspace "
        "that it comes from, or a copy of it; or reproduce the run of that checkpoint first."
    )


def _has(found: checkpoints.Checkpoint, wanted: Saved) -> bool:
    """Return whether weights and state are equal."""
    files = {path.relative_to(found.folder).as_posix(): path for path in disk.files(found.folder)}
    names = filter(is_compared, {*files, *wanted.files})
    try:
        return all(name in files and wanted.files.get(name) == of_file(files[name]) for name in names)
    except OSError:
        return False


def _check_code(ws: Workspace, config: PPOConfig, folder: Path) -> None:
    """Refuse reward functions whose text in the bundle is not that of a file in this workspace: a run executes them."""
    frozen = {row.get("file"): row.get("source") for row in _rows(folder, "rewards")}
    here = {row["file"]: row["source"] for row in reward_sources.resolve(ws, config.reward_terms)[1]}
    for file, source in frozen.items():
        if here.get(file) != source:
            raise RewardError(
                f"The bundle's run executed {file}, and the text in the bundle is not that of the file of this name in {ws.rewards}. "
                "Code out of a bundle is never executed: read it there, put it into that folder yourself, and try again."
            )


def _check_prompts(db: Database, bundle: Bundle, folder: Path) -> None:
    """Refuse rows whose prompts have other ids here: answers are stored under them."""
    rows = [row for part in ("train", "validation") for row in _rows(folder, part)]
    known = prompts.messages_of(db, [id_ for row in rows if isinstance(id_ := row.get("prompt_id"), int)])
    for row in rows:
        if known.get(row.get("prompt_id", 0)) != row.get("messages"):
            raise ImportRefused(
                f"The prompts of {bundle.path.name} are not those of this workspace (the first that differs has the number "
                f"{row.get('prompt_id')}). Open the workspace that it comes from, or one into which its archive was imported."
            )


def _rows(folder: Path, part: str) -> list[dict[str, Any]]:
    """Return a part of the rows.

    Raises:
        ImportRefused: they cannot be read.
    """
    try:
        found = runs.rows_of(folder, part)
    except (ValueError, RecursionError) as error:
        raise ImportRefused(f"The rows {part} of the bundle cannot be read.") from error
    if not all(isinstance(row, dict) for row in found):
        raise ImportRefused(f"The rows {part} of the bundle cannot be read.")
    return found
