"""Checkpoints are talked with in a real browser, on a real resident process: turns, branches, votes, and what goes wrong."""

import json
import os
import re
import signal
from contextlib import closing
from pathlib import Path

import pytest
from playwright.sync_api import expect

from modules.config import SFTConfig
from studio.chat import conversations, token_view, turns
from studio.chat.resident import Resident
from studio.errors import RunError
from studio.preferences import prompts, ratings
from studio.runs import devices, launcher, runs
from studio.workspace import Workspace
from tests.support import driver, policies, stored, warm
from tests.support.waiting import for_run, until
from tests.ui.filling import HOSTILE
from ui import app

pytestmark = pytest.mark.browser
HOT = {"temperature": 10, "max_new_tokens": 450}
"""An answer so asked hardly ever ends by itself."""
SHORT = {"max_new_tokens": 8}
SMALL_SFT = SFTConfig(lora_rank=2, batch_size=4, micro_batch_size=4, max_length=64, eval_samples=0, epochs=1)


@pytest.fixture
def ws(tmp_path):
    return policies.workspace(tmp_path / "studio")


@pytest.fixture
def resident(ws, monkeypatch):
    """The process of the served pages."""
    with warm.starts():
        found = Resident(ws, "cpu")
        monkeypatch.setattr(app, "Resident", lambda ws: found)
        yield found
        found.close()


@pytest.fixture
def chat(ws, resident, serve, visit):
    """Open the page at an address; it is ready when its list is there."""
    served = serve(ws)

    def open_page(address="#chat", **how):
        page = visit(served.url + address, **how)
        expect(page.locator(".chat:not([data-state=loading])")).to_be_visible()
        return page

    return open_page


def ask(page, text, *, second="", is_blind=False, **numbers):
    """Send a message with these settings; it is on its way when this returns."""
    page.locator("[data-part=second]").select_option(second)
    if second:
        page.locator("[data-part=blind]").set_checked(is_blind)
    details = page.locator(".chat .settings")
    if not details.evaluate("node => node.open"):
        details.locator("summary").click()
    for name, value in numbers.items():
        page.locator(f"[data-number={name}]").fill(str(value))
    page.locator("[data-part=text]").fill(text)
    page.locator("[data-part=text]").press("Enter")


def answered(page, num=1):
    """Wait until so many answers are there, and none grows any more."""
    expect(page.locator(".chat .answer")).to_have_count(num)
    expect(page.locator(".chat .answer .ending:empty")).to_have_count(0)
    expect(page.locator(".chat.is-growing")).to_have_count(0)


def said(ws, conversation_id=1):
    found = stored.read(ws, conversations.get, conversation_id)
    return [each.text.strip() for each in stored.read(ws, turns.branch, found.leaf_id)]


def test_two_turns_are_answered_kept_and_there_after_a_reload(ws, chat):
    page = chat()
    ask(page, "Where is the fox?", **SHORT)
    answered(page)
    expect(page).to_have_url(re.compile("#chat/1$"))
    expect(page.locator(".chat .ending")).to_contain_text("tokens/s")
    page.locator("[data-part=text]").fill("And now?")
    page.locator("[data-part=text]").press("Shift+Enter")
    page.locator("[data-part=text]").press_sequentially("Here?")
    page.locator("[data-part=text]").press("Enter")
    answered(page, 2)
    kept = said(ws)
    assert [kept[0], kept[2]] == ["Where is the fox?", "And now?\nHere?"]
    expect(page.locator("[data-part=text]")).to_have_value("")
    page.locator("[data-part=text]").fill("not sent yet")
    page.reload()
    expect(page.locator(".chat .answer")).to_have_count(2)
    expect(page.locator("[data-part=text]")).to_have_value("not sent yet")
    expect(page.locator(".chat h2")).to_have_text("Where is the fox?")
    assert [page.locator(".chat .answer .body").nth(at).inner_text().split() for at in (0, 1)] == [
        kept[1].split(), kept[3].split(),
    ]  # fmt: skip


def test_an_answer_grows_until_it_is_stopped_in_the_model_too_and_goes_on_from_there(ws, chat, resident):
    page = chat()
    ask(page, "Where is the fox?", **HOT)
    growing = page.locator(".chat .answer.is-growing .body:not(:has(.quiet))")
    expect(growing).not_to_be_empty()
    page.keyboard.press("Escape")
    answered(page)
    expect(page.locator(".chat .ending")).to_contain_text("stopped")
    until(lambda: not resident._open, "the model stops")
    (first,) = stored.read(ws, turns.attempt, 1, 1)
    assert (first.end_reason, first.num_tokens < HOT["max_new_tokens"]) == ("stopped", True)
    page.locator("[data-do=continue]").click()
    until(lambda: len(stored.read(ws, turns.turn, first.id).text) > len(first.text) or resident._open, "it goes on")
    page.locator("[data-do=stop]").click()
    answered(page)
    until(lambda: stored.read(ws, turns.turn, first.id).end_reason == "stopped", "it is stored")
    assert stored.read(ws, turns.turn, first.id).text.startswith(first.text)


def test_names_are_hidden_until_a_vote_by_key_which_is_stored_and_it_goes_on_from_the_better(ws, chat):
    page = chat()
    ask(page, "Where is the fox?", second="sft-1@1", is_blind=True, **SHORT)
    answered(page, 2)
    expect(page.locator(".chat .question")).to_have_text("Which is better?")
    heads = page.locator(".chat .answer h4")
    expect(heads.first).to_contain_text("hidden until the vote")
    assert "sft-" not in page.locator("[data-part=turns]").inner_text()
    page.locator("[data-part=text]").press("9")
    assert stored.read(ws, ratings.summary)["rated"] == 0, "a digit in the message is text"
    page.locator("[data-part=text]").fill("")
    page.locator("[data-part=text]").press("Escape")
    page.keyboard.press("9")
    expect(page.locator(".chat .question")).to_contain_text("Recorded: right better.")
    first, second = stored.read(ws, turns.attempt, 1, 1)
    expect(heads.nth(1)).to_contain_text(second.checkpoint)
    ((event,),) = [row["events"] for row in stored.comparisons(ws)]
    assert (event["outcome"], event["strength"], event["rater"]) == ("right", 2, "person")
    page.locator("[data-do=vote]", has_text="both bad").click()
    expect(page.locator(".chat .question")).to_contain_text("Recorded: both bad.")
    expect(page.locator("[data-do=vote]", has_text="both bad")).to_be_focused()
    assert stored.read(ws, ratings.summary)["both_bad"] == 1
    assert said(ws)[1] == second.text.strip()
    page.locator("[data-part=text]").fill("And now?")
    page.locator("[data-part=text]").press("Enter")
    answered(page, 4)
    asked = stored.read(ws, turns.turn, stored.read(ws, conversations.get, 1).leaf_id).parent_id
    assert stored.read(ws, turns.turn, asked).parent_id == second.id
    assert first.id != second.id


def test_what_the_reward_model_says_is_shown_after_the_vote_and_not_before(ws, chat, resident, monkeypatch):
    reward = policies.add_reward(ws)
    asked = []
    score = resident.score
    monkeypatch.setattr(resident, "score", lambda *given: asked.append(given) or score(*given))
    page = chat()
    ask(page, "Where is the fox?", second="sft-1@1", **SHORT)
    answered(page, 2)
    expect(page.locator(".chat .question")).to_have_text("Which is better?")
    assert (page.locator(".chat .score").count(), asked) == (0, [])
    page.locator("[data-do=vote]", has_text="left").click()
    expect(page.locator(".chat .score")).to_contain_text(f"{reward} gives the")
    assert stored.read(ws, ratings.summary)["left"] == 1
    assert len(asked) == 1


def test_a_judged_answer_opens_token_by_token_by_keys_and_not_before_the_vote(ws, chat, resident):
    page = chat()
    ask(page, "Where is the fox?", second="sft-1@1", is_blind=True, **SHORT)
    answered(page, 2)
    expect(page.locator(".chat .question")).to_have_text("Which is better?")
    assert page.locator("[data-do=tokens]").count() == 0
    page.locator("[data-do=vote]", has_text="left").click()
    button, shown = page.locator("[data-do=tokens]").first, page.locator(".chat .token-view").first
    expect(button).to_have_attribute("aria-expanded", "false")
    button.click()
    tokens = shown.locator(".token-row").first.locator(".token")
    expect(tokens.first).to_be_visible()
    expect(button).to_be_focused()
    first, second = stored.read(ws, turns.attempt, 1, 1)
    view = token_view.read(resident, stored.read(ws, token_view.judged, first.id))
    expect(tokens).to_have_count(len(view.texts))
    largest = max(map(abs, view.logprobs))
    for at, token in enumerate(tokens.all()):
        strength = float(token.evaluate("e => e.style.getPropertyValue('--strength')"))
        assert strength == pytest.approx(abs(view.logprobs[at]) / largest, abs=0.01)
    tokens.first.focus()
    page.keyboard.press("ArrowRight")
    expect(tokens.nth(1)).to_be_focused()
    said = shown.locator(".token-said").first
    expect(said).to_contain_text(f"{view.logprobs[1]:.3f} under {first.checkpoint}")
    expect(said).to_contain_text(f"{view.other_logprobs[1]:.3f} under {second.checkpoint}")
    tokens.nth(2).hover()
    expect(said).to_contain_text(f"difference {view.differences[2]:+.3f}")
    page.locator("[data-do=vote]", has_text="both bad").click()
    expect(page.locator(".chat .question")).to_contain_text("Recorded: both bad.")
    expect(tokens).to_have_count(len(view.texts))
    button.click()
    expect(shown).to_be_hidden()
    expect(button).to_have_attribute("aria-expanded", "false")


def test_turns_are_edited_asked_again_and_forked_and_what_was_there_stays(ws, chat):
    page = chat()
    ask(page, "Where is the fox?", **SHORT)
    answered(page)
    page.locator("[data-do=edit]").click()
    page.locator("[data-part=writer-text]").fill("Where is the wolf?")
    page.locator("[data-part=writer-text]").press("Control+Enter")
    expect(page.locator(".chat .asked .body")).to_have_text("Where is the wolf?")
    answered(page)
    expect(page.locator(".chat .steps")).to_contain_text("version 2 of 2")
    page.get_by_label("version before").click()
    expect(page.locator(".chat .asked .body")).to_have_text("Where is the fox?")
    page.get_by_label("version after").click()
    expect(page.locator(".chat .asked .body")).to_have_text("Where is the wolf?")
    page.locator("[data-do=again]").click()
    expect(page.locator(".chat .steps", has_text="attempt")).to_contain_text("attempt 2 of 2")
    answered(page)
    page.locator("[data-do=answer]").click()
    page.locator("[data-part=writer-text]").fill("In the wood.")
    page.locator("[data-part=writer-keep]").click()
    expect(page.locator(".chat .answer .body")).to_have_text("In the wood.")
    expect(page.locator(".chat .ending")).to_have_text("written by you")
    page.locator("[data-do=fork]").click()
    expect(page.locator(".chat h2")).to_have_text("Where is the fox? (fork)")
    expect(page).to_have_url(re.compile("#chat/2$"))
    expect(page.locator(".chat nav a")).to_have_count(2)
    expect(page.locator(".chat nav a[aria-current=true]")).to_contain_text("(fork)")
    assert said(ws, 2) == ["Where is the wolf?", "In the wood."]
    page.locator(".chat nav a[data-id='1']").click()
    expect(page.locator(".chat h2")).to_have_text("Where is the fox?")
    page.go_back()
    expect(page.locator(".chat h2")).to_have_text("Where is the fox? (fork)")


def test_an_answer_becomes_a_demonstration_and_what_was_asked_a_prompt(ws, chat):
    page = chat()
    ask(page, "Where is the fox?", **SHORT)
    answered(page)
    page.locator("[data-do=ideal]").click()
    page.locator("[data-part=writer-text]").fill("In the wood.")
    page.locator("[data-part=writer-keep]").click()
    expect(page.locator(".composer .said")).to_contain_text("Recorded: a demonstration, which is preferred")
    demonstrations = {each.response for each in stored.read(ws, prompts.list_demonstrations)}
    assert "In the wood." in demonstrations
    page.locator("[data-do=prompt]").click()
    expect(page.locator(".composer .said")).to_contain_text("among the prompts already")
    page.locator("[data-do=ideal]").click()
    page.locator("[data-part=writer-text]").fill(" ")
    page.locator("[data-part=writer-keep]").click()
    expect(page.locator("[data-part=writer-said]")).to_contain_text("The text is empty")


def test_two_answers_that_are_the_same_are_said_to_be_so_where_the_vote_would_be(ws, chat):
    with ws.write() as db:
        made = conversations.start(db, conversations.Settings(checkpoints=("sft-1@1", "sft-2@1")))
        for begun in conversations.ask(db, conversations.say(db, made, "A fox")):
            turns.end(db, begun.id, "Red.", "eos", num_tokens=2, seconds=0.1)
    page = chat("#chat/1")
    expect(page.locator(".chat .which")).to_have_text("Both answers are the same, so there is nothing to choose.")
    expect(page.locator("[data-do=vote]")).to_have_count(0)


def test_what_is_typed_into_a_dialog_outlives_a_reload_and_its_end_until_it_is_saved(ws, chat):
    with ws.write() as db:
        made = conversations.start(db, conversations.Settings(checkpoints=("sft-1@1",)))
        (begun,) = conversations.ask(db, conversations.say(db, made, "A fox"))
        turns.end(db, begun.id, "Red.", "eos", num_tokens=2, seconds=0.1)
    page = chat("#chat/1")
    text, said = page.locator("[data-part=writer-text]"), page.locator("[data-part=writer-said]")
    page.locator("[data-do=ideal]").click()
    expect(text).to_have_value("Red.")
    text.fill("Red, with a white tip")
    page.reload()
    expect(text).to_be_visible()
    expect(text).to_have_value("Red, with a white tip")
    expect(said).to_have_text("Your draft is back.")
    page.keyboard.press("Escape")
    expect(text).to_be_hidden()
    page.locator("[data-do=rename]").click()
    expect(text).to_have_value("A fox")
    expect(said).to_have_text("")
    page.get_by_role("button", name="Cancel").click()
    page.reload()
    expect(page.locator(".chat .answer")).to_have_count(1)
    expect(text).to_be_hidden()
    page.locator("[data-do=ideal]").click()
    expect(text).to_have_value("Red, with a white tip")
    page.get_by_role("button", name="Begin again").click()
    expect(text).to_have_value("Red.")
    expect(page.get_by_role("button", name="Begin again")).to_be_hidden()
    text.fill("Red and white.")
    page.locator("[data-part=writer-keep]").click()
    expect(page.locator(".composer .said")).to_contain_text("Recorded: a demonstration")
    page.locator("[data-do=ideal]").click()
    expect(text).to_have_value("Red.")
    expect(said).to_have_text("")


def test_conversations_are_searched_renamed_exported_and_deleted(ws, chat):
    with ws.write() as db:
        for text, answer in (("A fox", "Red."), ("A wolf", "Grey.")):
            made = conversations.start(db, conversations.Settings(checkpoints=("sft-1@1",)))
            (begun,) = conversations.ask(db, conversations.say(db, made, text))
            turns.end(db, begun.id, answer, "eos", num_tokens=2, seconds=0.1)
    page = chat("#chat/1")
    entries = page.locator(".chat nav a")
    expect(entries).to_have_count(2)
    page.locator("[data-part=search]").fill("GREY")
    expect(entries).to_have_count(1)
    expect(entries).to_contain_text("A wolf")
    page.locator("[data-part=search]").fill("bear")
    expect(page.locator(".chat nav")).to_have_text("Nothing contains this text.")
    page.locator("[data-part=search]").fill("")
    expect(entries).to_have_count(2)
    page.locator("[data-do=rename]").click()
    page.locator("[data-part=writer-text]").fill("Foxes")
    page.locator("[data-part=writer-text]").press("Enter")
    expect(page.locator(".chat h2")).to_have_text("Foxes")
    with page.expect_download() as saved:
        page.locator("[data-do=jsonl]").click()
    row = json.loads(Path(saved.value.path()).read_text())
    assert [turn["content"] for turn in row["messages"]] == ["A fox", "Red."]
    page.locator("[data-do=remove]").click()
    page.get_by_role("button", name="Keep it").click()
    expect(entries).to_have_count(2)
    page.locator("[data-do=remove]").click()
    page.locator("[data-do=sure]").click()
    expect(entries).to_have_count(1)
    expect(page.locator(".chat")).to_have_attribute("data-state", "new")
    assert [each.title for each in stored.read(ws, conversations.find)] == ["A wolf"]


def test_a_text_from_outside_is_drawn_as_text(ws, chat):
    page = chat()
    ask(page, f"**Bold** {HOSTILE}", **SHORT)
    answered(page)
    expect(page.locator(".chat .asked strong")).to_have_text("Bold")
    expect(page.locator(".chat .asked .body")).to_contain_text("<script>")
    with ws.write() as db:
        turns.end(db, 2, HOSTILE, "eos", num_tokens=1, seconds=0.1)
        conversations.rename(db, 1, HOSTILE)
    page.reload()
    expect(page.locator(".chat .answer .body")).to_contain_text("onerror=")
    assert page.evaluate("window.hacked === undefined")


def test_a_killed_process_and_a_wrong_setting_are_said_and_nothing_that_was_said_is_lost(ws, chat, resident):
    page = chat()
    ask(page, "Where is the fox?", temperature=99)
    expect(page.locator(".composer .said")).to_have_text("Temperature: Input should be less than or equal to 10.")
    expect(page.locator("[data-part=text]")).to_have_value("Where is the fox?")
    assert stored.read(ws, conversations.find) == []
    ask(page, "Where is the fox?", **HOT)
    expect(page.locator(".chat .answer.is-growing .body:not(:has(.quiet))")).not_to_be_empty()
    os.kill(resident.pid, signal.SIGKILL)
    answered(page)
    expect(page.locator(".chat .ending.is-bad")).to_contain_text("its process was ended; ask again")
    (answer,) = stored.read(ws, turns.attempt, 1, 1)
    assert answer.end_reason == "failed"
    assert answer.text
    page.goto(page.url.split("#")[0] + "#chat/99")
    expect(page.locator(".composer .said")).to_contain_text("There is no conversation 99")


def test_a_run_that_needs_the_gpu_ends_the_answer_and_the_page_says_so(chat, resident, monkeypatch):
    """The process's own part of this is tested in chat/test_resident.py; what it says is put into its mouth here."""
    page = chat()
    real = resident.answer

    def taken(question):
        with closing(real(question)) as events:
            yield next(events)
        raise RunError("ppo-1 needed the GPU, so this answer was ended.")

    monkeypatch.setattr(resident, "answer", taken)
    ask(page, "Where is the fox?", **HOT)
    answered(page)
    expect(page.locator(".chat .ending.is-bad")).to_have_text("ppo-1 needed the GPU, so this answer was ended.")
    expect(page.locator("[data-do=continue]")).to_be_visible()


def test_a_real_run_takes_the_gpu_from_a_growing_answer_which_is_kept_and_chat_goes_on_afterwards(
    ws, serve, visit, monkeypatch
):
    for n in range(4):
        turn = [{"role": "user", "content": f"What is {n} plus 1?"}]
        stored.written(ws, prompts.add_demonstration, turn, f"It is {n + 1}.")
    driver.use(monkeypatch, driver.Driver(driver.SMALL))
    monkeypatch.setenv(warm.ONE_GPU, "1")
    monkeypatch.setattr(launcher.turns, "ensure_waiter", lambda *_: None)  # its children would not know the GPU
    with warm.starts():
        page = visit(serve(ws).url + "#chat")
        expect(page.locator(".chat:not([data-state=loading])")).to_be_visible()
        ask(page, "Where is the fox?", **HOT)
        body = page.locator(".chat .answer.is-growing .body:not(:has(.quiet))")
        expect(body).not_to_be_empty()
        with devices.taken(ws, SMALL_SFT, []) as mine:
            assert mine == (), "the resident process holds the GPU"
        run = launcher.start(ws, runs.create(ws, SMALL_SFT))
        expect(page.locator(".chat .ending.is-bad")).to_have_text(
            f"{run.name} needed the GPU, so this answer was ended."
        )
        (answer,) = stored.read(ws, turns.attempt, 1, 1)
        assert (answer.end_reason, bool(answer.text.strip())) == ("failed", True)
        shown = page.locator(".chat .answer .body").inner_text()
        assert shown.split()[:3] == answer.text.split()[:3]
        ended = for_run(ws, run.name, lambda each: each.is_ended and not each.is_ending, reaps=True)
        assert (ended.state, ended.lane) == ("finished", "gpu0")
        page.locator("[data-number=max_new_tokens]").fill("8")
        page.locator("[data-do=again]").click()
        expect(page.locator(".chat .steps", has_text="attempt")).to_contain_text("attempt 2 of 2")
        answered(page)
        expect(page.locator(".chat .ending")).to_contain_text("tokens/s")


def test_an_idle_page_asks_nothing(ws, chat):
    page = chat()
    page.clock.install()
    page.reload()
    expect(page.locator(".chat[data-state=new]")).to_be_visible()
    ask(page, "Where is the fox?", **SHORT)
    answered(page)
    expect(page.locator(".chat nav a")).to_have_count(1)
    expect(page.locator(".chat[data-asking='0'] .about [data-do=fork]")).to_be_visible()
    asked = []
    page.on("request", lambda request: asked.append(request.post_data or ""))
    page.clock.run_for(120_000)
    page.evaluate("fetch('config')")
    until(lambda: asked, "a request is seen")
    chats = [each for each in asked if re.search('"fn_name": ?"(look|show|hear)"', each)]
    assert chats == []


def test_without_a_checkpoint_the_page_says_what_is_missing(tmp_path, serve, visit):
    page = visit(serve(Workspace.open(tmp_path / "empty")).url + "#chat")
    expect(page.locator(".chat .nothing")).to_contain_text("No checkpoint to talk with yet")
    expect(page.locator(".chat .talk")).to_be_hidden()
