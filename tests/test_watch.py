"""``rlhf-studio runs --watch`` in a real terminal: fitted to the window, live, and gone without a trace at Ctrl-C."""

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from io import StringIO

import pytest
from rich.cells import cell_len
from rich.console import Console

from modules.config import SFTConfig
from studio.cli import watch
from studio.runs import runs
from studio.workspace import Workspace
from tests.support import stored
from tests.ui import filling

PROGRAM = [sys.executable, "-c", "import sys; from studio.cli import main; sys.exit(main())"]
PATIENCE_S = 60
END = "Ctrl-C stops watching; runs keep going."


class Terminal:
    """A command in a terminal of its own, and what is on the screen."""

    def __init__(self, *words: str, columns: int, rows: int) -> None:
        self.raw = ""
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ["TERM"] = "xterm"
            os.execv(PROGRAM[0], [*PROGRAM, *words])
        self.resize(columns, rows)

    def resize(self, columns: int, rows: int) -> None:
        """Another size of the window, of which the kernel tells the command."""
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text: str) -> None:
        os.write(self.fd, text.encode())

    def wait(self, wanted) -> list[str]:
        """The lines of the newest whole picture once they are as wanted."""
        end = time.monotonic() + PATIENCE_S
        while not wanted(lines := self.lines()):
            assert time.monotonic() < end, lines
            self._read()
        return lines

    def lines(self) -> list[str]:
        whole = self.raw.rpartition(END)[0].rpartition("\x1b[H")[2] + END
        return [line.rstrip() for line in whole.split("\r\n")]

    def finish(self) -> int:
        """Wait for the end; returns the exit code."""
        while self._read():
            pass
        os.close(self.fd)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def _read(self, timeout_s: float = 0.2) -> bool:
        try:
            if select.select([self.fd], [], [], timeout_s)[0]:
                self.raw += os.read(self.fd, 2**16).decode()
        except OSError:  # Linux says so when the other side has closed
            return False
        return True


@pytest.fixture
def ws(tmp_path) -> Workspace:
    ws = Workspace.open(tmp_path / "studio")
    filling.add_texts(ws)
    return ws


def has(text):
    return lambda lines: any(text in line for line in lines)


def test_the_runs_are_watched_in_a_terminal_that_is_resized_while_runs_begin_and_end(ws):
    for _ in range(30):
        filling.add_run(ws, SFTConfig(), message="A sentence that is longer than the window is wide, and is cut there.")
    running = filling.add_run(ws, SFTConfig(), "running", "step 4 of 10\x1b[31m")
    terminal = Terminal("runs", "--watch", "--workspace", str(ws.root), columns=80, rows=24)
    lines = terminal.wait(lambda lines: has("more")(lines) and len(lines) == 24)
    assert re.match(r"sft-31\s+running\s+40%\s+-\s+\S+ \S+\s+step 4 of 10 ", lines[1]), "what is running comes first"
    assert max(map(len, lines)) == 80
    shown = sum(line.startswith("sft-") and ": " not in line for line in lines)
    assert has(f"... and {31 - shown} more")(lines)
    assert shown > 15
    assert has(" s so far")(lines)
    terminal.resize(40, 12)
    lines = terminal.wait(lambda lines: len(lines) == 12 and max(map(len, lines)) <= 40)
    assert lines[0].split()[:4] == ["run", "state", "done", "what"], "a narrow window leaves columns out"
    terminal.resize(120, 40)
    terminal.wait(lambda lines: has("and is cut there.")(lines) and has("sft-1 ")(lines))
    stored.written(ws, runs.move, running.id, "finished", "It is done.")
    terminal.wait(has("It is done."))
    filling.add_run(ws, SFTConfig(), "queued")
    terminal.wait(has("1 of 1 in the queue"))
    assert "\x1b[31m" not in terminal.raw
    terminal.type("\x03")
    assert terminal.finish() == 0
    assert terminal.raw.count("\x1b[?1049h") == terminal.raw.count("\x1b[?1049l") == 1
    assert terminal.raw.index("\x1b[?1049l") > terminal.raw.rindex("\x1b[H"), "the screen before is back"
    assert END in terminal.raw.rpartition("\x1b[?1049l")[2], "with the last picture"
    assert "Traceback" not in terminal.raw


def test_without_a_terminal_the_list_is_printed_when_it_changes_until_all_have_ended(ws):
    filling.add_run(ws, SFTConfig())
    running = filling.add_run(ws, SFTConfig(), "queued")
    child = subprocess.Popen(
        [*PROGRAM, "runs", "--watch", "--workspace", str(ws.root)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    for _ in range(3):
        child.stdout.readline()
    time.sleep(2.5)
    stored.written(ws, runs.request_stop, running.name)
    rest, _ = child.communicate(timeout=PATIENCE_S)
    assert child.returncode == 0
    assert "\x1b" not in rest
    assert rest.count("what happens, or how it ended") == 1, "one picture more for one change"


def test_without_a_terminal_and_without_runs_it_says_so(tmp_path):
    Workspace.open(tmp_path / "studio")
    command = [*PROGRAM, "runs", "--watch", "--workspace", str(tmp_path / "studio")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=True)
    assert done.stdout == "There are no runs yet. Start one with: rlhf-studio sft\n"


def test_a_window_that_is_drawn_larger_and_smaller_all_the_time_is_still_drawn_afterwards(tmp_path):
    ws = Workspace.open(tmp_path / "studio")
    terminal = Terminal("runs", "--watch", "--workspace", str(ws.root), columns=80, rows=24)
    terminal.wait(has("There are no runs yet"))
    for number in range(2000):
        terminal.resize(60 + number % 40, 20 + number % 5)
        if number % 20 == 0:
            terminal._read(0.0)
    filling.add_texts(ws)
    filling.add_run(ws, SFTConfig(), message="It came later.")
    terminal.wait(has("It came later."))
    terminal.type("\x03")
    assert terminal.finish() == 0


def test_letters_of_double_width_are_cut_where_the_window_ends(ws):
    filling.add_run(ws, SFTConfig(), message="雪" * 60)
    screen = Console(width=41, file=StringIO())
    screen.print(watch._picture(ws, 41, 10))
    assert max(map(cell_len, screen.file.getvalue().splitlines())) in (40, 41)
