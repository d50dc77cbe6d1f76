"""Preflight, launch and the log in a browser, as a person goes through them."""

import re
import sys

import pytest
from playwright.sync_api import expect

from modules.config import STAGES, PPOConfig, RewardConfig, SampleConfig, SFTConfig
from studio.models import checkpoints
from studio.runs import extent, launcher, memory_fit, prepare, preview, runs
from tests.support import stored, warm
from tests.support.waiting import until as wait_for
from tests.ui import filling
from ui import app

pytestmark = pytest.mark.browser
GIB = 2**30
PATIENCE_MS = 90_000
"""For child processes that load torch."""
AT_WORK_FOR_EVER = [sys.executable, "-c", "import sys, time\nsys.stdin.read()\nwhile True: time.sleep(1)"]
"""In place of a measurement that is to be stopped: a real one may be quicker than the press."""


@pytest.fixture(autouse=True)
def quick_starts():
    with warm.starts():
        yield


def test_the_head_of_a_run_and_its_buttons_stay_in_sight_while_one_scrolls(full_ws, serve, visit):
    run = filling.add_run(full_ws, PPOConfig(), "running", text="iteration 4 of 10")
    filling.add_curves(
        full_ws, run, dict.fromkeys(("policy/loss", "value/loss", "objective/kl", "eval/kl", "rollout/x"), 1.0)
    )
    page = visit(serve(full_ws).url + f"#runs/{run.name}")
    expect(page.locator("#run-curves figure.chart").first).to_be_visible()
    expect(page.locator("#run-head")).to_contain_text("left")
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    assert page.evaluate("scrollY") > 300
    for part in ("#run-head h2", "#run-stop", "#run-pause"):
        expect(page.locator(part)).to_be_in_viewport(ratio=1)
    covered = "([part]) => { const box = document.querySelector(part).getBoundingClientRect(); return document.elementFromPoint(box.x + 9, box.y + 9)?.closest(part) !== null; }"
    assert page.evaluate(covered, ["#run-stop"]), "nothing lies over it"


def test_the_newest_run_says_what_comes_next_and_its_time_grows_older_while_nothing_is_drawn(ws, serve, visit):
    filling.add_texts(ws)
    sft = filling.add_run(ws, SFTConfig())
    filling.add_checkpoint(ws, sft)
    page = visit(serve(ws).url + f"#runs/{sft.name}")
    page.clock.install()
    page.reload()
    expect(page.locator("#run-head a")).to_have_text("Sample pairs")
    expect(page.locator("#run-head time")).to_have_text("just now")
    page.clock.run_for(130_000)
    expect(page.locator("#run-head time")).to_have_text("2 min ago")
    expect(page.locator("#run-list time")).to_have_text("2 min ago")
    page.locator("#run-head a").click()
    expect(page.locator("#start-sample")).to_be_visible()
    filling.add_run(ws, SampleConfig())
    page.goto(page.url.replace("#train/sample", f"#runs/{sft.name}"))
    page.reload()
    expect(page.locator("#run-head h2")).to_have_text(sft.name)
    expect(page.locator("#run-head a")).to_have_count(0)


def test_what_a_run_takes_stays_in_sight_on_a_phone_while_one_settles_it(ws, serve, visit):
    filling.add_texts(ws)
    page = visit(serve(ws).url + "#train/sft", width=390)
    cost = page.locator("#taken-sft p").last
    expect(cost).to_contain_text("Memory: about")
    expect(cost).to_be_in_viewport(ratio=1)
    expect(page.locator("#start-sft")).not_to_be_in_viewport()
    page.evaluate("scrollTo(0, 200)")
    expect(cost).to_be_in_viewport(ratio=1)
    on_top = "([part]) => { const box = document.querySelector(part).getBoundingClientRect(); return document.elementFromPoint(box.x + 9, box.y + 9)?.closest(part) !== null; }"
    assert page.evaluate(on_top, ["#taken-sft p"]), "the form lies under it"
    page.locator("#start-sft").scroll_into_view_if_needed()
    expect(page.locator("#start-sft")).to_be_in_viewport(ratio=1)


def test_preflight_estimate_probe_and_launch(ws, serve, visit, monkeypatch):
    filling.add_texts(ws)
    monkeypatch.setattr(launcher, "start", lambda ws, run: run)
    monkeypatch.setattr(extent, "_measured", {})
    page = visit(serve(ws).url + "#train/sft")
    cost = page.locator("#taken-sft")
    expect(cost).to_contain_text("Memory: about")
    expect(cost).to_contain_text("How long it takes is known once a run has begun")
    needed = re.search(r"Memory: about (\S+) GiB", cost.inner_text())
    assert needed is not None
    page.locator("#page-train button", has_text="Steps and learning rates").locator("visible=true").click()
    field = page.locator("#sft-micro_batch_size input")

    def is_set() -> bool:
        """Typed again where it was lost: Gradio sets fields a second time when they come into view."""
        if field.input_value() != "1":
            field.fill("1")
        return "micro_batch_size=1" in page.locator("#command-sft").inner_text()

    wait_for(is_set, "the smaller micro-batch")
    expect(cost).to_contain_text("Memory: about")
    expect(cost).not_to_contain_text(needed[0])
    page.locator("#fit-sft").click()
    expect(page.locator("#fitted-sft .notice")).to_contain_text("It fits: about")
    expect(page.locator("#fitted-sft")).to_contain_text(" tokens, the longest in the data.", timeout=PATIENCE_MS)
    names = page.locator("#fitted-sft .stack-names li").all_inner_texts()
    assert [name.split()[0] for name in names][:4] == ["weights", "adapters", "gradients", "optimizer"]
    figures = {"peak": GIB / 4, "libraries": GIB / 2, "seconds_per_step": 2.0, "num_steps": 90.0}
    monkeypatch.setattr(memory_fit, "_probe_once", lambda *_: figures)
    page.locator("#probe-sft").click()
    expect(page.locator("#fitted-sft .stack-names li")).to_have_text(["this run 256 MiB", "libraries 512 MiB"])
    expect(page.locator("#fitted-sft")).to_contain_text(
        "all texts of a step fit at once. Its 90 steps take about 3 min, loading and evaluation not counted."
    )
    measured = re.compile(r"At the measured pace: about \d+ (s|min)\.")
    expect(cost).to_contain_text(measured)
    page.locator("#sft-epochs input").fill("60")
    expect(cost).to_contain_text(re.compile(r", 60 times\. .*At the measured pace"))
    page.locator("#start-sft").click()
    expect(page.locator("#run-head h2")).to_have_text("sft-1")
    assert [run.name for run in stored.read(ws, runs.list_all)] == ["sft-1"]
    page.reload()
    expect(page.locator("#run-head h2")).to_have_text("sft-1")


def test_a_real_step_is_measured_stopped_and_measured_again(ws, serve, visit, monkeypatch):
    filling.add_texts(ws)
    children, popen = [], preview.subprocess.Popen

    def start(command, **more):
        children.append(popen(command if len(children) == 2 else AT_WORK_FOR_EVER, **more))
        return children[-1]

    monkeypatch.setattr(preview.subprocess, "Popen", start)
    page = visit(serve(ws).url + "#train/sft")
    page.locator("#probe-sft").dblclick()
    expect(page.locator("#fitted-sft .is-working")).to_be_visible()
    expect(page.locator("#probe-sft")).to_be_hidden()
    page.goto(page.url.replace("train/sft", "runs"))
    page.go_back()
    expect(page.locator("#fitted-sft .is-working")).to_be_visible()
    wait_for(lambda: children, "the process of the first measurement: a stop before it leaves none to be ended")
    page.locator("#unprobe-sft").click()
    expect(page.locator("#fitted-sft .notice")).to_have_text("The measurement was stopped.")
    wait_for(lambda: [child.poll() for child in children] == [-15], "the end of the one process for two presses")
    page.locator("#probe-sft").click()
    expect(page.locator("#unprobe-sft")).to_be_visible()
    page.reload()
    expect(page.locator("#fitted-sft .notice")).to_contain_text("started before this page was loaded")
    expect(page.locator("#probe-sft")).to_be_hidden()
    wait_for(lambda: len(children) == 2, "the process of the second measurement")
    page.locator("#unprobe-sft").click()
    expect(page.locator("#fitted-sft .notice")).to_have_text("The measurement was stopped.")
    page.locator("#probe-sft").click()
    expect(page.locator("#fitted-sft .stack-names li")).to_have_text(
        [re.compile("this run .* MiB"), re.compile("lib")], timeout=PATIENCE_MS
    )
    expect(page.locator("#fitted-sft")).to_contain_text("Measured with micro_batch_size 16; all texts of a step fit")
    assert [child.poll() for child in children] == [-15, -15, 0], "the newest press wins"
    expect(page.locator("#unprobe-sft")).to_be_hidden()


def test_a_measurement_that_ended_without_its_page_leaves_nothing_behind(ws, serve, visit, monkeypatch):
    at_work = ["sft"]
    monkeypatch.setattr(memory_fit, "measured_stage", lambda _, not_for=None: at_work[0])
    page = visit(serve(ws).url + "#train/sft")
    expect(page.locator("#fitted-sft .notice")).to_contain_text("started before this page was loaded")
    expect(page.locator("#unprobe-sft")).to_be_visible()
    at_work[0] = ""
    page.goto(page.url.replace("train/sft", "home"))
    page.goto(page.url.replace("home", "train/sft"))
    expect(page.locator("#fitted-sft")).to_have_text("")
    expect(page.locator("#unprobe-sft")).to_be_hidden()
    expect(page.locator("#probe-sft")).to_be_visible()


def test_a_form_that_is_restored_at_its_opening_takes_no_message_of_a_measurement_away(ws):
    config = app.build(ws).get_config_file()
    names = {part["id"]: part["props"].get("elem_id") for part in config["components"]}
    for stage in STAGES:
        [restores] = [
            {names[part] for part in handler["outputs"]}
            for handler in config["dependencies"]
            if any(names.get(part) == f"kept-{stage}" for part, _ in handler["targets"])
        ]
        assert f"command-{stage}" in restores
        assert not {f"fitted-{stage}", f"lesson-{stage}"} & restores


def test_what_the_reward_model_and_ppo_would_see(ws, serve, visit):
    ids = filling.add_texts(ws)
    names = {}
    for stage, config in (("sft", SFTConfig()), ("reward", RewardConfig())):
        names[stage] = filling.add_checkpoint(ws, filling.add_run(ws, prepare.resolve(ws, config).config))
        folder = ws.runs / names[stage].partition("@")[0] / "checkpoints" / "step-40"
        (folder / "meta.json").write_text('{"chat_template": "own"}')
        if stage == "sft":
            filling.add_pairs(ws, ids, names["sft"], texts=lambda n: (f"Certainly, {n}.", f"No, {n}."))
            filling.add_rated(ws, 6)
    page = visit(serve(ws).url + "#train/reward", width=390, scheme="dark")
    page.locator("#look-reward").click()
    seen = page.locator("#lesson-reward")
    expect(seen).to_contain_text("6 pairs with ", timeout=PATIENCE_MS)
    expect(seen.locator(".legend span")).to_have_text(["read", "scored"])
    expect(seen.locator("h5")).to_contain_text(["Pair 1, ", "Pair 1, ", "Pair 2, "])
    expect(seen.locator("pre").first.locator(".is-scored")).to_have_text("<|end|>")
    page.goto(page.url.replace("reward", "ppo"))
    page.locator("#look-ppo").click()
    seen = page.locator("#lesson-ppo")
    expect(seen).to_contain_text("12 prompts with ", timeout=PATIENCE_MS)
    expect(seen.locator(".legend span")).to_have_text(["read"])
    longest = PPOConfig().max_new_tokens
    expect(seen.locator("pre").first).to_contain_text(f"the policy answers from here, with at most {longest} tokens")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_a_run_is_painted_ahead_of_gradio_and_its_controls_wait(full_ws, serve, visit):
    filling.add_checkpoint(full_ws, stored.read(full_ws, runs.get, "ppo-2"), 20)
    page = visit(serve(full_ws).url + "#runs/ppo-2")
    expect(page.locator("#run-curves .run-charts")).to_have_attribute("data-run", "ppo-2")
    expect(page.locator("#run-resume")).to_be_enabled()
    page.route("**/queue/join**", lambda route: None)
    page.locator("#run-list a", has_text="ppo-1").click()
    expect(page.locator("#run-head h2")).to_have_text("ppo-1")
    expect(page.locator("#run-head")).to_contain_text("Lower the learning rate.")
    expect(page.locator("#run-curves")).to_have_text("ppo-1 has no curves.")
    assert page.evaluate("document.getElementById('run').inert"), "the buttons still speak of ppo-2"
    page.unroute("**/queue/join**")  # what was held goes on
    page.wait_for_function("!document.getElementById('run').inert")
    expect(page.locator("#run-resume")).to_be_disabled()
    page.locator("#run-list a", has_text="reward-1").click()
    page.evaluate("for (const name of ['ppo-2', 'sft-1', 'ppo-2', 'sft-1']) location.hash = `runs/${name}`")
    expect(page.locator("#run-curves .run-charts")).to_have_attribute("data-run", "sft-1")
    page.wait_for_function("!document.getElementById('run').inert")
    page.locator("#run-resume").wait_for()
    page.get_by_role("tab", name="Config").click()
    expect(page.locator("#run-config")).to_contain_text("rlhf-studio sft")
    expect(page.locator("#run-head h2")).to_have_text("sft-1")


def test_the_log_is_searched_in_the_page(full_ws, serve, visit):
    page = visit(serve(full_ws).url + "#runs/ppo-2")
    page.get_by_role("tab", name="Log").click()
    page.locator("#log-search :is(input,textarea)").fill("ITERATION")
    expect(page.locator("#log-found mark")).to_have_text(["iteration"])
    expect(page.locator("#log-found")).to_contain_text("1 of the last 3 lines contain it.")


def test_a_branch_from_the_newest_checkpoint_of_a_run_at_work_and_none_from_the_end_of_a_finished_one(
    ws, serve, visit, monkeypatch
):
    monkeypatch.setattr(launcher, "start", lambda ws, run: run)
    monkeypatch.setattr(launcher, "reap", lambda ws: [])
    filling.add_texts(ws)
    done = filling.add_run(ws, SFTConfig())
    filling.add_checkpoint(ws, done, 40)
    running = filling.add_run(ws, SFTConfig(), "running", "step 45 of 100")
    for step in (20, 40):
        filling.add_checkpoint(ws, running, step)
    page = visit(serve(ws).url + f"#runs/{running.name}")
    expect(page.locator("#run-resume")).to_have_text("Branch off")
    page.locator("#run-resume").click()
    expect(page.locator("#run-head h2")).to_have_text("sft-3")
    assert stored.read(ws, checkpoints.name_of, stored.read(ws, runs.get, "sft-3").resumed_from) == f"{running.name}@40"
    page.wait_for_url("**/#runs/sft-3")
    page.goto(page.url.replace("sft-3", done.name))
    expect(page.locator("#run-head h2")).to_have_text(done.name)
    expect(page.locator("#run-resume")).to_be_disabled()


def test_an_address_without_its_run_says_so_and_a_narrow_page_goes_to_the_run_that_is_chosen(full_ws, serve, visit):
    page = visit(serve(full_ws).url + "#runs/nosuch", width=390)
    expect(page.locator("#run-head")).to_have_text(
        "There is no run named 'nosuch' in this workspace. Choose one from the list."
    )
    expect(page.locator("#run-stop")).to_be_hidden()
    page.locator("#run-list a", has_text="ppo-2").click()
    expect(page.locator("#run-head h2")).to_have_text("ppo-2")
    at_the_top = "Math.abs(document.getElementById('run').getBoundingClientRect().top) < 60"
    page.wait_for_function(at_the_top)
    page.reload()
    expect(page.locator("#run-head h2")).to_have_text("ppo-2")
    page.wait_for_function(at_the_top)


def test_a_click_on_a_run_counts_though_the_list_is_drawn_anew_under_the_pressed_button(full_ws, serve, visit):
    page = visit(serve(full_ws).url + "#runs/ppo-1")
    expect(page.locator("#run-head h2")).to_have_text("ppo-1")
    redraw = "document.querySelector('#run-list nav').outerHTML = document.querySelector('#run-list nav').outerHTML"
    for name in ("ppo-2", "sft-1"):
        page.locator("#run-list a", has_text=name).hover()
        page.mouse.down()
        page.evaluate(redraw)
        page.mouse.up()
        expect(page.locator("#run-head h2")).to_have_text(name)
    page.locator("#run-list a", has_text="ppo-1").hover()
    page.mouse.down()
    page.evaluate("document.querySelector('#run-list nav').append(document.querySelector('#run-list a'))")
    page.mouse.up()  # another run moved under the pointer; it is not the one that was meant
    expect(page.locator("#run-head h2")).to_have_text("ppo-1")
    page.locator("#run-list a", has_text="sft-1").hover()
    page.mouse.down()
    page.evaluate(redraw)
    page.mouse.move(2, 2)
    page.mouse.up()  # let go elsewhere: no click
    page.wait_for_timeout(300)
    assert page.evaluate("location.hash") == "#runs/ppo-1"


def test_what_was_said_of_other_settings_goes_when_a_setting_changes(ws, serve, visit):
    filling.add_texts(ws)
    page = visit(serve(ws).url + "#train/sft")
    page.locator("#fit-sft").click()
    expect(page.locator("#fitted-sft")).to_contain_text(" tokens, the longest in the data.", timeout=PATIENCE_MS)
    page.locator("#look-sft").click()
    expect(page.locator("#lesson-sft .legend")).to_be_visible(timeout=PATIENCE_MS)
    page.locator("#sft-epochs input").fill("3")
    page.locator("#sft-epochs input").press("Tab")
    expect(page.locator("#fitted-sft")).to_have_text("")
    expect(page.locator("#lesson-sft")).to_have_text("")
