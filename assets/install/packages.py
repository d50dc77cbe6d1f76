"""Installs packages by pip, or by uv where it is on the PATH; from the index that pip or uv is set to."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess

from assets.install import torch_build
from assets.install.state import PYTHON, ROOT, VENV

UV_NAMES = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "constraint": "UV_CONSTRAINT",
    "cert": "SSL_CERT_FILE",
}
"""Settings of pip, and the variables by which uv takes the same."""


def install(arguments: list[str], settings: dict[str, str]) -> bool:
    """Install by uv with pip's settings; by pip where there is no uv, and where uv fails. Returns whether it succeeded."""
    if uv := shutil.which("uv"):
        command = [uv, "pip", "install", "--python", str(PYTHON), "--compile-bytecode", *arguments]
        if run(command, _for_uv(settings)):
            return True
        print("uv could not install it. pip tries now.", flush=True)
    return _pip(arguments, {"PIP_INDEX_URL": settings["index-url"]} if "index-url" in settings else {})


def install_torch(build: torch_build.Build, settings: dict[str, str]) -> bool:
    """Install torch from TORCH_INDEX, else from a configured index, else from where uv knows the build to be.

    This repository names no index: uv knows PyTorch's own, so it is installed into `.venv` for this one call where it
    is not on the PATH.
    """
    spec = f"torch=={torch_build.version()}" + (f"+{build.name}" if build.name else "")
    if given := os.environ.get("TORCH_INDEX"):
        return install(["--force-reinstall", spec], {**settings, "index-url": given})
    if "index-url" in settings or {"UV_DEFAULT_INDEX", "UV_INDEX_URL"} & set(os.environ):
        return install([spec], settings)
    if not shutil.which("uv") and not _pip(["uv"]):
        return False
    uv = shutil.which("uv") or str(VENV / "bin" / "uv")
    return run([uv, "pip", "install", "--python", str(PYTHON), "--torch-backend", build.name, spec], _for_uv(settings))


def pip_settings() -> dict[str, str]:
    """Return pip's settings from its files and, last, from the environment."""
    command = [str(PYTHON), "-m", "pip", "config", "list"]
    listed = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    pairs = re.findall(r"^(?:global|install|:env:)\.([\w-]+)=('.*'|\".*\")$", listed, re.M)
    return {name: ast.literal_eval(value) for name, value in pairs}


def run(command: list[str], variables: dict[str, str] | None = None) -> bool:
    """Run a command whose output goes to the terminal; returns whether it succeeded."""
    return subprocess.run(command, cwd=ROOT, env={**os.environ, **(variables or {})}, check=False).returncode == 0


def run_quietly(command: list[str]) -> bool:
    """Run a command whose output is shown only where it fails, so that Ctrl-C shows no traceback of it."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"{done.stdout}{done.stderr}".rstrip(), flush=True)
    return done.returncode == 0


def _pip(arguments: list[str], variables: dict[str, str] | None = None) -> bool:
    return run([str(PYTHON), "-m", "pip", "install", "--disable-pip-version-check", *arguments], variables)


def _for_uv(settings: dict[str, str]) -> dict[str, str]:
    """Return pip's settings as variables of uv; what is set for uv itself stays."""
    known = {UV_NAMES[name]: " ".join(value.split()) for name, value in settings.items() if name in UV_NAMES}
    if "UV_FIND_LINKS" in known:
        known["UV_FIND_LINKS"] = known["UV_FIND_LINKS"].replace(" ", ",")
    if "UV_INDEX" in known:
        known["UV_INDEX_STRATEGY"] = "unsafe-best-match"  # as pip does with several indexes
    return {name: value for name, value in known.items() if name not in os.environ}
