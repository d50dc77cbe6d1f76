"""What a look at a source shows, and what an import brought, with their sentences."""

from dataclasses import dataclass, field
from typing import Any

from studio.datasets.formats.family import Kind


@dataclass(frozen=True)
class Preview:
    """The contents of a source and what would be kept. `dropped`: reason to number of rows.

    Each example has `messages` (the prompt), `category` and `split`; a demonstration also `response`; a preference
    `chosen`, `rejected` (for a tie or an unrated pair the two sides as given), `outcome`, `strength` and `rater`; a ranking
    `groups`, best first.
    """

    source: str
    kind: Kind
    format: str
    num_rows: int
    num_kept: int
    dropped: dict[str, int]
    examples: list[dict[str, Any]]
    notes: tuple[str, ...] = ()
    columns: list[str] = field(default_factory=list)
    ignored: dict[str, int] = field(default_factory=dict)
    """Column that is not read to the number of rows in which it holds something."""
    axes: list[str] = field(default_factory=list)
    """Criteria by which the source judges, such as helpfulness and safety."""

    @property
    def counts(self) -> str:
        """How many are kept, of how many."""
        return _counted(self.num_kept, self.num_rows, self.dropped)

    @property
    def sentence(self) -> str:
        """The counts and what was left out, in words."""
        counts = f"{self.counts} are {self.kind} ({self.format})"
        return " ".join([f"{self.source}: {counts}{reasons(self.dropped)}.", *self.notes])


@dataclass(frozen=True)
class ImportResult:
    """The result of an import; `num_new` counts what the workspace did not have before.

    Of the preferences whose pair was known, `num_judged` brought the first judgement of a waiting pair, `num_added` one
    more on a judged pair, `num_corrected` a later version of a judgement, and `num_contrary` an anonymous judgement
    that differs from the one that counts, which was kept.
    """

    source: str
    kind: Kind
    format: str
    num_rows: int
    num_kept: int
    dropped: dict[str, int]
    import_id: int
    num_new: int
    is_repeat: bool = False
    num_judged: int = 0
    num_contrary: int = 0
    num_added: int = 0
    num_corrected: int = 0
    notes: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """The counts in words."""
        if self.is_repeat:
            return f"{self.source} was imported before as {self.kind}; nothing was added."
        others = self.num_judged + self.num_contrary + self.num_added + self.num_corrected
        known = self.num_kept - self.num_new - others
        told = [f"{known:,} were already here"] if known else []
        if self.num_judged:
            told.append(f"{self.num_judged:,} were waiting here and are now judged")
        if self.num_added:
            told.append(f"{self.num_added:,} add a judgement to a pair that was judged here")
        if self.num_corrected:
            told.append(f"{self.num_corrected:,} correct what was here")
        if self.num_contrary:
            told.append(f"{self.num_contrary:,} are here with another judgement, which was kept: see Rate, History")
        already = f" ({'; '.join(told)})" if told else ""
        kind = self.kind.removesuffix("s") if self.num_new == 1 else self.kind
        counts = f"{self.num_new:,} new {kind} from {self.num_rows:,} rows{already} ({self.format})"
        return " ".join([f"{self.source}: {counts}{reasons(self.dropped)}.", *self.notes])


def _counted(kept: int, rows: int, dropped: dict[str, int]) -> str:
    """Say how many were kept: of rows, or, where a row holds several judgements, of judgements."""
    all_read = kept + sum(dropped.values())
    return f"{kept:,} of {rows:,} rows" if all_read == rows else f"{kept:,} of {all_read:,} judgements in {rows:,} rows"


def reasons(dropped: dict[str, int]) -> str:
    """Say how many were dropped and why; empty where none was."""
    if not dropped:
        return ""
    named = ", ".join(f"{reason} ({count:,})" for reason, count in dropped.items())
    return f"; {sum(dropped.values()):,} dropped: {named}"
