"""The rules: what a sick PPO run shows in its metrics. They only tell; none of them changes or stops a run.

Early warning is weak: most signs follow the fault (reports in the issue trackers of verl, OpenRLHF and TRL say so). So a rule
that hints at a policy which pleases the reward model only asks for blind votes. Thresholds marked *rlwatch* are the defaults of
rlwatch 0.5.1, *TRL* those of TRL's documentation; the others are this project's own. `tests/benchmarks/checkup_rates.py` tries
them on small real runs, healthy ones and ones that were made sick; those that spoke on healthy ones were fixed.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from statistics import fmean, median
from typing import NamedTuple

from modules.config import PPOConfig

Curve = Sequence[tuple[int, float]]
"""(iteration, value) of a metric, in order."""
Curves = Mapping[str, Curve]
ROLLING, WARM = 100, 20
"""Iterations before a value that it is compared with, and the fewest of them (rlwatch)."""
SAME = 1e-6
"""A spread of scores under which all are the same."""
START = 3
"""First iterations, whose mean is what the SFT policy does: the policy has hardly moved."""


class Sign(NamedTuple):
    """What a rule saw."""

    step: int
    """The iteration."""
    metric: str
    """Where it shows."""
    said: str
    """The evidence, with its numbers."""


class Rule(NamedTuple):
    """A rule and what to do where it holds."""

    name: str
    advice: str
    look: Callable[[Curves, PPOConfig], Iterator[Sign]]
    asks_votes: bool = False
    """Only people can tell whether the answers got worse."""


def _trained(curve: Curve, config: PPOConfig) -> Curve:
    """Leave out the iterations that trained the value function only."""
    return [(step, value) for step, value in curve if step > config.value_warmup]


def _before(curve: Curve) -> Iterator[tuple[int, float, list[float]]]:
    """Yield each value with those of up to `ROLLING` iterations before it, where they are `WARM` or more."""
    for index in range(WARM, len(curve)):
        step, value = curve[index]
        before = [value for at, value in curve[max(0, index - ROLLING) : index] if at >= step - ROLLING]
        if len(before) >= WARM:
            yield step, value, before


def _windows(curve: Curve, num: int) -> Iterator[Curve]:
    """Yield each `num` iterations in a row; of a long run those in the middle are not read, and none reaches over them."""
    for index in range(num, len(curve) + 1):
        window = curve[index - num : index]
        if window[-1][0] - window[0][0] == num - 1:
            yield window


def _holds(curve: Curve, times: int, is_so: Callable[[float], bool]) -> Iterator[tuple[int, float]]:
    """Yield where something was so `times` iterations in a row, with the newest value."""
    row = 0
    for step, value in curve:
        row = row + 1 if is_so(value) else 0
        if row >= times:
            yield step, value


def _deviation(values: Sequence[float], mean: float) -> float:
    """Return the standard deviation; that of `statistics`, which is exact, takes fifty times as long."""
    return math.sqrt(fmean((value - mean) ** 2 for value in values))


def _start(curve: Curve, num: int = START) -> float:
    return fmean(value for _, value in curve[:num])


def kl_spike(curves: Curves, config: PPOConfig) -> Iterator[Sign]:
    """The KL jumps, and stays there for 2 iterations: over twice the highest of the five before, 1 nat more, and 3 deviations (rlwatch).

    A KL that rises as it should is often over 3 deviations and 1.7 times those five, and a single estimate over twice them.
    """
    rows = _before(_trained(curves.get("objective/kl", ()), config))
    for (_, value, before), (step, after, _) in pairwise(rows):
        mean, highest = fmean(before), max(before[-5:])
        if min(value, after) > max(mean + 3 * _deviation(before, mean), 2 * highest, highest + 1):
            said = f"KL {after:.2f} nats, at most {highest:.2f} in the five iterations before the jump, {mean:.2f} on average."
            yield Sign(step, "objective/kl", said)


def kl_range(curves: Curves, config: PPOConfig) -> Iterator[Sign]:
    """The KL is over the budget, else over 10 nats (TRL) or twice the target."""
    limit = config.kl_budget or max(10.0, 2 * config.kl_target)
    for step, value in curves.get("objective/kl", ()):
        if value > limit:
            yield Sign(step, "objective/kl", f"KL {value:.2f} nats a response; the limit is {limit:g}.")


def kl_negative(curves: Curves, config: PPOConfig) -> Iterator[Sign]:
    """The mean log-ratio to the reference is negative over 5 iterations, which no KL can be."""
    for window in _windows(curves.get("objective/kl", ()), 5):
        mean = fmean(value for _, value in window)
        if mean < -0.1:
            yield Sign(window[-1][0], "objective/kl", f"KL {mean:.2f} nats over 5 iterations.")


def entropy_collapse(curves: Curves, config: PPOConfig) -> Iterator[Sign]:
    """The policy's entropy is under half of what it began with, 5 iterations in a row."""
    curve = _trained(curves.get("policy/entropy", ()), config)
    if len(curve) > 5:
        base = median(value for _, value in curve[:5])
        for step, value in _holds(curve, 5, lambda value: value < base / 2):
            yield Sign(step, "policy/entropy", f"Entropy {value:.2f} nats a token; it began with {base:.2f}.")


def ratio_off(curves: Curves, config: PPOConfig) -> Iterator[Sign]:
    """The mean probability ratio is more than 0.1 away from 1."""
    for step, value in curves.get("policy/ratio", ()):
        if abs(value - 1) > 0.1:
            yield Sign(step, "policy/ratio", f"Mean ratio {value:.3f}; it should stay near 1.")


def clips_much(curves: Curves, config: PPOConfig) -> Iterator[Sign]:
    """More than 30 % of the tokens leave the clip range, 5 iterations in a row."""
    for step, value in _holds(curves.get("policy/clip_fraction", ()), 5, lambda value: value > 0.3):
        yield Sign(
            step, "policy/clip_fraction", f"{value:.0%} of the tokens left the clip range, 5 iterations in a row."
        )


def hardly_learns(curves: Curves, config: PPOConfig) -> Iterator[Sign]:
    """Log-probabilities hardly change within an iteration, 10 in a row; with one step an iteration they cannot, so the KL tells."""
    if config.epochs * math.ceil(config.batch_size / config.minibatch_size) > 1:
        for step, value in _holds(_trained(curves.get("policy/approx_kl", ()), config), 10, lambda value: value < 1e-6):
            yield Sign(step, "policy/approx_kl", f"Change within an iteration {value:.1e}, 10 iterations in a row.")
        return
    for step, _ in _holds(_trained(curves.get("objective/kl", ()), config), 10, lambda value: abs(value) < 1e-3):
        yield Sign(step, "objective/kl", "The KL was under 0.001 nats for 10 iterations in a row.")


def values_useless(curves: Curves, config: PPOConfig) -> Iterator[Sign]:
    """The value function predicts worse than a constant, 20 iterations in a row after its warm-up, and gets no better.

    One that starts as the reward model's head does so for some 10 to 40 iterations, and gets better all the time.
    """
    curve = _trained(curves.get("value/explained_variance", ()), config)
    for window in _windows(curve, 20):
        values = [value for _, value in window]
        first, last = median(values[:10]), median(values[10:])
        if max(values) < 0 and last < 0.75 * first:
            said = f"Explained variance {last:.2f}, below 0 for 20 iterations; {first:.2f} in the first ten of them."
            yield Sign(window[-1][0], "value/explained_variance", said)


def value_loss(curves: Curves, config: PPOConfig) -> Iterator[Sign]:
    """The value loss is more than 10 times the median of the iterations before, or 3 iterations in a row more than 3 times."""
    row = 0
    for step, value, before in _before(curves.get("value/loss", ())):
        usual = median(before[-WARM:])
        row = row + 1 if value > 3 * usual else 0
        if row >= 3 or value > 10 * usual:
            yield Sign(step, "value/loss", f"Value loss {value:.3g}; the median before was {usual:.3g}.")


def advantages_spread(curves: Curves, config: PPOConfig) -> Iterator[Sign]:
    """Advantages spread 3 times as far as before (rlwatch)."""
    for step, value, before in _before(curves.get("value/advantage_spread", ())):
        if value > 3 * fmean(before):
            said = f"Advantages spread by {value:.3g}; before by {fmean(before):.3g}."
            yield Sign(step, "value/advantage_spread", said)


def gradient_norm(curves: Curves, config: PPOConfig) -> Iterator[Sign]:
    """A gradient's norm is more than 3 standard deviations (rlwatch) over its mean before, and more than 4 times it.

    In healthy runs with small batches single norms are up to 2.8 times the mean.
    """
    for metric in ("policy/grad_norm", "value/grad_norm"):
        for step, value, before in _before(curves.get(metric, ())):
            mean = fmean(before)
            if value > max(mean + 3 * _deviation(before, mean), 4 * mean):
                yield Sign(step, metric, f"{metric} {value:.3g}; before {mean:.3g} on average.")


def score_spread(curves: Curves, config: PPOConfig) -> Iterator[Sign]:
    """The scores' variance is over 3 times that of the start (rlwatch), or nearly nothing: 3 iterations in a row."""
    curve = curves.get("objective/score_spread", ())
    if len(curve) > START:
        base = _start(curve)
        low, high = max(0.1 * base, SAME), math.sqrt(3) * base
        for step, value in _holds(curve, 3, lambda value: value > max(high, SAME) or value < low):
            said = f"Scores spread by {value:.3g} (standard deviation); at the start by {base:.3g}."
            yield Sign(step, "objective/score_spread", said)


def score_groups(curves: Curves, config: PPOConfig) -> Iterator[Sign]:
    """The scores fall into two groups, 3 iterations in a row, and did not at the start: a policy with two habits, one of which pays."""
    curve = curves.get("objective/score_groups", ())
    if len(curve) > START and _start(curve) < 0.85:
        for step, value in _holds(curve, 3, lambda value: value > 0.9):
            said = f"Two groups of scores explain {value:.0%} of their variance; at the start {_start(curve):.0%}."
            yield Sign(step, "objective/score_groups", said)


def score_drift(curves: Curves, config: PPOConfig) -> Iterator[Sign]:
    """Over 50 iterations the score rises in each ten (rlwatch: by more than 0.1) while the held-out score falls.

    It has to fall by 0.1 and by two standard errors of a difference, as so many held-out prompts have them.
    """
    held_out, spreads = curves.get("eval/score", ()), dict(curves.get("objective/score_spread", ()))
    for window in _windows(curves.get("objective/score", ()), 50):
        tens = [fmean(value for _, value in window[at : at + 10]) for at in range(0, 50, 10)]
        measured = [value for step, value in held_out if window[0][0] <= step <= window[-1][0]]
        if len(measured) < 2 or tens[-1] - tens[0] <= 0.1 or any(b <= a for a, b in pairwise(tens)):
            continue
        noise = 2 * spreads.get(window[-1][0], 0.0) * math.sqrt(2 / config.eval_prompts)
        if measured[-1] < measured[0] - max(0.1, noise):
            said = (
                f"The score rose from {tens[0]:.2f} to {tens[-1]:.2f} over 50 iterations, on held-out prompts it fell from "
                f"{measured[0]:.2f} to {measured[-1]:.2f}."
            )
            yield Sign(window[-1][0], "eval/score", said)


def length_drift(curves: Curves, config: PPOConfig) -> Iterator[Sign]:
    """Responses are over 1.5 times as long as the SFT policy's, or longer ones score higher (correlation over 0.5)."""
    lengths = curves.get("rollout/response_tokens", ())
    if len(lengths) > START:
        base = _start(lengths)
        for step, value in _holds(lengths, 3, lambda value: value > 1.5 * base):
            said = f"{value:.0f} tokens a response; at the start {base:.0f}."
            yield Sign(step, "rollout/response_tokens", said)
    for step, value in _holds(curves.get("rollout/length_correlation", ()), 5, lambda value: value > 0.5):
        said = f"Score and length correlate by {value:.2f}, over 0.5 for 5 iterations."
        yield Sign(step, "rollout/length_correlation", said)


def missing_ends(curves: Curves, config: PPOConfig) -> Iterator[Sign]:
    """Over 20 % of the responses are cut off, or twice as many as at the start and 10 % more: 3 iterations in a row."""
    curve = [(step, 1 - value) for step, value in curves.get("rollout/eos_share", ())]
    if len(curve) > START:
        base = _start(curve)
        limit = min(0.2, max(2 * base, base + 0.1))
        for step, value in _holds(curve, 3, lambda value: value > limit):
            said = f"{value:.0%} of the responses are cut off at max_new_tokens; at the start {base:.0%}."
            yield Sign(step, "rollout/eos_share", said)


def repetition(curves: Curves, config: PPOConfig) -> Iterator[Sign]:
    """A response's distinct runs of four tokens fall under 0.7 of the SFT policy's, 3 iterations in a row."""
    curve = curves.get("rollout/distinct_4grams", ())
    if len(curve) > START:
        base = _start(curve)
        for step, value in _holds(curve, 3, lambda value: value < 0.7 * base):
            said = f"{value:.0%} of a response's runs of four tokens are new; at the start {base:.0%}."
            yield Sign(step, "rollout/distinct_4grams", said)


def run_its_course(curves: Curves, config: PPOConfig) -> Iterator[Sign]:
    """Over 20 iterations the KL rises by over 1 nat and a fifth, and the score does not."""
    scores = dict(curves.get("objective/score", ()))
    for window in _windows([each for each in curves.get("objective/kl", ()) if each[0] in scores], 20):
        first, last = (fmean(value for _, value in part) for part in (window[:5], window[-5:]))
        begun, ended = (fmean(scores[step] for step, _ in part) for part in (window[:5], window[-5:]))
        if last - first > 1 and last > 1.2 * first and ended <= begun:
            said = f"KL from {first:.2f} to {last:.2f} nats over 20 iterations, score from {begun:.2f} to {ended:.2f}."
            yield Sign(window[-1][0], "objective/score", said)


STEPS = "Lower learning_rate, or set approx_kl_limit (0.02 to 0.1), which ends an iteration's updates early."
PRICE = "Raise kl_coef, or set kl_target; kl_budget hands on the best policy within a distance."
VALUES = "Raise value_warmup, or value_learning_rate; look at the curves of the value function."
RULES = (
    Rule("the KL jumps", STEPS, kl_spike),
    Rule("the policy is far from SFT", PRICE, kl_range, asks_votes=True),
    Rule("the KL is negative", "Log-probabilities do not fit what was sampled: try precision=fp32.", kl_negative),
    Rule(
        "the policy's choices narrow", PRICE + " entropy_coef keeps choices varied.", entropy_collapse, asks_votes=True
    ),
    Rule("the policy runs away from its rollouts", STEPS, ratio_off),
    Rule("much is clipped", STEPS, clips_much),
    Rule("the policy hardly moves", "Raise learning_rate; look whether the scores differ at all.", hardly_learns),
    Rule("the value function does not help", VALUES, values_useless),
    Rule("the value loss jumps", VALUES, value_loss),
    Rule("advantages spread", VALUES + " score_scale=running keeps scores on one scale.", advantages_spread),
    Rule("a gradient jumps", STEPS, gradient_norm),
    Rule(
        "the scores' spread changes",
        "Read the highest and lowest scored responses under Rollouts.",
        score_spread,
        asks_votes=True,
    ),
    Rule(
        "scores fall into two groups",
        "Sort by score under Rollouts and read both ends: one kind of answer may please the reward model only.",
        score_groups,
        asks_votes=True,
    ),
    Rule(
        "the score rises on trained prompts only",
        "Stop, and collect fresh comparisons from this policy.",
        score_drift,
        asks_votes=True,
    ),
    Rule(
        "answers get longer",
        "Reward length less: more pairs in which the shorter answer wins.",
        length_drift,
        asks_votes=True,
    ),
    Rule("answers do not end", "Raise max_new_tokens, or missing_eos_penalty.", missing_ends),
    Rule("answers repeat themselves", PRICE, repetition, asks_votes=True),
    Rule(
        "the run has run its course",
        "Stop it; collect fresh comparisons from its policy and go round again.",
        run_its_course,
        asks_votes=True,
    ),
)
