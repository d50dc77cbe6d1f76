"""Hides texts, edits demonstrations and gives prompts another category, each with its history: the owner of `text_events`.

Nothing is deleted, and no text is changed: an edited demonstration is a new response that takes the place of the earlier one,
as a later version of an imported one does, so whatever was rated or trained on stays what it was.
"""

from collections.abc import Sequence
from typing import Any, Literal

from sqlite_utils import Database

from studio.database import curtain
from studio.errors import DataError
from studio.preferences import demonstrations, prompts
from studio.workspace import LARGEST, now

What = Literal["demonstrations", "prompts", "preferences"]
WHATS: tuple[What, ...] = ("demonstrations", "prompts", "preferences")
ONE = {"demonstrations": "demonstration", "prompts": "prompt", "preferences": "preference"}
LONGEST_CATEGORY = 100
_PROMPT = {
    "prompts": "SELECT ?",
    "demonstrations": "SELECT prompt_id FROM responses WHERE id = ?",
    "preferences": "SELECT prompt_id FROM comparisons WHERE id = ?",
}
_FIND = {
    "prompts": "SELECT id FROM prompts WHERE id = ?",
    "demonstrations": "SELECT id FROM responses WHERE id = ? AND kind = 'demonstration'",
    "preferences": "SELECT comparison_id FROM rating_events WHERE comparison_id = ? AND is_imported LIMIT 1",
}


def hide(db: Database, what: What, text_id: int, *, rater: str = "person", is_undo: bool = False) -> None:
    """Hide a text: it is not trained on, not sampled from, not shown for rating and not exported for training.

    Raises:
        DataError: there is no such text, or it is hidden already.
    """
    check(db, what, text_id)
    if is_hidden(db, what, text_id):
        raise DataError(f"{ONE[what].capitalize()} {text_id} is hidden already.")
    _record(db, what, text_id, "hide", rater, is_undo=is_undo)


def show(db: Database, what: What, text_id: int, *, rater: str = "person", is_undo: bool = False) -> None:
    """Use a hidden text again.

    Raises:
        DataError: there is no such text, or it is not hidden.
    """
    check(db, what, text_id)
    if not is_hidden(db, what, text_id):
        raise DataError(f"{ONE[what].capitalize()} {text_id} is not hidden.")
    _record(db, what, text_id, "show", rater, is_undo=is_undo)


def is_hidden(db: Database, what: What, text_id: int) -> bool:
    """Return whether a person has hidden this text itself; that of a hidden prompt is not used either."""
    return bool(db.execute("SELECT 1 FROM hidden_texts WHERE what = ? AND text_id = ?", [what, text_id]).fetchone())


def set_category(db: Database, prompt_id: int, category: str, *, rater: str = "person", is_undo: bool = False) -> None:
    """Give a prompt another category, with all its answers; snapshots and runs that are there stay as they are.

    Raises:
        DataError: there is no such prompt, or the category is no name or the one it has.
    """
    check(db, "prompts", prompt_id)
    category = " ".join(category.split())
    if len(category) > LONGEST_CATEGORY:
        raise DataError(f"A category has at most {LONGEST_CATEGORY} characters; this one has {len(category):,}.")
    before = db.execute("SELECT category FROM prompts WHERE id = ?", [prompt_id]).fetchone()[0]
    if before == category:
        raise DataError(f"Prompt {prompt_id} is in the category {category!r} already; nothing was changed.")
    prompts.set_category(db, prompt_id, category)
    _record(db, "prompts", prompt_id, "category", rater, before, category, is_undo=is_undo)


def edit(db: Database, response_id: int, text: str, *, rater: str = "person") -> int:
    """Let a new version of a demonstration take its place; returns the new response's id.

    Raises:
        DataError: it does not count, is hidden, or the text is empty or that of a demonstration of the prompt.
    """
    check(db, "demonstrations", response_id)
    if is_hidden(db, "demonstrations", response_id):
        raise DataError(f"Demonstration {response_id} is hidden. Show it again before you edit it.")
    return demonstrations.edit(db, response_id, text.strip(), rater=rater)


def undo(db: Database, what: What, text_id: int, *, rater: str = "person") -> int:
    """Take back what was done last with a text and is not taken back yet, by one more event; returns its id, for an edit that of
    the earlier version.

    Raises:
        DataError: there is no such text, or there is nothing to take back.
    """
    check(db, what, text_id)
    last = undoable(history(db, what, text_id))
    if last is None:
        raise DataError(
            f"There is nothing to undo: nothing was done with {ONE[what]} {text_id}, or all of it was undone."
        )
    match last["action"]:
        case "hide":
            show(db, what, text_id, rater=rater, is_undo=True)
        case "show":
            hide(db, what, text_id, rater=rater, is_undo=True)
        case "category":
            set_category(db, last["text_id"], last["before"], rater=rater, is_undo=True)
        case _:
            return demonstrations.put_back(db, text_id, last["text_id"], rater=rater)
    return text_id


def undoable(done: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the event of a `history` that an undo takes back, or None."""
    stacks: dict[str, list[tuple[int, dict[str, Any]]]] = {kind: [] for kind in ("hidden", "category", "edit")}
    for place, event in enumerate(done):
        stack = stacks["hidden" if event["action"] in ("hide", "show") else event["action"]]
        if not event["is_undo"]:
            stack.append((place, event))
        elif stack:
            stack.pop()
    tops = [stack[-1] for stack in stacks.values() if stack]
    return max(tops, key=lambda top: top[0])[1] if tops else None


def history(db: Database, what: What, text_id: int) -> list[dict[str, Any]]:
    """Return what was done with a text, oldest first; the category is that of its prompt, whichever of its texts it was changed at.

    Returns:
        Dicts with action (hide, show, category or edit), before and after (of an edit the texts), text_id (of a category the prompt,
        of an edit the version before), rater, created_at, and is_undo: whether it took back an earlier one.
    """
    prompt_id = db.execute(_PROMPT[what], [text_id]).fetchone()[0]
    done = list(
        db.query(
            "SELECT action, before, after, text_id, rater, created_at, is_undo FROM text_events WHERE (what = ? AND text_id = ?"
            " AND action != 'category') OR (what = 'prompts' AND text_id = ? AND action = 'category') ORDER BY id",
            [what, text_id, prompt_id],
        )
    )
    if what == "demonstrations":
        done += demonstrations.versions(db, text_id)
    return sorted(done, key=lambda event: event["created_at"])


def check(db: Database, what: What, text_id: int) -> None:
    """Refuse a number that no such text has.

    Raises:
        DataError: there is none.
    """
    if not 0 < text_id <= LARGEST or not db.execute(_FIND[what], [text_id]).fetchone():
        raise DataError(f"There is no {ONE[what]} {text_id}. See them with: rlhf-studio data list {what}")


def forget(db: Database, what: str, first: int, last: int) -> None:
    """Delete what was done with texts of these ids, which leave the workspace."""
    between = [what, first, last]
    with curtain.unguarded(db, "text_events"):
        db.execute("DELETE FROM text_events WHERE what = ? AND text_id BETWEEN ? AND ?", between)
    db.execute("DELETE FROM hidden_texts WHERE what = ? AND text_id BETWEEN ? AND ?", between)


def _record(
    db: Database,
    what: What,
    text_id: int,
    action: str,
    rater: str,
    before: str | None = None,
    after: str | None = None,
    *,
    is_undo: bool,
) -> None:
    db.execute(
        "INSERT INTO text_events (what, text_id, action, before, after, rater, created_at, is_undo) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        [what, text_id, action, before, after, rater, now(), is_undo],
    )
