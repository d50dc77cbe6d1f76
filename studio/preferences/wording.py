"""Says a judgement in words, for a person to read."""

from sqlite_utils import Database

from studio.preferences import comparisons
from studio.preferences.judgements import ranking_words
from studio.preferences.ratings import Rating
from studio.preferences.vocabulary import ALL_BAD, SIDES, STRENGTHS, WORDS

IDEAL = "your ideal answer, better than the one it was made from"


def of_rating(db: Database, rating: Rating) -> str:
    """Say a recorded judgement."""
    if rating.edited_response_id is not None:
        return IDEAL
    showing = comparisons.get_showing(db, rating.showing_id) if rating.showing_id is not None else None
    is_ranked = showing is not None and len(showing.texts) > 2
    return of_judgement(rating.outcome, rating.strength, rating.ranks, is_ranked=is_ranked)


def of_judgement(
    outcome: str,
    strength: int | None,
    ranks: str | None,
    *,
    is_ranked: bool = False,
) -> str:
    """Say a judgement such as ``left much better``, ``both fine`` or ``ranking 2 > 1 = 3``.

    Args:
        outcome: as stored.
        strength: as stored; without one it is better.
        ranks: JSON, as stored; of a ranking.
        is_ranked: three or more answers were shown.
    """
    if ranks:
        return f"ranking {ranking_words(ranks)}"
    if outcome in SIDES:
        return f"{outcome} {STRENGTHS[strength or 2]}"
    if outcome == "both_bad" and is_ranked:
        return ALL_BAD
    return WORDS.get(outcome, outcome)
