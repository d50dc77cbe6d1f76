"""A workspace with simulated raters of known error and reward models of known worth, made by plain inserts.

Of each pair one answer is the better one. A rater misses it at a known rate, each time again; a reward model gives a
probability for it. So the truth behind each figure is known.
"""

import math
import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from modules.config import RewardConfig, SFTConfig
from studio.models import checkpoints
from studio.workspace import Workspace
from tests.support import stored
from tests.ui import filling

START = datetime(2026, 6, 1, 10, tzinfo=UTC)
CATEGORIES = ("", "facts", "letters")


class World(NamedTuple):
    """What is true of the simulated raters and reward models."""

    num: int = 200
    """Pairs, each of a prompt of its own; they are numbered from 0."""
    error: float = 0.15
    """The raters' chance to miss the better answer."""
    raters: Sequence[str] = ("person",)
    repeats: int = 50
    """Pairs of each rater that come again."""
    ties: float = 0.1
    """Chance of a tie."""
    skips: float = 0.05
    left_habit: float = 0.0
    """Chance to choose left without looking."""
    models: Sequence[float] = (1.0,)
    """Of each reward model by what its logits are multiplied: 1 is calibrated, 3 boasts, 0 knows nothing."""
    seed: int = 0


def fill(ws: Workspace, world: World) -> list[str]:
    """Let the raters judge all pairs; returns the names of the reward models, oldest first."""
    rng = random.Random(world.seed)
    models = _models(ws, len(world.models))
    logits = [rng.gauss(0.0, 1.5) for _ in range(world.num)]
    is_first_better = [rng.random() < 1 / (1 + math.exp(-logit)) for logit in logits]
    ids = [stored.read(ws, checkpoints.get, name).id for name in models]
    with ws.write() as db:
        base = db.execute("SELECT coalesce(max(id), 0) FROM prompts").fetchone()[0]
        responses = db.execute("SELECT coalesce(max(id), 0) FROM responses").fetchone()[0]
        pairs = range(world.num)
        many = db.conn.executemany
        many("INSERT INTO prompts (id, hash, messages, category, split, created_at) VALUES (?, ?, ?, ?, 'train', '')",
             [(base + 1 + n, f"rated-{base + n}", f'[{{"role": "user", "content": "Question {n}?"}}]', CATEGORIES[n % 3]) for n in pairs])  # fmt: skip
        many("INSERT INTO responses (id, prompt_id, text, kind, created_at) VALUES (?, ?, ?, 'import', '')",
             [(responses + 1 + 2 * n + slot, base + 1 + n, _answer(n, slot, rng)) for n in pairs for slot in (0, 1)])  # fmt: skip
        many("INSERT INTO comparisons (id, key, prompt_id, created_at) VALUES (?, ?, ?, '')",
             [(base + 1 + n, f"rated-{base + n}", base + 1 + n) for n in pairs])  # fmt: skip
        many("INSERT INTO comparison_responses VALUES (?, ?, ?)",
             [(base + 1 + n, slot, responses + 1 + 2 * n + slot) for n in pairs for slot in (0, 1)])  # fmt: skip
        many("INSERT INTO predictions (comparison_id, checkpoint_id, scores, preference, uncertainty, uncertainty_kind, created_at)"
             " VALUES (?, ?, '[[0.0],[0.0]]', ?, 0.5, 'closeness', '')",
             [(base + 1 + n, model, 1 / (1 + math.exp(-factor * logits[n]))) for n in pairs
              for model, factor in zip(ids, world.models, strict=True)])  # fmt: skip
        for rater in world.raters:
            _judge(db, world, rater, rng, base, responses, is_first_better)
    return models


def _models(ws: Workspace, num: int) -> list[str]:
    if not num:
        return []
    filling.add_texts(ws, 4)
    sft = filling.add_checkpoint(ws, filling.add_run(ws, SFTConfig()))
    filling.add_pairs(ws, [1], sft)
    filling.add_rated(ws, 1)
    stored.written(ws, lambda db: db.execute("UPDATE prompts SET category = 'other' WHERE id = 1"))
    return [
        filling.add_checkpoint(ws, filling.add_run(ws, RewardConfig(sft_checkpoint=sft)), 40 + n) for n in range(num)
    ]


def _answer(n: int, slot: int, rng: random.Random) -> str:
    return f"Answer {n}.{slot} " + "word " * rng.choice((4, 5, 6, 20))


def _judge(db, world, rater, rng, base, responses, is_first_better) -> None:
    """One session of a rater: each pair once, then some of them again."""
    session = db.table("sessions").insert(
        {"rater": rater, "config": "{}", "seed": 0, "created_at": START.isoformat()}
    ).last_pk  # fmt: skip
    ended = {"session_id": session, "kind": "ended", "num_given": world.num, "created_at": START.isoformat()}
    db.table("session_events").insert(ended)
    showing = db.execute("SELECT coalesce(max(id), 0) FROM showings").fetchone()[0]
    showings, items, events, first_of, at = [], [], [], {}, START
    for position in range(world.num + world.repeats):
        n, is_repeat = position % world.num, position >= world.num
        showing += 1
        at += timedelta(seconds=8 + 4 * rng.random())
        is_swapped = rng.random() < 0.5
        left, right = (responses + 1 + 2 * n + slot for slot in ((1, 0) if is_swapped else (0, 1)))
        before = first_of.setdefault(n, (showing, is_swapped))
        arm = "repeat" if is_repeat else ("random", "uncertainty")[n % 2]
        repeat = (before[0], int(is_swapped != before[1])) if is_repeat else (None, None)
        showings.append((showing, base + 1 + n, left, right, rater, at.isoformat()))
        items.append((showing, session, position, base + 1 + n, arm, *repeat))
        outcome = _outcome(world, rng, is_first_better[n] != is_swapped)
        strength = rng.choice((1, 2, 3)) if outcome in ("left", "right") else None
        events.append((f"{rater}-{showing}", base + 1 + n, showing, outcome, strength, rater, at.isoformat()))
    many = db.conn.executemany
    many("INSERT INTO showings (id, comparison_id, left_response_id, right_response_id, seed, rater, created_at)"
         " VALUES (?, ?, ?, ?, 0, ?, ?)", showings)  # fmt: skip
    many("INSERT INTO session_items (showing_id, session_id, position, prompt_id, arm, repeat_of, is_swapped, probability,"
         " created_at) VALUES (?, ?, ?, ?, ?, ?, ?, 0.5, '')", items)  # fmt: skip
    many("INSERT INTO rating_events (uuid, comparison_id, showing_id, outcome, strength, rater, elapsed_ms, created_at)"
         " VALUES (?, ?, ?, ?, ?, ?, 4000, ?)", events)  # fmt: skip


def _outcome(world: World, rng: random.Random, is_left_better: bool) -> str:
    if rng.random() < world.skips:
        return "skip"
    if rng.random() < world.ties:
        return rng.choice(("tie", "both_bad"))
    if rng.random() < world.left_habit:
        return "left"
    return "left" if is_left_better != (rng.random() < world.error) else "right"
