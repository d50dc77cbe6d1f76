"""Strengths, intervals and win rates from votes between checkpoints: simulated raters of known habits."""

import math

import numpy as np
import pytest

from studio.evaluation import anytime, davidson, leaderboard
from studio.preferences.model_votes import ModelVote

STRENGTHS = {"base": -1.0, "ppo": 0.8, "sft": 0.0}


def simulate(num: int, seed: int, tie: float = -0.5, side: float = 0.4) -> list[ModelVote]:
    """Votes drawn from Davidson's model, both checkpoints and their sides drawn at random."""
    generator, votes = np.random.default_rng(seed), []
    for prompt_id in range(num):
        left, right = generator.choice(sorted(STRENGTHS), size=2, replace=False)
        a, b = STRENGTHS[left] + side, STRENGTHS[right]
        weights = np.exp([a, b, (a + b) / 2 + tie])
        winner = generator.choice(["left", "right", "tie"], p=weights / weights.sum())
        votes.append(ModelVote(prompt_id, str(left), str(right), str(winner), 40, 40, False))
    return votes


def vote(left: str, right: str, winner: str, prompt_id: int = 0, lengths: tuple[int, int] = (1, 1)) -> ModelVote:
    return ModelVote(prompt_id, left, right, winner, *lengths, False)


def test_strengths_ties_and_the_habit_of_the_eye_are_found_again() -> None:
    found = leaderboard.build(simulate(6_000, seed=1), "person", ["sft"]).groups[0]
    strengths = {standing.name: standing.strength for standing in found.standings}
    assert [standing.name for standing in found.standings] == ["ppo", "sft", "base"]
    assert strengths["sft"] == 0.0
    assert strengths["ppo"] == pytest.approx(0.8, abs=0.12)
    assert strengths["base"] == pytest.approx(-1.0, abs=0.12)
    assert (found.tie, found.side) == (pytest.approx(-0.5, abs=0.1), pytest.approx(0.4, abs=0.1))


def test_the_gradient_vanishes_at_the_fit_and_two_checkpoints_without_ties_have_the_log_odds() -> None:
    counts = np.array([[30.0, 10.0, 0.0], [10.0, 30.0, 0.0]])
    found = davidson.fit([(0, 1), (1, 0)], counts, 2, anchor=1)
    assert found.strengths[0] == pytest.approx(math.log(3), abs=0.01)
    assert found.side == pytest.approx(0.0, abs=1e-6)
    assert found.tie < -5
    assert found.expected(0, 1) == pytest.approx(0.75, abs=0.01)


def test_the_interval_of_a_strength_covers_it_at_its_nominal_rate() -> None:
    num, covered = 40, 0
    for seed in range(num):
        group = leaderboard.build(simulate(150, seed), "person", ["sft"]).groups[0]
        ppo = next(standing for standing in group.standings if standing.name == "ppo")
        covered += ppo.low <= 0.8 <= ppo.high
    assert covered >= 34  # fewer of 40 happen to an interval of 95 % with a probability of .0034


def test_a_checkpoint_that_never_lost_has_a_finite_strength() -> None:
    found = leaderboard.build([vote("a", "b", "left", k) for k in range(20)], "person", ["b"]).groups[0].standings[0]
    assert found.name == "a"
    assert 1.0 < found.strength < 20.0
    assert (found.wins, found.ties, found.losses) == (20, 0, 0)


def test_groups_that_never_met_are_kept_apart_each_with_an_anchor_of_its_own() -> None:
    votes = [vote("a", "b", "left"), vote("c", "d", "tie"), vote("b", "e", "right")]
    found = leaderboard.build(votes, "person", ["sft", "d"])
    assert [(group.anchor, len(group.standings)) for group in found.groups] == [("a", 3), ("d", 2)]


def test_both_conventions_for_ties_stand_beside_the_raw_counts() -> None:
    votes = [vote("a", "b", "left")] * 6 + [vote("b", "a", "tie")] * 2 + [vote("b", "a", "left")] * 2
    pair = leaderboard.build(votes, "person").pairs[0]
    assert (pair.one, pair.other, pair.wins, pair.ties, pair.losses) == ("a", "b", 6, 2, 2)
    assert (pair.half, pair.decided) == (pytest.approx(0.7), pytest.approx(0.75))
    assert pair.half_low < 0.7 < pair.half_high


def test_a_win_rate_that_length_alone_explains_goes_to_one_half() -> None:
    generator = np.random.default_rng(0)
    longer = generator.normal(30.0, 40.0, size=4_000)
    points = generator.random(4_000) < 1 / (1 + np.exp(-2.0 * np.tanh(longer / longer.std())))
    raw = float(points.mean())
    assert raw > 0.6
    assert leaderboard.at_equal_length([float(p) for p in points], list(longer)) == pytest.approx(0.5, abs=0.03)
    assert leaderboard.at_equal_length([1.0, 0.0, 1.0, 1.0] * 100, [0.0] * 400) == pytest.approx(0.75, abs=0.01)


def test_looking_after_each_vote_gives_false_alarms_at_most_at_the_nominal_rate() -> None:
    generator = np.random.default_rng(3)
    alarms, ordinary, num = 0, 0, 400
    for _ in range(num):
        wins = np.cumsum(generator.random(400) < 0.5)
        seen = [(int(w), n - int(w)) for n, w in enumerate(wins, 1)]
        alarms += any(anytime.is_decided(*each) for each in seen)
        ordinary += any(abs(won - lost) > 1.96 * math.sqrt(won + lost) for won, lost in seen[9:])
    assert alarms / num <= 0.05
    assert ordinary / num > 0.2  # what an ordinary interval does under the same eyes


def test_the_anytime_interval_is_wider_than_an_ordinary_one_and_agrees_with_the_decision() -> None:
    low, high = anytime.interval(60, 40)
    assert (low, high) == (pytest.approx(0.44, abs=0.01), pytest.approx(0.75, abs=0.01))
    assert anytime.interval(0, 0) == (0.0, 1.0)
    for wins in range(30):
        low, high = anytime.interval(wins, 12)
        assert low <= wins / (wins + 12) <= high
        assert anytime.is_decided(wins, 12) == (not low < 0.5 < high)


@pytest.mark.parametrize(("wins", "losses"), [(6, 4), (30, 20), (3, 0), (7, 2)])
def test_so_many_more_votes_at_the_present_share_decide_it_and_one_fewer_does_not(wins: int, losses: int) -> None:
    more = anytime.votes_to_decide(wins, losses)
    assert more is not None
    share = wins / (wins + losses)

    def decides(extra: int) -> bool:
        return anytime._log_e(wins + share * extra, losses + (1 - share) * extra, 0.5) >= math.log(20)

    assert decides(more)
    assert not decides(more - 1)
    assert anytime.votes_to_decide(5, 5) is None


def test_the_leaderboard_is_plain_json() -> None:
    found = leaderboard.build([vote("a", "b", "tie")], "person").as_dict()
    assert found["pairs"][0]["decided"] is None
    assert found["groups"][0]["standings"][0]["wins"] == 0


@pytest.mark.peer
def test_strengths_and_ties_are_those_of_evalica() -> None:
    evalica = pytest.importorskip("evalica", reason="evalica is a peer: pip install evalica")
    votes = simulate(800, seed=3, side=0.0)
    turned = {"left": "right", "right": "left", "tie": "tie"}
    both = [*votes, *(vote(v.right, v.left, turned[v.winner], v.prompt_id) for v in votes)]  # no habit of the eye
    found = leaderboard.build(both, "person", ["sft"]).groups[0]
    winners = {"left": evalica.Winner.X, "right": evalica.Winner.Y, "tie": evalica.Winner.Draw}
    theirs = evalica.newman([v.left for v in both], [v.right for v in both], [winners[v.winner] for v in both])
    for standing in found.standings:
        strength = math.log(theirs.scores[standing.name] / theirs.scores["sft"])
        assert standing.strength == pytest.approx(strength, abs=2e-3)
    assert math.exp(found.tie) / 2 == pytest.approx(theirs.v, rel=2e-3)
    assert found.side == pytest.approx(0.0, abs=1e-6)
