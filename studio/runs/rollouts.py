"""Rollouts: every response of PPO with the numbers computed on it. Owner of `rollouts` and `token_texts`.

Texts and figures are columns, so that they can be searched and sorted; the numbers per token are one packed value. For a
response of R tokens to a prompt of P tokens it is, compressed by zlib,

    P and R, the P prompt ids and the R response ids                     int32, little-endian
    R each of logprobs, ref_logprobs, values, advantages, returns        float32, little-endian

stored as the lowest byte of all these numbers, then the second of all, and so on: numbers that are close share their
upper bytes, which compresses better. Nothing is rounded: PPO learnt from exactly these numbers.
"""

import json
import math
import struct
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from sqlite_utils import Database

from modules.config import PPOConfig
from studio.errors import RunError
from studio.preferences import text_search
from studio.runs import runs
from studio.runs.runs import Run

SORTS = ("newest", "score", "lowest score", "kl", "lowest kl", "length")
COUNTED = 10_000
"""Matches that are counted; beyond, a list says that there are more."""
Sort = Literal["newest", "score", "lowest score", "kl", "lowest kl", "length"]
_ORDERS = {
    "newest": "r.run_id DESC, r.iteration DESC, r.id",
    "score": "r.score DESC, r.id",
    "lowest score": "r.score, r.id",
    "kl": "r.kl DESC, r.id",
    "lowest kl": "r.kl, r.id",
    "length": "r.num_tokens DESC, r.id",
}
_SELECT = """
SELECT r.id, (SELECT name FROM runs WHERE runs.id = r.run_id) AS run, r.iteration, r.prompt_id, p.messages, p.category, r.response,
    r.score, r.shaped_score, r.components, r.kl, r.num_tokens, r.end_reason,
    (SELECT c.name FROM checkpoints c JOIN runs ON runs.id = r.run_id
        LEFT JOIN run_parents ON run_parents.run_id = r.run_id AND role = 'policy'
        WHERE CASE WHEN r.iteration = 1 THEN c.id = checkpoint_id
            ELSE c.step = r.iteration - 1 AND (c.run_id = r.run_id OR c.id = resumed_from) END) AS checkpoint
FROM rollouts r JOIN prompts p ON p.id = r.prompt_id"""
_FOUND = "FROM rollouts r LEFT JOIN prompts p ON p.id = r.prompt_id"
"""A left join, which SQLite leaves out where no condition reads the prompt."""
_CONDITIONS = {
    "min_iteration": "r.iteration >= :min_iteration",
    "max_iteration": "r.iteration <= :max_iteration",
    "min_score": "r.score >= :min_score",
    "max_score": "r.score <= :max_score",
    "min_kl": "r.kl >= :min_kl",
    "max_kl": "r.kl <= :max_kl",
    "end_reason": "r.end_reason = :end_reason",
}
_FLOATS = 5
LEVEL = 3
"""Compression level: a higher one takes half as long again for half a percent."""


class Tokens(NamedTuple):
    """The numbers per token, one of each for every response token."""

    prompt_ids: Sequence[int]
    response_ids: Sequence[int]
    logprobs: Sequence[float]
    """Under the policy that sampled."""
    ref_logprobs: Sequence[float]
    values: Sequence[float]
    advantages: Sequence[float]
    """As PPO used them: whitened if that was on."""
    returns: Sequence[float]


class Token(NamedTuple):
    """One token of a response, to be shown."""

    id: int
    text: str
    logprob: float
    ref_logprob: float
    value: float
    advantage: float
    return_to_go: float
    reward: float
    """The price of its KL, on the last token the shaped score too, and what was foreseen beyond a bootstrapped end."""

    @property
    def kl(self) -> float:
        """Log-ratio of policy to reference, in nats."""
        return self.logprob - self.ref_logprob

    @property
    def ratio(self) -> float:
        """Ratio of the policy's probability to the reference's."""
        return math.exp(min(self.kl, 700.0))


class NewRollout(NamedTuple):
    """A response to be stored."""

    prompt_id: int
    response: str
    score: float
    shaped_score: float
    components: Mapping[str, float]
    kl: float
    end_reason: str
    tokens: Tokens


@dataclass(frozen=True)
class Rollout:
    """A stored response."""

    id: int
    run: str
    """The name of its run."""
    iteration: int
    prompt_id: int
    messages: list[dict[str, str]]
    category: str
    response: str
    score: float
    shaped_score: float
    components: dict[str, float]
    kl: float
    num_tokens: int
    end_reason: str
    checkpoint: str | None
    """The checkpoint that sampled it, if the policy was saved at that point."""


@dataclass(frozen=True)
class Filter:
    """A filter for rollouts; None and empty text let all through."""

    search: str = ""
    """Part of the prompt or the response, in any case."""
    min_iteration: float | None = None
    max_iteration: float | None = None
    min_score: float | None = None
    max_score: float | None = None
    min_kl: float | None = None
    max_kl: float | None = None
    end_reason: str | None = None


def add(
    db: Database,
    run_id: int,
    iteration: int,
    new: Iterable[NewRollout],
    *,
    keep: int,
    token_texts: Mapping[int, str] | None = None,
) -> None:
    """Store an iteration's responses and drop those of iterations beyond the newest `keep`, in one transaction.

    Args:
        db: an open transaction.
        run_id: the run.
        iteration: counted from 1.
        new: the responses.
        keep: iterations whose rollouts stay.
        token_texts: the texts of tokens; known ones may be left out.
    """
    rows = [
        {
            "run_id": run_id,
            "iteration": iteration,
            "prompt_id": rollout.prompt_id,
            "response": rollout.response,
            "score": rollout.score,
            "shaped_score": rollout.shaped_score,
            "components": json.dumps(dict(rollout.components)),
            "kl": rollout.kl,
            "num_tokens": len(rollout.tokens.response_ids),
            "end_reason": rollout.end_reason,
            "tokens": pack(rollout.tokens),
        }
        for rollout in new
    ]
    texts = [{"run_id": run_id, "token_id": token, "text": text} for token, text in (token_texts or {}).items()]
    db.execute("DELETE FROM rollouts WHERE run_id = ? AND iteration <= ?", [run_id, iteration - keep])
    db.table("rollouts").insert_all(rows)
    db.table("token_texts").insert_all(texts, ignore=True)


def find(
    db: Database,
    run_id: int | None,
    wanted: Filter | None = None,
    *,
    sort: Sort = "newest",
    limit: int = 50,
    offset: int = 0,
) -> list[Rollout]:
    """Return rollouts of a run, or of all runs, the newest run first."""
    wanted = wanted or Filter()
    where, values = _where(db, run_id, wanted)
    order = _ORDERS[sort]
    if wanted.search and sort != "newest":
        order = f"+{order}"  # every text is read anyway: in the order they are stored
    ids = f"SELECT r.id {_FOUND} {where} ORDER BY {order} LIMIT :limit OFFSET :offset"
    rows = db.query(
        f"{_SELECT} WHERE r.id IN ({ids}) ORDER BY {order}", values | {"limit": limit, "offset": max(0, offset)}
    )
    return [_rollout(row) for row in rows]


def count(db: Database, run_id: int | None, wanted: Filter | None = None, *, at_most: int = 2**62) -> int:
    """Count the stored rollouts of a run, or of all runs, that fit the filter; with `at_most`, no further than one beyond."""
    where, values = _where(db, run_id, wanted or Filter())
    if at_most == 2**62:
        return next(db.query(f"SELECT count(*) AS n {_FOUND} {where}", values))["n"]
    sql = f"SELECT count(*) AS n FROM (SELECT 1 {_FOUND} {where} LIMIT :most)"
    return next(db.query(sql, values | {"most": at_most + 1}))["n"]


def span(text: str) -> tuple[float | None, float | None]:
    """Return the first and the last iteration that a text such as ``38`` or ``30-40`` names; None where it is empty.

    Raises:
        RunError: it names none.
    """
    if not text.strip():
        return None, None
    first, dash, last = (part.strip() for part in text.partition("-"))
    ends = (first, last) if dash else (first, first)
    if not all(end.isascii() and end.isdecimal() and len(end) < 10 for end in ends):
        raise RunError(
            f"{text.strip()[:40]!r} is not an iteration: give a number such as 38, or a range such as 30-40."
        )
    if int(ends[0]) > int(ends[1]):
        raise RunError(f"No iteration is in {text.strip()}: give the lower number first.")
    return float(ends[0]), float(ends[1])


def iterations(db: Database, run_id: int) -> list[int]:
    """Return the iterations whose rollouts are stored, newest first."""
    rows = db.query("SELECT DISTINCT iteration FROM rollouts WHERE run_id = ? ORDER BY iteration DESC", [run_id])
    return [row["iteration"] for row in rows]


def get(db: Database, run: Run | None, rollout_id: int) -> Rollout:
    """Return a rollout of a run, or of any.

    Raises:
        RunError: the run has none with this id (any more).
    """
    rows = list(
        db.query(
            f"{_SELECT} WHERE r.id = :id AND (:run_id IS NULL OR r.run_id = :run_id)",
            {"id": rollout_id, "run_id": run.id if run else None},
        )
    )
    if not rows:
        which, name = (f"Run {run.name} has no rollout", f" {run.name}") if run else ("There is no rollout", "")
        raise RunError(
            f"{which} {rollout_id}. It may have been dropped for newer ones (keep_rollouts); see them "
            f"with: rlhf-studio runs rollouts{name}"
        )
    return _rollout(rows[0])


def tokens_of(db: Database, rollout_id: int) -> Tokens:
    """Return the numbers per token of a stored rollout."""
    return unpack(next(db.query("SELECT tokens FROM rollouts WHERE id = ?", [rollout_id]))["tokens"])


def token_table(db: Database, rollout: Rollout) -> list[Token]:
    """Return the tokens of a rollout's response with all their numbers."""
    run, tokens = runs.get(db, rollout.run), tokens_of(db, rollout.id)
    assert isinstance(run.config, PPOConfig)
    texts = token_texts(db, run.id, tokens.response_ids)
    rewards = token_rewards(tokens, run.config.gamma, run.config.lam)
    columns = zip(tokens.response_ids, *tokens[2:], rewards, strict=True)
    return [Token(token, texts.get(token, f"#{token}"), *numbers) for token, *numbers in columns]


def token_rewards(tokens: Tokens, gamma: float, lam: float) -> list[float]:
    """Return the reward of each token, from values and returns: the sum of GAE solved for it."""
    advantages = [total - value for total, value in zip(tokens.returns, tokens.values, strict=True)]
    after = zip([*advantages[1:], 0.0], [*tokens.values[1:], 0.0], strict=True)
    now = zip(advantages, tokens.values, strict=True)
    return [
        advantage + value - gamma * (lam * next_advantage + next_value)
        for (advantage, value), (next_advantage, next_value) in zip(now, after, strict=True)
    ]


def token_texts(db: Database, run_id: int, token_ids: Iterable[int]) -> dict[int, str]:
    """Return the texts of these tokens; unknown ones are left out."""
    rows = db.query(
        "SELECT token_id, text FROM token_texts WHERE run_id = ? AND token_id IN (SELECT value FROM json_each(?))",
        [run_id, json.dumps(sorted(set(token_ids)))],
    )
    return {row["token_id"]: row["text"] for row in rows}


def pack(tokens: Tokens) -> bytes:
    """Return the packed value of one response; see the module's docstring."""
    num_prompt, num_response = len(tokens.prompt_ids), len(tokens.response_ids)
    numbers = [number for column in tokens[2:] for number in column]
    raw = struct.pack(
        f"<{2 + num_prompt + num_response}i{len(numbers)}f",
        num_prompt,
        num_response,
        *tokens.prompt_ids,
        *tokens.response_ids,
        *numbers,
    )
    return zlib.compress(b"".join(raw[byte::4] for byte in range(4)), LEVEL)


def unpack(packed: bytes) -> Tokens:
    """Return what `pack` was given, bit for bit."""
    planes = zlib.decompress(packed)
    raw = bytearray(len(planes))
    size = len(planes) // 4
    for byte in range(4):
        raw[byte::4] = planes[byte * size : (byte + 1) * size]
    num_prompt, num_response = struct.unpack_from("<2i", raw)
    ids = struct.unpack_from(f"<{num_prompt + num_response}i", raw, 8)
    start = 4 * (2 + num_prompt + num_response)
    columns = [
        struct.unpack_from(f"<{num_response}f", raw, start + 4 * num_response * index) for index in range(_FLOATS)
    ]
    return Tokens(ids[:num_prompt], ids[num_prompt:], *columns)


def _where(db: Database, run_id: int | None, wanted: Filter) -> tuple[str, dict[str, Any]]:
    """Return the WHERE clause with only the conditions that narrow, so that SQLite may use an index, and its values."""
    values: dict[str, Any] = {name: value for name, value in vars(wanted).items() if value is not None} | {
        "run_id": run_id
    }
    conditions = [condition for name, condition in _CONDITIONS.items() if name in values]
    if run_id is not None:
        conditions.insert(0, "r.run_id = :run_id")
    if wanted.search:
        of_prompt = text_search.condition(db, wanted.search, values, of="prompts", row="r.prompt_id", text="p.messages")
        conditions.append(f"(holds(r.response, :piece) OR {of_prompt})")
    return f"WHERE {' AND '.join(conditions)}" if conditions else "", values


def _rollout(row: dict[str, Any]) -> Rollout:
    return Rollout(**(row | {"messages": json.loads(row["messages"]), "components": json.loads(row["components"])}))
