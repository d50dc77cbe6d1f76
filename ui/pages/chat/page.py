"""Chat: conversations with one or two checkpoints side by side, streamed token by token, judged and corrected where they stand.

The page's own scripts (`static/chat/`) draw it and call the server functions below past Gradio's event queue. While an answer
grows, one call waits for more of it; an idle page asks nothing. What is shown is always read from the workspace, so a reload
shows the same, and goes on hearing what still grows.
"""

from typing import Any

from studio.chat import conversations, judging, token_view, transcripts, turns
from studio.chat import resident as residents
from studio.chat.answering import Answering, Growing, of_turn
from studio.chat.conversations import Exchange
from studio.chat.resident import Resident
from studio.chat.turns import Turn
from studio.preferences import wording
from studio.preferences.ratings import Rating
from studio.workspace import Database, Workspace
from ui import rendering
from ui.components import html
from ui.handlers import served
from ui.page import Page
from ui.pages.chat import tokens
from ui.pages.chat.markup import SCRIPT, stage
from ui.pages.chat.messages import (
    Again,
    Edited,
    Exported,
    Hear,
    Ideal,
    Look,
    Named,
    One,
    Opened,
    Pair,
    Said,
    Stopped,
    Vote,
    checked,
)

LISTED = 100
"""Conversations in the list; others are found by a search."""
OFFERED = 100
"""Checkpoints to choose from."""
WAIT_S = 5.0
"""Seconds that a call waits for more of an answer, before the browser asks again."""
Told = dict[str, Any]


def build(ws: Workspace, resident: Resident) -> Page:
    """Place the page; its scripts keep it fresh. The resident process starts with the first question."""
    chat = _Chat(ws, resident)
    functions = [
        chat.look, chat.show, chat.say, chat.again, chat.go_on, chat.edit, chat.open_at, chat.fork, chat.stop, chat.hear,
        chat.rename, chat.remove, chat.export, chat.vote, chat.score, chat.tokens, chat.demonstrate, chat.add_prompt,
    ]  # fmt: skip
    html.html(stage(), elem_id="chat", js_on_load=SCRIPT, server_functions=[served(each) for each in functions])
    return Page(lambda: None, [], [])


class _Chat:
    """The server functions."""

    def __init__(self, ws: Workspace, resident: Resident) -> None:
        self._ws, self._resident, self._answers = ws, resident, Answering(ws, resident)

    def look(self, sent: Any) -> Told:
        """List conversations, and the checkpoints that can be asked."""
        search = checked(Look, sent).search
        with self._ws.read() as db:
            found = conversations.find(db, search, limit=LISTED)
        listed = [
            {"id": each.id, "title": each.title, "about": f"{html.ago_words(each.changed_at)} · {', '.join(each.settings.checkpoints)}"}
            for each in found
        ]  # fmt: skip
        with self._ws.read() as db:
            return {"conversations": listed, "policies": residents.policies(db)[:OFFERED]}

    def show(self, sent: Any) -> Told:
        """Show a conversation."""
        return self._state(checked(One, sent).id)

    def say(self, sent: Any) -> Told:
        """Store what the person says, then have it answered."""
        said = checked(Said, sent)
        with self._ws.write() as db:
            settings = said.wish.settings()
            if said.conversation is None:
                conversation_id = conversations.start(db, settings)
            else:
                conversation_id = said.conversation
                conversations.configure(db, conversation_id, settings)
            begun = conversations.ask(db, conversations.say(db, conversation_id, said.text, said.parent))
        return self._begun(begun)

    def again(self, sent: Any) -> Told:
        """Ask for another attempt."""
        wanted = checked(Again, sent)
        with self._ws.write() as db:
            conversations.configure(db, turns.turn(db, wanted.id).conversation_id, wanted.wish.settings())
            begun = conversations.ask(db, wanted.id)
        return self._begun(begun)

    def go_on(self, sent: Any) -> Told:
        """Go on with an answer that was cut off."""
        with self._ws.write() as db:
            answer = conversations.reopen(db, checked(One, sent).id)
        return self._begun([answer])

    def edit(self, sent: Any) -> Told:
        """Store another version of a turn; the person's own is asked at once."""
        edited = checked(Edited, sent)
        with self._ws.write() as db:
            new = turns.turn(db, conversations.edit(db, edited.id, edited.text))
            conversations.configure(db, new.conversation_id, edited.wish.settings())
            begun = conversations.ask(db, new.id) if new.role == "user" else []
        return self._begun(begun) if begun else self._state(new.conversation_id)

    def open_at(self, sent: Any) -> Told:
        """Show another branch."""
        wanted = checked(Opened, sent)
        with self._ws.write() as db:
            conversations.open_at(db, wanted.id, wanted.attempt)
            conversation_id = turns.turn(db, wanted.id).conversation_id
        return self._state(conversation_id)

    def fork(self, sent: Any) -> Told:
        """Copy the branch up to a turn into a conversation of its own."""
        with self._ws.write() as db:
            made = conversations.fork(db, checked(One, sent).id)
        return self._state(made) | {"said": "This is a copy. The first conversation stays as it was."}

    def stop(self, sent: Any) -> Told:
        """Stop answers; whoever hears them hears their end."""
        self._answers.stop(checked(Stopped, sent).ids)
        return {}

    def hear(self, sent: Any) -> Told:
        """Wait for more of answers that grow."""
        known = {each.id: each.known for each in checked(Hear, sent).answers}
        return {"answers": [_growing(each) for each in self._answers.hear(known, WAIT_S)]}

    def rename(self, sent: Any) -> Told:
        """Rename a conversation."""
        named = checked(Named, sent)
        with self._ws.write() as db:
            conversations.rename(db, named.id, named.title)
        return self._state(named.id)

    def remove(self, sent: Any) -> Told:
        """Delete a conversation."""
        gone = checked(One, sent).id
        with self._ws.read() as db:
            growing = [each.id for each in turns.list_all(db, gone) if self._answers.is_live(each.id)]
        self._answers.stop(growing)
        with self._ws.write() as db:
            conversations.delete(db, gone)
        return {"said": "Deleted. Ratings, demonstrations and prompts made from it stay."}

    def export(self, sent: Any) -> Told:
        """Give a conversation as the text of a file."""
        wanted = checked(Exported, sent)
        with self._ws.read() as db:
            text = transcripts.write(db, wanted.id, wanted.form)
        return {"text": text, "name": f"conversation-{wanted.id}.{wanted.form}"}

    def vote(self, sent: Any) -> Told:
        """Record a judgement; the conversation goes on from the better answer."""
        press = checked(Vote, sent)
        with self._ws.write() as db:
            rating = judging.vote(
                db, press.ids, press.outcome, strength=press.strength, uuid=press.uuid, elapsed_ms=press.elapsed_ms
            )
            better = turns.turn(db, press.ids[press.outcome == "right"])
            if press.outcome in ("left", "right") and not turns.is_followed(db, press.ids):
                conversations.open_at(db, better.id)
            said = f"Recorded: {wording.of_rating(db, rating)}. {judging.held_out(db, rating)}".rstrip()
        return self._state(better.conversation_id) | {"said": said}

    def score(self, sent: Any) -> Told:
        """Say what the reward model thinks of two answers that were judged."""
        with self._ws.read() as db:
            return {"said": judging.score(db, self._resident, checked(Pair, sent).ids)}

    def tokens(self, sent: Any) -> Told:
        """Show a judged answer token by token."""
        with self._ws.read() as db:
            judged = token_view.judged(db, checked(One, sent).id)
        return {"markup": tokens.draw(token_view.read(self._resident, judged))}

    def demonstrate(self, sent: Any) -> Told:
        """Keep what an answer should have been."""
        ideal = checked(Ideal, sent)
        with self._ws.write() as db:
            rating = judging.demonstrate(db, ideal.id, ideal.text, uuid=ideal.uuid)
            held_out = judging.held_out(db, rating) if rating else ""
        more = ", which is preferred to the answer it was made from" if rating else ""
        return {"said": f"Recorded: a demonstration{more}. {held_out}".rstrip()}

    def add_prompt(self, sent: Any) -> Told:
        """Add what was asked to the prompts."""
        with self._ws.write() as db:
            _, is_new = judging.add_prompt(db, checked(One, sent).id)
        return {"said": "Added to the prompts." if is_new else "It is among the prompts already."}

    def _begun(self, begun: list[Turn]) -> Told:
        self._answers.begin(begun)
        return self._state(begun[0].conversation_id)

    def _state(self, conversation_id: int) -> Told:
        """Return a conversation as the page draws it."""
        with self._ws.read() as db:
            found = conversations.get(db, conversation_id)
            exchanges = [
                self._exchange(db, each, judging.is_hidden(db, found, each.answers))
                for each in conversations.exchanges(db, found)
            ]
        told = {"id": found.id, "title": found.title, "settings": found.settings.model_dump()}
        return {"conversation": told | {"exchanges": exchanges}}

    def _exchange(self, db: Database, exchange: Exchange, is_hidden: bool) -> Told:
        asked, answers = exchange.asked, exchange.answers
        rating = judging.verdict(db, answers)
        return {
            "asked": {"id": asked.id, "text": asked.text, "drawn": rendering.draw(asked.text).sent()},
            "versions": exchange.versions,
            "attempts": exchange.attempts,
            "attempt": answers[0].attempt if answers else None,
            "answers": [self._answer(each, is_hidden) for each in answers],
            "chosen": exchange.chosen,
            "can_vote": judging.is_pair(answers),
            "why_no_vote": judging.ALIKE if judging.is_alike(answers) else "",
            "verdict": _verdict(db, rating),
        }

    def _answer(self, answer: Turn, is_hidden: bool) -> Told:
        is_live = self._answers.is_live(answer.id)
        growing = Growing(answer.id, answer.text) if is_live else of_turn(answer)
        return _growing(growing) | {
            "name": "" if is_hidden else answer.checkpoint or "you",
            "is_written": answer.checkpoint is None,
            "can_go_on": answer.can_go_on and not is_live and answer.response_id is None,
        }


def _growing(answer: Growing) -> Told:
    text = answer.text.strip()
    return {
        "id": answer.turn_id,
        "text": text,
        "drawn": rendering.draw(text).sent(),
        "size": len(answer.text),
        "ending": answer.ending,
        "is_growing": answer.end_reason is None,
        "is_failed": answer.end_reason == "failed",
    }


def _verdict(db: Database, rating: Rating | None) -> Told | None:
    return {"outcome": rating.outcome, "said": wording.of_rating(db, rating)} if rating else None
