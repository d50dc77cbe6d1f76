"""Control tokens that somebody typed into a text: marked before a template is rendered, and then encoded as plain text.

Otherwise a user could end an answer, or speak as another role, by typing what only the template may write.
"""

import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from modules.errors import DataError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_START, _END = "\ufdd0", "\ufdd1"
"""Code points that are not characters, so no text should hold them; if one does, it is marked itself."""


class Controls:
    """The control tokens of a chat format.

    Args:
        tokens: The tokens as text.
    """

    def __init__(self, tokens: Iterable[str]) -> None:
        self.tokens = frozenset(token for token in tokens if token.strip())
        either = "|".join(map(re.escape, sorted({*self.tokens, _START, _END}, key=len, reverse=True)))
        self._typed = re.compile(either)
        self._marked = re.compile(f"{_START}({either}){_END}")

    def met(self, text: str) -> list[str]:
        """Return the control tokens that are typed in a text."""
        return [token for token in self._typed.findall(text) if token in self.tokens]

    def mark(self, text: str) -> str:
        """Return the text with marks around what must not become a control token."""
        return self._typed.sub(lambda found: f"{_START}{found[0]}{_END}", text)

    def encode(self, text: str, encode: Callable[[str], list[int]], as_plain: Callable[[str], list[int]]) -> list[int]:
        """Encode a marked text: marked stretches by `as_plain`, those between by `encode`."""
        pieces = self._marked.split(text)
        ids: list[int] = []
        for number, piece in enumerate(pieces):
            if piece:
                ids += as_plain(piece) if number % 2 else encode(piece)
        return ids

    def encode_by(self, tokenizer: "PreTrainedTokenizerBase", text: str) -> list[int]:
        """Encode a marked text by a tokenizer alone; a typed control token that it cannot write as plain text is left out."""
        known: list[Any] = [tokenizer.convert_tokens_to_ids(token) for token in self.tokens]
        unknown: Any = tokenizer.unk_token_id
        forbidden = frozenset(token for token in known if token != unknown)

        def encode(piece: str, is_plain: bool = False) -> list[int]:
            options: dict[str, Any] = {"split_special_tokens": True} if is_plain else {}
            return tokenizer.encode(piece, add_special_tokens=False, **options)

        def as_plain(token: str) -> list[int]:
            try:
                return spell(token, lambda piece: encode(piece, True), forbidden)
            except DataError:
                return []

        return self.encode(text, encode, as_plain)


def around(tokenizer: "PreTrainedTokenizerBase") -> tuple[list[int], list[int]]:
    """Return the ids that a tokenizer puts before and behind a text."""
    bare, dressed = tokenizer.encode("a", add_special_tokens=False), tokenizer.encode("a")
    start = next((i for i in range(len(dressed)) if dressed[i : i + len(bare)] == bare), 0)
    return dressed[:start], dressed[start + len(bare) :]


def spell(token: str, encode: Callable[[str], list[int]], forbidden: frozenset[int]) -> list[int]:
    """Return the ids of a typed control token as ordinary text.

    Args:
        token: The token as text.
        encode: Gives ids of a text, special tokens not being looked for.
        forbidden: Ids that must not come out.

    Raises:
        DataError: The tokenizer knows no other way to write it.
    """
    for pieces in ([token], [token[0], token[1:]], list(token)):
        ids = [i for piece in pieces if piece for i in encode(piece)]
        if not forbidden.intersection(ids):
            return ids
    raise DataError(
        f"A text holds {token}, a control token of the tokenizer, which cannot write it as ordinary text: take it out of "
        "the text."
    )
