"""Makes, completes or repairs `.venv`: ``python3 -m assets.install [--plan] [EXTRA ...]``, in the repository's folder.

An environment that is whole and up to date is left at once. One whose install was interrupted is made again, as nobody
knows what is in it; one that lacks packages is completed.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from assets.install import packages, state, torch_build
from assets.install.state import INSTALLING, ROOT, VENV, Refused


def main() -> None:
    """Install what is lacking, or print what would be done."""
    parser = argparse.ArgumentParser(prog="python3 -m assets.install", description="Installs RLHF Studio into .venv.")
    parser.add_argument("extras", nargs="*", metavar="EXTRA", help="dev: what the tests need")
    parser.add_argument("--plan", action="store_true", help="print what would be done, and do nothing")
    arguments = parser.parse_args()
    wanted = state.wanted(arguments.extras)
    with _turn():
        task, reason = state.task(wanted)
        if arguments.plan:
            print(f"{reason}\n{torch_build.choose().sentence}")
        elif task != "nothing":
            print(reason)
            _install(wanted, is_new=task == "make")


def _install(wanted: dict, is_new: bool) -> None:
    build, started = torch_build.choose(), time.monotonic()
    print(build.sentence, flush=True)
    if is_new:
        print("About 2 GB are downloaded: 3 minutes at 100 Mbit/s, then 1 or 2 to unpack them.", flush=True)
        _remove()
        VENV.mkdir()
    INSTALLING.touch()  # stays when this is interrupted
    if is_new:
        _step("An empty environment in .venv: 10 seconds")
        if not packages.run_quietly([sys.executable, "-m", "venv", str(VENV)]):
            raise Refused("Python could not make .venv; what stands above says why. The same command tries again.")
    settings = packages.pip_settings()
    if build.name or os.environ.get("TORCH_INDEX"):
        _step(f"torch {torch_build.version()} {build.name}: most of the download")
        if not packages.install_torch(build, settings):
            print(_refused(build), flush=True)
    _step("All packages, in the versions of constraints.txt")
    extras = sorted({*wanted["extras"], *state.installed()["extras"]})
    project = f".[{','.join(extras)}]" if extras else "."
    if not packages.install(["--constraint", "constraints.txt", "--editable", project], settings):
        INSTALLING.unlink()  # what is there can be completed
        raise Refused("\nThe install did not succeed; what stands above says why. The same command tries again.")
    state.done({**wanted, "extras": extras})
    print(f"\nInstalled in {time.monotonic() - started:.0f} s. {torch_build.outcome(build)}", flush=True)


def _refused(build: torch_build.Build) -> str:
    return (
        "That build could not be installed; what stands above says why. The one of your package index is taken instead, and the "
        f"card may stay idle. Name an index that holds {build.name or 'another'}: make run TORCH_INDEX=ADDRESS"
    )


@contextmanager
def _turn() -> Iterator[None]:
    """Wait for another install in this folder; two at once would remove each other's files."""
    folder = os.open(ROOT, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print("Another install is running in this folder. Waiting for its end.", flush=True)
        fcntl.flock(folder, fcntl.LOCK_EX)
    except OSError:
        pass  # a file system without locks
    try:
        yield
    finally:
        os.close(folder)


def _remove() -> None:
    """Remove .venv, its Python first: what is left if this is interrupted does not start, and is removed next time."""
    shutil.rmtree(VENV / "bin", ignore_errors=True)
    if VENV.exists():
        shutil.rmtree(VENV)


def _step(words: str) -> None:
    print(f"\n== {words}", flush=True)


if __name__ == "__main__":
    try:
        main()
    except Refused as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit("\nInterrupted. The same command starts again; files that were downloaded are kept.")
