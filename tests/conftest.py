"""Tests run in as many processes as there are cores; each then computes on one of them, and so do the runs that it starts."""

import gc
import os
import tempfile

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")  # as workers have it: nothing is compiled
os.environ["XDG_STATE_HOME"] = tempfile.mkdtemp()  # the list of opened workspaces is the developer's own

LONGEST = (
    "tests/ui/test_pages.py",
    "tests/test_devices.py",
    "tests/ui/test_run_room.py",
    "tests/ui/test_rating_room.py",
    "tests/ui/test_rate_rooms.py",
    "tests/ui/test_fuzz.py",
    "tests/test_worker.py",
    "tests/ui/test_rate.py",
    "tests/ui/test_chat.py",
    "tests/test_resume.py",
    "tests/ui/test_end_to_end.py",
    "tests/test_cli.py",
    "tests/test_readme_commands.py",
    "tests/test_full_disk.py",
    "tests/test_demo.py",
)
"""Files that take longest, in this order: they come first, so that no process is left alone with one of them at the end."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """How late things may begin at random in the tests of the page."""
    parser.addoption("--jitter", type=float, default=0.0, metavar="SECONDS", help="see tests/support/jitter.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first; within a file nothing changes."""
    rank = {file: number for number, file in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.nodeid.partition("::")[0], len(rank)))


def pytest_collection_finish() -> None:
    """What was loaded for all tests is looked through by no collection of garbage any more."""
    gc.collect()
    gc.freeze()
