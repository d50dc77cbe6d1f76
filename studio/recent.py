"""Remembers the workspaces that were opened on this machine, so that one can be picked again: XDG's state folder holds the list."""

from contextlib import suppress
from pathlib import Path

from studio.files import folders, whole
from studio.workspace import Workspace

KEPT = 9


def read() -> list[Path]:
    """Return the workspaces that are still there, the one opened last first; none where the list cannot be read."""
    try:
        lines = _list().read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return []
    return [path for line in lines if line.startswith("/") and (path := Path(line)) and _is_there(path)][:KEPT]


def add(root: Path) -> None:
    """Put a workspace first; where the list cannot be written it is not remembered."""
    if "\n" in str(root):
        return
    others = [path for path in read() if path != root]
    with suppress(OSError, ValueError):
        _list().parent.mkdir(parents=True, exist_ok=True)
        with whole.beside(_list()) as part:
            part.write_text("".join(f"{path}\n" for path in [root, *others][:KEPT]), encoding="utf-8")
            part.replace(_list())


def _list() -> Path:
    return folders.state() / "workspaces"


def _is_there(path: Path) -> bool:
    try:
        return Workspace(path).database.is_file()
    except OSError:
        return False
