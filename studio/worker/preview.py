"""The process behind the preview: ``python -m studio.worker.preview``, a JSON request on stdin, a JSON answer on stdout."""

import json
import sys

from modules.config import STAGES, TrainConfig
from modules.data.chat import ChatFormat
from modules.data.preview import preview
from modules.model.loading import check_vocabulary
from modules.model.pretrained import end_ids, find_model, load_config, load_tokenizer, positions_of
from studio.errors import StudioError


def main() -> int:
    """Answer a request; see `studio.runs.preview` for its fields. Returns the exit code."""
    request = json.load(sys.stdin)
    config = STAGES[request["stage"]].model_validate(request["config"])
    assert isinstance(config, TrainConfig)
    folder = find_model(request["base_model"], needs_weights=False)
    model_config = load_config(folder)
    chat = ChatFormat(load_tokenizer(folder), request["chat_template"], end_ids(model_config, folder))
    check_vocabulary(chat, model_config.get_text_config().vocab_size, folder)
    found = preview(config, lambda part: request["rows"].get(part, []), chat)
    examples = [[title, [list(token) for token in tokens], rest] for title, tokens, rest in found.examples]
    positions = positions_of(model_config, folder)
    print(json.dumps(found._asdict() | {"examples": examples, "positions": positions}))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except StudioError as error:
        print(error, file=sys.stderr)
        sys.exit(1)
