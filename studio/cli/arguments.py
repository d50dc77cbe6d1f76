"""Argument types: an id, a count or a finite number; anything else is refused before the command runs."""

import argparse
import math

from studio.workspace import LARGEST


def identifier(text: str) -> int:
    """Parse the id of a rating, a session or a response."""
    return _whole(text, "not a valid number here")


def count(text: str) -> int:
    """Parse a count of at least one."""
    return _whole(text, "not possible")


def finite(text: str) -> float:
    """Parse a finite number, neither infinity nor NaN."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text} is not a number.")
    return value


def sure(text: str) -> float:
    """Parse the probability of the likelier of two answers, from one half to 1."""
    value = finite(text)
    if not 0.5 <= value <= 1.0:
        raise argparse.ArgumentTypeError(f"{text} is not possible; it takes a number from 0.5 to 1.")
    return value


def _whole(text: str, complaint: str) -> int:
    is_short = text.isascii() and text.isdecimal() and len(text) <= len(str(LARGEST))
    if not is_short or not 1 <= int(text) <= LARGEST:
        raise argparse.ArgumentTypeError(f"{text[:60]} is {complaint}; it takes a whole number, at least 1.")
    return int(text)
