"""Chooses what a session shows next: random pairs and those that a strategy puts first. Owns `session_queue`.

The items of a block are drawn together when it begins, and then shown one by one: a draw looks at every pair that is
still open, an item only at the queue. Each draw takes, with `random_share`, any of the remaining pairs alike, and else
the one with the highest score (or the newest). So its probability is known, and is stored with the showing:

    P(pair) = random_share / n + (1 - random_share) * [pair comes first],    n pairs remaining

The score is one of `pair_worth`; under diversity it is the rarity, 1 / (1 + votes on the prompt), in which the prompt's pairs
ahead in the same draw count as votes, so that each prompt comes once before any comes twice. Where no pair has a
score yet, the strategy cannot choose and the draw is random, P = 1 / n.
"""

import json
import random
from collections import Counter
from dataclasses import dataclass
from typing import Any

from sqlite_utils import Database

from studio.annotation import pair_worth
from studio.preferences import hiding

DISTANCE = 5
"""Fewest items between two of the same prompt."""
BY_PREDICTION = {"margin": pair_worth.closeness, "information": pair_worth.information}
"""Strategy to its score of a predicted pair; the one of uncertainty is stored with the prediction."""


@dataclass(frozen=True)
class PairQuery:
    """The pairs that a session takes, and the way it chooses.

    Attributes:
        categories: only prompts of these; none for all.
        origin: any, imported, or sampled by `checkpoint_id` (and `opponent_id`, or its pretrained model, else twice by itself).
        is_against_base: the pretrained model is the opponent.
        choose: uncertainty, margin, information, diversity, newest or random, next to the random arm.
        random_share: share of the random arm.
        reward_id: the reward checkpoint whose predictions count; None while there is none.
        rank: only rankings of three to this many answers; 0 for pairs and rankings alike.
        splits: only prompts of these; none for all.
    """

    categories: tuple[str, ...] = ()
    origin: str = "any"
    checkpoint_id: int | None = None
    opponent_id: int | None = None
    is_against_base: bool = False
    choose: str = "uncertainty"
    random_share: float = 0.3
    reward_id: int | None = None
    rank: int = 0
    splits: tuple[str, ...] = ()


@dataclass(frozen=True)
class Chosen:
    """A drawn comparison."""

    comparison_id: int
    prompt_id: int
    arm: str
    probability: float
    score: float | None
    score_kind: str | None
    num_behind: int


def draw(pool: list[dict[str, Any]], query: PairQuery, num: int, rng: random.Random) -> list[Chosen]:
    """Draw `num` of the pool without replacement; see the module for the probabilities.

    Args:
        pool: dicts with id, prompt_id, score (or None) and score_kind; newest first.
        query: how to choose.
        num: how many; fewer where the pool is smaller.
        rng: makes the draws.
    """
    ranked = _ranked(pool, query)
    remaining = {row["id"]: row for row in pool}
    order = list(remaining)  # for uniform draws: the last one takes the place of the drawn one
    place = {key: index for index, key in enumerate(order)}
    found, first = [], 0
    for _ in range(min(num, len(pool))):
        while first < len(ranked) and ranked[first]["id"] not in remaining:
            first += 1
        top = ranked[first]["id"] if first < len(ranked) else None
        share = 1.0 if top is None else query.random_share
        is_random = rng.random() < share
        key = order[rng.randrange(len(order))] if is_random or top is None else top
        probability = share / len(order) + (1.0 - share) * (key == top)
        row = remaining.pop(key)
        last = order.pop()
        if last != key:
            order[place[key]], place[last] = last, place[key]
        found.append(
            Chosen(
                key,
                row["prompt_id"],
                "random" if is_random else query.choose,
                probability,
                row["score"],
                row["score_kind"],
                len(remaining),
            )
        )
    return found


def _ranked(pool: list[dict[str, Any]], query: PairQuery) -> list[dict[str, Any]]:
    """Return the pairs in the order in which the non-random arm takes them."""
    if query.choose == "newest":
        return list(pool)
    scored = [] if query.choose == "random" else [row for row in pool if row["score"] is not None]
    return sorted(scored, key=lambda row: (-row["score"], row["id"]))


def pool_of(db: Database, query: PairQuery, rater: str) -> list[dict[str, Any]]:
    """Return every fitting pair that is not hidden, that nobody has judged and this rater has not seen, newest sampled first, with its score."""
    rows = _fitting(db, query, rater)
    if score := BY_PREDICTION.get(query.choose):
        for row in rows:
            row["score"], row["score_kind"] = score(json.loads(row["scores"])) if row["scores"] else (None, None)
    elif query.choose == "diversity":
        _score_rarity(rows, _votes_by_prompt(db))
    return rows


def _score_rarity(rows: list[dict[str, Any]], votes: Counter[int]) -> None:
    """Give each pair the rarity of its prompt; a prompt's pairs ahead of it count as votes."""
    for row in rows:
        row["score"], row["score_kind"] = 1.0 / (1 + votes[row["prompt_id"]]), "rarity"
        votes[row["prompt_id"]] += 1


def _votes_by_prompt(db: Database) -> Counter[int]:
    """Count the votes on each prompt, skips left out."""
    rows = db.query(
        "SELECT c.prompt_id, count(*) AS n FROM rating_events e JOIN comparisons c ON c.id = e.comparison_id"
        " WHERE e.outcome NOT IN ('undo', 'skip') AND NOT EXISTS (SELECT 1 FROM rating_events n WHERE n.supersedes = e.id)"
        " GROUP BY c.prompt_id"
    )
    return Counter({row["prompt_id"]: row["n"] for row in rows})


def _fitting(db: Database, query: PairQuery, rater: str) -> list[dict[str, Any]]:
    return list(
        db.query(
            "SELECT c.id, c.prompt_id, q.uncertainty AS score, q.uncertainty_kind AS score_kind, q.scores FROM waiting_comparisons o"
            " CROSS JOIN comparisons c ON c.id = o.comparison_id JOIN prompts p ON p.id = c.prompt_id"
            " LEFT JOIN predictions q ON q.comparison_id = c.id AND q.checkpoint_id = :reward"
            " LEFT JOIN run_parents a ON a.run_id = c.run_id AND a.role = 'policy'"
            " LEFT JOIN run_parents b ON b.run_id = c.run_id AND b.role = 'opponent'"
            " WHERE NOT EXISTS (SELECT 1 FROM showings s WHERE s.comparison_id = c.id AND s.rater = :rater)"
            " AND NOT EXISTS (SELECT 1 FROM session_queue w WHERE w.comparison_id = c.id)"
            " AND (:categories = '[]' OR p.category IN (SELECT value FROM json_each(:categories)))"
            " AND (:splits = '[]' OR p.split IN (SELECT value FROM json_each(:splits)))"
            " AND (:origin = 'any' OR (:origin = 'imported' AND c.run_id IS NULL) OR (:origin = 'sampled'"
            f" AND {_IS_BETWEEN}))"
            " AND (:rank = 0 OR (SELECT count(*) FROM comparison_responses r WHERE r.comparison_id = c.id) BETWEEN 3 AND :rank)"
            f" AND {hiding.is_pair_shown('c.id', 'c.prompt_id')} ORDER BY c.run_id DESC, c.id",
            _bound(query, rater) | {"reward": query.reward_id},
        )
    )


def census(db: Database, query: PairQuery, rater: str) -> dict[str, int]:
    """Count the comparisons that each part of the query leaves, to explain an empty pool.

    Returns:
        `all`; `origin`, of the origin; `rank`, of the size too; `category`, of the categories and splits too; of those `judged`, by
        `imported` judgements, `seen` by this rater and not judged, and `free`, which the session could show.
    """
    row = next(
        db.query(
            "WITH found AS (SELECT c.id, (:origin = 'any' OR (:origin = 'imported' AND c.run_id IS NULL)"
            f" OR (:origin = 'sampled' AND {_IS_BETWEEN})) AS origin,"
            " (:rank = 0 OR (SELECT count(*) FROM comparison_responses r WHERE r.comparison_id = c.id) BETWEEN 3 AND :rank)"
            " AS rank, (:categories = '[]' OR p.category IN (SELECT value FROM json_each(:categories)))"
            " AND (:splits = '[]' OR p.split IN (SELECT value FROM json_each(:splits))) AS category,"
            " w.comparison_id IS NULL AS judged, EXISTS (SELECT 1 FROM rating_events e WHERE e.comparison_id = c.id"
            " AND e.rater = 'import') AS imported, EXISTS (SELECT 1 FROM showings s WHERE s.comparison_id = c.id"
            " AND s.rater = :rater) AS seen FROM comparisons c JOIN prompts p ON p.id = c.prompt_id"
            " LEFT JOIN waiting_comparisons w ON w.comparison_id = c.id"
            " LEFT JOIN run_parents a ON a.run_id = c.run_id AND a.role = 'policy'"
            " LEFT JOIN run_parents b ON b.run_id = c.run_id AND b.role = 'opponent')"
            " SELECT count(*) AS 'all', sum(origin) AS origin, sum(origin AND rank) AS rank,"
            " sum(origin AND rank AND category) AS category, sum(origin AND rank AND category AND judged) AS judged,"
            " sum(origin AND rank AND category AND judged AND imported) AS imported,"
            " sum(origin AND rank AND category AND NOT judged AND seen) AS seen,"
            " sum(origin AND rank AND category AND NOT judged AND NOT seen) AS free FROM found",
            _bound(query, rater),
        )
    )
    return {name: number or 0 for name, number in row.items()}


def fill_queue(db: Database, session_id: int, chosen: list[Chosen]) -> None:
    """Store the drawn items until they are shown."""
    db.conn.executemany(
        "INSERT INTO session_queue (session_id, comparison_id, prompt_id, arm, probability, score, score_kind, num_behind)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (session_id, c.comparison_id, c.prompt_id, c.arm, c.probability, c.score, c.score_kind, c.num_behind)
            for c in chosen
        ],
    )


def take(db: Database, session_id: int, recent_prompts: set[int], rater: str) -> Chosen | None:
    """Take the first item whose prompt was not shown lately; drop pairs judged, seen elsewhere or hidden meanwhile."""
    rows = db.query("SELECT * FROM session_queue WHERE session_id = ? ORDER BY id", [session_id])
    for row in list(rows):
        if row["prompt_id"] in recent_prompts:
            continue
        db.execute("DELETE FROM session_queue WHERE id = ?", [row["id"]])
        if not _is_taken(db, row["comparison_id"], rater):
            return Chosen(**{name: row[name] for name in Chosen.__dataclass_fields__})
    return None


def count_waiting(db: Database, session_id: int) -> int:
    """Count the drawn items that wait and the pairs that were left at the last draw."""
    sql = "SELECT count(*) AS n, coalesce(min(num_behind), 0) AS behind FROM session_queue WHERE session_id = ?"
    row = next(db.query(sql, [session_id]))
    return row["n"] + row["behind"]


def waiting_prompts(db: Database, session_id: int) -> set[int]:
    """Return the prompts of the items drawn and not shown yet."""
    return {r["prompt_id"] for r in db.query("SELECT prompt_id FROM session_queue WHERE session_id = ?", [session_id])}


def clear(db: Database, session_id: int) -> None:
    """Drop the items drawn and not shown, when a session pauses or ends."""
    db.execute("DELETE FROM session_queue WHERE session_id = ?", [session_id])


_IS_BETWEEN = (
    "a.checkpoint_id = :checkpoint AND b.checkpoint_id IS :opponent AND :is_against_base = EXISTS"
    " (SELECT 1 FROM comparison_responses f JOIN responses z ON z.id = f.response_id WHERE f.comparison_id = c.id"
    " AND z.kind = 'sample' AND z.checkpoint_id IS NULL)"
)
"""The pair is of the checkpoint and its opponent; a run's parents do not tell of a pretrained model, its answers do."""


def _bound(query: PairQuery, rater: str) -> dict[str, Any]:
    return {
        "rater": rater,
        "categories": json.dumps(query.categories),
        "splits": json.dumps(query.splits),
        "origin": query.origin,
        "checkpoint": query.checkpoint_id,
        "opponent": query.opponent_id,
        "is_against_base": query.is_against_base,
        "rank": query.rank,
    }


def _is_taken(db: Database, comparison_id: int, rater: str) -> bool:
    sql = (
        "SELECT EXISTS (SELECT 1 FROM showings WHERE comparison_id = :id AND rater = :rater)"
        " OR EXISTS (SELECT 1 FROM rating_events WHERE comparison_id = :id) OR NOT EXISTS (SELECT 1 FROM comparisons c"
        f" WHERE c.id = :id AND {hiding.is_pair_shown('c.id', 'c.prompt_id')}) AS taken"
    )
    return bool(next(db.query(sql, {"id": comparison_id, "rater": rater}))["taken"])
