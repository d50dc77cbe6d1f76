"""The fixed markup of the page Chat. Its scripts (`static/chat/`) fill the parts named by data-part with nodes made of text."""

from html import escape

from studio.chat.protocol import Sampling
from studio.preferences import vocabulary
from ui import static
from ui.components.html import key

SCRIPTS = ("draw.js", "chat/shown.js", "chat/writer.js", "chat/chat.js")
WORKSPACE = 'const workspaceName = document.querySelector(".masthead .where")?.title ?? "";'
"""Texts that are kept in the tab belong to a workspace."""
SCRIPT = "\n".join([WORKSPACE, f"const VOCABULARY = {vocabulary.as_json()};", *(static.read(name) for name in SCRIPTS)])
"""The workspace, the vocabulary and the scripts in order, in one scope."""
NUMBERS = {
    "temperature": ("Temperature", 'min="0" max="10" step="0.1"', "0 always takes the most likely token."),
    "top_p": ("Top p", 'min="0.01" max="1" step="0.01"', "Only the most likely tokens of this share; 1 takes all."),
    "top_k": ("Top k", 'min="0" step="1"', "Only so many most likely tokens; 0 takes all."),
    "max_new_tokens": ("Token limit", 'min="1" max="32768" step="1"', "An answer ends there at the latest."),
    "seed": ("Seed", 'min="0" step="1"', "The same seed gives the same answer; each attempt takes the next."),
}  # fmt: skip
"""Setting to its label, its bounds and its words."""
START = Sampling()


def stage() -> str:
    """Return the page, empty."""
    return f"""<div class="chat" data-state="loading">
<aside class="chats"><details data-part="drawer" open><summary>Conversations</summary>
<div class="find"><button type="button" class="small" data-do="new">New</button>
<input type="search" data-part="search" placeholder="Search" aria-label="Search conversations"></div>
<nav data-part="list" aria-label="Conversations"></nav></details></aside>
<section class="talk" data-part="talk">
<header data-part="head" hidden><h2 data-part="title"></h2><div class="tools">{_tools()}</div></header>
<div class="with">{_pick("first", "Checkpoint")}{_pick("second", "Compared with")}
<label class="check"><input type="checkbox" data-part="blind"> Hide names until the vote</label></div>
<details class="settings"><summary>System prompt and sampling <span data-part="summary" class="quiet"></span></summary>
<label>System prompt<textarea data-part="system" rows="2" dir="auto"></textarea></label>
<div class="numbers">{"".join(map(_number, NUMBERS))}</div></details>
<div class="turns" data-part="turns"></div>
<footer class="composer"><p class="said" data-part="said" role="status"></p>
<textarea data-part="text" rows="2" dir="auto" aria-label="Your message" placeholder="Write a message"></textarea>
<div class="send"><button type="button" class="is-primary" data-do="send">Send {key("⏎")}</button>
<button type="button" data-do="stop" hidden>Stop {key("Esc")}</button>
<span class="quiet hint">{key("Shift")} {key("⏎")} breaks the line</span></div></footer></section>
<section class="nothing" data-part="none" hidden><h3>No checkpoint to talk with yet</h3>
<p>A checkpoint of SFT, DPO or PPO answers here: alone, or two side by side, so that you can say which answer is better.</p>
<a class="go" href="#train/sft">Train the first one</a></section>{_dialogs()}</div>"""


def _tools() -> str:
    buttons = (
        ("rename", "Rename"),
        ("jsonl", "Export messages"),
        ("json", "Export all"),
        ("remove", "Delete"),
    )
    return "".join(f'<button type="button" class="small" data-do="{name}">{words}</button>' for name, words in buttons)


def _pick(name: str, words: str) -> str:
    return f'<label>{words}<select data-part="{name}"></select></label>'


def _number(name: str) -> str:
    words, bounds, info = NUMBERS[name]
    return f'<label title="{escape(info)}">{words}<input type="number" data-number="{name}" {bounds} value="{getattr(START, name)}"></label>'


def _dialogs() -> str:
    return f"""<dialog class="sheet writer" data-part="writer" aria-labelledby="chat-writer-title"><h3 id="chat-writer-title" data-part="writer-title"></h3>
<p class="quiet" data-part="writer-words"></p>
<textarea data-part="writer-text" rows="10" dir="auto" spellcheck="true" aria-labelledby="chat-writer-title"></textarea>
<p class="said" data-part="writer-said" role="status"></p>
<div class="writer-keys"><button type="button" class="is-primary" data-part="writer-keep"></button><span class="quiet">{key("Ctrl")} {key("⏎")}</span>
<form method="dialog"><button type="submit">Cancel</button></form>
<button type="button" data-part="writer-afresh" hidden>Begin again</button></div></dialog>
<dialog class="sheet" data-part="sure" aria-label="Delete"><h3>Delete this conversation?</h3>
<p class="quiet">Its turns are gone then. Ratings, demonstrations and prompts that were made from it stay.</p>
<form method="dialog"><button type="submit">Keep it</button><button type="button" class="is-alert" data-do="sure">Delete it</button></form></dialog>"""
