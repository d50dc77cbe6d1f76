"""Phases of a run, marked where they happen, so that a message about a failure can name the phase."""

from contextlib import ContextDecorator
from enum import StrEnum
from types import TracebackType


class Phase(StrEnum):
    """The phases in words. Where one lies within another, the first of this list is the one to name."""

    SAVING = "saving a checkpoint"
    TAKING_UP = "loading the checkpoint to go on from"
    EVALUATING = "evaluating"
    SCORING = "scoring responses"
    SAMPLING = "sampling responses"
    UPDATING = "updating policy and value"
    STEPPING = "computing a training step"
    LOADING = "loading the model"


class during(ContextDecorator):  # it reads as a word: `with during(Phase.SAVING)`
    """Mark what is raised within: a decorator of the function that does it, or a block."""

    def __init__(self, phase: Phase) -> None:
        self._phase = phase

    def __enter__(self) -> None:
        """Do nothing: only the end of the block matters."""

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None) -> None:
        """Add the phase to those that the error has passed through."""
        if error is not None:
            vars(error).setdefault(_KEY, set()).add(self._phase)


def of(error: BaseException) -> Phase | None:
    """Return the phase in which this was raised; None outside of all of them."""
    passed: set[Phase] = vars(error).get(_KEY, set())
    return next((phase for phase in Phase if phase in passed), None)


_KEY = "phases_of_a_run"
