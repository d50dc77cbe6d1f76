"""Asks once, and briefly, whether the hub can be reached: its library tries for half a minute where there is no network."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

LIMIT_S = 5.0


def is_reachable() -> bool:
    """Return whether the hub answers at all within `LIMIT_S` seconds; its library's proxies and address are used."""
    from huggingface_hub import constants
    from huggingface_hub.utils import get_session

    if constants.HF_HUB_OFFLINE:
        return False
    with suppress(Exception):  # whatever the network or a proxy does, the hub was not reached
        get_session().head(constants.ENDPOINT, timeout=LIMIT_S)
        return True
    return False


@contextmanager
def asked(*settings: Any) -> Iterator[bool]:
    """Let the libraries use what they have stored, without the network, where the hub cannot be reached.

    Args:
        settings: Modules with a switch HF_HUB_OFFLINE that the libraries read.

    Yields:
        Whether it can be reached.
    """
    if is_reachable():
        yield True
        return
    before = [each.HF_HUB_OFFLINE for each in settings]
    try:
        for each in settings:
            each.HF_HUB_OFFLINE = True
        yield False
    finally:
        for each, value in zip(settings, before, strict=True):
            each.HF_HUB_OFFLINE = value
