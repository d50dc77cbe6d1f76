"""Reads files as an import does, for tests: the items and the reasons, before and after duplicates are sifted out."""

from pathlib import Path
from typing import Any

from studio.datasets import plan, readers, sifting
from studio.datasets.formats.item import Dropped, Item
from studio.datasets.sifting import Tally


def outcomes(source: Path | str, *, family: str = "") -> list[Item | Dropped]:
    """Every item and every reason of a source, as the reader of its family gives them."""
    with readers.opened(str(source)) as raw:
        plans, _ = plan.decide(raw, "auto", family, [part.mapped for part in raw.parts])
        return [outcome for outcome, _ in sifting._outcomes(plans, Tally(), None)]


def kept(source: Path | str, *, family: str = "") -> tuple[list[Item], Tally]:
    """The items that an import would keep, with the counts; thumbs stay as they are."""
    with readers.opened(str(source)) as raw:
        plans, kind = plan.decide(raw, "auto", family, [part.mapped for part in raw.parts])
        tally = Tally()
        found = list(sifting.items(plans, kind, "", tally))
        return found, tally


def told(item: Item) -> dict[str, Any]:
    """An item in the words of an expected.json."""
    said: dict[str, Any] = {"kind": item.kind, "prompt": item.prompt}
    if item.kind == "pair":
        said |= {"chosen": item.chosen, "rejected": item.rejected}
    elif item.kind in ("tie", "both_bad"):
        said |= {"a": item.responses[0], "b": item.responses[1]}
    elif item.kind == "ranking":
        said |= {"groups": [[item.responses[at] for at in group] for group in item.groups]}
    elif item.responses:
        said |= {"response": item.responses[0]}
    return said | ({"label": item.label} if item.label is not None else {})
