"""Metrics and sample texts of runs: the owner of those tables. Narrow rows, read by cursor."""

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from itertools import pairwise
from statistics import mean, median
from typing import Any, NamedTuple

from sqlite_utils import Database

from studio.database.schema import curves as schema_curves
from studio.workspace import now

ALL_STEPS = (0, 2**62)
"""First and last step of what is read where nothing else is said."""
EVERY_STEP = ("train/loss", "objective/score")
"""A metric that a stage logs at each step."""
PAUSE = 30
"""A step that took this many times the median was interrupted by a pause."""
_TURN = re.compile(r"<\|(?:im_start\|>)?(system|user|assistant)(?:\|>|\n)(.*?)<\|(?:end|im_end)\|>", re.DOTALL)


def add(db: Database, run_id: int, step: int, values: Mapping[str, float]) -> None:
    """Store the values of one step in one transaction."""
    at = now()
    db.table("metrics").insert_all(
        {"run_id": run_id, "step": step, "name": name, "value": float(value), "at": at}
        for name, value in values.items()
    )


def add_samples(db: Database, run_id: int, step: int, samples: Iterable[Mapping[str, Any]]) -> None:
    """Store sample texts: mappings with prompt, response, and, where known, score, components (JSON), kl, end_reason."""
    at = now()
    rows = [{"run_id": run_id, "step": step, "at": at} | dict(sample) for sample in samples]
    db.table("samples").insert_all(rows)


class Thinned(NamedTuple):
    """A thinned curve: its first value, then each stretch's last step, mean, lowest and highest value."""

    steps: list[int]
    means: list[float]
    lows: list[float]
    highs: list[float]
    newest: float | None
    """The last logged value, which may differ from the last mean."""


def curve(db: Database, run_id: int, name: str, max_points: int = 600) -> list[tuple[int, float]]:
    """Return (step, value) of a metric; beyond `max_points` values, the first one and then means of stretches."""
    found = _thinned(db, run_id, name, max_points)
    return list(zip(found.steps, found.means, strict=True))


def curves(
    db: Database, run_id: int, wanted: Iterable[str], max_points: int = 240, between: tuple[int, int] = ALL_STEPS
) -> dict[str, Thinned]:
    """Return several metrics of a run at once, each as `curve` thins it, also of only some steps; those without values are left out."""
    found = {name: _thinned(db, run_id, name, max_points, between) for name in wanted}
    return {name: thinned for name, thinned in found.items() if thinned.steps}


_Stretch = tuple[int, int, float, float, float]
"""Consecutive values of a metric: last step, number of values, sum, lowest, highest."""

_OF_METRIC = "FROM metrics WHERE run_id = ? AND name = ? AND value IS NOT NULL"
_OF_STEPS = f"{_OF_METRIC} AND step BETWEEN ? AND ?"


def _thinned(db: Database, run_id: int, name: str, max_points: int, between: tuple[int, int] = ALL_STEPS) -> Thinned:
    """Return up to `max_points` values as they are; more values as `max_points` / 2 to `max_points` points."""
    key = [run_id, name, *between]
    first = db.execute(f"SELECT step, value {_OF_STEPS} ORDER BY step, id LIMIT 1", key).fetchone()
    if first is None:
        return Thinned([], [], [], [], None)
    last = db.execute(f"SELECT step, value {_OF_STEPS} ORDER BY step DESC, id DESC LIMIT 1", key).fetchone()
    rows = _rows(db, key, last[0] - first[0], max_points)
    if sum(num for _, num, *_ in rows) > max_points:
        step, value = first
        rows = [(step, 1, value, value, value), *_joined(rows, max_points - 1)]
        if rows[-1][0] < last[0]:  # of a stretch that goes on beyond these steps
            rows.append((last[0], 1, last[1], last[1], last[1]))
    steps, nums, totals, lows, highs = map(list, zip(*rows, strict=True))
    return Thinned(steps, [total / num for total, num in zip(totals, nums, strict=True)], lows, highs, last[1])


def _rows(db: Database, key: list[Any], span: int, max_points: int) -> list[_Stretch]:
    """Return the longest stored stretches that give `max_points` / 2 rows, or the values: at most 8 times as many."""
    for size in reversed(schema_curves.SIZES):
        if span / size < max_points / 2:
            continue
        stretches = "SELECT step, num, total, low, high FROM metric_stretches"
        inside = "stretch >= (? + size - 1) / size AND step <= ?"  # the whole stretch
        found = db.execute(
            f"{stretches} WHERE run_id = ? AND name = ? AND {inside} AND size = ? ORDER BY stretch", [*key, size]
        )
        rows = found.fetchall()
        if len(rows) > max_points / 2 and sum(num for _, num, *_ in rows) > max_points:
            return rows
    return db.execute(f"SELECT step, 1, value, value, value {_OF_STEPS} ORDER BY step, id", key).fetchall()


def _joined(rows: list[_Stretch], max_points: int) -> list[_Stretch]:
    """Join neighbours in equal numbers; a short last point joins the one before it, or it would be a false turn."""
    size = -(-len(rows) // max_points)
    points = [_join(rows[start : start + size]) for start in range(0, len(rows), size)]
    if points[-1][1] <= points[-2][1] / 2:
        points[-2:] = [_join(points[-2:])]
    return points


def _join(rows: list[_Stretch]) -> _Stretch:
    steps, nums, totals, lows, highs = zip(*rows, strict=True)
    return steps[-1], sum(nums), sum(totals), min(lows), max(highs)


def ends(db: Database, run_id: int, name: str, first: int, newest: int) -> list[tuple[int, float]]:
    """Return (step, value) of a metric in order, as logged: the first ones and the newest ones."""
    part = f"SELECT id, step, value {_OF_METRIC} ORDER BY step {{}}, id {{}} LIMIT ?"
    both = f"SELECT * FROM ({part.format('ASC', 'ASC')}) UNION SELECT * FROM ({part.format('DESC', 'DESC')})"
    key = [run_id, name]
    return db.execute(f"SELECT step, value FROM ({both}) ORDER BY step, id", [*key, first, *key, newest]).fetchall()


def names(db: Database, run_id: int) -> list[str]:
    """Return the metric names this run has logged, sorted; one look-up a name, however many values there are."""
    return _names(db, run_id)


def is_of_time(name: str) -> bool:
    """Return whether a metric tells seconds, or work a second: what no run of the same has again."""
    return name.startswith("time/") or name == "train/tokens_per_s"


def logged(db: Database, run_id: int) -> Iterator[tuple[str, int, float | None]]:
    """Yield all values of a run as (name, step, value), in the order of names, steps and logging; `db` stays open meanwhile."""
    rows = db.execute("SELECT name, step, value FROM metrics WHERE run_id = ? ORDER BY name, step, id", [run_id])
    yield from rows


def _names(db: Database, run_id: int) -> list[str]:
    rows = db.query(
        "WITH RECURSIVE found(name) AS (SELECT min(name) FROM metrics WHERE run_id = :run UNION ALL"
        " SELECT (SELECT min(name) FROM metrics WHERE run_id = :run AND name > found.name) FROM found WHERE found.name IS NOT NULL)"
        " SELECT name FROM found WHERE name IS NOT NULL",
        {"run": run_id},
    )
    return [row["name"] for row in rows]


def pace(db: Database, run_id: int) -> tuple[int, float] | None:
    """Return the newest step and the recent seconds per step, without pauses; None before the second step."""
    sql = "SELECT step, max(at) AS at FROM metrics WHERE run_id = ? AND name = ? GROUP BY step ORDER BY step DESC LIMIT 60"
    name = next((name for name in EVERY_STEP if name in _names(db, run_id)), None)
    rows = list(db.query(sql, [run_id, name])) if name else []
    taken = [
        (datetime.fromisoformat(new["at"]) - datetime.fromisoformat(old["at"])).total_seconds()
        / (new["step"] - old["step"])
        for new, old in pairwise(rows)
    ]
    if not taken:
        return None
    usual = [seconds for seconds in taken if seconds <= PAUSE * median(taken)]
    return rows[0]["step"], mean(usual)


def cursor(db: Database, run_id: int) -> int:
    """Return the id of the run's newest metric row: unchanged means nothing new to draw."""
    return next(db.query("SELECT coalesce(max(id), 0) AS n FROM metrics WHERE run_id = ?", [run_id]))["n"]


def first_at(db: Database, run_id: int) -> str | None:
    """Return the UTC time of a run's first value, or None."""
    found = db.execute("SELECT at FROM metrics WHERE run_id = ? ORDER BY id LIMIT 1", [run_id]).fetchone()
    return found[0] if found else None


def latest(db: Database, run_id: int) -> dict[str, float]:
    """Map each metric name to its value at the last step."""
    return _ends(
        db, run_id, "SELECT value FROM metrics WHERE run_id = ? AND name = ? ORDER BY step DESC, id DESC LIMIT 1"
    )


def first(db: Database, run_id: int) -> dict[str, float]:
    """Map each metric name to its value at the first step."""
    return _ends(db, run_id, "SELECT value FROM metrics WHERE run_id = ? AND name = ? ORDER BY step, id LIMIT 1")


def _ends(db: Database, run_id: int, question: str) -> dict[str, float]:
    found = {name: next(db.query(question, [run_id, name]))["value"] for name in _names(db, run_id)}
    return {name: value for name, value in found.items() if value is not None}


def list_samples(db: Database, run_id: int, limit: int = 50) -> list[dict[str, Any]]:
    """Return the run's newest sample texts (step, prompt, response, score, kl, end_reason), newest step first."""
    return list(db.query("SELECT * FROM samples WHERE run_id = ? ORDER BY step DESC, id LIMIT ?", [run_id, limit]))


def samples_by_prompt(
    db: Database, run_id: int, num_prompts: int = 8, num_steps: int = 12
) -> dict[str, list[dict[str, Any]]]:
    """Map each fixed prompt to its answers over time, newest first; only the newest steps."""
    rows = db.query(
        "SELECT * FROM samples WHERE run_id = :run AND step IN"
        " (SELECT DISTINCT step FROM samples WHERE run_id = :run ORDER BY step DESC LIMIT :steps) ORDER BY step DESC, id",
        {"run": run_id, "steps": num_steps},
    )
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        if row["prompt"] in found or len(found) < num_prompts:
            found.setdefault(row["prompt"], []).append(row)
    return found


def samples_until(db: Database, run_id: int, step: int) -> dict[str, str]:
    """Map each fixed prompt, as the model reads it, to the answer that a run wrote last until a step."""
    rows = db.query(
        "SELECT prompt, response FROM samples WHERE run_id = :run AND step ="
        " (SELECT max(step) FROM samples WHERE run_id = :run AND step <= :step) ORDER BY id",
        {"run": run_id, "step": step},
    )
    return {row["prompt"]: row["response"] for row in rows}


def turns_of(prompt: str) -> list[dict[str, str]]:
    """Return the turns of a sample's prompt, in the studio's template or ChatML; others stay one text."""
    found = _TURN.findall(prompt)
    return [{"role": role, "content": text.strip()} for role, text in found] or [{"role": "user", "content": prompt}]
