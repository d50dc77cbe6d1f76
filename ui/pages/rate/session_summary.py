"""The card of a rating session: its shares as bars with their 95 % intervals, and the votes that want a second look."""

import math
from html import escape
from itertools import starmap

from studio.annotation.session_summary import Card, Contradiction, Share
from studio.preferences.vocabulary import TIES, WORDS
from ui.components import shares

MOST = 20
FIRST_LETTERS = 220


def panel(card: Card, title: str = "") -> str:
    """Draw the whole card; a sentence where nothing was rated yet."""
    if not card.num_votes:
        return '<p class="quiet">No votes yet. The card fills as you rate.</p>'
    rows = [
        ("Left side chosen", "of decided votes; far from half is a habit of position", card.left, 0.5),
        ("Ties", f"{' and '.join(WORDS[name] for name in TIES)}, of all votes", card.ties, None),
        (
            "You agree with yourself",
            "the same answers judged twice; for a ranking, the share of its pairs",
            card.self_agreement,
            None,
        ),
        ("sides as before", "", card.same_sides, None),
        ("sides swapped", "", card.swapped_sides, None),
        ("The reward model agrees", "its preference before your vote, decided votes", card.reward_agreement, 0.5),
    ]
    heading = f"<h3>{escape(title)}</h3>" if title else ""
    return (
        f'<section class="session-card">{heading}<div class="figures">{_figures(card)}</div>'
        f'<table class="shares"><tbody>{"".join(starmap(_row, rows))}</tbody></table>{_outcomes(card)}'
        f"{_contradictions(card)}</section>"
    )


def _figures(card: Card) -> str:
    pace = "–" if math.isnan(card.votes_per_hour) else f"{card.votes_per_hour:,.0f}"
    loss = "–" if math.isnan(card.log_loss) else f"{card.log_loss:.3f}"
    minutes = card.active_s / 60
    found = [
        (f"{card.num_votes:,}", "vote" if card.num_votes == 1 else "votes"),
        (pace, f"an hour, in {minutes:,.{int(minutes < 10)}f} active minutes"),
        (loss, "log-loss of the reward model (guessing: 0.693)"),
    ]
    if card.changed:
        found.append((f"{card.changed:,}", "changed after a prediction"))
    return "".join(f'<div><b class="num">{value}</b><span>{escape(words)}</span></div>' for value, words in found)


def _row(name: str, about: str, share: Share, chance: float | None) -> str:
    counted = f"{f'{share.hits:,.1f}'.removesuffix('.0')} of {share.num:,}"
    return shares.row(name, about, (share.value, *share.interval) if share.num else None, counted, chance)


def _outcomes(card: Card) -> str:
    counted = [f"{num:,} {WORDS[name]}" for name, num in card.outcomes.items() if num]
    skipped = f", {card.num_skipped:,} {WORDS['skip']}" if card.num_skipped else ""
    return f'<p class="quiet">{escape(", ".join(counted))}{skipped}. Shares with 95 % intervals.</p>'


def _contradictions(card: Card) -> str:
    if not card.reward_agreement.num:
        return ""
    if not card.contradictions:
        return (
            '<h4>Against a confident reward model</h4><p class="quiet">No vote went against it where it was sure.</p>'
        )
    shown = "".join(_contradiction(found) for found in card.contradictions[:MOST])
    more = f"<p class='quiet'>{len(card.contradictions) - MOST:,} more.</p>" if len(card.contradictions) > MOST else ""
    return (
        f"<h4>Against a confident reward model ({len(card.contradictions):,})</h4>"
        '<p class="quiet">Your slip, its error, or a gap in the guideline? A later session shows them again, unmarked, and asks.</p>'
        f"{shown}{more}"
    )


def _contradiction(found: Contradiction) -> str:
    return (
        f'<details class="against"><summary><span class="num">{found.probability:.0%}</span> {escape(first(found.prompt))}'
        f"</summary><dl><dt>you preferred</dt><dd>{escape(first(found.preferred))}</dd>"
        f"<dt>over</dt><dd>{escape(first(found.other))}</dd><dt>rating</dt><dd>{found.event_id}</dd></dl></details>"
    )


def first(text: str) -> str:
    """Return the beginning of a text."""
    return text[:FIRST_LETTERS] + ("…" if len(text) > FIRST_LETTERS else "")
