"""The errors that the studio shows to a person.

The tree starts in `modules.errors`; the workbench adds its own branches:

    StudioError
    |-- (modules.errors: BaseModelError, CheckpointError, ConfigError, DataError, NonFiniteError, RewardError)
    |-- WorkspaceError     the workspace folder or its database cannot be used
    |   |-- WorkspaceUnavailable   not now: the write may be tried again once the cause is gone
    |   `-- WorkspaceDamaged       parts of it cannot be read; `rlhf-studio rescue` copies the rest
    |-- ImportRefused      a file or data set cannot be read as the given kind
    |-- ExchangeError      a server of another tool cannot be used
    |-- RunError           a run cannot be created, started, stopped or resumed
    `-- RatingError        a rating cannot be recorded

A message names the thing, the cause and the next step. The CLI prints it and exits with 1; the page shows it.
"""

from modules.errors import (
    BaseModelError,
    CheckpointError,
    ConfigError,
    DataError,
    NonFiniteError,
    RewardError,
    StudioError,
)

__all__ = [
    "BaseModelError",
    "CheckpointError",
    "ConfigError",
    "DataError",
    "ExchangeError",
    "ImportRefused",
    "NonFiniteError",
    "RatingError",
    "RewardError",
    "RunError",
    "StudioError",
    "WorkspaceDamaged",
    "WorkspaceError",
    "WorkspaceUnavailable",
]


class WorkspaceError(StudioError):
    """The workspace folder or its database cannot be used."""


class WorkspaceUnavailable(WorkspaceError):
    """The database cannot be used now (full disk, held by another program, taken away); a retry may work."""


class WorkspaceDamaged(WorkspaceError):
    """Parts of the database cannot be read."""


class ImportRefused(StudioError):
    """A file or data set cannot be read as the given kind; nothing was imported."""


class ExchangeError(StudioError):
    """A server of another tool cannot be used: not reached, not allowed, or its answer is not understood."""


class RunError(StudioError):
    """A run cannot be created, started, stopped or resumed."""


class RatingError(StudioError):
    """A rating cannot be recorded."""
