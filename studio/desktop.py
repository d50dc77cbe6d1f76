"""A menu entry and an icon that open the studio in a window of its own: XDG on Linux, a `.command` file on macOS."""

import os
import shlex
import shutil
import sys
from pathlib import Path

from studio.errors import ConfigError
from studio.files import whole

NAME = "rlhf-studio"
MARK = "X-RLHF-Studio"
"""A line with it tells our entry from one that somebody else wrote under this name."""
ICON = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24"><rect width="24" height="24" rx="5" fill="#0d5856"/>
<path d="M12 5a7 7 0 1 1-6.3 3.9" fill="none" stroke="#fff" stroke-width="2.2" stroke-linecap="round"/>
<circle cx="6.9" cy="6.6" r="2.1" fill="#fff"/></svg>
"""


def install(workspace: Path | None) -> list[Path]:
    """Write the entry, for this workspace or for the usual one, and return what was written. One of ours is replaced.

    Raises:
        ConfigError: the studio's command is not found, somebody else's file has the name, or it cannot be written.
    """
    command = [_program(), "ui", "--app", *(["--workspace", str(workspace)] if workspace else [])]
    texts = _macos(command) if sys.platform == "darwin" else _xdg(command)
    for path in texts:
        if os.path.lexists(path) and not _is_ours(path):
            raise ConfigError(f"{path} is there and was not written by the studio. Move it away, and try again.")
    try:
        for path, text in texts.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            with whole.beside(path) as part:
                part.write_text(text, encoding="utf-8")
                part.chmod(0o755 if path.suffix == ".command" else 0o644)
                part.replace(path)
    except OSError as error:
        raise ConfigError(f"The menu entry could not be written: {error.strerror} ({error.filename}).") from error
    return list(texts)


def remove() -> list[Path]:
    """Remove what `install` wrote, and return it; a file of somebody else stays."""
    gone = [path for path in (_macos([]) if sys.platform == "darwin" else _xdg([])) if _is_ours(path)]
    for path in gone:
        path.unlink()
    return gone


def _xdg(command: list[str]) -> dict[Path, str]:
    data = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    icon = data / "icons" / "hicolor" / "scalable" / "apps" / f"{NAME}.svg"
    entry = f"""[Desktop Entry]
Type=Application
Name=RLHF Studio
Comment=Align a language model from your own ratings
Exec={" ".join(map(_quoted, command))}
Icon={icon}
Terminal=true
Categories=Development;
Keywords=RLHF;PPO;reward model;language model;
{MARK}=1
"""
    return {data / "applications" / f"{NAME}.desktop": entry, icon: f"{ICON}<!-- {MARK} -->\n"}


def _macos(command: list[str]) -> dict[Path, str]:
    script = f"#!/bin/sh\n# {MARK}\nexec {shlex.join(command)}\n"
    return {Path.home() / "Desktop" / "RLHF Studio.command": script}


def _quoted(word: str) -> str:
    """Return a word as an Exec line takes it: quoted, with the escapes of the quotes and of the line, and %% for %."""
    inside = "".join(f"\\{each}" if each in '"`$\\' else each for each in word)
    return f'"{inside}"'.replace("\\", "\\\\").replace("%", "%%")


def _is_ours(path: Path) -> bool:
    try:
        return path.is_file() and MARK in path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False


def _program() -> str:
    """Return the path of ``rlhf-studio``: that of this Python, else the one that the shell finds."""
    own = Path(sys.executable).parent / NAME
    found = str(own) if own.is_file() else shutil.which(NAME)
    if not found:
        raise ConfigError(f"{NAME} is not found next to {sys.executable} or on the path. Install the studio first.")
    return str(Path(found).absolute())
