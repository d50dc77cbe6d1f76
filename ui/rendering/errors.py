"""Why a text is shown as it is. These never reach the person: `draw` turns them into a sentence."""

from studio.errors import StudioError


class RenderingError(StudioError):
    """A text or a formula cannot be drawn without a loss, or not safely."""


class TooSlowError(RenderingError):
    """Formatting a text takes longer than a person should wait for."""
