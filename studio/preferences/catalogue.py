"""Lists the texts of the workspace, newest first: demonstrations, prompts and imported preferences, filtered, a page at a time. Read-only.

A list is read from its end, and only as far as a page needs, so that it opens at once however long it is.
"""

import json
from dataclasses import dataclass
from typing import Any

from sqlite_utils import Database

from studio.errors import DataError
from studio.preferences import comparisons, hiding, prompts, text_search, wording
from studio.preferences.prompts import Messages
from studio.preferences.texts import WHATS, What, check

HERE, EDITED, REWRITE, CHAT, LABEL_STUDIO, UNKNOWN = (
    "written here", "edited here", "rewritten on Rate", "chat", "Label Studio", "unknown",
)  # fmt: skip
SOURCES = (HERE, EDITED, REWRITE, CHAT, LABEL_STUDIO)
"""Sources besides imports, which are called import:NUMBER in a filter."""
IMPORT = "import:"


@dataclass(frozen=True)
class Filter:
    """A filter for texts; empty fields let all through. Without `is_hidden` what is hidden is left out, with it all else.

    Raises:
        DataError: there is no such list or split, or no text has such a source.
    """

    what: What = "demonstrations"
    search: str = ""
    split: str = ""
    category: str | None = None
    """None lets all through; empty text asks for those without category."""
    source: str = ""
    is_hidden: bool = False

    def __post_init__(self) -> None:
        if self.what not in WHATS:
            raise DataError(f"There is no list of {str(self.what)[:40]!r}; use one of {', '.join(WHATS)}.")
        if self.split and self.split not in prompts.SPLITS:
            raise DataError(f"There is no split {self.split[:40]!r}; use one of {', '.join(prompts.SPLITS)}.")
        number = self.source.removeprefix(IMPORT)
        is_import = self.source.startswith(IMPORT) and number.isdecimal() and len(number) < 19
        if self.source and not is_import and self.source not in SOURCES:
            raise DataError(
                f"There is no source {self.source[:40]!r}; use one of {', '.join(SOURCES)}, or {IMPORT}NUMBER."
            )


@dataclass(frozen=True)
class Text:
    """A text as it is listed.

    Attributes:
        id: of the prompt, of the demonstration's response, or of the preference's comparison.
        answers: of a demonstration one, of a preference all, in the order in which they were judged.
        source: where it came from, in words; of an import the file's name.
        is_hidden: by itself, or with its prompt.
        verdict: of a preference, the judgement that counts (rating_id, outcome, strength, ranks, rater); empty where none does.
    """

    id: int
    prompt_id: int
    messages: Messages
    answers: tuple[str, ...]
    category: str
    split: str
    source: str
    is_hidden: bool
    created_at: str
    verdict: dict[str, Any]

    @property
    def judgement(self) -> str:
        """The verdict in words; of what is no preference, or was taken back, empty."""
        if not self.verdict:
            return ""
        outcome, strength, ranks = (self.verdict[name] for name in ("outcome", "strength", "ranks"))
        return wording.of_judgement(outcome, strength, ranks, is_ranked=len(self.answers) > 2)


def find(
    db: Database, wanted: Filter, *, limit: int = 20, before: int | None = None, after: int | None = None
) -> list[Text]:
    """Return the texts that fit, newest first.

    Args:
        db: an open connection.
        wanted: which ones.
        limit: at most this many.
        before: only texts with a smaller id: the last one of the page before.
        after: only texts with a larger id, the nearest ones: the first one of the page after.
    """
    where, values, within = _where(db, wanted)
    bound = {"limit": limit, "before": 2**62 if before is None else before, "after": -1 if after is None else after}
    order = "DESC" if after is None else "ASC"
    from_ = _FROM[wanted.what].format(order=order, within=within)
    sql = f"{_SELECT[wanted.what]} {from_} WHERE {where} ORDER BY {_ID[wanted.what]} {order} LIMIT :limit"
    found = [_text(db, wanted.what, row) for row in list(db.query(sql, values | bound))]
    return found if after is None else found[::-1]


def count(db: Database, wanted: Filter, at_most: int = 2**62) -> int:
    """Count the texts that fit; stop counting at `at_most`."""
    where, values, within = _where(db, wanted)
    from_ = _FROM[wanted.what].format(order="DESC", within=within)
    sql = f"SELECT count(*) AS n FROM (SELECT 1 {from_} WHERE {where} LIMIT :limit)"
    return next(db.query(sql, values | {"limit": at_most, "before": 2**62, "after": -1}))["n"]


def totals(db: Database) -> dict[str, int]:
    """Count what is not hidden: `prompts`, `demonstrations` and `samples`; hidden ones, which are few, are taken off what all come to."""
    hidden = f"SELECT count(*) FROM all_demonstrations r WHERE r.id IN ({_HIDDEN['demonstrations']})"
    return next(
        db.query(
            "SELECT (SELECT count(*) FROM prompts) - (SELECT count(*) FROM hidden_texts WHERE what = 'prompts') AS prompts,"
            f" (SELECT count(*) FROM all_demonstrations) - ({hidden}) AS demonstrations,"
            " (SELECT count(*) FROM responses WHERE kind = 'sample') AS samples"
        )
    )


def categories(db: Database) -> list[str]:
    """Return the names of the categories in their order; one step of an index for each, however many prompts there are."""
    step = "SELECT min(category) FROM prompts WHERE split = :split"
    sql = (
        f"WITH RECURSIVE found(name) AS ({step} UNION ALL SELECT ({step} AND category > name) FROM found WHERE name IS NOT NULL)"
        " SELECT name FROM found WHERE name IS NOT NULL"
    )
    return sorted({row["name"] for split in prompts.SPLITS for row in db.query(sql, {"split": split})})


def get(db: Database, what: What, text_id: int) -> Text:
    """Return a text, hidden or not; of a demonstration also an earlier version.

    Raises:
        DataError: there is none.
    """
    check(db, what, text_id)
    from_ = _FROM[what].format(order="DESC", within="").replace("all_demonstrations r", "responses r")
    row = next(
        db.query(
            f"{_SELECT[what]} {from_} WHERE {_ID[what]} = :id", {"id": text_id, "before": text_id + 1, "after": -1}
        )
    )
    return _text(db, what, row)


def uses(db: Database, text: Text) -> dict[str, int]:
    """Map what uses the prompt of a text, in words, to how many: demonstrations, sampled and imported answers, and ratings that count."""
    kinds = {
        row["kind"]: row["n"]
        for row in db.query(
            "SELECT kind, count(*) AS n FROM responses WHERE prompt_id = ? GROUP BY kind", [text.prompt_id]
        )
    }
    rated = db.execute(
        "SELECT count(*) FROM comparisons c JOIN ratings r ON r.comparison_id = c.id WHERE c.key > :id || ':' AND c.key < :id || ';'",
        {"id": text.prompt_id},
    ).fetchone()[0]
    sql = "SELECT count(*) FROM all_demonstrations WHERE prompt_id = ?"
    counts = {
        "demonstration": db.execute(sql, [text.prompt_id]).fetchone()[0],
        "sampled answer": kinds.get("sample", 0),
        "imported answer": kinds.get("import", 0),
        "rating": rated,
    }
    return {f"{name}{'s' * (number != 1)}": number for name, number in counts.items()}


def sources(db: Database) -> dict[str, str]:
    """Map each source that a filter takes to its words, imports first, the newest one on top."""
    named = {f"{IMPORT}{row['id']}": f"{row['source']} ({row['id']})" for row in prompts.list_imports(db)}
    return named | {name: name for name in SOURCES}


def check_names(db: Database, wanted: Filter) -> None:
    """Refuse a category or an import that is not here, as opposed to one that no text has.

    Raises:
        DataError: names those that are.
    """
    known = prompts.list_categories(db) if wanted.category else {}
    if wanted.category and wanted.category not in known:
        listed = ", ".join(filter(None, list(known)[:20])) or "none"
        raise DataError(f"There is no category {wanted.category[:60]!r} in this workspace. There is: {listed}.")
    if wanted.source and wanted.source not in sources(db):
        raise DataError(f"There is no {wanted.source.replace(':', ' ')}. See them with: rlhf-studio data imports")


def _where(db: Database, wanted: Filter) -> tuple[str, dict[str, Any], str]:
    """Return the condition, the values that it binds, and the condition on the few comparisons that the list is read from."""
    what, row, within = wanted.what, _ID[wanted.what], ""
    values: dict[str, Any] = {"split": wanted.split, "category": wanted.category}
    shown = hiding.is_shown("prompts", "p.id")
    if what != "prompts":
        shown = f"({hiding.is_shown(what, row)} AND {shown})"
    parts = [f"{row} < :before AND {row} > :after", f"NOT {shown}" if wanted.is_hidden else shown]
    if wanted.is_hidden:  # few: the list is read from them
        parts.append(f"{row} IN ({_HIDDEN[what]})")
    if wanted.split:
        parts.append("p.split = :split")
    if wanted.category is not None:
        parts.append("p.category = :category")
    if wanted.source.startswith(IMPORT):
        parts.append(f"{_IMPORT_OF[what]} = :import")
        values["import"] = int(wanted.source.removeprefix(IMPORT))
    elif wanted.source:
        parts.append(f"{_SOURCE[what]} = :source")
        values["source"] = wanted.source
    if wanted.search and (few := _few(db, wanted)) is not None:
        values["found"] = json.dumps(few)
        parts.append(f"{row} IN (SELECT value FROM json_each(:found))")
        within = "AND comparison_id IN (SELECT value FROM json_each(:found))"
    elif wanted.search:
        holding = [text_search.condition(db, wanted.search, values, of="prompts", row="p.id", text="p.messages")]
        if what == "demonstrations":
            holding.append(text_search.condition(db, wanted.search, values, of="responses", row="r.id", text="r.text"))
        if what == "preferences":
            found = text_search.condition(db, wanted.search, values, of="responses", row="x.id", text="x.text")
            holding.append(
                "EXISTS (SELECT 1 FROM comparison_responses y JOIN responses x ON x.id = y.response_id"
                f" WHERE y.comparison_id = c.id AND {found})"
            )
        parts.append(f"({' OR '.join(holding)})")
    return " AND ".join(parts), values, within


def _few(db: Database, wanted: Filter) -> list[int] | None:
    """Return the ids of the texts that hold what is searched, where the index finds them and they are few; else None."""
    text_search.add_functions(db)
    found, are_all = (text_search.prompts if wanted.what == "prompts" else text_search.responses)(db, wanted.search)
    if not are_all:
        return None
    if wanted.what == "preferences":
        sql = "SELECT DISTINCT comparison_id AS id FROM comparison_responses WHERE response_id IN (SELECT value FROM json_each(?))"
        return [row["id"] for row in db.query(sql, [json.dumps(found)])]
    return found


def _text(db: Database, what: What, row: dict[str, Any]) -> Text:
    answers, verdict = (row["text"],) if row["text"] is not None else (), {}
    if what == "preferences":
        verdict = next(db.query(_VERDICT, [row["id"]]), {})
        ids = json.loads(verdict.pop("response_ids")) if verdict else comparisons.slots(db, row["id"])
        answers = tuple(comparisons.read_text(db, each) for each in ids)
    kept = {name: row[name] for name in ("id", "prompt_id", "category", "split", "source", "created_at")}
    return Text(
        **kept, messages=json.loads(row["messages"]), answers=answers, is_hidden=bool(row["is_hidden"]), verdict=verdict
    )


_ID = {"prompts": "p.id", "demonstrations": "r.id", "preferences": "c.id"}
_IMPORT_OF = {
    "prompts": "p.import_id",
    "demonstrations": "r.import_id",
    "preferences": "coalesce(b.import_id, a.import_id, p.import_id)",
}
_NAMED = f"coalesce((SELECT i.source FROM imports i WHERE i.id = {{0}}), '{UNKNOWN}')"
_SOURCE = {
    "prompts": f"CASE WHEN p.import_id IS NOT NULL THEN {_NAMED.format('p.import_id')} WHEN p.id IN (SELECT z.prompt_id FROM turns t"
    f" JOIN responses z ON z.id = t.response_id) THEN '{CHAT}' ELSE '{HERE}' END",
    "demonstrations": f"CASE WHEN r.import_id IS NOT NULL THEN {_NAMED.format('r.import_id')}"
    f" WHEN r.edited_from IN (SELECT t.response_id FROM turns t) THEN '{CHAT}' WHEN r.edited_from IS NOT NULL THEN '{REWRITE}'"
    " WHEN EXISTS (SELECT 1 FROM demonstration_events e WHERE e.response_id = r.id AND e.name GLOB 'label-studio-*'"
    f" AND e.supersedes IS NULL) THEN '{LABEL_STUDIO}' WHEN EXISTS (SELECT 1 FROM demonstration_events e WHERE e.response_id = r.id"
    f" AND e.supersedes IS NOT NULL) THEN '{EDITED}' ELSE '{HERE}' END",
    "preferences": _NAMED.format("coalesce(b.import_id, a.import_id, p.import_id)"),
}
_FROM = {
    "prompts": "FROM prompts p",
    "demonstrations": "FROM all_demonstrations r CROSS JOIN prompts p ON p.id = r.prompt_id",
    # One step of an index for each imported pair, from one end.
    "preferences": "FROM (SELECT DISTINCT comparison_id AS id FROM rating_events WHERE is_imported AND comparison_id < :before"
    " AND comparison_id > :after {within} ORDER BY comparison_id {order}) k CROSS JOIN comparisons c ON c.id = k.id"
    " CROSS JOIN prompts p ON p.id = c.prompt_id CROSS JOIN comparison_responses f ON f.comparison_id = c.id AND f.slot = 0"
    " CROSS JOIN comparison_responses g ON g.comparison_id = c.id AND g.slot = 1"
    " CROSS JOIN responses a ON a.id = f.response_id CROSS JOIN responses b ON b.id = g.response_id",
}
_HIDDEN_TEXTS = "SELECT text_id FROM hidden_texts WHERE what = "
_OF_HIDDEN_PROMPTS = f"SELECT id FROM responses WHERE prompt_id IN ({_HIDDEN_TEXTS}'prompts')"
_HIDDEN = {
    "prompts": f"{_HIDDEN_TEXTS}'prompts'",
    "demonstrations": f"{_HIDDEN_TEXTS}'demonstrations' UNION {_OF_HIDDEN_PROMPTS}",
    "preferences": f"{_HIDDEN_TEXTS}'preferences' UNION SELECT comparison_id FROM comparison_responses WHERE response_id IN"
    f" ({_OF_HIDDEN_PROMPTS})",
}
"""The ids of those that are hidden by themselves or with their prompt, and some that are of no such list."""
_COLUMNS = "p.id AS prompt_id, p.messages, p.category, p.split"
_PROMPT_HIDDEN = f"NOT {hiding.is_shown('prompts', 'p.id')}"
_SELECT = {
    "prompts": f"SELECT p.id, {_COLUMNS}, NULL AS text, p.created_at, {_SOURCE['prompts']} AS source, {_PROMPT_HIDDEN} AS is_hidden",
    "demonstrations": f"SELECT r.id, {_COLUMNS}, r.text, r.created_at, {_SOURCE['demonstrations']} AS source,"
    f" ({_PROMPT_HIDDEN} OR NOT {hiding.is_shown('demonstrations', 'r.id')}) AS is_hidden",
    "preferences": f"SELECT c.id, {_COLUMNS}, NULL AS text, c.created_at, {_SOURCE['preferences']} AS source,"
    f" ({_PROMPT_HIDDEN} OR NOT {hiding.is_shown('preferences', 'c.id')}) AS is_hidden",
}
_VERDICT = "SELECT id AS rating_id, outcome, strength, ranks, rater, response_ids FROM ratings WHERE comparison_id = ? ORDER BY id DESC LIMIT 1"
