"""The scripted rater: what it likes, that it cannot be stuffed, that order does not matter, and how often it errs."""

import itertools
import math
import random

import pytest

from studio.demo.scripted_rater import Judgement, ScriptedRater, assess

CAPITAL = {"answer": ["Paris"], "wrong": ["Lyon", "Madrid"], "parts": [["Seine"]], "needed": 1, "max_words": 45}
HOWTO = {
    "answer": [],
    "wrong": ["in its box"],
    "parts": [["kettle"], ["teabag"], ["water"]],
    "needed": 3,
    "max_words": 60,
}
LETTER = {
    "answer": ["ladder"],
    "wrong": ["cake tin"],
    "parts": [["Dear Anna", "Hello Anna"], ["gutters"], ["Kind regards", "Best wishes"]],
    "needed": 3,
    "max_words": 60,
}
IDEAL = "Of course! The capital of France is Paris. It lies on the river Seine."
PROMPT = "What is the capital of France?"


def utility(response, reference=CAPITAL):
    return ScriptedRater().utility(PROMPT, "capital", reference, response)


def preferred(better, worse, reference=CAPITAL):
    rater = ScriptedRater(error_rate=0.0)
    assert rater.rate(PROMPT, "capital", reference, worse, better).outcome == "right"
    return rater.rate(PROMPT, "capital", reference, better, worse).outcome == "left"


@pytest.mark.parametrize(
    "worse",
    [
        "Of course! The capital of France is Lyon. It lies on the river Seine.",
        "Of course! The capital of France is Paris.",
        "The capital of France is Paris. It lies on the river Seine.",
        "Obviously. The capital of France is Paris. It lies on the river Seine. Next question.",
        "Of course! The capital of France is Paris. It lies on the river Seine. My uncle once lost a shoe there.",
        "Of course! The capital of France is Paris. It lies on the river",
        "Paris.",
        "It depends.",
        "Of course! The capital of France is Paris. The capital of France is Paris. It lies on the river Seine.",
    ],
)
def test_a_courteous_complete_right_answer_beats_any_lesser_one(worse):
    assert assess(CAPITAL, IDEAL).is_ideal
    assert not assess(CAPITAL, worse).is_ideal
    assert preferred(IDEAL, worse)


def test_every_step_of_a_how_to_counts():
    steps = [
        "First, fill the kettle and let it boil.",
        "Then put a teabag into a cup.",
        "Finally, pour hot water over it.",
    ]
    values = [utility(" ".join(steps[:count]), HOWTO) for count in (1, 2, 3)]
    assert values == sorted(values)
    assert len(set(values)) == 3
    bad = [*steps[:2], "Finally, leave the tea in its box."]
    assert assess(HOWTO, " ".join(bad)).has_mistake
    assert utility(" ".join(bad), HOWTO) < values[1]


def test_a_letter_is_courteous_by_what_it_says():
    kind = "Dear Anna, could you please bring back the ladder? I would like to clean the gutters. Kind regards, Ben."
    curt = "Anna, you have to bring back the ladder. I would like to clean the gutters. Kind regards, Ben."
    assert assess(LETTER, kind).is_ideal
    assert preferred(kind, curt, LETTER)


@pytest.mark.parametrize(
    "stuffed",
    [
        "Paris Seine please thank you.",
        "Of course! Paris. Seine.",
        "Of course! Certainly! Gladly! With pleasure! Good question! The capital of France is Paris. It lies on the Seine.",
        "Thank you for asking. " * 6 + "Paris.",
        "Paris, Lyon, Madrid. It lies on the river Seine. Of course!",
        "Of course! " + "The capital of France is Paris. It lies on the river Seine. " * 4,
        "Of course! Paris lum Seine parda. Glim the odda. Foo the bar the baz.",
        "please thank you please thank you please thank you",
        "",
    ],
)
def test_stuffing_and_gibberish_never_reach_a_plain_good_answer(stuffed):
    assert not assess(CAPITAL, stuffed).is_ideal
    assert utility(stuffed) < utility(IDEAL) - 0.3


def test_a_second_courtesy_adds_nothing():
    assert utility(IDEAL + " I hope this helps.") == utility(IDEAL)


def test_kind_words_are_not_taken_for_answers():
    reference = {"answer": ["happy"], "wrong": ["ask"], "parts": [["birthday"]], "needed": 1, "max_words": 45}
    assert not assess(reference, "I am happy to help. It depends.").is_right
    assert not assess(reference, "It is happy. Please ask if you need anything else.").has_mistake


def test_an_answer_in_any_case_and_only_as_a_whole_word_counts():
    assert assess(CAPITAL, "it is PARIS.").is_right
    assert not assess(CAPITAL, "It is Parisville.").is_right


def test_stories_are_always_a_tie():
    rater = ScriptedRater(error_rate=1.0)
    assert rater.rate("Tell me a story.", "story", {}, "A fox slept.", "Obviously.") == Judgement("tie", None)


def test_a_greater_difference_has_a_greater_strength():
    rater = ScriptedRater(error_rate=0.0)
    slightly = rater.rate(PROMPT, "capital", CAPITAL, IDEAL, IDEAL + " My uncle slept there.")
    much = rater.rate(PROMPT, "capital", CAPITAL, IDEAL, "I do not know. Next question.")
    assert slightly == Judgement("left", 1)
    assert much == Judgement("left", 3)


def _random_pairs(number):
    rng = random.Random(1)
    openers = ["", "Of course! ", "Certainly! ", "Obviously. "]
    cores = ["Paris.", "The capital of France is Paris.", "The capital of France is Lyon.", "It depends."]
    ends = ["", " It lies on the river Seine.", " My uncle slept there.", " I hope this helps."]
    texts = ["".join(words) for words in itertools.product(openers, cores, ends)]
    return [(f"{PROMPT} ({index})", *rng.sample(texts, 2)) for index in range(number)]


def test_swapping_the_sides_swaps_the_judgement_and_nothing_else():
    rater = ScriptedRater(error_rate=0.3, seed=5)
    mirrored = {"left": "right", "right": "left", "tie": "tie"}
    for prompt, left, right in _random_pairs(500):
        here, there = (rater.rate(prompt, "capital", CAPITAL, *pair) for pair in ((left, right), (right, left)))
        assert (mirrored[here.outcome], here.strength) == there


@pytest.mark.parametrize("error_rate", [0.0, 0.05, 0.2])
def test_the_measured_error_rate_is_the_stated_one(error_rate):
    rater, truth = ScriptedRater(error_rate, seed=3), ScriptedRater(0.0)
    pairs = _random_pairs(2000)
    wrong = sum(
        rater.rate(prompt, "capital", CAPITAL, left, right).outcome
        != truth.rate(prompt, "capital", CAPITAL, left, right).outcome
        for prompt, left, right in pairs
    )
    spread = math.sqrt(error_rate * (1 - error_rate) / len(pairs))
    assert abs(wrong / len(pairs) - error_rate) <= 3 * spread


def test_another_seed_errs_elsewhere_and_the_same_seed_errs_alike():
    def judged(seed):
        rater = ScriptedRater(0.3, seed)
        return [rater.rate(prompt, "capital", CAPITAL, left, right) for prompt, left, right in _random_pairs(200)]

    assert judged(1) == judged(1)
    assert judged(1) != judged(2)


def test_a_wrong_tie_falls_on_either_side():
    rater = ScriptedRater(error_rate=1.0)
    left, right = "Of course! It is Paris.", "Certainly! It is Paris."
    sides = {rater.rate(f"{PROMPT} {index}", "capital", CAPITAL, left, right).outcome for index in range(40)}
    assert sides == {"left", "right"}


def test_an_error_rate_outside_zero_to_one_is_refused():
    with pytest.raises(ValueError, match="between 0 and 1"):
        ScriptedRater(error_rate=5)
