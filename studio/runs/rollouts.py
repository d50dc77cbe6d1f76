"""Rollouts: every response of PPO with the numbers computed on it. Owner of `rollouts` and `token_texts`.

Texts and figures are columns, so that they can be searched and sorted; the numbers per token are one packed value. For a
response of R tokens to a prompt of P tokens it is, compressed by zlib,

    P and R, the P prompt ids and the R response ids                     int32, little-endian
    R each of logprobs, ref_logprobs, values, advantages, returns        float32, little-endian

stored as the lowest byte of all these numbers, then the second of all, and so on: numbers that are close share their
upper bytes, which compresses better. Nothing is rounded: PPO learnt from exactly these numbers.
"""

import json
import struct
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from sqlite_utils import Database

from studio.errors import RunError
from studio.preferences import text_search
from studio.runs.runs import Run

SORTS = ("newest", "score", "lowest score", "kl", "lowest kl", "length")
Sort = Literal["newest", "score", "lowest score", "kl", "lowest kl", "length"]
_ORDERS = {
    "newest": "r.iteration DESC, r.id",
    "score": "r.score DESC, r.id",
    "lowest score": "r.score, r.id",
    "kl": "r.kl DESC, r.id",
    "lowest kl": "r.kl, r.id",
    "length": "r.num_tokens DESC, r.id",
}
_SELECT = """
SELECT r.id, r.iteration, r.prompt_id, p.messages, p.category, r.response, r.score, r.shaped_score, r.components, r.kl,
    r.num_tokens, r.end_reason,
    (SELECT c.name FROM checkpoints c JOIN runs ON runs.id = r.run_id
        LEFT JOIN run_parents ON run_parents.run_id = r.run_id AND role = 'policy'
        WHERE CASE WHEN r.iteration = 1 THEN c.id = checkpoint_id
            ELSE c.step = r.iteration - 1 AND (c.run_id = r.run_id OR c.id = resumed_from) END) AS checkpoint
FROM rollouts r JOIN prompts p ON p.id = r.prompt_id"""
_WHERE = """
WHERE r.run_id = :run_id
    AND (:search = '' OR holds(r.response, :search) OR says(p.messages, :search))
    AND (:iteration IS NULL OR r.iteration = :iteration)
    AND (:min_score IS NULL OR r.score >= :min_score) AND (:max_score IS NULL OR r.score <= :max_score)
    AND (:min_kl IS NULL OR r.kl >= :min_kl) AND (:max_kl IS NULL OR r.kl <= :max_kl)
    AND (:end_reason IS NULL OR r.end_reason = :end_reason)"""
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

    @property
    def kl(self) -> float:
        """Log-ratio of policy to reference, in nats."""
        return self.logprob - self.ref_logprob


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
    """A filter for the rollouts of a run; None and empty text let all through."""

    search: str = ""
    """Part of the prompt or the response, in any case."""
    iteration: float | None = None
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
    db: Database, run_id: int, wanted: Filter | None = None, *, sort: Sort = "newest", limit: int = 50, offset: int = 0
) -> list[Rollout]:
    """Return rollouts of a run."""
    text_search.add_functions(db)
    rows = db.query(
        f"{_SELECT}{_WHERE} ORDER BY {_ORDERS[sort]} LIMIT :limit OFFSET :offset",
        _values(run_id, wanted) | {"limit": limit, "offset": offset},
    )
    return [_rollout(row) for row in rows]


def count(db: Database, run_id: int, wanted: Filter | None = None) -> int:
    """Count the stored rollouts of a run that fit the filter."""
    text_search.add_functions(db)
    sql = f"SELECT count(*) AS n FROM rollouts r JOIN prompts p ON p.id = r.prompt_id{_WHERE}"
    return next(db.query(sql, _values(run_id, wanted)))["n"]


def iterations(db: Database, run_id: int) -> list[int]:
    """Return the iterations whose rollouts are stored, newest first."""
    rows = db.query("SELECT DISTINCT iteration FROM rollouts WHERE run_id = ? ORDER BY iteration DESC", [run_id])
    return [row["iteration"] for row in rows]


def get(db: Database, run: Run, rollout_id: int) -> Rollout:
    """Return a rollout of a run.

    Raises:
        RunError: the run has none with this id (any more).
    """
    rows = list(db.query(f"{_SELECT} WHERE r.run_id = ? AND r.id = ?", [run.id, rollout_id]))
    if not rows:
        raise RunError(
            f"Run {run.name} has no rollout {rollout_id}. It may have been dropped for newer ones (keep_rollouts); see them "
            f"with: rlhf-studio runs rollouts {run.name}"
        )
    return _rollout(rows[0])


def tokens_of(db: Database, rollout_id: int) -> Tokens:
    """Return the numbers per token of a stored rollout."""
    return unpack(next(db.query("SELECT tokens FROM rollouts WHERE id = ?", [rollout_id]))["tokens"])


def token_table(db: Database, run_id: int, rollout: Rollout) -> list[Token]:
    """Return the tokens of a rollout's response with all their numbers."""
    tokens = tokens_of(db, rollout.id)
    texts = token_texts(db, run_id, tokens.response_ids)
    columns = zip(tokens.response_ids, *tokens[2:], strict=True)
    return [Token(token, texts.get(token, f"#{token}"), *numbers) for token, *numbers in columns]


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


def _values(run_id: int, wanted: Filter | None) -> dict[str, Any]:
    wanted = wanted or Filter()
    return {"run_id": run_id} | vars(wanted) | {"search": text_search.fold(wanted.search)}


def _rollout(row: dict[str, Any]) -> Rollout:
    return Rollout(**(row | {"messages": json.loads(row["messages"]), "components": json.loads(row["components"])}))
