"""What became of votes against a confident reward model: slips, the model's errors, gaps of the guideline, and what is open."""

from dataclasses import dataclass

from sqlite_utils import Database

from studio.annotation import disagreements
from studio.annotation.session_summary import CONFIDENT
from studio.insights.estimates import Estimate, share
from studio.insights.votes import NEWEST


@dataclass(frozen=True)
class Disagreements:
    """Votes to which a reward model had given at most one in five before them, looked at a second time."""

    slips: Estimate
    """First votes that were slips, of all that were settled."""
    model_errors: Estimate
    """Those where the reward model was wrong."""
    gaps: Estimate
    """Those of which the guideline did not say enough."""
    num_open: int
    """Not settled yet; counting ends at `disagreements.COUNTED`."""
    is_more: bool
    """There are more open ones than were counted."""
    sure: float = CONFIDENT
    """The least probability that the reward model had given the other answer."""


def read(db: Database, rater: str = "", newest: int = NEWEST) -> Disagreements:
    """Count how the newest disagreements of a rater, or of all, ended, and those that are open."""
    found = disagreements.settled(db, rater, newest)
    prompts = [prompt_id for _, prompt_id in found]
    slips, errors, gaps = (share([out == name for out, _ in found], prompts) for name in ("slip", "model", "gap"))
    num_open = disagreements.count(db, rater, at_most=disagreements.COUNTED + 1)
    return Disagreements(
        slips, errors, gaps, min(num_open, disagreements.COUNTED), is_more=num_open > disagreements.COUNTED
    )
