"""Checks that the ids of conversations have rows in the model's embedding."""

from pathlib import Path

from modules.data.chat import ChatFormat
from modules.model.files.tokens import beyond

_PROBE = (
    {"role": "user", "content": "a"},
    {"role": "assistant", "content": "b"},
    {"role": "user", "content": "c"},
)


def check_vocabulary(chat: ChatFormat, rows: int, folder: Path | str) -> dict[int, str]:
    """Refuse a chat format that writes tokens without a row; a pad without one is replaced, since it is always masked.

    Returns:
        Ids that a text may hold but that have no row, with their tokens; usually none.

    Raises:
        BaseModelError: a token that every conversation holds has no row.
    """
    tokenizer = chat.tokenizer
    lacking = {number: token for token, number in tokenizer.get_vocab().items() if number >= rows}
    if not lacking and chat.end_id < rows:
        return {}
    written = [chat.end_id, *chat.bos_ids, *chat.encode_prompt(_PROBE).ids]
    for number in written:
        if number >= rows:
            token = lacking.get(number, str(tokenizer.convert_ids_to_tokens(number)))
            raise beyond(folder, token, number, rows)
    if chat.pad_id >= rows:
        chat.pad_id = chat.end_id
    return lacking
