"""Draws what the ratings tell, a section for each question, each figure with its interval and the votes behind it."""

import math
from collections.abc import Callable, Sequence
from html import escape

from studio.insights.active_choice import ActiveChoice
from studio.insights.consistency import Consistency
from studio.insights.estimates import Estimate
from studio.insights.habits import Block, Habit
from studio.insights.learning_curves import LearningCurve, Point
from studio.insights.predictions import Group, RewardModel
from studio.insights.report import Insights
from ui.components import html, noise_limit, raters, reliability_curve, shares
from ui.components.charts import Band, Curve, chart

KINDS = {
    "strength": "strength of the vote",
    "chosen": "how the pair was chosen",
    "length": "difference in length",
    "category": "category",
    "rater": "rater",
}
NUM_FITTED = 24
"""Pieces of the line that is expected."""
BETWEEN = ("raters", "beyond chance", "95 % interval", "pairs in common")


def page(found: Insights, cost: str = "", refused: str = "", refused_arms: str = "") -> str:
    """Draw all sections; where nothing was judged yet, say what belongs here.

    `cost` says what a learning curve would take; `refused` why none could be measured now, `refused_arms` none of chosen and random pairs.
    """
    if not found.num_read:
        text = "Rate some pairs. How often you agree with yourself, what that leaves a reward model to reach, and how it does will be shown here."
        return html.empty("Nothing is rated yet", text, "rate", "Rate pairs")
    sections = [
        ("consistency", "Do raters agree with themselves?", _consistency(found)),
        ("models", "Did reward models foresee the votes?", _models(found)),
        ("disagreements", "Who was right where rater and reward model disagreed?", _disagreements(found)),
        ("labels", "How many more labels?", _labels(found.curve, cost, refused)),
        ("choice", "Does choosing pairs save labels?", _choice(found.active_choice, refused_arms)),
        ("habits", "Side and length", _habits(found)),
        ("raters", "Do raters agree with each other?", _raters(found)),
        ("pace", "Pace, ties and skips", _pace(found.all_time, found.over_time)),
    ]
    body = "".join(f'<section id="insight-{key}"><h2>{title}</h2>{drawn}</section>' for key, title, drawn in sections)
    return f'<div class="insights"><p class="quiet">{_read(found)}</p>{body}</div>'


def _read(found: Insights) -> str:
    part = "" if found.num_read == found.num_all else f", the newest of {found.num_all:,}"
    return f"From {found.num_read:,} judgements{part}."


def _consistency(found: Insights) -> str:
    first = found.consistencies[0]
    if not first.agreement.num:
        return (
            '<p class="quiet">Nothing has been rated twice yet. A session shows some pairs a second time, unmarked: start one under '
            '<a href="#rate">Rate, Session</a>.</p>'
        )
    rows = "".join(_consistent(each, len(found.consistencies) > 1) for each in found.consistencies)
    return f"{_ceiling(first.ceiling)}{_table(rows)}"


def _ceiling(ceiling: Estimate) -> str:
    if not ceiling.num:
        return '<p class="quiet">No pair was decided both times, so there is no noise ceiling yet.</p>'
    return (
        f'<div class="figures"><div><b class="num">at most {ceiling.value:.0%}</b><span>noise ceiling, {ceiling.low:.0%} to '
        f"{ceiling.high:.0%}, from {_votes(ceiling, 'pairs decided twice')}</span></div></div>"
        '<p class="about">A reward model that is always right would agree with at most this share of the decided votes, since the others '
        "are slips. With pairs of mixed difficulty it is less; a first answer that is remembered makes it look higher.</p>"
    )


def _consistent(each: Consistency, has_others: bool) -> str:
    name = raters.words(each.rater) if each.rater or not has_others else "everybody"
    title = (
        "the same judgement twice"
        if not each.rater and not has_others
        else f"{name or 'all'}: the same judgement twice"
    )
    return "".join(
        [
            _row(title, "ties are a judgement of their own", each.agreement, "repeats"),
            _row("sides as before", "", each.same_sides, "repeats"),
            _row("sides swapped", "", each.swapped_sides, "repeats"),
            _row("same winner, where decided", "", each.decided, "pairs"),
        ]
    )


def _models(found: Insights) -> str:
    if not found.reward_models:
        return _unpredicted(found.newest_model)
    newest, *others = found.reward_models
    older = "".join(
        f'<details class="older-model"><summary>{escape(model.name)} <span class="num">{model.accuracy.value:.0%}</span> of '
        f"{model.accuracy.num:,}</summary>{_model(model, found.ceiling)}</details>"
        for model in others
        if model.accuracy.num
    )
    left_out = found.num_models - len(found.reward_models)
    more = f'<p class="quiet">{left_out:,} older ones are left out.</p>' if left_out else ""
    return f"<h3>{escape(newest.name)}</h3>{_model(newest, found.ceiling)}{older}{more}"


def _unpredicted(newest: str) -> str:
    """Say why no vote was predicted, and what changes that."""
    session = '<a href="#rate/session">a session</a>'
    if not newest:
        return (
            '<p class="quiet">There is no reward model yet. <a href="#train/reward">Train one</a>, then rate in '
            f"{session}: there it predicts each pair before you see it, and is measured on your vote.</p>"
        )
    return (
        f'<p class="quiet">{escape(newest)} has predicted none of these votes. A reward model is measured only on votes that came after '
        f"its prediction, and it predicts pairs while a session runs: start {session} and rate there.</p>"
    )


def _model(model: RewardModel, ceiling: Estimate) -> str:
    if not model.accuracy.num:
        return '<p class="quiet">It has not predicted a decided vote yet.</p>'
    loss = model.log_loss
    interval = "" if math.isnan(loss.low) else f", {loss.low:.3f} to {loss.high:.3f}"
    figures = (
        f'<div class="figures"><div><b class="num">{model.accuracy.value:.0%}</b><span>right, {model.accuracy.low:.0%} to '
        f"{model.accuracy.high:.0%}, of {_votes(model.accuracy, 'decided votes')}</span></div>"
        f'<div><b class="num">{loss.value:.3f}</b><span>log-loss{interval}, of {_votes(loss)}; guessing gives 0.693</span></div></div>'
    )
    is_off = model.calibration_error > model.calibration_noise
    note = (
        f"The mean distance from it is {model.calibration_error:.3f} (ece), {'more than' if is_off else 'within what'} chance gives a "
        f"perfectly calibrated model: 95 % stay below {model.calibration_noise:.3f} at {model.accuracy.num:,} votes."
    )
    over_time = f"{_accuracy(model, ceiling)}{_loss(model)}" if len(model.over_time) > 1 else ""
    drawn = f"{over_time}{reliability_curve.figure(model.points, note)}"
    return f'{figures}<div class="charts">{drawn}</div>{_parts(model)}'


def _accuracy(model: RewardModel, ceiling: Estimate) -> str:
    """Draw the accuracy of one stretch of votes after the other, under the noise ceiling."""
    curve, band = _line("accuracy", [(each.last, each.accuracy) for each in model.over_time])
    said = Curve("said", [(each.last, each.said) for each in model.over_time], is_dashed=True)
    sentence = (
        f"Share of decided votes that it foresaw, {_in_parts(model)}; the band is the 95 % interval. Dashed, said: the probability that it "
        f"gave to it, which is the same where it is calibrated{'; above, the noise ceiling with its interval' * bool(ceiling.num)}."
    )
    return chart("accuracy over time", sentence, [curve, said], band, "vote", limit=noise_limit.of(ceiling))


def _loss(model: RewardModel) -> str:
    curve, band = _line("log-loss", [(each.last, each.log_loss) for each in model.over_time])
    sentence = f"Log-loss of decided votes, {_in_parts(model)}; the band is the 95 % interval. Guessing gives 0.693."
    return chart("log-loss over time", sentence, [curve], band, "vote")


def _in_parts(model: RewardModel) -> str:
    first = model.over_time[0]
    return f"{model.accuracy.num:,} in the order they were given, {first.last - first.first + 1:,} at a time"


def _parts(model: RewardModel) -> str:
    rows = ""
    for kind, title in KINDS.items():
        parts: list[Group] = [group for group in model.groups if group.kind == kind]
        if parts:
            rows += f'<tr><th class="part" colspan="3" scope="rowgroup">right, by {title}</th></tr>'
            rows += "".join(_row(_named(part), "", part.accuracy, "votes", 0.5, _said(part)) for part in parts)
    rows += '<tr><th class="part" colspan="3" scope="rowgroup">prefers the longer answer, where they differ</th></tr>'
    rows += _row("the reward model", "", model.longer, "votes", 0.5)
    rows += _row("the raters, on the same votes", "", model.rater_longer, "votes", 0.5)
    return _table(rows)


def _said(part: Group) -> str:
    """Say what the model had said of these votes, and its log-loss."""
    loss = part.log_loss
    interval = "" if math.isnan(loss.low) else f" ({loss.low:.2f} to {loss.high:.2f})"
    return f"said\u00a0{part.said:.0%}; log-loss {loss.value:.2f}{interval}"


def _named(part: Group) -> str:
    return raters.words(part.name) if part.kind == "rater" else part.name


def _disagreements(found: Insights) -> str:
    """Draw how votes against a confident reward model ended, and how many are open."""
    counted = found.disagreements
    about = (
        f"Votes for an answer to which a reward model had given at most {1 - counted.sure:.0%} before. A later session shows them again, unmarked, and only "
        "after the second vote asks what it was."
    )
    num = f"{'more than ' * counted.is_more}{counted.num_open:,}"
    wait = {"1": "1 waits to be looked at again."}.get(num, f"{num} wait to be looked at again.")
    still = (
        f'<p class="quiet">{wait} <a href="#rate">Rate, Session</a> starts a session.</p>' if counted.num_open else ""
    )
    if not counted.slips.num:
        nothing = "None has been settled yet." if counted.num_open else "There are none."
        return f'<p class="about">{about}</p><p class="quiet">{nothing}</p>{still}'
    rows = "".join(
        [
            _row("the first vote was a slip", "corrected to the second one", counted.slips, "settled in all"),
            _row("the model was wrong", "the votes stay", counted.model_errors, "settled in all"),
            _row("the guideline does not say", "listed next to it on Rate, Session", counted.gaps, "settled in all"),
        ]
    )
    return f'<p class="about">{about}</p>{_table(rows)}{still}'


def _start(words: str, refused: str) -> str:
    """Lead to the form of a learning curve; where it would be refused, say why instead."""
    if not refused:
        return f'<p><a class="go" href="#train/curve">{words}</a></p>'
    return f'<p><button type="button" class="go" disabled>{words}</button></p><p class="quiet">Not possible yet. {escape(refused)}</p>'


def _labels(curve: LearningCurve | None, cost: str, refused: str) -> str:
    start = _start(f"Measure {'another' if curve else 'the'} learning curve", refused)
    if cost:
        start = f'<p class="about">{escape(cost)}</p>{start}'
    if curve is None:
        return (
            '<p class="about">Would more ratings make the reward model better? A learning curve answers it: reward models are trained on a small '
            "part of your ratings and on larger and larger ones, and each is measured on the same held-out votes, which none of them has seen. Where "
            "accuracy still rises at the end, more ratings will help; where it is level, they will hardly. No learning curve has been "
            f"measured yet.</p>{start}"
        )
    said = "".join(f'<p class="said">{escape(gain.sentence)}</p>' for gain in curve.gains)
    unfinished = f'<p class="quiet">{escape(curve.unfinished)}</p>' if curve.unfinished else ""
    about = (
        f"{curve.run} trained reward models on growing parts of {curve.snapshot} and measured each on the same {curve.num_held_out:,} held-out "
        f"votes on {curve.num_prompts:,} prompts. The line is the mean of {curve.num_seeds:,} random {'draw' if curve.num_seeds == 1 else 'draws'} "
        "of those parts (seeds), the band goes from the lowest to the highest."
    )
    drawn = f'<div class="charts">{_learning(curve)}</div>' if curve.points else ""
    return f'<p class="about">{escape(about)}</p>{said}{unfinished}{drawn}{start}'


def _learning(curve: LearningCurve) -> str:
    """Draw accuracy over labels, and what is expected up to twice as many."""
    points = curve.points
    band = _seeds(points)
    lines = [Curve("mean", [(p.size, p.accuracy) for p in points])]
    if curve.forecast:
        first, last = points[0].size, 2 * points[-1].size
        xs = [round(first * (last / first) ** (step / NUM_FITTED)) for step in range(NUM_FITTED + 1)]
        line = [(x, curve.forecast.law.at(x)) for x in xs]
        lines.append(Curve("fit", line, is_dashed=True, band=_expected(curve)))
    sentence = (
        f"Share of the {curve.num_held_out:,} held-out votes that the reward models foresaw, by the labels that they learned from. Dashed: what is "
        "expected of up to twice as many labels (a power law fitted to the curve), with the 95 % interval of the gain."
        f"{' Above, the noise ceiling: the most that slips in the votes leave a reward model to reach.' * bool(curve.ceiling.num)}"
    )
    return chart("accuracy by labels", sentence, lines, band, "labels", limit=noise_limit.of(curve.ceiling))


def _expected(curve: LearningCurve) -> Band:
    """Return the interval of what is expected of more labels; it begins at the largest size, as a point."""
    assert curve.forecast
    num = curve.points[-1].size
    now = curve.forecast.law.at(num)
    ends = [(num, now, now), *((num + gain.more, now + gain.low, now + gain.high) for gain in curve.gains)]
    return Band([(x, low) for x, low, _ in ends], [(x, high) for x, _, high in ends])


def _choice(found: ActiveChoice | None, refused: str) -> str:
    """Draw the curves on chosen and on random labels, and how many labels the chosen ones save."""
    if found is None:
        return (
            '<p class="about">Sessions choose some pairs and draw others at random. A learning curve with <em>Compare chosen with random '
            "pairs</em> trains reward models on both, and tells how many labels choosing saves. It has not been measured yet.</p>"
            f"{_start('Measure it', refused)}"
        )
    said = f'<p class="said">{escape(found.sentence)}</p>' if found.sentence else ""
    unfinished = f'<p class="quiet">{escape(found.unfinished)}</p>' if found.unfinished else ""
    about = (
        f"{found.run}: reward models on parts of {found.snapshot}, on labels that sessions chose and on labels that the same sessions drew at "
        f"random, measured on {found.num_held_out:,} held-out votes on pairs that were not chosen, of {found.num_prompts:,} prompts."
    )
    auto = f"Sessions whose choice is auto: {found.consequence[0].lower()}{found.consequence[1:]}"
    again = _start("Measure it again", refused)
    drawn = f'<div class="charts">{_arms(found)}</div>' if found.active and found.random else ""
    return f'<p class="about">{escape(about)}</p>{said}<p class="about">{escape(auto)}</p>{unfinished}{drawn}{again}'


def _arms(found: ActiveChoice) -> str:
    lines = [
        Curve(name, [(p.size, p.accuracy) for p in points], band=_seeds(points))
        for name, points in (("chosen", found.active), ("random", found.random))
    ]
    sentence = (
        f"Share of {found.num_held_out:,} held-out votes foreseen, by labels; the bands go from the lowest to the highest of {found.num_seeds:,} seeds"
        f"{'; above, the noise ceiling with its interval' * bool(found.ceiling.num)}."
    )
    return chart("chosen and random labels", sentence, lines, None, "labels", limit=noise_limit.of(found.ceiling))


def _seeds(points: Sequence[Point]) -> Band:
    return Band([(p.size, p.lowest) for p in points], [(p.size, p.highest) for p in points])


def _habits(found: Insights) -> str:
    rows = "".join(_habit(each) for each in found.habits)
    about = "Sides are drawn at random, so a share far from half is a habit of the eye. A reward model sees each answer alone and has no side."
    return f'<p class="about">{about}</p>{_table(rows)}'


def _habit(each: Habit) -> str:
    name = f"{raters.words(each.rater)}: " if each.rater else ""
    return _row(f"{name}left side", "of decided votes", each.left, "votes", 0.5) + _row(
        f"{name}longer answer", "of decided votes on answers of different length", each.longer, "votes", 0.5
    )


def _raters(found: Insights) -> str:
    if not found.agreement.kappas:
        return '<p class="quiet">No pair of these was judged by two raters.</p>'
    lines = [("Krippendorff’s alpha, all", found.agreement.alpha)]
    lines += [
        (f"Cohen’s kappa, {raters.who(each.one)} and {raters.who(each.other)}", each.kappa)
        for each in found.agreement.kappas
    ]
    head = "".join(f'<th scope="col"{"" if n == 0 else " class=num"}>{name}</th>' for n, name in enumerate(BETWEEN))
    body = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td class="num">{_two(each.value)}</td><td class="num">{_two(each.low)} to '
        f'{_two(each.high)}</td><td class="num">{each.num:,}</td></tr>'
        for name, each in lines
    )
    about = "1 means that raters always agree, 0 that they agree no more often than by chance. Each rater counts once for each pair; a tie is a judgement of its own."
    return (
        f'<p class="about">{about}</p>{html.wide("Agreement")}<table class="evaluation between"><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _pace(found: Block | None, over_time: Sequence[Block]) -> str:
    """Draw pace, ties and skips of all judgements, and, where there are several blocks, their course."""
    if found is None:
        return '<p class="quiet">None of these was judged in this studio.</p>'
    speed = found.per_hour
    interval = "" if math.isnan(speed.low) else f", {speed.low:,.0f} to {speed.high:,.0f}"
    figure = (
        f'<div class="figures"><div><b class="num">{speed.value:,.0f}</b><span>votes an hour of active time{interval}, from '
        f"{_votes(speed, 'judgements')}</span></div></div>"
        if speed.num
        else '<p class="quiet">How long they took is not known.</p>'
    )
    rows = _row("ties", "and both-bad, of votes on pairs", found.ties, "votes")
    rows += _row("skips", "of all judgements", found.skips, "judgements")
    return f"{figure}{_table(rows)}{_course(over_time) if len(over_time) > 1 else ''}"


def _course(over_time: Sequence[Block]) -> str:
    num = f"{over_time[-1].last:,} judgements, {over_time[0].last - over_time[0].first + 1:,} at a time; the band is the 95 % interval"
    pace, pace_band = _line("an hour", [(block.last, block.per_hour) for block in over_time])
    ties, ties_band = _line("ties", [(block.last, block.ties) for block in over_time])
    skips, skips_band = _line("skips", [(block.last, block.skips) for block in over_time])
    return (
        '<div class="charts">'
        + chart("pace", f"Votes an hour of active time, {num}.", [pace], pace_band, "judgement")
        + chart("ties", f"Ties and both-bad among votes on pairs, {num}.", [ties], ties_band, "judgement")
        + chart("skips", f"Skips among all judgements, {num}.", [skips], skips_band, "judgement")
        + "</div>"
    )


def _line(name: str, found: Sequence[tuple[int, Estimate]]) -> tuple[Curve, Band]:
    """Return a curve with its intervals; what nothing was counted for is left out."""
    counted = [(x, each) for x, each in found if each.num]

    def points(of: Callable[[Estimate], float]) -> list[tuple[int, float]]:
        return [(x, of(each)) for x, each in counted]

    return Curve(name, points(lambda e: e.value)), Band(points(lambda e: e.low), points(lambda e: e.high))


def _table(rows: str) -> str:
    return f'<table class="shares"><tbody>{rows}</tbody></table>'


def _row(name: str, about: str, found: Estimate, what: str, chance: float | None = None, more: str = "") -> str:
    counted = _votes(found, what) + (f"; {more}" if more else "")
    return shares.row(name, about, found[:3] if found.num else None, counted, chance)


def _votes(found: Estimate, what: str = "votes") -> str:
    prompts = "" if found.num_prompts == found.num else f" on {found.num_prompts:,} prompts"
    return f"{found.num:,} {what}{prompts}"


def _two(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.2f}"
