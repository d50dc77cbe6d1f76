"""Names the pretrained model among checkpoints: in settings, where results and answers are stored, and for people."""

BASE = "base"
"""Stands for the pretrained model in settings and on the command line."""
PREFIX = "base:"
"""Begins its name where something is stored of it: base:NAME."""


def stored(base_model: str) -> str:
    """Return the name under which results and answers of a pretrained model are stored."""
    return f"{PREFIX}{base_model}"


def is_base(name: str) -> bool:
    """Return whether a stored name is a pretrained model's."""
    return name.startswith(PREFIX)


def shown(name: str) -> str:
    """Return a stored name as people read it: that of a checkpoint, or base with the last part of the model's name."""
    return f"{BASE} ({name.removeprefix(PREFIX).rstrip('/').rpartition('/')[2]})" if is_base(name) else name
