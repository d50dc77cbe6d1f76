"""Everything the trainers tell a person when something cannot be done; no torch.

The tree, to which the workbench adds its own branches:

    StudioError
    |-- BaseModelError     a pretrained model cannot be loaded or used as asked
    |-- CheckpointError    a checkpoint is incomplete, unreadable or belongs to another base model
    |-- DataError          rows cannot be trained on
    |   `-- RowError       one row cannot be encoded
    |-- RewardError        a component of the reward cannot be used, or its code failed
    |-- NonFiniteError     a loss, score or gradient is not a finite number; the weights were left as they were
    `-- ConfigError        two settings do not go together

A message names the thing, the cause and the next step.
"""


class StudioError(Exception):
    """The root: anything a person can do something about."""


class BaseModelError(StudioError):
    """A pretrained model cannot be loaded or used as asked."""


class CheckpointError(StudioError):
    """A checkpoint is incomplete, unreadable or belongs to another base model."""


class DataError(StudioError):
    """Rows cannot be trained on."""


class RowError(DataError):
    """One row cannot be encoded; `reason` says why in a few words, by which such rows are counted."""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class RewardError(StudioError):
    """A component of the reward cannot be used as asked, or its code failed."""


class NonFiniteError(StudioError):
    """A loss, score or gradient is not a finite number; the step was not taken and the weights are as they were."""


class ConfigError(StudioError):
    """Two settings do not go together."""
