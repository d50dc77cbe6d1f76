"""Finds the label of a classifier that a person named, among those that its config.json names; no torch."""

from collections.abc import Mapping

from modules.errors import RewardError


def find(label: str, names: Mapping[int, str], source: str) -> int:
    """Return a label's place among the outputs: by its name, else by its number, else by its name in other letters (Toxic, toxic).

    Args:
        label: As a person wrote it; empty for the only one, or the second of two.
        names: Number to name, as the folder says.
        source: The classifier, to be named where something is wrong.

    Raises:
        RewardError: There is no such label, several have this name, or the numbers are not those of outputs.
    """
    if sorted(names) != list(range(len(names))):
        raise RewardError(
            f"The classifier {source} numbers its labels {', '.join(map(str, sorted(names)))}, but its outputs are 0 to {len(names) - 1}. "
            "Correct id2label in its config.json."
        )
    if not label and len(names) <= 2:
        return len(names) - 1
    written = [number for number, name in names.items() if label == name]
    numbered = [number for number in names if label == str(number)]
    alike = [number for number, name in names.items() if label.lower() == name.lower()]
    found = written or numbered or alike
    if not found or not label:
        wanted = f"has no label {label!r}" if label else f"has {len(names)} labels, and none is named as the good one"
        raise RewardError(
            f"The classifier {source} {wanted}: write classifier:FOLDER#LABEL with one of {', '.join(names.values())}."
        )
    if len(found) > 1:
        raise RewardError(
            f"The classifier {source} has several labels named {label!r}. Name the one that is meant by its number: "
            f"{', '.join(map(str, found))}."
        )
    return found[0]
