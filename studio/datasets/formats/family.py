"""A family of formats: the structure by which it is recognised, and the function that turns its rows into items."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from studio.datasets.formats.item import Dropped, Item

Kind = Literal["demonstrations", "preferences", "prompts"]
Row = Mapping[str, Any]
Columns = frozenset[str]
Outcome = Item | Dropped


@dataclass(frozen=True)
class Family:
    """Formats of one structure.

    Attributes:
        name: how a person names it, as in `--format`.
        says: what it is, in words.
        kind: what its rows mainly are.
        needs: choices of columns; one of each must be there. A dotted name is a key inside an object.
        read: items and reasons of one row; raises `Dropped` where the whole row cannot be used.
        read_all: instead of `read`, where rows belong together: items and reasons of all rows of a source.
        reads: columns that it understands; all others are listed as ignored.
        is_open: it understands columns of any name, as those of a labelling project.
        looks: whether the first rows hold what the columns promise.
        unclear: why rows cannot be read before a person has chosen one of `readings`; "" where they can.
        readings: names of families that each read unclear rows in one way.
    """

    name: str
    says: str
    kind: Kind
    needs: tuple[tuple[str, ...], ...]
    read: Callable[[Row, Columns], Iterable[Outcome]] | None = None
    read_all: Callable[[Iterable[Row]], Iterator[Outcome]] | None = None
    reads: Columns = frozenset()
    is_open: bool = False
    looks: Callable[[Sequence[Row]], bool] = lambda rows: True
    unclear: Callable[[Sequence[Row]], str] | None = None
    readings: tuple[str, ...] = ()

    def fits(self, columns: Columns, rows: Sequence[Row]) -> bool:
        """Return whether rows with these columns are its own."""
        return all(any(name in columns for name in choice) for choice in self.needs) and self.looks(rows)

    def understands(self, column: str) -> bool:
        """Return whether a column is read."""
        return self.is_open or column in self.reads
