"""Runs short child processes that give one answer: ``python -m MODULE``, so that no torch is loaded here.

A child reads one JSON request from stdin; the last line that it prints is its answer. Where it refuses, the last line on
stderr is the sentence for the person.
"""

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from studio import redaction
from studio.errors import ConfigError

CODE = Path(__file__).resolve().parent.parent
"""The folder of this studio's packages."""
DEVICES = ("auto", "cpu")


class ChildError(Exception):
    """A child refused, failed or took too long; the text is its last line."""

    def __init__(self, words: str, *, is_late: bool = False, is_killed: bool = False) -> None:
        super().__init__(words)
        self.is_late, self.is_killed = is_late, is_killed


def ask(
    module: str,
    request: Any = None,
    *arguments: str,
    cwd: Path | None = None,
    timeout_s: float | None = None,
    started: Callable[[subprocess.Popen[str]], None] = lambda child: None,
) -> Any:
    """Return the answer of a child, from JSON.

    Args:
        module: Such as ``studio.worker.preview``.
        request: The JSON object that it reads from stdin.
        arguments: Words of its command line.
        cwd: Where it runs.
        timeout_s: Seconds after which it is killed.
        started: Called with the process, so that others can end it.

    Raises:
        ChildError: It refused, failed or took too long.
    """
    return json.loads(run(module, *arguments, stdin=json.dumps(request), cwd=cwd, timeout_s=timeout_s, started=started))


def run(
    module: str,
    *arguments: str,
    stdin: str = "",
    cwd: Path | None = None,
    timeout_s: float | None = None,
    started: Callable[[subprocess.Popen[str]], None] = lambda child: None,
) -> str:
    """Return the last line that a child printed; arguments and errors as `ask`."""
    child = subprocess.Popen(
        command(module, *arguments),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
        env=environment(),
    )
    with child:
        started(child)
        try:
            answer, words = child.communicate(stdin, timeout_s)
        except BaseException as error:
            child.kill()
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
            raise ChildError(f"it took longer than {timeout_s:.0f} s and was ended", is_late=True) from error
    if child.returncode != 0:
        is_killed = child.returncode == -signal.SIGKILL
        end = (
            "it was killed, probably for lack of memory"
            if is_killed
            else f"its process ended with code {child.returncode}"
        )
        raise ChildError((words.strip().splitlines() or [end])[-1], is_killed=is_killed)
    return answer.strip().splitlines()[-1]


def command(module: str, *arguments: str) -> list[str]:
    """Return the command line of a child."""
    return [sys.executable, "-m", module, *arguments]


def environment() -> dict[str, str]:
    """Return a child's environment: no secrets, and this studio's own code wherever it runs."""
    found = redaction.child_environment()
    if not found.keys() & {"PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"}:
        found["PYTORCH_ALLOC_CONF"] = "expandable_segments:True"  # texts of all lengths leave gaps in a GPU's memory
    return found | {"PYTHONPATH": str(CODE), "TOKENIZERS_PARALLELISM": "false"}


def check_device(device: str) -> str:
    """Return the device, checked.

    Raises:
        ConfigError: There is no such choice.
    """
    if device not in DEVICES:
        raise ConfigError(f"device is {device}, but it can be auto (a GPU where there is one) or cpu.")
    return device
