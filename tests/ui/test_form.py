"""The form: each config class to components and back."""

import re

import gradio as gr
import pytest

from modules.config import STAGES, PPOConfig, RewardConfig, SFTConfig
from studio import settings
from studio.annotation.session_config import SessionConfig
from studio.errors import RunError
from studio.preferences.snapshots import Recipe
from studio.runs import memory_fit, prepare, runs
from studio.runs.memory_fit import Place
from tests.support import stored
from tests.ui import filling
from ui.components import form, labels
from ui.pages.train import again, changed, kept, outlook, page

UNUSUAL = {int: 7, float: 0.5, bool: True, str: "a text"}


def fields_of(ws, stage):
    with gr.Blocks(analytics_enabled=False):
        return stored.read(ws, form.build, STAGES[stage], page.ESSENTIALS[stage], stage)


@pytest.mark.parametrize("stage", STAGES)
def test_the_form_of_a_stage_gives_back_its_defaults(ws, stage):
    fields = fields_of(ws, stage)
    assert list(fields) == list(STAGES[stage].model_fields)
    config, wrong = form.parse(STAGES[stage], [component.value for component in fields.values()])
    assert config == STAGES[stage]()
    assert wrong == {}


@pytest.mark.parametrize("stage", STAGES)
def test_every_field_survives_a_round_trip_through_its_component(ws, stage):
    fields = fields_of(ws, stage)
    for name, component in fields.items():
        field = STAGES[stage].model_fields[name]
        value = component.choices[-1][1] if isinstance(component, gr.Dropdown) else UNUSUAL[field.annotation]
        if name == "lora_rank":
            value = 8
        if name == "seed":
            value = 3
        if name == "label_smoothing":
            value = 0.25
        if name == "toxicity":
            value = "classifier:folder#toxic"
        if name == "save_at_kl":
            value = "1, 3, 6"
        if name == "trackers":
            value = "wandb,tensorboard"
        if name == "rewards":
            value = "reward + function:a.py:f*0.5"
        passed = component.preprocess(component.postprocess(value))
        values = [passed if n == name else c.value for n, c in fields.items()]
        config, wrong = form.parse(STAGES[stage], values)
        if name == "max_length":
            assert list(wrong) == [name]  # 7 is below its bound
            continue
        assert not wrong
        assert getattr(config, name) == value
        assert settings.changed(config) == ({} if value == field.default else {name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [("epochs", 0), ("epochs", 2.5), ("epochs", None), ("learning_rate", -1), ("learning_rate", float("nan")), ("lora_dropout", 1.0),
     ("method", "magic"), ("seed", 2**40), ("gradient_checkpointing", "perhaps")],
)  # fmt: skip
def test_an_error_names_its_field_and_no_other(name, value):
    values = [value if n == name else f.default for n, f in SFTConfig.model_fields.items()]
    config, wrong = form.parse(SFTConfig, values)
    assert config is None
    assert list(wrong) == [name]
    assert wrong[name]
    marks = form.validate(SFTConfig, *values)
    assert [n for n, mark in zip(SFTConfig.model_fields, marks, strict=True) if not mark["is_valid"]] == [name]


def test_a_reward_that_cannot_be_read_is_complained_about_in_words():
    values = [{"rewards": "reward+x"}.get(n, f.default) for n, f in PPOConfig.model_fields.items()]
    _, wrong = form.parse(PPOConfig, values)
    assert list(wrong) == ["rewards"]
    assert wrong["rewards"].startswith(
        "= reward+x is not possible: the term 'reward+x' is not reward, classifier:FOLDER"
    )


def test_two_errors_are_both_named():
    values = [{"epochs": 0, "batch_size": 0}.get(n, f.default) for n, f in SFTConfig.model_fields.items()]
    assert set(form.parse(SFTConfig, values)[1]) == {"epochs", "batch_size"}


def test_each_field_tells_its_docstring_and_bounds(ws):
    fields = fields_of(ws, "ppo")
    assert "Price of one nat" in fields["kl_coef"].info
    assert "(at least 0)" in fields["kl_coef"].info
    assert "(above 0 and below 1)" in fields["clip_range"].info
    assert all(component.info.startswith(f"`{name}` ") for name, component in fields.items())
    assert fields["kl_coef"].label == "Price of the KL"


def test_checkpoint_fields_offer_what_the_workspace_has(full_ws):
    fields = fields_of(full_ws, "ppo")
    assert fields["reward_checkpoint"].choices == [("newest: reward-1@30", ""), ("reward-1@30", "reward-1@30")]
    assert fields["sft_checkpoint"].choices[0] == ("the reward model's parent: sft-1@60", "")
    assert [value for _, value in fields["policy_checkpoint"].choices] == ["", "ppo-2@40", "sft-1@60"]


def test_what_the_empty_choice_says_is_what_a_run_gets(full_ws):
    promised = stored.read(full_ws, form.choices, RewardConfig, "sft_checkpoint")[0][0]
    assert prepare.resolve(full_ws, RewardConfig()).config.sft_checkpoint in promised
    promised = stored.read(full_ws, form.choices, PPOConfig, "sft_checkpoint")[0][0]
    assert prepare.resolve(full_ws, PPOConfig()).config.sft_checkpoint in promised


def test_a_new_checkpoint_is_offered_and_the_choice_is_kept(full_ws):
    filling.add_checkpoint(full_ws, filling.add_run(full_ws, SFTConfig()), 5)
    (kept,) = form.refreshed(full_ws, RewardConfig, {"sft_checkpoint": "sft-1@60"})
    assert "value" not in kept.constructor_args, "what was chosen stays, also what was chosen meanwhile"
    assert ("sft-3@5", "sft-3@5") in kept.choices
    (gone,) = form.refreshed(full_ws, RewardConfig, {"sft_checkpoint": "sft-9@1"})
    assert gone.constructor_args["value"] == ""


def test_the_command_line_says_what_differs(ws):
    shown = page._command(ws, PPOConfig(kl_coef=0.1, whiten_advantages=False, exclude_categories="a b"))
    assert "rlhf-studio ppo --workspace" in shown
    assert "--set kl_coef=0.1" in shown
    assert "--set whiten_advantages=false" in shown
    assert "--set &#x27;exclude_categories=a b&#x27;" in shown
    assert "gamma" not in shown


def outlook_of(ws, stage, **chosen):
    fields = STAGES[stage].model_fields
    return outlook.of_watched(ws, stage, *(chosen.get(name, fields[name].default) for name in outlook.watched(stage)))


def test_the_page_says_what_a_run_would_take_over_from_the_chosen_checkpoint(full_ws):
    assert '<p class="quiet">Taken over from sft-1@60: method lora, quantisation' in outlook_of(full_ws, "reward")
    assert "Taken over from ppo-2@40" in outlook_of(full_ws, "ppo", policy_checkpoint="ppo-2@40")
    assert "Taken over from sft-1@60" in outlook_of(full_ws, "sample", checkpoint="sft-1@60", opponent=None)


def test_the_page_says_how_much_a_run_would_have_to_do(full_ws):
    assert '<p class="quiet">7 iterations of 64 responses.' in outlook_of(full_ws, "ppo", iterations=7)
    assert "demonstrations, 3 times" in outlook_of(full_ws, "sft", epochs=3)
    assert outlook_of(full_ws, "sft", epochs="many") == outlook_of(full_ws, "sft", epochs=None) == ""


def test_the_memory_is_told_at_once_and_follows_the_settings(full_ws, monkeypatch):
    free = [64.0]
    monkeypatch.setattr(
        memory_fit, "place_of", lambda config: Place("RAM", 64 * 2**30, int(free[0] * 2**30), is_cpu=True)
    )

    def line(stage, **chosen):
        found = re.search(r'<p class="(quiet|tight)">(Memory: .*?)</p>', outlook_of(full_ws, stage, **chosen))
        return (found[1], found[2]) if found else None

    kind, small = line("ppo", rollout_batch_size=1, batch_size=2, minibatch_size=2, micro_batch_size=1)
    assert kind == "quiet"
    assert small.endswith("of 64.0 GiB free now (RAM), with the longest texts that the settings allow.")
    with full_ws.read() as db:
        config = PPOConfig(rollout_batch_size=1, batch_size=2, minibatch_size=2, micro_batch_size=1)
        assert memory_fit.look(db, config) == memory_fit.fit(db, prepare.resolve(full_ws, config)), (
            "as Will it fit? says"
        )
    assert line("ppo") != (kind, small)
    for stage in ("sft", "reward", "dpo"):
        assert line(stage)[0] == "quiet"
    assert line("sample") is None
    free[0] = 0.5
    assert line("sft")[1].endswith("It fits once what holds the rest has ended.")
    monkeypatch.setattr(memory_fit, "place_of", lambda config: Place("RAM", 2**29, 2**29, is_cpu=True))
    kind, said = line("sft", micro_batch_size=64, batch_size=64)
    assert kind == "tight"
    assert "It probably will not fit." in said
    with full_ws.read() as db:
        assert said.endswith(memory_fit.look(db, SFTConfig(micro_batch_size=64, batch_size=64)).advice[0])
    assert "known once it has been fetched" in line("sft", base_model="someone/large")[1]


def test_the_settings_of_an_earlier_run_go_into_the_form(full_ws):
    run = stored.read(full_ws, runs.get, "reward-1")
    taken = stored.read(full_ws, again.values, "reward", "reward-1")
    assert run.config.snapshot
    assert taken == run.config.model_dump() | {"snapshot": ""}
    assert list(taken) == list(STAGES["reward"].model_fields)
    assert form.parse(STAGES["reward"], list(taken.values()))[1] == {}
    assert stored.read(full_ws, again.values, "reward", "") == {}
    with pytest.raises(RunError, match="reward-1 is a run of reward"):
        stored.read(full_ws, again.values, "ppo", "reward-1")


def test_the_page_of_an_empty_workspace_takes_nothing_over(ws):
    assert outlook_of(ws, "reward") == ""


def test_every_field_of_a_stage_has_a_purpose_of_its_own_and_words_that_tell_it_from_the_others():
    known = {name for config in STAGES.values() for name in config.model_fields}
    placed = [name for names in labels.PURPOSES.values() for name in names]
    assert sorted(placed) == sorted(known)
    assert labels.WORDS.keys() <= known | SessionConfig.model_fields.keys() | Recipe.model_fields.keys()
    for config in STAGES.values():
        words = [labels.label(name) for name in config.model_fields]
        assert len(set(words)) == len(words)
    assert labels.by_purpose(["kl_coef", "no_such", "ties", "gpu"]) == [
        ("Which ratings count", ["ties"]), ("Reward and KL", ["kl_coef"]), ("Machine", ["gpu"]), ("More settings", ["no_such"]),
    ]  # fmt: skip


def test_help_names_the_setting_and_shows_asterisks(ws):
    info = fields_of(ws, "ppo")["rewards"].info
    assert info.startswith("`rewards` What is rewarded")
    assert r"reward\*1.0" in info


def test_what_differs_is_listed_as_text_and_nothing_where_nothing_does():
    order = form.order(SFTConfig, ("epochs",))
    assert sorted(order) == sorted(SFTConfig.model_fields)
    assert changed.draw("sft", SFTConfig(), order) == ""
    drawn = changed.draw("sft", SFTConfig(epochs=5, base_model="<img src=x>" + "y" * 60), order)
    assert "<img" not in drawn
    assert "&lt;img src=x&gt;" in drawn
    assert "y" * 40 not in drawn
    assert ":is(#sft-epochs, #sft-base_model)" in drawn
    assert drawn.count("data-reset=") == 3
    assert changed.draw("sft", SFTConfig(epochs=5), order).count("data-reset=") == 1


@pytest.mark.parametrize("name", ["epochs", "*", "no_such", "", None, "<b>"])
def test_a_reset_gives_the_default_of_that_field_alone(name):
    given = changed.defaults("sft", name)
    assert set(given) == ({name} if name == "epochs" else set(SFTConfig.model_fields) if name == "*" else set())
    assert all(given[field] == SFTConfig.model_fields[field].default for field in given)


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ({"epochs": 0, "base_model": "x", "packing": True}, {"epochs": 0, "base_model": "x", "packing": True}),
        ({"epochs": None, "learning_rate": 1}, {"epochs": None, "learning_rate": 1}),
        ({"epochs": "<b>", "learning_rate": True, "packing": 1, "base_model": None, "no_such": 1}, {}),
        ({"method": "lora", "precision": "no such"}, {"method": "lora"}),
        ([["epochs", 3]], {}),
        (None, {}),
        ("text", {}),
    ],
    ids=["values", "invalid but shown", "of other kinds", "choices", "list", "nothing", "text"],
)
def test_of_what_a_tab_kept_a_form_takes_what_its_fields_can_show(given, taken):
    assert kept.values("sft", given) == taken
