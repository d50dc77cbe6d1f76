"""Reads a stage's settings from ``--config file.json`` and ``--set key=value``, describes them for ``--help``, and
writes the command line that gives them again.

The stage's pydantic class validates; this module turns its errors into sentences that name the setting and its values.
"""

import difflib
import json
import os
import shlex
import shutil
import sys
import textwrap
from collections import ChainMap
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, TypeVar, get_args, get_origin

import annotated_types
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from modules.config import STAGES, StageConfig
from modules.config.presets import FIRST_LOOK, HARDWARE, preset
from studio.errors import ConfigError
from studio.workspace import Workspace

Config = TypeVar("Config", bound=BaseModel)
TYPES = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}


def read(
    stage: str,
    config_file: str | None,
    settings: Sequence[str],
    presets: Sequence[str] = (),
    recipe: Mapping[str, Any] | None = None,
) -> StageConfig:
    """Read a stage's config: ``key=value`` settings over the file's values over the recipe's over the hardware's over defaults.

    Args:
        stage: Such as ``sft``.
        config_file, settings: As typed.
        presets: Names; those of hardware and the first look are taken.
        recipe: What a recipe sets.

    Raises:
        ConfigError: an unknown key, or a value out of range; one sentence each.
    """
    hardware = [preset(stage, name) for name in presets if name in (FIRST_LOOK, *HARDWARE)]
    values = dict(ChainMap(dict(recipe or {}), *reversed(hardware)))
    return read_class(STAGES[stage], stage, config_file, settings, values)


def read_class(
    config_class: type[Config],
    command: str,
    config_file: str | None,
    settings: Sequence[str],
    given: Mapping[str, Any] | None = None,
) -> Config:
    """Do as `read`, for any config class; `command` is what a person typed, `given` the values to override."""
    values = dict(given or {}) | (_from_file(config_file) if config_file else {})
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            raise ConfigError(f"--set {setting} has no value. Write --set key=value, such as --set seed=1.")
        values[key.strip()] = value.strip()
    try:
        return config_class.model_validate(values)
    except ValidationError as error:
        raise ConfigError("\n".join(_sentence(config_class, command, fault) for fault in error.errors())) from error


def read_tolerantly(
    config_class: type[Config], text: str, renamed: Mapping[str, str] = MappingProxyType({})
) -> tuple[Config, dict[str, Any]]:
    """Read a config that another version stored as JSON: each setting that fits, the default for the others.

    Args:
        config_class: all its fields have defaults.
        text: JSON.
        renamed: earlier name of a setting to its present one.

    Returns:
        The config, and what was not read by its name.
    """
    try:
        given = json.loads(text)
    except (ValueError, RecursionError):
        return config_class(), {"config": "cannot be read"}
    if not isinstance(given, dict):
        return config_class(), {"config": given}
    for before, after in renamed.items():
        if before in given and after in config_class.model_fields and after not in given:
            given[after] = given.pop(before)
    unread = {name: value for name, value in given.items() if name not in config_class.model_fields}
    kept = {name: value for name, value in given.items() if name in config_class.model_fields}
    while True:
        try:
            return config_class.model_validate(kept), unread
        except ValidationError as error:
            wrong = {str(each["loc"][0]) for each in error.errors() if each["loc"]} & kept.keys() or set(kept)
            unread |= {name: kept.pop(name) for name in wrong}


def describe(field: FieldInfo) -> str:
    """Return the values a field takes: its choices, or its type and range."""
    if get_origin(field.annotation) is Literal:
        return "one of " + ", ".join(str(choice) for choice in get_args(field.annotation))
    bounds = []
    for bound in field.metadata:
        match bound:
            case annotated_types.Ge(ge=low):
                bounds.append(f"at least {low}")
            case annotated_types.Gt(gt=low):
                bounds.append(f"above {low}")
            case annotated_types.Le(le=high):
                bounds.append(f"at most {high}")
            case annotated_types.Lt(lt=high):
                bounds.append(f"below {high}")
    kind = TYPES.get(field.annotation or str, "a value")
    return ", ".join([kind, *bounds])


def complaint(field: FieldInfo, fault: Any) -> str:
    """Say what is wrong with a field's value, in the words that the page and the command line share."""
    if fault["input"] is None or fault["input"] == "":
        return f"is empty; it takes {describe(field)}."
    if fault["type"] == "value_error":
        return f"= {fault['input']} is not possible: {str(fault['ctx']['error']).rstrip('.')}."
    return f"= {fault['input']} is not possible; it takes {describe(field)}."


def help_text(config_class: type[BaseModel], width: int = 100) -> str:
    """Return all settings of a config class with their description, range and default."""
    lines = ["settings, for --set and --config:"]
    for name, field in config_class.model_fields.items():
        default = json.dumps(field.default) if isinstance(field.default, bool) else field.default
        shown = f"{default}" if field.default != "" else "(empty)"
        lines.append(f"  {name} = {shown}")
        text = f"{field.description} [{describe(field)}]"
        lines.extend(textwrap.wrap(text, width, initial_indent=" " * 6, subsequent_indent=" " * 6))
    return "\n".join(lines)


def program() -> str:
    """Return the name of ``rlhf-studio`` where the shell finds it, else its path, such as `.venv/bin/rlhf-studio`."""
    found, own = shutil.which("rlhf-studio"), Path(sys.executable).parent / "rlhf-studio"
    if not own.exists() or (found and Path(found).resolve() == own.resolve()):
        return "rlhf-studio"
    relative = os.path.relpath(own)
    return str(own) if relative.startswith("..") else relative


def changed(config: StageConfig) -> dict[str, object]:
    """Return the fields that differ from their defaults, which a command line must name."""
    fields = type(config).model_fields
    return {name: getattr(config, name) for name in fields if getattr(config, name) != fields[name].default}


def command_line(ws: Workspace | None, config: StageConfig) -> str:
    """Return the command that starts a run with this config, one setting a line; without a workspace it names none."""
    stage = next(name for name, cls in STAGES.items() if isinstance(config, cls))
    given = [f"--set {shlex.quote(f'{name}={_plain(value)}')}" for name, value in changed(config).items()]
    where = f" --workspace {shlex.quote(str(ws.root))}" if ws else ""
    return " \\\n    ".join([f"{program() if ws else 'rlhf-studio'} {stage}{where}", *given])


def command_of_run(ws: Workspace, stage: str, config: Path, other: Mapping[str, str]) -> str:
    """Return the command that starts a run with the settings of a run's config.json but for some `other` ones."""
    given = [word for name, value in other.items() for word in ("--set", f"{name}={value}")]
    return shlex.join([program(), stage, "--workspace", str(ws.root), "--config", str(config), *given])


def _from_file(name: str) -> dict[str, Any]:
    try:
        values = json.loads(Path(name).expanduser().read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"The config file {name} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise ConfigError(f"The config file {name} is not valid JSON: {error}.") from error
    if not isinstance(values, dict):
        raise ConfigError(f'The config file {name} must hold one object, such as {{"seed": 1}}.')
    return values


def _sentence(config_class: type[BaseModel], stage: str, fault: Any) -> str:
    name = str(fault["loc"][0])
    fields = config_class.model_fields
    if name not in fields:
        near = difflib.get_close_matches(name, fields, n=1)
        meant = f" Did you mean {near[0]}?" if near else ""
        return f"{stage} has no setting {name!r}.{meant} See them all with: rlhf-studio {stage} --help"
    return f"{stage}: {name} {complaint(fields[name], fault)}"


def _plain(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
