"""What every child process does that gives one answer: a JSON request on stdin, a JSON line on stdout.

A refusal is the last line on stderr, and the exit code 1. The other end is `studio.children`.
"""

import json
import sys
from collections.abc import Callable
from typing import Any

from studio.errors import StudioError


def answer(reply: Callable[[Any], Any]) -> int:
    """Print the reply to the request on stdin, or why there is none; returns the exit code."""
    try:
        print(json.dumps(reply(json.load(sys.stdin))))
    except StudioError as error:
        print(error, file=sys.stderr)
        return 1
    return 0
