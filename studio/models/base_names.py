"""Names the pretrained model among checkpoints: in settings, where results and answers are stored, and for people."""

from collections.abc import Iterable

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


def shown(name: str, among: Iterable[str] = ()) -> str:
    """Return a stored name as people read it: that of a checkpoint, or base with the last part of the model's name.

    Args:
        name: as it is stored.
        among: stored names next to which it is shown; more of the model's path tells it from those that end alike.
    """
    if not is_base(name):
        return name
    parts = _parts(name)
    others = [_parts(each) for each in set(among) if is_base(each) and each != name]
    num = next((n for n in range(1, len(parts)) if all(parts[-n:] != other[-n:] for other in others)), len(parts))
    return f"{BASE} ({'/'.join(parts[-num:])})"


def _parts(name: str) -> list[str]:
    return name.removeprefix(PREFIX).rstrip("/").split("/")
