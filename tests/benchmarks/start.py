"""What a start takes: ``python -m tests.benchmarks.start [TIMES]`` (5 times unless said otherwise).

Opens a workspace that exists already, as a second `make run` does, and asks for the page; prints the CPU seconds of the
server (user and system, which a busy machine changes little) and the seconds that passed, and what of it is Gradio's.
"""

import resource
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from statistics import median

import psutil

from studio.datasets import starter
from studio.workspace import Workspace
from tests.live_server import free_port
from tests.support import stored

PARTS = {"Python alone": "pass", "pandas": "import pandas", "Gradio": "import ui", "all of the page": "import ui.app"}


def main(times: int) -> None:
    """Print medians."""
    with tempfile.TemporaryDirectory() as scratch:
        stored.written(Workspace.open(Path(scratch) / "studio"), starter.load)
        starts = [_start(Path(scratch) / "studio") for _ in range(times)]
    print("| part of a start | CPU, s | passed, s |")
    print("|---|---|---|")
    for name, code in PARTS.items():
        print(f"| {name} | {median(_cpu(code) for _ in range(times)):.2f} | |", flush=True)
    said, answered, passed = (median(column) for column in zip(*starts, strict=True))
    print(f"| the server, until it says where it is | {said:.2f} | {passed:.1f} |")
    print(f"| and has sent the page | {answered:.2f} | |")


def _start(folder: Path) -> tuple[float, float, float]:
    """Return CPU seconds until the server says where it is and until the page is sent, and the seconds that passed."""
    port = free_port()
    arguments = ["ui", "--workspace", str(folder), "--no-browser", "--port", str(port)]
    command = [sys.executable, "-c", "import sys; from studio.cli import main; sys.exit(main())", *arguments]
    began = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            assert any(" is at " in line for line in server.stdout)
            passed, said = time.monotonic() - began, _used(server.pid)
            urllib.request.urlopen(f"http://127.0.0.1:{port}/").read()
            return said, _used(server.pid), passed
        finally:
            server.terminate()


def _used(pid: int) -> float:
    return sum(psutil.Process(pid).cpu_times()[:2])


def _cpu(code: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
