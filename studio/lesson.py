"""The process behind the preview of SFT: ``python -m studio.lesson``, a JSON request on stdin, a JSON answer on stdout."""

import json
import sys

from modules.chat import ChatFormat
from modules.pretrained import end_ids, find_model, load_config, load_tokenizer
from modules.preview import preview
from studio.errors import StudioError


def main() -> int:
    """Answer one request; see `studio.previewing` for its fields. Returns the exit code."""
    request = json.load(sys.stdin)
    folder = find_model(request["base_model"], needs_weights=False)
    chat = ChatFormat(load_tokenizer(folder), request["chat_template"], end_ids(load_config(folder), folder))
    found = preview(request["train"], request["validation"], chat, max_length=request["max_length"])
    print(json.dumps(found._asdict() | {"example": [span._asdict() for span in found.example]}))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except StudioError as error:
        print(error, file=sys.stderr)
        sys.exit(1)
