"""Looks at `.venv`: whether it is whole, up to date, and works where it lies."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
INSTALLING = VENV / "installing"
"""Stands while an install is running; at the next start it tells of one that was interrupted."""
_INSTALLED = VENV / "installed"


class Refused(Exception):
    """An install that cannot be done; the text says why, and what to do."""


def wanted(extras: list[str]) -> dict:
    """Return what `installed` will say; of pyproject.toml only what an install depends on counts."""
    import tomllib  # Python 3.11

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    parts = [project.get("build-system"), project["project"], (ROOT / "constraints.txt").read_text(encoding="utf-8")]
    return {
        "packages": _digest(json.dumps(parts, sort_keys=True)),
        "extras": sorted(extras),
        "torch_index": _digest(os.environ.get("TORCH_INDEX", "")),
        "place": str(ROOT),
    }


def installed() -> dict:
    """Return what was installed; nothing is known of an environment that somebody made by hand."""
    try:
        found = json.loads(_INSTALLED.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        found = {}
    return {"extras": [], "torch_index": "", **(found if isinstance(found, dict) else {})}


def done(what: dict) -> None:
    """Write down what was installed, whole or not at all."""
    new = _INSTALLED.with_suffix(".new")
    new.write_text(json.dumps({**what, "python": _version()}, indent=1), encoding="utf-8")
    new.replace(_INSTALLED)
    INSTALLING.unlink()


def task(what: dict) -> tuple[str, str]:
    """Return "nothing", "make" (a new environment) or "update", and the reason as a sentence.

    Raises:
        Refused: `.venv` is a link, which is never changed from here, and no Python starts there.
    """
    version, there = _version(), installed()
    if VENV.is_symlink():
        if not version:
            raise Refused(f".venv is a link to {os.readlink(VENV)}, and no Python starts there. Remove it: rm .venv")
        return "nothing", f".venv is a link to {os.readlink(VENV)}; it is used as it is."
    if not VENV.exists():
        return "make", "RLHF Studio is not installed here yet."
    if INSTALLING.exists():
        return "make", "The last install was interrupted. It starts again; files that were downloaded are kept."
    if not version:
        return "make", "The Python of .venv does not start any more: it was moved or removed. .venv is made again."
    if there.get("place", str(ROOT)) != str(ROOT):
        return "make", f".venv was made in {there['place']} and does not work here. It is made again."
    if there.get("python", version) != version:
        return "make", f".venv was made for Python {there['python']}, and now it has {version}. It is made again."
    if there.get("packages") != what["packages"]:
        return "update", "The list of packages has changed since the last install. .venv is brought up to date."
    if not set(what["extras"]) <= set(there["extras"]):
        return "update", "The packages for the tests are added to .venv."
    if what["torch_index"] not in ("", there["torch_index"]):
        return "update", "TORCH_INDEX is another one than at the last install. torch is installed from it."
    return "nothing", "RLHF Studio is installed, and nothing has changed since."


def _version() -> str:
    """Return the version of .venv's Python, or "" if it does not start."""
    try:
        command = [str(PYTHON), "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def _digest(text: str) -> str:
    """Return what tells one text from another without showing it: an index's address may hold a password."""
    return hashlib.sha256(text.encode()).hexdigest() if text else ""
