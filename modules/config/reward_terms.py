"""Reads PPO's reward from a line: ``reward*1.0 + classifier:FOLDER*0.5 + function:length.py:short_is_good*0.1``.

Three kinds of terms, each with an optional weight (1 where none is given): ``reward``, the studio's reward checkpoint;
``classifier:FOLDER``, a sequence-classification model (``classifier:FOLDER#LABEL`` names the label that is good);
``function:FILE.py:NAME``, a Python function. Terms are joined by `` + ``. Nothing is looked up here; no torch.
"""

import math
import re
from typing import Literal, NamedTuple

Kind = Literal["reward", "classifier", "function"]


class RewardTerm(NamedTuple):
    """One component of the reward."""

    kind: Kind
    source: str
    """Folder or hub id of a classifier, file of a function; empty for the reward checkpoint."""
    item: str
    """Label of a classifier (empty: its only one, or the second of two), name of a function; empty for the reward checkpoint."""
    weight: float
    name: str
    """Unique among the terms; its mean is logged as ``reward/<name>``."""

    def __str__(self) -> str:
        """Return the term as it is written."""
        mark = {"reward": "", "classifier": "#", "function": ":"}[self.kind]
        source = f":{self.source}" if self.source else ""
        return f"{self.kind}{source}{mark if self.item else ''}{self.item}*{self.weight!r}"


def parse(text: str) -> tuple[RewardTerm, ...]:
    """Parse the terms of a reward, in their order; none for an empty text.

    Raises:
        ValueError: A term cannot be understood; the message says what was expected.
    """
    if not text.strip():
        return ()
    terms: list[RewardTerm] = []
    for written in re.split(r"\s+\+\s+", text.strip()):
        term = _term(written)
        if any(term[:3] == other[:3] for other in terms):
            raise ValueError(f"the term {written!r} occurs twice; give it once, with the sum of the weights")
        taken = {other.name for other in terms}
        names = [term.name, *(f"{term.name}_{n}" for n in range(2, len(terms) + 2))]
        terms.append(term._replace(name=next(name for name in names if name not in taken)))
    return tuple(terms)


def _term(written: str) -> RewardTerm:
    body, star, weight_text = written.rpartition("*")
    if not star:
        body, weight_text = written, "1"
    kind, _, rest = body.strip().partition(":")
    weight = _weight(weight_text, written)
    match kind:
        case "reward" if not rest:
            return RewardTerm("reward", "", "", weight, "reward")
        case "classifier" if rest:
            folder, _, label = rest.partition("#")
            return RewardTerm("classifier", folder, label, weight, _identifier(folder.rstrip("/").rpartition("/")[2]))
        case "function" if re.fullmatch(r".+\.py:[A-Za-z_]\w*", rest):
            file, _, name = rest.rpartition(":")
            return RewardTerm("function", file, name, weight, name)
    raise ValueError(
        f"the term {written!r} is not reward, classifier:FOLDER or function:FILE.py:NAME, each with *WEIGHT where it is "
        "not 1; join terms with ' + '"
    )


def _weight(text: str, written: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        weight = math.nan
    if not math.isfinite(weight) or weight == 0:
        raise ValueError(
            f"the weight {text.strip()!r} of the term {written!r} is not a number other than 0; join terms with ' + '"
        )
    return weight


def _identifier(name: str) -> str:
    """Return a name that a metric can have."""
    cleaned = re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_")
    return f"_{cleaned}" if cleaned[:1].isdigit() else cleaned or "classifier"
