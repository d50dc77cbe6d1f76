"""Child processes that need not load torch first: they are forked from one that has, ten seconds of computing each.

Else they are what ``python -m studio.worker`` and its like are: processes with an environment, a folder, streams, locks, a
mark and an exit code of their own. Tests of the start itself, and those of what starts processes in turn, do without.
"""

import atexit
import ctypes
import fcntl
import gc
import inspect
import json
import os
import runpy
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from assets import STARTER
from studio.children import CODE
from studio.runs import gpus, marks, processes
from tests.support import driver

MODULES = {
    "studio.worker.preview",
    "studio.worker.merge",
    "studio.worker.predict",
    "studio.worker.probe",
    "studio.worker.resident",
    "studio.worker.doctor",
    "studio.worker",
}
ROOM = "x" * 200
"""Stands for the mark in the environment that the kernel shows; each child writes its own over it."""
ONE_GPU = "RLHF_STUDIO_TESTS_ONE_GPU"
"""Where this is set, a child is told of one GPU, which torch does not have: it takes the GPU's lock and computes on the CPU."""
_PR_SET_CHILD_SUBREAPER = 36
_real_popen = subprocess.Popen
_asking = threading.Lock()
_depth = 0
"""How many blocks of `starts` are open."""


@contextmanager
def starts() -> Iterator[None]:
    """For the length of the block, children that this process starts with one of MODULES have loaded the libraries already.

    Elsewhere than on Linux they load them themselves.
    """
    global _depth
    if sys.platform == "linux":
        subprocess.Popen = (
            _Popen  # stays: a test may put something else in its place, and what was there back, in any order
        )
    _depth += 1
    try:
        yield
    finally:
        _depth -= 1


class _Popen(_real_popen):
    def _execute_child(self, *args: Any) -> None:
        start = super()._execute_child
        given = inspect.signature(start).bind(*args).arguments
        command = given["args"]
        if not _depth or command[:2] != [sys.executable, "-m"] or command[2] not in MODULES:
            start(*args)
            return
        streams = [given[name] for name in ("p2cread", "c2pwrite", "errwrite")]
        streams = [number if stream == -1 else stream for number, stream in enumerate(streams)]
        passed = sorted(given["pass_fds"])
        request = {
            "words": command[2:],
            "cwd": os.fspath(given["cwd"] or Path.cwd()),
            "env": dict(os.environ if given["env"] is None else given["env"]),
            "numbers": [0, 1, 2, *passed],
            "is_leader": given["start_new_session"],
        }
        self.pid = _ask_for_child(json.dumps(request).encode(), [*streams, *passed])
        self._child_created = True
        pipes = ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")
        self._close_pipe_fds(*(given[name] for name in pipes))


def _ask_for_child(request: bytes, files: list[int]) -> int:
    """The pid of a new child of this very process, which adopts it."""
    keeper, kernel = _keeper(), ctypes.CDLL(None)
    with _asking:
        kernel.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        try:
            socket.send_fds(keeper, [len(request).to_bytes(4, "big")], files)
            keeper.sendall(request)
            return int.from_bytes(keeper.recv(4), "big")
        finally:
            kernel.prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


@cache
def _keeper() -> socket.socket:
    """The line to the process that has loaded everything; it ends when this one does."""
    mine, its = socket.socketpair()
    environment = os.environ | {"PYTHONPATH": str(CODE), "OMP_NUM_THREADS": "1", marks.VARIABLE: ROOM}
    command = [sys.executable, "-m", "tests.support.warm", str(its.fileno())]
    process = _real_popen(command, env=environment, cwd=CODE, pass_fds=[its.fileno()], stdin=subprocess.DEVNULL)
    its.close()
    atexit.register(_end, mine, process)
    return mine


def _end(line: socket.socket, process: subprocess.Popen[bytes]) -> None:
    line.close()
    process.wait()
    processes.see_children()  # those that have ended, so that Python does not warn of them


# In the process that keeps the libraries.


def main(line: socket.socket) -> None:
    """Fork a child for each request; returns in the child, when it is as it was asked for and has run its module."""
    load()
    while True:
        head, files, *_ = socket.recv_fds(line, 4, 64)
        if not head:
            return
        request = json.loads(_receive(line, int.from_bytes(head, "big")))
        pid = _fork_for_the_one_above()
        if not pid:
            line.close()
            _become(request, files)
            return
        line.sendall(pid.to_bytes(4, "big"))
        for file in files:
            os.close(file)


def load() -> None:
    """Load what a worker loads, and a model once: the libraries keep what they work out meanwhile."""
    import studio.worker.training

    backbone = studio.worker.training.Backbone.load(str(STARTER / "model"), device="cpu")
    backbone.add_role("policy", trainable=True)
    gc.collect()
    gc.freeze()


def _receive(line: socket.socket, size: int) -> bytes:
    content = b""
    while len(content) < size:
        content += line.recv(size - len(content))
    return content


def _fork_for_the_one_above() -> int:
    """The pid of a process whose parent has ended, so that the one above adopts it; 0 in that process."""
    read, write = os.pipe()
    if between := os.fork():
        os.close(write)
        os.waitpid(between, 0)
        with open(read, "rb") as answer:
            return int(answer.read())
    if pid := os.fork():
        os.write(write, b"%d" % pid)
        os._exit(0)
    os.close(read)
    os.close(write)
    return 0


def _become(request: dict[str, Any], files: list[int]) -> None:
    """Be the process that was asked for."""
    if request["is_leader"]:
        os.setsid()
    os.chdir(request["cwd"])
    aside = [fcntl.fcntl(file, fcntl.F_DUPFD, 500) for file in files]
    for file, number in zip(aside, request["numbers"], strict=True):
        os.dup2(file, number)
    for file in {*files, *aside} - {*request["numbers"]}:
        os.close(file)
    _show_mark(request["env"].get(marks.VARIABLE, ""))
    os.environ.clear()
    os.environ.update(request["env"])
    if os.environ.get(ONE_GPU):
        gpus.pynvml = driver.Driver(driver.SMALL)
    sys.argv = request["words"]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


def _show_mark(mark: str) -> None:
    """Write the mark where the kernel reads the environment of a process that others look at."""
    start, end = (int(field) for field in Path("/proc/self/stat").read_text().rpartition(")")[2].split()[47:49])
    place = Path("/proc/self/environ").read_bytes().index(f"{marks.VARIABLE}={ROOM}".encode())
    shown = f"{marks.VARIABLE}={mark}\0_=" if mark else "_="
    size = len(f"{marks.VARIABLE}={ROOM}")
    assert len(shown) < size < end - start
    with open("/proc/self/mem", "r+b", buffering=0) as memory:
        memory.seek(start + place)
        memory.write(shown.ljust(size, "x").encode())


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])))
