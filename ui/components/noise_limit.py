"""The noise ceiling as the limit of an accuracy chart."""

from studio.insights.estimates import Estimate
from ui.components.charts import Limit


def of(ceiling: Estimate) -> Limit | None:
    """Return the limit with its words; None where nothing was judged twice."""
    if not ceiling.num:
        return None
    words = f"ceiling at most {ceiling.value:.0%}, {ceiling.num:,} repeats"
    return Limit(ceiling.value, ceiling.low, ceiling.high, words)
