"""The pages in a real browser: they open at every width in both colours, and do what their buttons say."""

import gzip
import json
import re
import threading
import time

import pytest
from playwright.sync_api import Page, expect

from assets.screenshots import take
from modules.config import PPOConfig, SFTConfig
from modules.config.presets import preset
from studio import settings
from studio.chat import asking
from studio.database import curtain
from studio.datasets import archive, importing
from studio.preferences import prompts, ratings, texts
from studio.runs import launcher, metrics, preview, runs
from studio.workspace import Workspace
from tests.support import stored, warm
from tests.ui import filling
from tests.ui.filling import HOSTILE
from ui.app import TITLES
from ui.pages.train import page as train

pytestmark = pytest.mark.browser


@pytest.fixture(autouse=True)
def quick_starts():
    with warm.starts():
        yield


def open_page(page: Page, name: str) -> None:
    page.locator(f"#page-{name}-button").click()
    expect(page.locator(f"#page-{name}")).to_be_visible()


def background(page: Page) -> int:
    """Brightness of the page's background, 0 to 255."""
    colour = page.evaluate("getComputedStyle(document.querySelector('.gradio-container')).backgroundColor")
    return int(colour.split("(")[1].split(",")[0])


def test_every_page_opens_at_every_width_in_both_colours(full_ws, serve, visit):
    served = serve(full_ws)
    for width, scheme in ((1440, "light"), (390, "dark")):
        page = visit(served.url, width=width, scheme=scheme)
        assert (background(page) > 200) == (scheme == "light")
        for name in TITLES:
            open_page(page, name)
            page.wait_for_timeout(150)
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{name} is too wide at {width}"
        assert page.evaluate("window.hacked === undefined")


def test_dark_and_light_can_be_chosen_and_stay_chosen(ws, serve, visit):
    page = visit(serve(ws).url)
    assert background(page) > 200
    page.get_by_role("button", name="Light or dark").click()
    assert background(page) < 60
    page.reload()
    page.wait_for_selector("#pages [role=tab]")
    expect(page.locator("body.dark")).to_be_attached()
    assert background(page) < 60


def test_an_empty_workspace_leads_to_the_starter_kit_and_on_to_sft(ws, serve, visit):
    page = visit(serve(ws).url)
    page.locator("#next-step").click()
    expect(page.locator("#data-list")).to_contain_text("No demonstrations yet")
    page.locator("#load-starter").click()
    expect(page.locator("#import-told")).to_contain_text("Loaded")
    expect(page.locator("#load-starter")).to_be_hidden()
    expect(page.locator("#data-counts")).not_to_contain_text("0demonstrations")
    open_page(page, "home")
    expect(page.locator("#next-step")).to_have_text("Train SFT")
    page.locator("#next-step").click()
    expect(page.locator("#start-sft")).to_be_visible()
    assert page.url.endswith("#train/sft")


def test_home_leads_to_the_stage_and_marks_what_is_stale(full_ws, serve, visit):
    page = visit(serve(full_ws).url)
    expect(page.locator(".at-pairs .stale")).to_have_text("ppo-2@40 has not answered yet")
    expect(page.locator(".recent")).to_contain_text("failed")
    page.locator("#next-step").click()
    expect(page.locator("#start-sample")).to_be_visible()
    page.go_back()
    expect(page.locator("#home")).to_be_visible()


def test_home_names_the_baseline_and_leads_to_it(full_ws, serve, visit):
    page = visit(serve(full_ws).url)
    page.locator("#baseline a", has_text="DPO").click()
    expect(page.locator("#train-dpo")).to_be_visible()
    expect(page.locator("#start-dpo")).to_have_text("Start DPO")


def test_a_wrong_setting_is_said_beside_its_field_and_nothing_starts(full_ws, serve, visit):
    page = visit(serve(full_ws).url + "#train/reward")
    field = page.locator("#reward-epochs input")
    field.fill("0")
    expect(page.locator("#told-reward")).to_contain_text(
        "epochs = 0 is not possible; it takes a whole number, at least 1"
    )
    page.locator("#start-reward").click()
    expect(page.locator("#reward-epochs")).to_contain_text("Epochs = 0 is not possible")
    assert len(stored.read(full_ws, runs.list_all)) == 6
    field.fill("3")
    expect(page.locator("#command-reward")).to_contain_text("--set epochs=3")
    expect(page.locator("#told-reward")).not_to_contain_text("epochs")


def test_what_a_run_would_teach_is_shown_as_tokens_and_as_text(full_ws, serve, visit, monkeypatch):
    tokens = [("<|user|>", "read"), (HOSTILE, "read"), (HOSTILE, "taught"), ("<|end|>", "taught")]
    monkeypatch.setattr(
        preview,
        "lesson",
        lambda ws, prepared: preview.Lesson(
            "own", [preview.Example("First", tokens)], f"{prepared.config.epochs} things."
        ),
    )
    page = visit(serve(full_ws).url + "#train/sft")
    page.locator("#look-sft").click()
    expect(page.locator("#lesson-sft pre .is-taught")).to_have_text([HOSTILE, "<|end|>"])
    expect(page.locator("#lesson-sft pre")).to_have_text("<|user|>" + HOSTILE + HOSTILE + "<|end|>")
    expect(page.locator("#lesson-sft")).to_contain_text("2 things.")
    assert page.evaluate("window.hacked === undefined")


def test_a_run_that_would_leave_out_too_much_starts_only_anyway(ws, serve, visit, monkeypatch):
    filling.add_texts(ws)
    monkeypatch.setattr(launcher, "start", lambda ws, run: run)
    page = visit(serve(ws).url + "#train/sft")
    page.get_by_text("Prompts and texts").first.click()
    page.locator("#sft-max_length input").fill("30")
    page.locator("#sft-max_length input").press("Tab")
    expect(page.locator("#command-sft")).to_contain_text("--set max_length=30")
    page.locator("#start-sft").click()
    expect(page.locator("#told-sft")).to_contain_text("or start anyway with max_dropped=1")
    assert stored.read(ws, runs.list_all) == []
    page.locator("#anyway-sft").click()
    expect(page.locator("#page-runs")).to_be_visible()
    assert [run.config.max_dropped for run in stored.read(ws, runs.list_all)] == [1.0]


def test_what_is_changed_is_listed_marked_and_set_back(ws, serve, visit):
    page = visit(serve(ws).url + "#train/sft")
    listed, command = page.locator("#changed-sft"), page.locator("#command-sft")
    expect(command).not_to_contain_text("--set")
    for name, value in (("epochs", "5"), ("learning_rate", "0.001")):
        page.locator(f"#sft-{name} input").fill(value)
        page.locator(f"#sft-{name} input").press("Tab")
        expect(command).to_contain_text(f"--set {name}={value}")
    expect(listed.get_by_role("listitem")).to_have_text(
        [re.compile(r"Learning rate\s*0.001"), re.compile(r"Epochs\s*5")]
    )
    mark = (
        "(name) => getComputedStyle(document.querySelector(`#sft-${name} [data-testid=block-info]`), '::after').content"
    )
    assert [page.evaluate(mark, name) for name in ("epochs", "max_demonstrations")] == ['"changed"', "none"]
    listed.get_by_role("button", name="Reset Epochs").click()
    expect(page.locator("#sft-epochs input")).to_have_value("2")
    expect(listed.get_by_role("listitem")).to_have_count(1)
    expect(page.locator("#sft-learning_rate input")).to_have_value("0.001")
    page.locator("#sft-epochs input").fill("7")
    page.locator("#sft-epochs input").press("Tab")
    listed.get_by_role("button", name="reset all").click()
    expect(command).not_to_contain_text("--set")
    expect(listed).to_be_empty()


def test_settings_that_were_typed_taken_or_set_back_and_the_stage_outlive_a_reload(full_ws, serve, visit):
    page = visit(serve(full_ws).url + "#train/sft")
    page.get_by_role("radio", name="PPO", exact=True).click()
    expect(page).to_have_url(re.compile("#train/ppo$"))
    listed, command = page.locator("#changed-ppo"), page.locator("#command-ppo")
    page.locator("#ppo-iterations input").fill("0")
    expect(page.locator("#told-ppo")).to_contain_text("iterations = 0 is not possible")
    page.reload()
    expect(page.locator("#ppo-iterations input")).to_have_value("0")
    expect(page.locator("#taken-ppo")).to_have_text("")
    expect(page.locator("#told-ppo")).to_contain_text("iterations = 0 is not possible")
    page.locator("#ppo-iterations input").fill("7")
    expect(command).to_contain_text("--set iterations=7")
    page.locator("#preset-ppo input").fill("24 GB GPU")
    page.keyboard.press("Enter")
    expect(listed.get_by_role("button", name="Reset Gradient checkpointing")).to_be_visible()
    expect(page.locator("#taken-ppo")).to_contain_text("7 iterations")
    before = listed.inner_text(), command.inner_text()
    assert "iterations=7" in before[1]
    page.reload()
    expect(listed).to_have_text(re.compile("Gradient checkpointing"))
    assert (listed.inner_text(), command.inner_text()) == before
    expect(page.locator("#taken-ppo")).to_contain_text("7 iterations")
    listed.get_by_role("button", name="reset all").click()
    expect(listed).to_be_empty()
    expect(page.locator("#ppo-iterations input")).not_to_have_value("7")
    page.reload()
    expect(page.locator("#page-train #start-ppo")).to_be_visible()
    expect(page.locator("#ppo-iterations input")).not_to_have_value("7")
    expect(command).not_to_contain_text("--set")
    page.get_by_role("radio", name="SFT", exact=True).click()
    expect(page).to_have_url(re.compile("#train/sft$"))
    page.get_by_role("radio", name="PPO", exact=True).click()
    expect(page).to_have_url(re.compile("#train/ppo$"))  # also one that the address had named before


def test_a_first_look_makes_the_run_short_and_the_terminal_names_the_same(full_ws, serve, visit):
    page = visit(serve(full_ws).url + "#train/ppo")
    page.locator("#preset-ppo input").fill("a first look")
    page.keyboard.press("Enter")
    expect(page.locator("#taken-ppo")).to_contain_text("10 iterations of 32 responses. At the pace of ppo-2: about")
    expect(page.locator("#command-ppo")).to_contain_text("--set iterations=10")
    expect(page.locator("#ppo-iterations input")).to_have_value("10")
    assert settings.read("ppo", None, [], ["first-look"]) == PPOConfig(**preset("ppo", "first-look"))


def test_a_preset_shows_all_that_it_changes_at_once(ws, serve, visit):
    page = visit(serve(ws).url + "#train/sft")
    expected = settings.changed(SFTConfig(**preset("sft", "24gb")))
    page.locator("#preset-sft input").fill("24 GB GPU")
    page.keyboard.press("Enter")
    expect(page.locator("#changed-sft").get_by_role("listitem")).to_have_count(len(expected))
    for name in expected:
        expect(page.locator("#command-sft")).to_contain_text(f"--set {name}=")
    assert len(expected) > 1


def test_a_wrong_field_is_marked_and_the_old_command_line_goes(ws, serve, visit):
    page = visit(serve(ws).url + "#train/sft")
    page.locator("#sft-epochs input").fill("0")
    page.locator("#sft-epochs input").press("Tab")
    expect(page.locator("#told-sft")).to_contain_text(
        "epochs = 0 is not possible; it takes a whole number, at least 1."
    )
    expect(page.locator("#command-sft")).not_to_contain_text("rlhf-studio")
    mark = page.evaluate("getComputedStyle(document.querySelector('#sft-epochs'), '::after').content")
    assert "Not valid" in mark


def test_what_a_stage_lacks_is_said_beside_its_button(ws, serve, visit):
    page = visit(serve(ws).url + "#train/sft")
    page.locator("#start-sft").click()
    expect(page.locator("#told-sft")).to_contain_text("There are no demonstrations to learn from.")
    assert stored.read(ws, runs.list_all) == []


def test_a_start_that_takes_its_time_says_so_and_a_second_click_starts_no_second_run(ws, serve, visit, monkeypatch):
    filling.add_texts(ws)
    monkeypatch.setattr(launcher, "start", lambda ws, run: run)
    gate, refusal = threading.Event(), train.preview.refusal
    monkeypatch.setattr(
        train.preview, "refusal", lambda *given: refusal(*given) if gate.wait(30) else pytest.fail("late")
    )
    page = visit(serve(ws).url + "#train/sft")
    page.locator("#start-sft").dblclick()
    expect(page.locator("#told-sft .is-working")).to_have_text("Checking the rows before the start …")
    page.locator("#start-sft").click()
    gate.set()
    expect(page.locator("#run-head h2")).to_have_text("sft-1")
    page.wait_for_timeout(1000)
    assert [run.name for run in stored.read(ws, runs.list_all)] == ["sft-1"]


def test_start_opens_the_new_run(full_ws, serve, visit, monkeypatch):
    monkeypatch.setattr(launcher, "start", lambda ws, run: run)
    page = visit(serve(full_ws).url + "#train/reward")
    page.locator("#start-reward").click()
    expect(page.locator("#run-head")).to_contain_text("reward-2")
    expect(page.locator("#run-head")).to_contain_text("queued")
    page.wait_for_function("location.hash === '#runs/reward-2'")
    page.locator("#run-stop").click()
    expect(page.locator("#run-head")).to_contain_text("stopped")
    assert stored.read(full_ws, runs.get, "reward-2").state == "stopped"


def test_curves_grow_while_the_page_is_open_and_survive_reload_and_restart(ws, serve, visit, monkeypatch):
    monkeypatch.setattr(launcher, "reap", lambda ws: [])
    filling.add_texts(ws, 2)
    filling.add_run(ws, SFTConfig(), "failed", message=HOSTILE)
    run = filling.add_run(ws, SFTConfig(), "running", text="step 1 of 9")
    served = serve(ws)
    page = visit(served.url + "#runs")
    expect(page.locator("#run-head")).to_contain_text("step 1 of 9")
    stored.written(ws, metrics.add, run.id, 1, {"train/loss": 2.5, "eval/loss": 2.25})
    expect(page.locator("#run-curves .name").first).to_contain_text("2.5")
    expect(page.locator("#run-curves figcaption b")).to_have_text("loss")
    served.stop()
    stored.written(ws, metrics.add, run.id, 2, {"train/loss": 1.75})
    served.start()
    expect(page.locator("#run-curves")).to_contain_text("train 1.75")
    expect(page.locator("#run-curves polyline")).to_have_count(1)
    page.locator("#run-curves svg[data-points]").hover()
    expect(page.locator(".chart-tip")).to_contain_text("train")
    page.locator('#run-list a[href="#runs/sft-1"]').click()
    expect(page.locator("#run-head")).to_contain_text("<script>")
    page.reload()
    expect(page.locator("#run-head h2")).to_have_text("sft-1")
    assert page.evaluate("window.hacked === undefined")


def test_a_closed_page_does_not_poll(full_ws, serve, visit):
    page = visit(serve(full_ws).url + "#runs")
    expect(page.locator("#run-head h2")).to_be_visible()
    open_page(page, "models")
    page.wait_for_timeout(1500)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.wait_for_timeout(3500)
    assert not [url for url in asked if "queue/join" in url]


def test_log_samples_and_config_show_hostile_text_as_text(full_ws, serve, visit):
    page = visit(serve(full_ws).url + "#runs/ppo-2")
    expect(page.locator("#run-head h2")).to_have_text("ppo-2")
    for tab, place in (("Samples", "#run-samples"), ("Log", "#run-log")):
        page.get_by_role("tab", name=tab).click()
        expect(page.locator(place)).to_contain_text("<script>window.hacked = 1</script>")
        expect(page.locator(place)).to_contain_text("${alert(1)} {{7*7}}")
    page.get_by_role("tab", name="Config").click()
    expect(page.locator("#run-config .is-changed")).to_contain_text(["kl_coef"])
    expect(page.locator("#run-config .quiet").first).to_contain_text("and choose ppo-2 under “Settings of”")
    assert page.evaluate("window.hacked === undefined")


def test_a_demonstration_is_written_and_its_draft_survives_reload_and_restart(ws, serve, visit):
    served = serve(ws)
    page = visit(served.url + "#data")
    expect(page.locator("#data-list")).to_contain_text("No demonstrations yet")
    page.locator("#demonstration-prompt textarea").fill("How do I boil an egg?")
    page.locator("#demonstration-response textarea").press_sequentially(f"Seven minutes. {HOSTILE[:30]}")
    deadline = time.monotonic() + 10
    while not stored.read(ws, prompts.load_draft, "demonstration-response").endswith(HOSTILE[:30]):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    served.stop()
    served.start()
    page.goto(served.url + "#data")
    page.reload()
    expect(page.locator("#demonstration-prompt textarea")).to_have_value("How do I boil an egg?")
    page.locator("#save-demonstration").click()
    expect(page.locator("#data-list")).to_contain_text("Seven minutes.")
    expect(page.locator("#demonstration-response textarea")).to_have_value("")
    assert stored.read(ws, prompts.counts)["demonstrations"] == 1
    assert stored.read(ws, prompts.load_draft, "demonstration-response") == ""


def test_an_import_is_looked_at_first_and_then_taken(ws, serve, visit, tmp_path):
    path = tmp_path / "pairs.jsonl"
    rows = [{"prompt": f"Question {n}?", "chosen": f"Good {HOSTILE}", "rejected": "Bad."} for n in range(3)]
    path.write_text("".join(json.dumps(row) + "\n" for row in [*rows, {"prompt": "", "chosen": "x", "rejected": "y"}]))
    page = visit(serve(ws).url + "#data")
    expect(page.locator("#take")).to_be_disabled()
    page.locator("#source textarea, #source input").first.fill(str(path))
    page.locator("#look").click()
    expect(page.locator("#import-told")).to_contain_text("3 of 4 rows can be kept as preferences")
    expect(page.locator("#import-told")).to_contain_text("<script>")
    assert stored.read(ws, prompts.counts)["prompts"] == 0
    page.locator("#take").click()
    expect(page.locator("#import-told")).to_contain_text("3 new preferences")
    assert stored.read(ws, prompts.counts)["prompts"] == 3
    path.write_text('{"prompt": "a"}\n{"prompt": "b"}\n{broken\n')
    page.locator("#look").click()
    expect(page.locator("#import-told")).to_contain_text("line 3")
    expect(page.locator("#take")).to_be_disabled()
    assert page.evaluate("window.hacked === undefined")


def test_columns_that_are_not_understood_are_mapped_with_live_examples_and_remembered(ws, serve, visit, tmp_path):
    path = tmp_path / "pairs.jsonl"
    path.write_text(json.dumps({"ask": f"Why? {HOSTILE}", "good": "Because.", "poor": "No.", "who": "zoe"}) + "\n")
    page = visit(serve(ws).url + "#data")
    page.locator("#source textarea, #source input").first.fill(str(path))
    page.locator("#look").click()
    expect(page.locator("#import-told")).to_contain_text("has the columns ask, good, poor, who")
    expect(page.locator("#map-prompt")).to_be_visible()  # unfolded
    for name, column in {"prompt": "ask", "chosen": "good", "rejected": "poor", "rater": "who"}.items():
        field = page.locator(f"#map-{name} input")
        field.fill(column)
        field.press("Enter")
        expect(field).to_have_value(column)
    expect(page.locator("#import-told")).to_contain_text("1 of 1 rows can be kept as preferences")
    expect(page.locator("#import-told")).to_contain_text("zoe")
    page.locator("#take").click()
    expect(page.locator("#import-told")).to_contain_text("1 new preference from")
    path.write_text(json.dumps({"ask": "When?", "good": "Now.", "poor": "Never.", "who": "max"}) + "\n")
    page.reload()
    page.locator("#source textarea, #source input").first.fill(str(path))
    page.locator("#look").click()
    expect(page.locator("#import-told")).to_contain_text("Columns mapped as before")
    assert page.evaluate("window.hacked === undefined")


def test_an_archive_is_told_and_restored_into_an_empty_workspace_only(full_ws, serve, visit, tmp_path):
    found = archive.write(full_ws)
    path = tmp_path / "archive.jsonl.gz"
    path.write_bytes(gzip.compress(found.path.read_bytes()))
    empty = Workspace.open(tmp_path / "empty")
    for ws in (empty, full_ws):
        page = visit(serve(ws).url + "#data")
        page.locator("#source textarea, #source input").first.fill(str(path))
        page.locator("#look").click()
        expect(page.locator("#import-told")).to_contain_text("archive.jsonl.gz, an archive: ")
        expect(page.locator("#import-told")).to_contain_text(f"{found.rows['rating_events']:,} rating events")
        if ws is empty:
            page.locator("#take").click()
            expect(page.locator("#import-told .is-good").first).to_contain_text("rating events")
            expect(page.locator("#data-list [data-row]").first).to_be_visible()
            assert stored.read(empty, ratings.summary) == stored.read(full_ws, ratings.summary)
        else:
            expect(page.locator("#import-told")).to_contain_text(
                "goes into an empty workspace, and studio is not empty"
            )
            expect(page.locator("#take")).to_be_disabled()


def test_a_file_can_be_chosen_and_texts_can_be_searched(full_ws, serve, visit, tmp_path):
    path = tmp_path / "prompts.csv"
    path.write_text("prompt\nWhat is a unicorn?\n")
    page = visit(serve(full_ws).url + "#data")
    page.locator("#look").click()
    expect(page.locator("#import-told")).to_contain_text("Choose a file")
    page.locator("#upload input[type=file], input[type=file]").first.set_input_files(path)
    expect(page.locator("#source textarea, #source input").first).to_have_value(re.compile("prompts.csv"))
    page.locator("#look").click()
    expect(page.locator("#import-told")).to_contain_text("1 of 1 rows can be kept as prompts")
    page.locator("#search textarea, #search input").first.fill("(17)")
    expect(page.locator("#data-list [data-row]")).to_have_count(1)
    page.locator("#search textarea, #search input").first.fill("<nothing>")
    expect(page.locator("#data-list")).to_contain_text("No demonstrations contain “<nothing>”.")


def test_models_show_the_family_and_ask_two(full_ws, serve, visit, monkeypatch):
    def growing(resident, messages, names, sampling):
        for words in ("says", f"says {HOSTILE}"):
            yield {name: f"{name} {words}" for name in names}

    monkeypatch.setattr(asking, "growing", growing)
    page = visit(serve(full_ws).url + "#models")
    expect(page.locator("#lineage .node")).to_have_count(3)
    expect(page.locator("#checkpoints tbody tr")).to_have_count(3)
    page.locator("#ask").click()
    expect(page.locator("#answer-first")).to_contain_text("The prompt is empty.")
    page.locator("#try-prompt textarea").fill("Hello?")
    page.locator("#ask").click()
    expect(page.locator("#answer-first")).to_contain_text("ppo-2@40 says <script>")
    expect(page.locator("#answer-second")).to_contain_text("sft-1@60 says <script>")
    assert page.evaluate("window.hacked === undefined")


def test_an_error_of_a_handler_becomes_a_sentence(full_ws, serve, visit, monkeypatch):
    def refuse(*_):
        raise runs.RunError(f"Run ppo-2 cannot be resumed {HOSTILE}")

    filling.add_checkpoint(full_ws, stored.read(full_ws, runs.get, "ppo-2"), 20)
    monkeypatch.setattr(runs, "resume", refuse)
    page = visit(serve(full_ws).url + "#runs/ppo-2")
    expect(page.locator("#run-head h2")).to_have_text("ppo-2")
    page.locator("#run-resume").click()
    expect(page.get_by_test_id("toast-text")).to_contain_text("Run ppo-2 cannot be resumed <script>")
    assert page.evaluate("window.hacked === undefined")


def test_runs_without_a_run_says_what_to_do_and_shows_no_dead_control(ws, serve, visit):
    page = visit(serve(ws).url + "#runs")
    expect(page.locator("#run .nothing")).to_contain_text("No runs yet")
    expect(page.locator("#run-stop")).to_be_hidden()
    expect(page.locator("#run-curves")).to_be_hidden()
    page.locator("#run .nothing a").click()
    expect(page.locator("#start-sft")).to_be_visible()


def test_an_earlier_run_is_started_again_with_changes(full_ws, serve, visit):
    kept = runs.create(full_ws, SFTConfig(epochs=7, learning_rate=3e-5))
    page = visit(serve(full_ws).url + "#train/sft")
    choice = page.locator("#again-sft input")
    choice.fill(kept.name)
    choice.press("Enter")
    expect(page.locator("#sft-epochs input")).to_have_value("7")
    page.locator("#sft-epochs input").fill("8")
    expect(page.locator("#command-sft")).to_contain_text("--set epochs=8")
    expect(page.locator("#command-sft")).to_contain_text("--set learning_rate=3e-05")


def test_a_text_is_opened_by_keys_edited_hidden_and_brought_back(ws, serve, visit):
    filling.add_texts(ws, 23)
    page = visit(serve(ws).url + "#data")
    drawer, rows, extent = (
        page.locator("#data-drawer"),
        page.locator("#data-list [data-row]"),
        page.locator("#data-extent"),
    )
    expect(extent).to_have_text("1 to 20 of 23")
    rows.first.focus()
    page.keyboard.press("PageDown")
    expect(extent).to_have_text("21 to 23 of 23")
    page.keyboard.press("PageUp")
    expect(extent).to_have_text("1 to 20 of 23")
    expect(rows.first).to_be_focused()
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    expect(drawer.locator("[data-shown]")).to_be_visible()
    first = int(drawer.locator("[data-shown]").get_attribute("data-shown") or 0)
    expect(page.locator("#data-answer textarea")).not_to_have_value("")
    assert page.evaluate("window.studio.address()") == f"data/demonstrations/{first}"
    page.locator("#data-answer textarea").fill(f"Better. {HOSTILE}")
    page.locator("#data-edit").click()
    expect(page.locator("#data-told")).to_contain_text("The earlier version stays on record")
    expect(rows.first).to_contain_text("Better. <script>")
    expect(drawer).to_contain_text("What was done with it")
    page.locator("#data-hide").click()
    expect(page.locator("#data-hide")).to_have_text("Show again")
    expect(extent).to_have_text("1 to 20 of 22")
    expect(page.locator("#data-counts")).to_contain_text("22demonstrations")
    page.locator("#data-undo").click()
    expect(extent).to_have_text("1 to 20 of 23")
    page.locator("#data-hide").click()
    expect(extent).to_have_text("1 to 20 of 22")
    page.locator("#data-hide").click()
    expect(extent).to_have_text("1 to 20 of 23")
    page.locator("#data-to-category input, #data-to-category textarea").fill("moved")
    page.locator("#data-move").click()
    expect(drawer.locator(".tag", has_text="moved")).to_be_visible()
    page.keyboard.press("Escape")
    expect(drawer).to_be_hidden()
    assert page.evaluate("window.hacked") is None
    with ws.read() as db:
        assert [event["action"] for event in texts.history(db, "demonstrations", first)] == ["category"], "its prompt's"
        assert db.execute("SELECT count(*) FROM responses WHERE id = ?", [first]).fetchone()[0] == 1


def test_an_address_opens_one_text_also_one_that_the_table_does_not_show(ws, serve, visit):
    prompt_id = filling.add_texts(ws, 30)[0]
    page = visit(serve(ws).url + f"#data/prompts/{prompt_id}")
    expect(page.locator("#data-drawer")).to_contain_text(f"Prompt {prompt_id}")
    page.get_by_role("button", name="Close").click()
    expect(page.locator("#data-drawer")).to_be_hidden()
    assert page.evaluate("window.studio.address()") == "data"
    page.evaluate("location.hash = 'data/demonstrations/999999'")
    expect(page.locator("#data-drawer")).to_contain_text("There is no demonstration 999999")
    page.get_by_test_id("prompts-radio-label").click()
    expect(page.locator('#data-list [data-kind="prompts"]')).to_be_visible()
    expect(page.locator("#data-drawer"), "it showed none of the rows that are listed now").to_be_hidden()
    assert page.evaluate("window.studio.address()") == "data"


def test_an_import_is_a_card_and_is_taken_back_after_a_second_click(ws, serve, visit, tmp_path):
    path = tmp_path / "wrong <b>file.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"Question {n}?", "response": "Yes."}) + "\n" for n in range(3)))
    importing.import_source(ws, str(path))
    page = visit(serve(ws).url + "#data")
    expect(page.locator("#data-extent")).to_have_text("1 to 3 of 3")
    page.locator("#imports").get_by_text("What was imported").click()
    card = page.locator("#imports-list .import")
    expect(card).to_contain_text("wrong <b>file.jsonl")
    expect(card).to_contain_text("3 prompts, 3 demonstrations")
    stored.written(ws, prompts.add_demonstration, [{"role": "user", "content": "Question 1?"}], "No.")
    for told in ("written or edited here or came with another import: 1", "left the workspace"):
        card.get_by_role("button", name="Take this import back").click()
        card.get_by_role("button", name="All its rows leave").click()
        expect(page.locator("#imports-told")).to_contain_text(told)
        with ws.write() as db, curtain.unguarded(db, "responses"):  # so that nothing depends on the import any more
            db.execute("DELETE FROM responses WHERE text = 'No.'")
    expect(card).to_have_count(0)
    expect(page.locator("#data-list")).to_contain_text("No demonstrations yet")


def test_the_program_that_takes_pictures_takes_narrow_ones_too(full_ws, serve, chromium, tmp_path):
    served = serve(full_ws)
    wide, narrow = (take.take(chromium, served.url, "home", "light", width, tmp_path) for width in (1280, 390))
    assert (wide.name, narrow.name) == ("home-light.png", "home-390-light.png")
    assert [int.from_bytes(each.read_bytes()[16:20], "big") for each in (wide, narrow)] == [1280, 390]
