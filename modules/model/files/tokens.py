"""Checks that tokens every conversation needs have an embedding row, as far as small files say."""

from pathlib import Path
from typing import Any

from modules.errors import BaseModelError
from modules.model.files.folder import LARGEST_CONFIG, read_json

TURNS = ("bos_token", "eos_token")


def check_tokens(path: Path, chat_template: str = "auto") -> None:
    """Refuse a model whose turns need tokens beyond its embedding; `check_texts` looks at its other tokens.

    Args:
        path: The model's folder.
        chat_template: As a config names it.

    Raises:
        BaseModelError: there is such a token; it is named with its id and the rows there are.
    """
    rows = embedding_rows(path)
    if rows is None:
        return
    settings = read_json(path / "tokenizer_config.json")
    written = _template(path, settings) if chat_template in ("auto", "own") else ""
    if chat_template == "chatml":
        written = "<|im_start|><|im_end|>"
    named = [_text(settings.get(name)) for name in TURNS]
    for token, number in _added(path, settings).items():
        if number >= rows and token and (token in named or token in written):
            raise beyond(path, token, number, rows)


def embedding_rows(path: Path) -> int | None:
    """Return how many tokens have a row in a model's embedding, if its config says so.

    Raises:
        BaseModelError: the config cannot be read.
    """
    config = read_json(path / "config.json")
    inner = config.get("text_config")
    rows = (inner if isinstance(inner, dict) else config).get("vocab_size")
    return rows if isinstance(rows, int) else None


def beyond(path: Path | str, token: str, number: int, rows: int) -> BaseModelError:
    """Return the error about a token without a row."""
    return BaseModelError(
        f"The tokenizer in {path} writes the token {token!r} as id {number}, but the model has {rows} rows in its embedding, for ids up "
        f"to {rows - 1}: enlarge it (model.resize_token_embeddings(len(tokenizer)), then save_pretrained), or choose another "
        "chat template."
    )


def _template(path: Path, settings: dict[str, Any]) -> str:
    file = path / "chat_template.jinja"
    if file.is_file() and file.stat().st_size < LARGEST_CONFIG:
        return file.read_text(encoding="utf-8", errors="replace")
    return str(settings.get("chat_template") or "")


def _added(path: Path, settings: dict[str, Any]) -> dict[str, int]:
    """Return tokens that were added to the vocabulary, by their text."""
    found: dict[str, int] = {}
    decoder = settings.get("added_tokens_decoder")
    if isinstance(decoder, dict):
        found = {_text(token): int(number) for number, token in decoder.items() if str(number).isdigit()}
    file = path / "tokenizer.json"
    if not found and file.is_file() and file.stat().st_size <= LARGEST_CONFIG:
        added = read_json(file).get("added_tokens")
        for token in added if isinstance(added, list) else []:
            if isinstance(token, dict) and isinstance(token.get("id"), int):
                found[_text(token)] = token["id"]
    return found


def _text(token: Any) -> str:
    return str(token.get("content", "")) if isinstance(token, dict) else token if isinstance(token, str) else ""
