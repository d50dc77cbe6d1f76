"""Errors after which a text is shown as it is. They never reach the person: `draw` turns them into a sentence."""

from studio.errors import StudioError


class RenderingError(StudioError):
    """A text or a formula cannot be drawn safely and without a loss."""


class TooSlowError(RenderingError):
    """Formatting a text takes longer than a person should wait for."""
