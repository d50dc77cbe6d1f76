"""Guidelines for raters, in versions that are never changed. The owner of that table.

A rating's guideline is the version that was in force when its pair was shown.
"""

from dataclasses import dataclass

from sqlite_utils import Database

from studio.errors import DataError
from studio.workspace import now

FIRST = "Which answer would you rather have been given? Correct and helpful come first; longer is not better."
"""The guideline in force until a person writes another."""
LONGEST = 2000
OPEN_LINE = "When …, the better answer is …"
"""A line to complete, where the guideline does not say which answer is better."""


@dataclass(frozen=True)
class Guideline:
    """A version of the guideline; version 0 is the built-in text."""

    version: int
    text: str


def write(db: Database, text: str) -> Guideline:
    """Put a new version in force; the text that is in force already stays the same version.

    Raises:
        DataError: it is empty, or too long to be read while rating.
    """
    text = text.replace("\r\n", "\n").strip()  # a text field changes the line ends by itself
    if not text:
        raise DataError("The guideline is empty. Write what makes one answer better than the other.")
    if len(text) > LONGEST:
        raise DataError(f"The guideline has {len(text):,} characters; nobody reads more than {LONGEST:,} while rating.")
    found = current(db)
    if found.text.replace("\r\n", "\n") == text:
        return found
    sql = "INSERT INTO guidelines (text, created_at) VALUES (?, ?)"
    version = db.execute(sql, [text, now()]).lastrowid
    return Guideline(version or 0, text)


def with_open_line(db: Database) -> str:
    """Return the text in force with a line to complete at its end."""
    return f"{current(db).text}\n{OPEN_LINE}"


def without_open_line(text: str) -> str:
    """Return a text without lines to complete that nobody completed."""
    lines = text.replace("\r\n", "\n").split("\n")
    return "\n".join(line for line in lines if line.strip() != OPEN_LINE).strip()


def current(db: Database) -> Guideline:
    """Return the version in force."""
    rows = db.query("SELECT id AS version, text FROM guidelines ORDER BY id DESC LIMIT 1")
    return next((Guideline(**row) for row in rows), Guideline(0, FIRST))


def list_all(db: Database) -> list[Guideline]:
    """Return all versions, newest first, the built-in one last."""
    rows = list(db.query("SELECT id AS version, text FROM guidelines ORDER BY id DESC"))
    return [*(Guideline(**row) for row in rows), Guideline(0, FIRST)]
