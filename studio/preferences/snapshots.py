"""Snapshots: frozen, hashed sets of preferences that reward runs train on. The owner of those tables.

A recipe selects from the ratings that count; the collection keeps everything. The same ratings and recipe give the same
hash, whichever way round the pairs were shown. Repeats in a session never enter.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator
from sqlite_utils import Database

from modules.config import VotesConfig, categories, listed
from studio.errors import DataError
from studio.preferences import consensus, criteria, hiding
from studio.preferences.vocabulary import TIES
from studio.workspace import check_day, now

MARGINS = {1: 0.0, 2: 1.0 / 3.0, 3: 2.0 / 3.0}
"""Strength to margin, the small scale of Llama 2 (table 27 there)."""
SOFT_LABELS = {1: 0.7, 2: 0.85, 3: 0.95}
"""Strength to probability that the chosen response is the better one; without a strength the label stays 1."""
Row = dict[str, Any]


class Recipe(BaseModel):
    """The choice of ratings to train on, and their use."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    ties: Literal["half", "drop"] = "half"
    """half gives a tie the target 0.5; drop leaves ties out. Both bad is a tie here; a skip never counts."""
    use_strength: bool = False
    """Let the strength of a preference count, as strength_as says."""
    strength_as: Literal["margin", "soft_label"] = "margin"
    """margin asks for a distance between the scores; soft_label takes strength as a probability below 1."""
    weak: Literal["keep", "drop"] = "keep"
    """drop leaves out responses found only slightly better."""
    repeats: Literal["drop", "keep"] = "drop"
    """keep also trains on pairs shown a second time to measure the rater; they then count twice."""
    since: str = ""
    """Only ratings given on this day (UTC, such as 2026-03-31) or later; empty for all."""
    until: str = ""
    """Only ratings given on this day (UTC) or earlier; empty for all."""
    categories: str = ""
    """Only prompts of these categories, separated by commas; empty for all."""
    raters: str = "all"
    """all; majority or share for one preference of each pair, as `consensus` makes it; else names, separated by commas."""
    axis: str = ""
    """Go by one criterion (a scale such as harmless, or one of an import such as safety); empty for the overall judgement."""

    half: Literal["all", "first", "second"] = "all"
    """first and second take the training prompts' votes of one half of the prompts, and no vote is in both; held-out votes stay whole."""

    @field_validator("since", "until")
    @classmethod
    def _is_a_day(cls, text: str) -> str:
        return check_day(text)

    @field_validator("categories")
    @classmethod
    def _sorted(cls, text: str) -> str:
        return listed(categories(text))

    def describe(self) -> Row:
        """Return the recipe as stored and hashed: without settings at their default, except ties and strength."""
        use = "soft_label" if self.use_strength and self.strength_as == "soft_label" else self.use_strength
        beside = self.model_dump(exclude={"ties", "use_strength", "strength_as"}, exclude_defaults=True)
        return {"ties": self.ties, "use_strength": use} | beside


@dataclass(frozen=True)
class Snapshot:
    """A frozen set of preferences."""

    id: int
    sha256: str
    row_count: int
    recipe: str = "{}"
    """As JSON."""
    created_at: str = ""

    @property
    def name(self) -> str:
        """The snapshot's name for people and configs."""
        return f"snapshot-{self.id}"

    @property
    def sentence(self) -> str:
        """The snapshot's content in words."""
        parts = [f"{name} {value}" for name, value in read_recipe(self.recipe).items()]
        return f"{self.name}: {self.row_count:,} preferences, sha256 {self.sha256[:12]} ({', '.join(parts)})"


def recipe_of(config: VotesConfig) -> Recipe:
    """Return the recipe that the config of a reward or DPO run asks for.

    Raises:
        DataError: a day is invalid.
    """
    try:
        return Recipe(
            ties=config.ties,
            use_strength=config.use_strength,
            strength_as=config.strength_as,
            weak=config.weak_labels,
            since=config.rated_since,
            until=config.rated_until,
            categories=config.rated_categories,
            raters=config.raters.strip() or "all",
            half=config.votes_half,
        )
    except ValidationError as error:
        why = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise DataError(f"rated_since and rated_until: {why}.") from error


def freeze(db: Database, recipe: Recipe) -> Snapshot:
    """Freeze the ratings that count now, by a recipe; the same content is one snapshot.

    Raises:
        DataError: there is no rating to train on.
    """
    described = recipe.describe()
    sha256, num_rows = _hash(described, _preferences(db, recipe))
    if not num_rows:
        raise DataError(_why_none(db))
    found = next(db.query("SELECT id FROM snapshots WHERE sha256 = ?", [sha256]), None)
    if found:
        return _get(db, found["id"])
    row = {"recipe": json.dumps(described), "sha256": sha256, "row_count": num_rows, "created_at": now()}
    snapshot_id: Any = db.table("snapshots").insert(row).last_pk
    db.conn.executemany(
        f"INSERT INTO snapshot_rows (snapshot_id, position, {', '.join(_COLUMNS)}) VALUES (?, ?{', ?' * len(_COLUMNS)})",
        (
            (snapshot_id, position, *(row[name] for name in _COLUMNS))
            for position, row in enumerate(_preferences(db, recipe))
        ),
    )
    return _get(db, snapshot_id)


def read_recipe(text: str) -> Row:
    """Return a stored recipe as a dict of setting to value."""
    return json.loads(text)


def recipe_behind(snapshot: Snapshot) -> Recipe:
    """Return the recipe that a snapshot was made by, to choose later ratings in the same way.

    Raises:
        DataError: another version made it, by settings that are not known here.
    """
    found = read_recipe(snapshot.recipe)
    if found.get("use_strength") == "soft_label":
        found |= {"use_strength": True, "strength_as": "soft_label"}
    try:
        return Recipe.model_validate(found)
    except ValidationError as error:
        names = ", ".join(sorted({str(each["loc"][0]) for each in error.errors() if each["loc"]}))
        raise DataError(
            f"{snapshot.name} was made by another version of the studio, whose recipe is not known here: {names}. "
            "Train on a new snapshot instead."
        ) from error


def list_all(db: Database) -> list[Snapshot]:
    """Return all snapshots, newest first."""
    return [Snapshot(**row) for row in db.query(f"{_SELECT} ORDER BY id DESC")]


def get(db: Database, name: str | int) -> Snapshot:
    """Return the snapshot with this number, name (snapshot-3) or beginning of its sha256 (6 characters or more).

    Raises:
        DataError: there is none, or several match.
    """
    text = str(name).removeprefix("snapshot-")
    if text.isdecimal() and len(text) < 6:
        return _get(db, int(text))
    rows = list(db.query(f"{_SELECT} WHERE length(:text) >= 6 AND sha256 GLOB :text || '*'", {"text": text}))
    if len(rows) != 1 or not text.isalnum():
        raise DataError(f"There is no snapshot {name!r}. See them with: rlhf-studio snapshots")
    return Snapshot(**rows[0])


def training_rows(db: Database, snapshot_id: int) -> list[Row]:
    """Return the rows with texts and the prompt's split, as `modules.data.datamodules.RewardDataModule` takes them."""
    rows = db.query(
        f"{_TEXTS} FROM snapshot_rows s {_JOINS} WHERE s.snapshot_id = ? ORDER BY s.position", [snapshot_id]
    )
    return [row | {"messages": json.loads(row["messages"])} for row in rows]


def unfrozen_rows(db: Database, recipe: Recipe) -> list[Row]:
    """Return the `training_rows` of a snapshot of the ratings that count now, without writing anything.

    Raises:
        DataError: there is no rating to train on.
    """
    columns = ", ".join(f"value ->> '{name}' AS {name}" for name in _COLUMNS)
    found = list(_preferences(db, recipe))
    if not found:
        raise DataError(_why_none(db))
    rows = db.query(
        f"WITH s AS (SELECT key AS position, {columns} FROM json_each(?)) {_TEXTS} FROM s {_JOINS} ORDER BY s.position",
        [json.dumps(found)],
    )
    return [row | {"messages": json.loads(row["messages"])} for row in rows]


def runs_of(db: Database) -> dict[int, list[str]]:
    """Map each snapshot id to the names of the reward runs that train on it."""
    found: dict[int, list[str]] = {}
    for row in db.query("SELECT snapshot_id, name FROM runs WHERE snapshot_id IS NOT NULL ORDER BY id"):
        found.setdefault(row["snapshot_id"], []).append(row["name"])
    return found


def answered_by(db: Database, snapshot_id: int) -> list[int]:
    """Return the ids of the checkpoints whose answers a snapshot's preferences compare, in order."""
    rows = db.query(
        "SELECT DISTINCT r.checkpoint_id FROM snapshot_rows s JOIN responses r ON r.id IN (s.chosen_id, s.rejected_id)"
        " WHERE s.snapshot_id = ? AND r.checkpoint_id IS NOT NULL ORDER BY r.checkpoint_id",
        [snapshot_id],
    )
    return [row["checkpoint_id"] for row in rows]


def share_votes(db: Database, one_run: int, other_run: int) -> bool:
    """Return whether two runs train on a common vote; those on held-out prompts only measure."""
    of_run = "SELECT snapshot_id FROM runs WHERE id = ?"
    found = db.query(
        "SELECT 1 FROM snapshot_rows s JOIN responses r ON r.id = s.chosen_id JOIN prompts p ON p.id = r.prompt_id"
        f" WHERE s.snapshot_id = ({of_run}) AND p.split = 'train'"
        f" AND s.rating_id IN (SELECT rating_id FROM snapshot_rows WHERE snapshot_id = ({of_run})) LIMIT 1",
        [one_run, other_run],
    )
    return next(found, None) is not None


_SELECT = "SELECT id, sha256, row_count, recipe, created_at FROM snapshots"
_COLUMNS = ("rating_id", "chosen_id", "rejected_id", "target_p", "margin", "weight")
_TEXTS = (
    "SELECT e.comparison_id, e.strength, p.id AS prompt_id, p.category, p.split, p.messages, c.text AS chosen,"
    " r.text AS rejected, c.end_reason AS chosen_end_reason, r.end_reason AS rejected_end_reason, s.target_p, s.margin, s.weight"
)
_JOINS = (
    "JOIN rating_events e ON e.id = s.rating_id JOIN responses c ON c.id = s.chosen_id"
    " JOIN responses r ON r.id = s.rejected_id JOIN prompts p ON p.id = c.prompt_id"
)


def _get(db: Database, snapshot_id: int) -> Snapshot:
    row = next(db.query(f"{_SELECT} WHERE id = ?", [snapshot_id]), None)
    if row is None:
        raise DataError(f"There is no snapshot {snapshot_id}. See them with: rlhf-studio snapshots")
    return Snapshot(**row)


def _preferences(db: Database, recipe: Recipe) -> Iterator[Row]:
    """Yield the preferences from the ratings that count now, one by one: there may be a million."""
    if recipe.raters in consensus.WAYS:
        every = partial(_rows, recipe=recipe.model_copy(update={"ties": "half"}))
        return consensus.rows(_ratings(db, recipe), every, is_share=recipe.raters == "share", ties=recipe.ties)
    return (row for rating in _ratings(db, recipe) for row in _rows(rating, recipe))


def _hash(described: Row, rows: Iterable[Row]) -> tuple[str, int]:
    """Return the sha256 of the JSON text ``[recipe, [rows without their rating's id]]``, and the number of rows."""
    digest, number = hashlib.sha256(f"[{json.dumps(described)}, [".encode()), 0
    for number, row in enumerate(rows, 1):
        text = json.dumps({name: value for name, value in row.items() if name != "rating_id"})
        digest.update(f"{', ' if number > 1 else ''}{text}".encode())
    digest.update(b"]]")
    return digest.hexdigest(), number


def _ratings(db: Database, recipe: Recipe) -> Iterator[Row]:
    """Return the ratings of what is not hidden that the recipe selects, in an order that does not depend on when they were given."""
    sql, values = chosen(recipe)
    found = db.query(f"{sql} ORDER BY r.comparison_id, r.id", values)
    if not recipe.axis:
        return found
    return (judged for rating in found if (judged := criteria.by_axis(rating, recipe.axis)))


def chosen(recipe: Recipe) -> tuple[str, Row]:
    """Return the SQL of the ratings `r`, of prompts `p`, that a recipe selects but for ties and weak ones, and its values."""
    return (
        "SELECT r.* FROM ratings r"
        " JOIN comparisons c ON c.id = r.comparison_id JOIN prompts p ON p.id = c.prompt_id"
        f" WHERE r.outcome != 'skip' AND {hiding.is_pair_shown('c.id', 'c.prompt_id')} AND (:since = '' OR coalesce(r.judged_at, r.created_at) >= :since)"
        " AND (:until = '' OR substr(coalesce(r.judged_at, r.created_at), 1, 10) <= :until)"
        " AND (:raters = '[]' OR r.rater IN (SELECT value FROM json_each(:raters)))"
        " AND (:categories = '[]' OR p.category IN (SELECT value FROM json_each(:categories)))"
        " AND (:half = 'all' OR p.split != 'train' OR ((p.id * 2654435761) >> 16) % 2 = (:half = 'second'))"
        " AND NOT EXISTS (SELECT 1 FROM session_items i WHERE i.showing_id = r.showing_id AND i.arm = 'repeat'"
        " AND (:repeats != 'keep' OR i.prediction_id IS NOT NULL))",
        {
            "since": recipe.since,
            "until": recipe.until,
            "categories": json.dumps(sorted(categories(recipe.categories))),
            "half": recipe.half,
            "repeats": recipe.repeats,
            "raters": json.dumps(consensus.names(recipe.raters)),
        },
    )


def _why_none(db: Database) -> str:
    if next(db.query("SELECT count(*) AS n FROM ratings WHERE outcome != 'skip'"))["n"]:
        return "No rating fits the recipe. Widen its dates or categories, keep ties and weak labels, or leave out its axis."
    return "There are no ratings to train on. Rate some pairs first, or import preferences."


def _rows(rating: Row, recipe: Recipe) -> list[Row]:
    """Return a rating's preferences: one of a pair, C(K, 2) of a ranking with weights 1 / C(K, 2), none if left out."""
    if rating["outcome"] == "ranking":
        return _ranked(rating, recipe)
    left, right, outcome, strength = rating["left_id"], rating["right_id"], rating["outcome"], rating["strength"]
    is_tie = outcome in TIES
    if (is_tie and recipe.ties == "drop") or (strength == 1 and recipe.weak == "drop"):
        return []
    use = recipe.strength_as if recipe.use_strength else ""
    chosen, rejected = (left, right) if outcome == "left" else (right, left)
    return [
        _preference(
            rating,
            chosen,
            rejected,
            is_tie=is_tie,
            target_p=SOFT_LABELS.get(strength, 1.0) if use == "soft_label" else 1.0,
            margin=MARGINS.get(strength, 0.0) if use == "margin" else 0.0,
        )
    ]


def _ranked(rating: Row, recipe: Recipe) -> list[Row]:
    """Return a ranking's pairs, by their responses' ids. Each counts 1 / C(K, 2), so that the ranking counts 1."""
    rank = dict(zip(json.loads(rating["response_ids"]), json.loads(rating["ranks"]), strict=True))
    pairs = list(combinations(sorted(rank), 2))
    rows = []
    for first, second in pairs:
        is_tie = rank[first] == rank[second]
        if is_tie and recipe.ties == "drop":
            continue
        chosen, rejected = (first, second) if rank[first] <= rank[second] else (second, first)
        rows.append(_preference(rating, chosen, rejected, is_tie=is_tie, weight=1.0 / len(pairs)))
    return rows


def _preference(
    rating: Row,
    chosen: int,
    rejected: int,
    *,
    is_tie: bool,
    target_p: float = 1.0,
    margin: float = 0.0,
    weight: float = 1.0,
) -> Row:
    """Make a row; a tie lists the older response first, and has the target 0.5 and no margin."""
    if is_tie:
        (chosen, rejected), target_p, margin = sorted((chosen, rejected)), 0.5, 0.0
    return {
        "rating_id": rating["id"],
        "chosen_id": chosen,
        "rejected_id": rejected,
        "target_p": target_p,
        "margin": margin,
        "weight": weight,
    }
