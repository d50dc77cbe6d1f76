"""Looks for words in texts whose tokens have no row in a model's embedding, without torch."""

from collections.abc import Iterable
from pathlib import Path

from tokenizers import Tokenizer

from modules.model.files.folder import LARGEST_CONFIG
from modules.model.files.tokens import beyond, embedding_rows

BATCH = 1024


def check_texts(path: Path, texts: Iterable[str]) -> None:
    """Refuse texts that hold a word without an embedding row; they are only read where the tokenizer has such words.

    Args:
        path: The model's folder.
        texts: What would be encoded, as people wrote it.

    Raises:
        BaseModelError: there is such a word; it is named with its id and the rows there are.
    """
    file, rows = path / "tokenizer.json", embedding_rows(path)
    if rows is None or not file.is_file() or file.stat().st_size > LARGEST_CONFIG:
        return
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception:  # the library's own type of error is Exception; the worker names a tokenizer that it cannot read
        return
    lacking = {number: token for token, number in tokenizer.get_vocab().items() if number >= rows}
    if not lacking:
        return
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = True  # a control token that a person typed is text
    waiting: list[str] = []
    for text in texts:
        waiting.append(text)
        if len(waiting) == BATCH:
            _check(path, tokenizer, waiting, lacking, rows)
            waiting = []
    _check(path, tokenizer, waiting, lacking, rows)


def _check(path: Path, tokenizer: Tokenizer, texts: list[str], lacking: dict[int, str], rows: int) -> None:
    for encoding in tokenizer.encode_batch_fast(texts, add_special_tokens=False):
        for number in encoding.ids:
            if number in lacking:
                raise beyond(path, lacking[number], number, rows)
