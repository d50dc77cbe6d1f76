"""Traces a response of PPO back to what taught its reward model: the snapshot, and the votes on pairs like it.

Votes on the same prompt come first. Others are those whose pair shares the rarest words with the response and its prompt: the
full-text index says which words are rare and where they are, and the share of all words in common orders what it finds.
"""

import json
import math
import re
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from sqlite_utils import Database

from modules.config import PPOConfig
from studio.preferences import snapshots
from studio.preferences.snapshots import Snapshot
from studio.runs import runs
from studio.runs.rollouts import Rollout

FEW = 5
"""Votes of each kind that are shown."""
WORDS, HITS, CANDIDATES = 24, 1000, 200
"""Words that are looked up, texts that are read of each, and texts that are compared as a whole."""
SHORTEST = 4
"""Letters of a word that says something."""
_VOTES = """
SELECT s.rating_id, s.target_p, p.messages, p.id AS prompt_id, c.text AS chosen, x.text AS rejected
FROM snapshot_rows s JOIN responses c ON c.id = s.chosen_id JOIN responses x ON x.id = s.rejected_id
JOIN prompts p ON p.id = c.prompt_id
WHERE s.snapshot_id = :snapshot_id"""


class Vote(NamedTuple):
    """A vote that the reward model learnt from."""

    rating_id: int
    """Its number in the history."""
    prompt: str
    chosen: str
    rejected: str
    is_tie: bool
    likeness: float
    """Share of the words of both that they have in common, 0 to 1."""


class Trace(NamedTuple):
    """What stands behind a response's score."""

    reward: str
    """The reward model's checkpoint; empty where none took part."""
    reward_run: str
    snapshot: Snapshot | None
    same_prompt: list[Vote]
    num_same_prompt: int
    similar: list[Vote]


def trace(db: Database, rollout: Rollout) -> Trace:
    """Return what stands behind the score of a response."""
    config = runs.get(db, rollout.run).config
    assert isinstance(config, PPOConfig)
    name = config.reward_checkpoint if config.needs_reward_checkpoint else ""
    rows = list(
        db.query(
            "SELECT r.name, r.snapshot_id FROM checkpoints c JOIN runs r ON r.id = c.run_id WHERE c.name = ?", [name]
        )
    )
    if not rows:
        return Trace(name, "", None, [], 0, [])
    reward_run, snapshot_id = rows[0]["name"], rows[0]["snapshot_id"]
    if snapshot_id is None:
        return Trace(name, reward_run, None, [], 0, [])
    words = words_of(rollout.messages[-1]["content"], rollout.response)
    mine = _votes(db, snapshot_id, words, _answers(db, [rollout.prompt_id]))
    like = _votes(db, snapshot_id, words, _alike(db, words))
    others = [vote for vote in like if vote.rating_id not in {each.rating_id for each in mine} and vote.likeness > 0]
    return Trace(name, reward_run, snapshots.get(db, snapshot_id), mine[:FEW], len(mine), others[:FEW])


def words_of(*texts: str) -> set[str]:
    """Return the words of texts that are long enough to say something, without case."""
    return {word for text in texts for word in re.findall(r"\w+", text.casefold()) if len(word) >= SHORTEST}


def _answers(db: Database, prompt_ids: Iterable[int]) -> list[int]:
    rows = db.query(
        "SELECT id FROM responses WHERE prompt_id IN (SELECT value FROM json_each(?))", [json.dumps(list(prompt_ids))]
    )
    return [row["id"] for row in rows]


def _alike(db: Database, words: set[str]) -> list[int]:
    """Return answers that hold the rarest of the words, or whose prompts do: the most such words first."""
    weights: Counter[tuple[str, int]] = Counter()
    for word in sorted(words, key=lambda word: (-len(word), word))[:WORDS]:
        for index in ("prompt_search", "response_search"):
            sql = f"SELECT rowid AS id FROM {index} WHERE {index} MATCH ? LIMIT ?"
            found = [row["id"] for row in db.query(sql, [f'"{word}"', HITS])]
            weights.update(dict.fromkeys(((index, number) for number in found), 0))
            for number in found:
                weights[index, number] += 1 + round(100 * math.log(HITS / len(found)))
    best = [key for key, _ in weights.most_common(CANDIDATES)]
    of_prompts = _answers(db, [number for index, number in best if index == "prompt_search"])
    return [*{*of_prompts, *(number for index, number in best if index == "response_search")}]


def _votes(db: Database, snapshot_id: int, words: set[str], answers: list[int]) -> list[Vote]:
    """Return the snapshot's votes on any of these answers, the most alike first, each once."""
    of_these = "(SELECT value FROM json_each(:answers))"
    rows = db.query(
        f"{_VOTES} AND (s.chosen_id IN {of_these} OR s.rejected_id IN {of_these})",
        {"snapshot_id": snapshot_id, "answers": json.dumps(answers)},
    )
    votes = {row["rating_id"]: _vote(row, words) for row in rows}
    return sorted(votes.values(), key=lambda vote: (-vote.likeness, vote.rating_id))


def _vote(row: dict[str, str], words: set[str]) -> Vote:
    prompt = json.loads(row["messages"])[-1]["content"]
    likeness = max(_likeness(words, words_of(prompt, row[side])) for side in ("chosen", "rejected"))
    is_tie = float(row["target_p"]) == 0.5
    return Vote(int(row["rating_id"]), prompt, row["chosen"], row["rejected"], is_tie, likeness)


def _likeness(some: set[str], others: set[str]) -> float:
    return len(some & others) / max(1, len(some | others))
