"""What differs between two snapshots, pair by pair. Reads the tables that `snapshots` owns."""

from dataclasses import dataclass
from typing import Any

from sqlite_utils import Database

from studio.preferences import snapshots
from studio.preferences.snapshots import Recipe, Row


@dataclass(frozen=True)
class Difference:
    """The difference of two snapshots. Rows are dicts as from `training_rows`; a changed one is (before, after)."""

    recipe: dict[str, tuple[Any, Any]]
    """Setting to its two values."""
    num_same: int
    only_first: list[Row]
    only_second: list[Row]
    changed: list[tuple[Row, Row]]

    @property
    def sentence(self) -> str:
        """The counts in words."""
        return (
            f"{self.num_same:,} preferences are the same, {len(self.changed):,} changed, {len(self.only_first):,} are only in "
            f"the first and {len(self.only_second):,} only in the second."
        )


def compare(db: Database, first: str | int, second: str | int) -> Difference:
    """Compare two snapshots pair by pair; a pair is two responses, whichever is chosen.

    Raises:
        DataError: there is no such snapshot.
    """
    before, after = snapshots.get(db, first), snapshots.get(db, second)
    recipes = [snapshots.read_recipe(found.recipe) for found in (before, after)]
    # A recipe is stored without settings at their default.
    first_recipe, second_recipe = (Recipe().model_dump() | recipe for recipe in recipes)
    named = {name: (first_recipe.get(name), second_recipe.get(name)) for name in recipes[0] | recipes[1]}
    sides = [_by_pair(db, found.id) for found in (before, after)]
    both = [key for key in sides[0] if key in sides[1]]
    changed = [(sides[0][key], sides[1][key]) for key in both if sides[0][key] != sides[1][key]]
    return Difference(
        {name: values for name, values in named.items() if values[0] != values[1]},
        len(both) - len(changed),
        [row for key, row in sides[0].items() if key not in sides[1]],
        [row for key, row in sides[1].items() if key not in sides[0]],
        changed,
    )


def _by_pair(db: Database, snapshot_id: int) -> dict[tuple[int, int, int], Row]:
    """Map two response ids, and a number where a pair occurs twice, to their row."""
    rows = db.query(
        "SELECT s.chosen_id, s.rejected_id, s.target_p, s.margin, s.weight, json_extract(p.messages, '$[#-1].content')"
        " AS prompt, c.text AS chosen, r.text AS rejected FROM snapshot_rows s JOIN responses c ON c.id = s.chosen_id"
        " JOIN responses r ON r.id = s.rejected_id JOIN prompts p ON p.id = c.prompt_id"
        " WHERE s.snapshot_id = ? ORDER BY s.position",
        [snapshot_id],
    )
    found: dict[tuple[int, int, int], Row] = {}
    for row in rows:
        low, high = sorted((row.pop("chosen_id"), row.pop("rejected_id")))
        number = 0
        while (low, high, number) in found:
            number += 1
        found[low, high, number] = row
    return found
