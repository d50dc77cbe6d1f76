"""A response's tokens by keys, the same response under another checkpoint, and the way back to the votes, in a real browser."""

import time

import pytest
from playwright.sync_api import Page, expect

from studio.annotation import history
from studio.chat.resident import Resident
from studio.runs import rollouts, runs
from tests.support import policies, sampled, stored, warm
from ui import app
from ui.pages.runs import rollouts as rollouts_page

pytestmark = pytest.mark.browser


def open_response(page, run, text):
    expect(page.locator("#run-head h2")).to_have_text(run)
    page.get_by_role("tab", name="Rollouts").click()
    page.locator("#run-rollouts tr", has_text=text).first.click()
    expect(page.locator("#rollout .token-row .token").first).to_be_visible()


def test_keys_go_through_the_tokens_and_their_numbers_are_text(full_ws, serve, visit):
    page = visit(serve(full_ws).url + "#runs/ppo-2")
    open_response(page, "ppo-2", "Vistula")
    run = stored.read(full_ws, runs.get, "ppo-2")
    rollout = next(each for each in stored.read(full_ws, rollouts.find, run.id) if "Vistula" in each.response)
    table = stored.read(full_ws, rollouts.token_table, rollout)
    tokens, said = page.locator("#rollout .token-row .token"), page.locator("#rollout .token-said")
    page.get_by_role("radio", name="reward").focus()
    page.get_by_role("radio", name="reward").check()
    expect(page.locator("#rollout .legend")).to_contain_text("reward of a token")
    page.keyboard.press("Tab")
    expect(tokens.first).to_be_focused()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    expect(tokens.nth(2)).to_be_focused()
    for number in (table[2].logprob, table[2].value, table[2].advantage, table[2].reward, table[2].ratio):
        expect(said).to_contain_text(f" {number:.3f}")
    page.keyboard.press("ArrowLeft")
    expect(tokens.nth(1)).to_be_focused()
    page.keyboard.press("End")
    expect(tokens.last).to_be_focused()
    page.keyboard.press("ArrowRight")
    expect(tokens.last).to_be_focused()
    assert page.locator('#rollout .token-row [tabindex="0"]').count() == 1, "one stop for the Tab key"
    page.keyboard.press("Home")
    expect(said).to_contain_text(f"reward {table[0].reward:.3f}")
    page.keyboard.press("Tab")
    expect(page.locator("#rollout summary")).to_be_focused()
    tokens.nth(3).hover()
    expect(said).to_contain_text(f"value {table[3].value:.3f}")


def test_a_score_is_traced_to_the_snapshot_and_to_votes_that_open_in_the_history(full_ws, serve, visit):
    page = visit(serve(full_ws).url + "#runs/ppo-2")
    open_response(page, "ppo-2", "Vistula")
    trace = page.locator("#rollout-trace .trace")
    expect(trace).to_contain_text("Scored by reward-1@30")
    expect(trace.get_by_role("link", name="Models")).to_have_attribute("href", "#models")
    link = trace.get_by_role("link", name="Rating").first
    number = link.inner_text().removeprefix("Rating ")
    entry = stored.read(full_ws, history.get, int(number))
    link.click()
    expect(page.locator(f"#history-drawer [data-shown='{number}']")).to_be_visible()
    expect(page.locator("#history-detail")).to_contain_text(entry.left[:20])
    page.wait_for_url(f"**/#rate/history/{number}")
    page.go_back()
    page.wait_for_url("**/#runs/ppo-2")
    expect(page.locator("#run-head h2")).to_be_visible()
    trace.get_by_role("link", name="snapshot-1").click()
    expect(page.get_by_role("tab", name="Snapshots")).to_have_attribute("aria-selected", "true")


@pytest.fixture
def resident(ws, monkeypatch):
    with warm.starts():
        found = Resident(ws, "cpu")
        monkeypatch.setattr(app, "Resident", lambda ws: found)
        yield found
        found.close()


def ask(page: Page, words: str) -> None:
    """Ask once: nothing that comes late may take away what was asked."""
    page.locator("#rollout-ask").click()
    expect(page.locator("#rollout-under")).to_contain_text(words)


def test_the_same_response_under_another_checkpoint_shows_the_difference_of_each_token(ws, resident, serve, visit):
    policies.workspace(ws.root)
    reward = policies.add_reward(ws)
    rollout = sampled.add(ws)
    page = visit(serve(ws).url + f"#runs/{rollout.run}")
    open_response(page, rollout.run, "The fox")
    under = page.locator("#rollout-under")
    ask(page, "then a checkpoint to compare with")
    page.locator("#rollout-other input").click()
    page.get_by_role("option", name="sft-2@1").click()
    page.locator("#rollout-ask").click()
    tokens = stored.read(ws, rollouts.tokens_of, rollout.id)
    ids = [*tokens.prompt_ids, *tokens.response_ids]
    there, _ = sampled.logprobs(ws, "sft-2@1", ids, len(tokens.prompt_ids))
    expect(under.locator(".token-row .token")).to_have_count(len(there))
    expect(under).to_contain_text(f"Score by {reward}:")
    differences = [now - then for now, then in zip(there, tokens.logprobs, strict=True)]
    largest = max(map(abs, differences))
    for at, token in enumerate(under.locator(".token-row .token").all()):
        strength = float(token.evaluate("e => e.style.getPropertyValue('--strength')"))
        assert strength == pytest.approx(abs(differences[at]) / largest, abs=0.01)
    under.locator(".token-row .token").nth(1).hover()
    expect(under.locator(".token-said")).to_contain_text(f"{there[1]:.3f} under sft-2@1")
    page.locator("#run-rollouts button[data-rollout]").first.click()
    expect(under).to_have_text("")


def test_what_was_asked_at_once_stays_though_the_response_opens_late(full_ws, serve, visit, monkeypatch):
    """The server answers each question about the response only after half a second, as on a busy machine."""
    slow = rollouts_page._detail
    monkeypatch.setattr(rollouts_page, "_detail", lambda *asked: time.sleep(0.5) or slow(*asked))
    page = visit(serve(full_ws).url + "#runs/ppo-2")
    open_response(page, "ppo-2", "Vistula")
    page.route("**/gradio_api/queue/join*", lambda route: (time.sleep(0.3), route.continue_()))
    other = page.locator("#run-rollouts button[data-rollout]").nth(1)
    other.evaluate("button => { button.click(); document.querySelector('#rollout-ask').click(); }")
    under = page.locator("#rollout-under")
    expect(under).to_contain_text("then a checkpoint to compare with")
    expect(page.locator("#run-rollouts tr.is-picked button")).to_have_attribute(
        "data-rollout", other.get_attribute("data-rollout")
    )
    expect(page.locator("#rollout .token-row .token").first).to_be_visible()
    expect(under).to_contain_text("then a checkpoint to compare with")


def test_a_checkpoint_that_gives_no_answers_is_refused_in_a_sentence(full_ws, serve, visit):
    page = visit(serve(full_ws).url + "#runs/ppo-2")
    open_response(page, "ppo-2", "Vistula")
    page.locator("#rollout-other input").fill("reward-1")
    page.locator("#rollout-other input").press("Enter")
    ask(page, "gives no answers")
