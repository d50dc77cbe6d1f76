"""The process behind the preview: ``python -m studio.worker.preview``, a JSON request on stdin, a JSON answer on stdout."""

import sys
from typing import Any

from modules.config import STAGES, TrainConfig
from modules.data.chat import ChatFormat
from modules.data.preview import preview
from modules.model.loading import check_vocabulary
from modules.model.pretrained import end_ids, find_model, load_config, load_tokenizer, positions_of
from studio.worker import child


def reply(request: dict[str, Any]) -> dict[str, Any]:
    """Return what a run would teach and leave out; see `studio.runs.preview` for the request's fields."""
    config = STAGES[request["stage"]].model_validate(request["config"])
    assert isinstance(config, TrainConfig)
    folder = find_model(request["base_model"], needs_weights=False)
    model_config = load_config(folder)
    chat = ChatFormat(load_tokenizer(folder), request["chat_template"], end_ids(model_config, folder))
    check_vocabulary(chat, model_config.get_text_config().vocab_size, folder)
    found = preview(config, lambda part: request["rows"].get(part, []), chat)
    examples = [[title, [list(token) for token in tokens], rest] for title, tokens, rest in found.examples]
    positions = positions_of(model_config, folder)
    return found._asdict() | {"examples": examples, "positions": positions}


if __name__ == "__main__":
    sys.exit(child.answer(reply))
