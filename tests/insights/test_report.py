"""What the ratings of simulated raters tell, against what is true of them."""

import json
import math

import pytest

from studio.errors import RatingError
from studio.insights import habits, predictions, report, votes
from studio.preferences import ratings
from studio.workspace import Workspace
from tests.support import rated, stored
from tests.support.rated import World


@pytest.fixture
def ws(tmp_path):
    return Workspace.open(tmp_path / "workspace")


def covers(found, truth: float) -> bool:
    return found.low <= truth <= found.high


def pooled(parts) -> float:
    """The share of all that the parts counted."""
    return sum(part.value * part.num for part in parts if part.num) / sum(part.num for part in parts)


def insights(ws, **asked) -> report.Insights:
    return stored.read(ws, report.read, **asked)


def test_an_empty_workspace_has_nothing_to_tell(ws):
    found = insights(ws)
    assert (found.num_all, found.num_read, found.reward_models, found.over_time) == (0, 0, [], [])
    assert found.ceiling.num == 0
    assert json.loads(json.dumps(found.as_dict()))["habits"][0]["left"]["value"] is None
    with pytest.raises(RatingError, match="Nobody has yet"):
        insights(ws, rater="nobody")


def test_self_agreement_and_ceiling_are_those_of_the_raters_error(ws):
    rated.fill(ws, World(num=600, error=0.1, repeats=400, ties=0.0, skips=0.0, models=()))
    found = insights(ws).consistencies[0]
    assert found.agreement.num == found.decided.num == 400
    assert covers(found.agreement, 0.9**2 + 0.1**2)
    assert covers(found.ceiling, 0.9)
    assert found.ceiling.high - found.ceiling.low < 0.1
    assert found.same_sides.num + found.swapped_sides.num == 400


def test_a_habit_of_the_eye_shows_where_sides_were_swapped(ws):
    rated.fill(ws, World(num=500, error=0.05, repeats=300, left_habit=0.6, models=()))
    found = insights(ws)
    assert found.habits[0].left.low > 0.6
    one = found.consistencies[0]
    assert one.same_sides.low > one.swapped_sides.high


def test_ties_count_in_self_agreement_and_are_no_part_of_the_ceiling(ws):
    rated.fill(ws, World(num=400, error=0.0, repeats=300, ties=0.3, models=()))
    found = insights(ws).consistencies[0]
    assert found.decided.value == found.ceiling.value == 1.0
    assert covers(found.agreement, 0.7**2 + 0.3**2)
    assert found.decided.num < found.agreement.num


def test_an_honest_reward_model_is_told_from_one_that_boasts_and_one_that_knows_nothing(ws):
    honest, boaster, ignorant = rated.fill(ws, World(num=1500, error=0.0, models=(1.0, 4.0, 0.0)))
    found = {model.name: model for model in insights(ws).reward_models}
    assert list(found) == [ignorant, boaster, honest], "the newest first"
    assert found[honest].accuracy == found[boaster].accuracy
    assert found[honest].accuracy.num == sum(stretch.accuracy.num for stretch in found[honest].over_time)
    assert covers(found[ignorant].accuracy, 0.5)
    assert found[ignorant].log_loss.value == pytest.approx(math.log(2))
    assert found[honest].log_loss.high < found[boaster].log_loss.low
    assert found[honest].calibration_error <= found[honest].calibration_noise
    assert found[boaster].calibration_error > 3 * found[boaster].calibration_noise
    assert sum(point.num for point in found[honest].points) == found[honest].accuracy.num


def test_only_the_newest_reward_models_are_measured_and_the_others_are_counted(ws):
    names = rated.fill(ws, World(num=30, models=(1.0,) * 7))
    found = insights(ws)
    assert [model.name for model in found.reward_models] == names[:1:-1]
    assert found.num_models == 7


def test_accuracy_is_given_for_each_part_and_the_parts_make_the_whole(ws):
    (model,) = rated.fill(ws, World(num=400, raters=("person", "other"), models=(1.0,)))
    found = insights(ws).reward_models[0]
    assert found.name == model
    for kind in ("strength", "chosen", "length", "category", "rater"):
        parts = [group.accuracy for group in found.groups if group.kind == kind]
        assert len(parts) > 1
        assert sum(part.num for part in parts) == found.accuracy.num
        assert pooled(parts) == pytest.approx(found.accuracy.value)


def test_log_loss_and_what_was_said_are_given_over_time_and_for_each_part_and_tell_a_boasting_model(ws):
    rated.fill(ws, World(num=400, raters=("person", "other"), models=(1.0, 3.0), ties=0.0, error=0.0))
    boasting, honest = insights(ws).reward_models
    for model in (boasting, honest):
        for kind in ("strength", "chosen", "length", "category", "rater", "time"):
            parts = model.over_time if kind == "time" else [group for group in model.groups if group.kind == kind]
            weights = [part.accuracy.num for part in parts]
            loss = sum(part.log_loss.value * num for part, num in zip(parts, weights, strict=True)) / sum(weights)
            assert loss == pytest.approx(model.log_loss.value), "without ties all predicted votes are decided"
            assert all(part.log_loss.num == part.accuracy.num for part in parts)
    for part in honest.groups:
        assert abs(part.said - part.accuracy.value) < 0.12, part
    assert all(part.said > part.accuracy.value + 0.05 for part in boasting.groups)


def test_who_prefers_the_longer_answer_is_found_out(ws):
    rated.fill(ws, World(num=300, models=(0.0,)))
    read = stored.read(ws, votes.read)
    found = stored.read(ws, votes.predicted, read)
    (name,) = found
    by_length = [
        each._replace(left_p=0.9 if each.vote.left_length > each.vote.right_length else 0.1) for each in found[name]
    ]
    assert predictions.measure(name, by_length).longer.value == 1.0
    assert covers(predictions.measure(name, by_length).rater_longer, 0.5)
    longer = [
        vote._replace(outcome="left" if vote.left_length > vote.right_length else "right")
        for vote in read
        if vote.is_decided
    ]
    assert habits.habit(longer).longer.value == 1.0


def test_several_raters_are_given_alone_and_with_their_agreement(ws):
    rated.fill(ws, World(num=500, error=0.1, ties=0.0, skips=0.0, raters=("ann", "bob", "cid"), models=()))
    found = insights(ws)
    assert [each.rater for each in found.consistencies] == ["", "ann", "bob", "cid"]
    assert [(each.one, each.other) for each in found.agreement.kappas] == [
        ("ann", "bob"),
        ("ann", "cid"),
        ("bob", "cid"),
    ]
    share = 0.9**2 + 0.1**2
    for each in found.agreement.kappas:
        assert each.agreement.num == 500
        assert covers(each.agreement, share)
        assert covers(each.kappa, 2 * share - 1)
    assert covers(found.agreement.alpha, 2 * share - 1)
    assert found.agreement.alpha.high - found.agreement.alpha.low < 0.15
    one = insights(ws, rater="bob")
    assert (one.num_read, one.num_all, len(one.consistencies)) == (550, 550, 1)
    assert one.agreement == found.agreement
    with pytest.raises(RatingError, match="Those who have: ann, bob, cid"):
        insights(ws, rater="dora")


def test_pace_ties_and_skips_are_given_block_by_block(ws):
    rated.fill(ws, World(num=500, ties=0.2, skips=0.1, models=()))
    blocks = insights(ws).over_time
    assert [block.first for block in blocks[1:]] == [block.last + 1 for block in blocks[:-1]]
    assert blocks[-1].last == 550
    pace = sum(block.per_hour.value for block in blocks) / len(blocks)
    assert 270 < pace < 360, "ten seconds a judgement, and a tenth of them are skips"
    assert all(block.per_hour.low < block.per_hour.value < block.per_hour.high for block in blocks)
    every = insights(ws).all_time
    assert (every.first, every.last, every.per_hour.num) == (1, 550, 550)
    assert every.per_hour.value == pytest.approx(pace, rel=0.05), (
        "each block begins with a vote whose pause is left out"
    )
    assert every.per_hour.high - every.per_hour.low < min(b.per_hour.high - b.per_hour.low for b in blocks)
    assert pooled([block.skips for block in blocks]) == pytest.approx(0.1, abs=4 * math.sqrt(0.1 * 0.9 / 550))
    assert pooled([block.ties for block in blocks]) == pytest.approx(0.2, abs=4 * math.sqrt(0.2 * 0.8 / 450))


def test_only_the_newest_votes_are_read_and_the_others_are_counted(ws):
    rated.fill(ws, World(num=300, repeats=0, skips=0.0, models=()))
    found = insights(ws, newest=100)
    assert (found.num_read, found.num_all) == (100, 300)
    assert found.habits[0].left.num <= 100
    ids = [vote.id for vote in stored.read(ws, votes.read, newest=100)]
    assert ids == sorted(ids)
    assert ids == [vote.id for vote in stored.read(ws, votes.read)][-100:]


def test_a_vote_that_was_taken_back_counts_nowhere(ws):
    rated.fill(ws, World(num=20, repeats=0, ties=0.0, skips=0.0, models=()))
    before = insights(ws)
    stored.undone(ws)
    after = insights(ws)
    assert (after.num_read, after.num_all) == (before.num_read - 1, before.num_all - 1)


def test_a_correction_counts_instead_of_the_vote_and_a_change_after_a_prediction_does_not_help_the_model(ws):
    rated.fill(ws, World(num=40, repeats=0, ties=0.0, skips=0.0, models=(1.0,)))
    votes_before = stored.read(ws, votes.read)
    changed = votes_before[-1]
    other = "right" if changed.outcome == "left" else "left"
    with ws.write() as db:
        prediction = db.execute(
            "SELECT id FROM predictions WHERE comparison_id = ?", [changed.comparison_id]
        ).fetchone()[0]
        db.execute(
            "INSERT INTO prediction_views (prediction_id, showing_id, event_id, created_at) SELECT ?, showing_id, id, '' FROM"
            " rating_events WHERE id = ?",
            [prediction, changed.id],
        )
        ratings.correct(db, changed.id, other)
    after = stored.read(ws, votes.read)[-1]
    assert (after.outcome, after.first_outcome) == (other, changed.outcome)
    (model,) = stored.read(ws, votes.predicted, [after]).values()
    assert model[0].target == (1.0 if changed.outcome == "left" else 0.0)


def test_the_report_as_json_names_every_figure(ws):
    rated.fill(ws, World(num=60, models=(1.0,)))
    found = json.loads(json.dumps(insights(ws).as_dict(), allow_nan=False))
    assert set(found["consistencies"][0]["ceiling"]) == {"value", "low", "high", "num", "num_prompts"}
    assert set(found["reward_models"][0]["points"][0]) == {"predicted", "observed", "low", "high", "num"}
