"""How fast a large file of pairs comes in, how long another program waits meanwhile, and when the search finds what is in it.

    python -m tests.benchmarks.importing [--rows 200000] [--folder FOLDER]

Writes a file of made-up pairs in HH's form and of HH's lengths, then prints seconds of CPU and of the clock for reading it (the preview),
for the import until all of it is there, and for the index that follows; the peak of the process's memory; how long another program that
writes five times a second had to wait; and what a search takes before and after the index has the texts.
"""

import argparse
import itertools
import json
import multiprocessing
import random
import resource
import tempfile
import time
from collections.abc import Callable
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

from sqlite_utils import Database

from studio.annotation import history
from studio.annotation.history import Filter
from studio.datasets import importing
from studio.preferences import prompts, text_search
from studio.workspace import Workspace

LENGTHS = {"question": 90, "chosen": 45, "rejected": 34}
"""Mean number of words of a part; HH helpful-base has 530, 245 and 185 characters."""
NUM_WORDS = 20_000
PAUSE_S = 0.2


def write(path: Path, num_rows: int) -> None:
    """Write pairs of made-up words, of which a few are frequent and most are rare, as in a language."""
    draw = random.Random(0)
    letters = [draw.choice("bcdfghjklmnprstvw") + draw.choice("aeiou") for _ in range(400)]
    words = ["".join(draw.choices(letters, k=draw.choice((1, 1, 2, 2, 2, 3, 4)))) for _ in range(NUM_WORDS)]
    pool = draw.choices(words, [1 / (rank + 3) for rank in range(NUM_WORDS)], k=1_000_000)

    def text(mean: int) -> str:
        length = max(3, round(draw.gammavariate(1.5, mean / 1.5)))
        start = draw.randrange(len(pool) - length)
        return " ".join(pool[start : start + length])

    with path.open("w") as file:
        for number in range(num_rows):
            prompt = f"\n\nHuman: {text(LENGTHS['question'])} ({number})?\n\nAssistant: "
            sides = {name: f"{prompt}{text(LENGTHS[name])}" for name in ("chosen", "rejected")}
            file.write(json.dumps(sides) + "\n")


def keep_writing(root: Path, end: Event, longest: Any) -> None:
    """Write a small text again and again, as a page does while somebody types; notes the longest wait in seconds."""
    ws = Workspace.existing(root)
    for number in itertools.count():
        if end.wait(PAUSE_S):
            return
        started = time.monotonic()
        with ws.write() as db:
            prompts.save_draft(db, "benchmark", f"text {number}")
        longest.value = max(longest.value, time.monotonic() - started)


class Measured:
    """Times steps while another program writes."""

    def __init__(self, ws: Workspace, num_rows: int) -> None:
        self._ws, self._num_rows = ws, num_rows
        self.cpu_s: dict[str, float] = {}

    def step(self, name: str, act: Callable[[], Any]) -> Any:
        """Do one step and print what it took."""
        end, longest = multiprocessing.Event(), multiprocessing.Value("d", 0.0)
        other = multiprocessing.Process(target=keep_writing, args=(self._ws.root, end, longest))
        other.start()
        cpu, clock = time.process_time(), time.monotonic()
        result = act()
        cpu, clock = time.process_time() - cpu, time.monotonic() - clock
        end.set()
        other.join()
        self.cpu_s[name] = cpu
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
        print(
            f"{name}: {cpu:.1f} s of CPU, {self._num_rows / cpu:,.0f} rows a second of CPU ({clock:.1f} s and {self._num_rows / clock:,.0f} by "
            f"the clock); the other program waited {longest.value:.2f} s at most; {memory:,.0f} MiB",
            flush=True,
        )
        return result


def searches(ws: Workspace, num_rows: int) -> str:
    """Return what a search takes among prompts and in the history, for a piece that one row holds and for one that many hold."""
    found = []
    for piece in (f"({num_rows // 2})", "a b"):
        for name, rows in (("prompts", _prompts), ("history", _history)):
            started = time.process_time()
            with ws.read() as db:
                assert rows(db, piece), piece
            found.append(f"{name} {piece!r} {1000 * (time.process_time() - started):,.0f} ms")
    return "search, CPU: " + ", ".join(found)


def _prompts(db: Database, piece: str) -> list[Any]:
    return prompts.list_prompts(db, search=piece, limit=20)


def _history(db: Database, piece: str) -> list[Any]:
    return history.find(db, Filter(search=piece))


def main() -> None:
    """Write, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--folder", type=Path, help="where to put file and workspace (default: a temporary one)")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        path, ws = Path(folder) / "pairs.jsonl", Workspace.open(Path(folder) / "studio")
        write(path, asked.rows)
        print(f"{asked.rows:,} pairs, {path.stat().st_size / 2**20:,.0f} MiB")
        measured = Measured(ws, asked.rows)
        measured.step("read", lambda: importing.preview(str(path)))
        result = measured.step("in the workspace", lambda: importing.import_source(ws, str(path)))
        assert result.num_new == asked.rows, result.sentence
        print(searches(ws, asked.rows))
        measured.step("indexed for the search", lambda: text_search.catch_up(ws))
        print(searches(ws, asked.rows))
        there, indexed = measured.cpu_s["in the workspace"], measured.cpu_s["indexed for the search"]
        print(
            f"all of it: {asked.rows / (there + indexed):,.0f} rows a second of CPU; without waiting for the index {(there + indexed) / there:.1f} times that"
        )
        print(f"studio.db {ws.database.stat().st_size / 2**20:,.0f} MiB")


if __name__ == "__main__":
    main()
