"""A workspace with many ratings, made by plain inserts: a question, two answers, a showing and a rating each."""

import hashlib
import json

AT = "2026-06-01T10:00:00.000+00:00"
WORDS = [
    "river",
    "stone",
    "light",
    "paper",
    "garden",
    "machine",
    "winter",
    "quiet",
    "yellow",
    "engine",
    "story",
    "window",
    "market",
    "letter",
    "bridge",
    "ocean",
]


def fill(ws, number):
    """Add so many rated pairs; every tenth answer is a demonstration too."""
    with ws.write() as db:
        add = db.conn.executemany
        ids = range(1, number + 1)
        add(
            "INSERT INTO prompts (id, hash, messages, category, split, reference, created_at) VALUES (?, ?, ?, ?, 'train', '{}', ?)",
            ((i, _hash(i), _messages(i), f"cat{i % 12}", AT) for i in ids),
        )
        add(
            "INSERT INTO responses (id, prompt_id, text, kind, created_at) VALUES (?, ?, ?, ?, ?)",
            (
                (i * 2 + side, i, _answer(i, side), "demonstration" if side and i % 10 == 0 else "import", AT)
                for i in ids
                for side in (0, 1)
            ),
        )
        add(
            "INSERT INTO comparisons (id, key, prompt_id, created_at) VALUES (?, ?, ?, ?)",
            ((i, f"{i}:", i, AT) for i in ids),
        )
        add(
            "INSERT INTO comparison_responses VALUES (?, ?, ?)",
            ((i, side, i * 2 + side) for i in ids for side in (0, 1)),
        )
        add(
            "INSERT INTO showings (id, comparison_id, left_response_id, right_response_id, seed, rater, created_at)"
            " VALUES (?, ?, ?, ?, ?, 'person', ?)",
            ((i, i, i * 2, i * 2 + 1, i, AT) for i in ids),
        )
        add(
            "INSERT INTO rating_events (id, uuid, comparison_id, showing_id, outcome, rater, elapsed_ms, created_at)"
            " VALUES (?, ?, ?, ?, ?, 'person', 900, ?)",
            ((i, f"u{i}", i, i, ("left", "right", "tie")[i % 3], AT) for i in ids),
        )


def _messages(i):
    return json.dumps([{"role": "user", "content": f"Question {i}: {_text(i, 10)}?"}])


def _answer(i, side):
    return f"{_text(i * 7 + side, 22)} {i}.{side}"


def _text(i, count):
    return " ".join(WORDS[(i * (k + 3) + k) % len(WORDS)] for k in range(count))


def _hash(i):
    return hashlib.sha256(str(i).encode()).hexdigest()
