"""Redacts secrets (environment variables, credentials in URLs) from stored settings, logs and messages.

Configs, logs and messages are kept, copied and sent to others. So a setting that holds a secret is refused before it is
stored, and all output and errors of libraries and reward functions are filtered. No torch.
"""

import os
import re
import sys
from contextlib import suppress
from typing import Any
from urllib.parse import quote

from pydantic import BaseModel

from studio.errors import ConfigError

PASSWORD = "RLHF_STUDIO_PASSWORD"
API_KEY = "RLHF_STUDIO_API_KEY"
"""What programs send to `rlhf-studio serve`."""
SHORTEST = 8
"""Shorter values (true, 1, none) are not secrets, and removing them would spoil texts."""
_NAMES = re.compile(r"(^|_)(TOKENS?|KEYS?|SECRETS?|PASSWORD|PASSWD|PASSPHRASE|CREDENTIALS?|AUTH)(_?\d+)?$")
_IN_ADDRESS = re.compile(r"(?<=://)[^/\s@'\"]+(?=@)")
_SHAPES = re.compile(r"\b(hf_[A-Za-z0-9]{20,}|sk-[\w-]{20,}|gh[pousr]_[A-Za-z0-9]{30,})|(?<=[Bb]earer )[\w.~+/=-]{8,}")
"""Tokens recognised by their form: of the hub (which may be in a file, not in the environment), OpenAI, GitHub."""


KEPT: dict[str, str] = {}
"""Variables removed from this process for a moment (`network.proxies`), but not from its children."""


def child_environment() -> dict[str, str]:
    """Return the environment for a child process: this one's without the studio's own password and key.

    Unless the person has set them otherwise: torch's compiler is off, since the studio compiles nothing, but bitsandbytes would
    load it at each start of a worker, about a sixth of the time that its imports take; and OpenMP's threads sleep while they
    wait for each other, since with other work on the cores those that spin hold up the ones they wait for.
    """
    found = {"TORCHDYNAMO_DISABLE": "1", "OMP_WAIT_POLICY": "PASSIVE"} | KEPT | dict(os.environ)
    return {name: value for name, value in found.items() if name not in (PASSWORD, API_KEY)}


def is_secret(variable: str) -> bool:
    """Return whether an environment variable's name says that it holds a secret."""
    return bool(_NAMES.search(variable.upper()))


def redact(text: str) -> str:
    """Return the text without any secret."""
    for name, value in _secrets().items():
        for spelling in (value, quote(value, safe=""), *value.splitlines()):
            if len(spelling) >= SHORTEST:
                text = text.replace(spelling, f"[{name}]")
    return _SHAPES.sub("[hidden]", _IN_ADDRESS.sub("[hidden]", text))


def refuse_secrets(config: BaseModel) -> None:
    """Refuse settings that hold a secret: they would be in the database, the run's config and the model card.

    Raises:
        ConfigError: a field holds the value of a secret environment variable, or a URL with a user name or a token.
    """
    for field, value in config.model_dump().items():
        if isinstance(value, str) and (shown := redact(value)) != value:
            raise ConfigError(
                f"{field} = {shown} holds a password or a token, and settings are stored with the run. Leave it out; log in with "
                "`hf auth login`, or set HF_TOKEN before you start the studio."
            )


def hide_in_output() -> None:
    """Remove secrets from everything that this process prints and logs from now on."""
    sys.stdout, sys.stderr = _Hiding(sys.stdout), _Hiding(sys.stderr)


class _Hiding:
    """A stream that removes secrets from its text; a log that cannot be written, on a full disk, raises nothing."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write the text; returns its length, as the caller knows it."""
        with suppress(OSError):
            self._stream.write(redact(text))
        return len(text)

    def flush(self) -> None:
        """Write the buffered text."""
        with suppress(OSError):
            self._stream.flush()

    def writelines(self, lines: Any) -> None:
        """Write each of the lines."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _secrets() -> dict[str, str]:
    """Return the environment variables with a secret's name, the longest value first."""
    found = {name: value.strip() for name, value in os.environ.items() if is_secret(name)}
    return dict(sorted(found.items(), key=lambda item: -len(item[1])))
