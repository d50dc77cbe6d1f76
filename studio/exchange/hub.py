"""Puts the preferences onto the Hugging Face hub: a private data set with a card. Only when a person asks for it by name."""

import re
from pathlib import Path
from typing import Any

from studio import redaction
from studio.errors import DataError, ExchangeError
from studio.exchange import ratings_out
from studio.exchange.files import json_text, write_folder
from studio.exchange.ratings_out import Exported
from studio.workspace import Workspace

_NAME = re.compile(r"[\w.-]{1,96}/[\w.-]{1,96}")


def push(ws: Workspace, name: str) -> str:
    """Upload the preferences (TRL's columns, a Parquet file for each split, card, loss) to a private data set.

    Returns the sentence that says where. The token is the one of `hf auth login`, or HF_TOKEN.

    Raises:
        DataError: it is not a name on the hub, or there is nothing to export.
        ExchangeError: the hub cannot be reached or refuses.
    """
    if not _NAME.fullmatch(name):
        raise DataError(f"{name[:80]!r} is not the name of a data set on the hub; write it as OWNER/NAME.")
    exported = ratings_out.export(ws, "datasets")
    folder = write_folder(ws.exports / f"hub-{name.partition('/')[2]}", lambda part: _fill(part, name, exported))
    _upload(name, folder)
    return f"{exported.num:,} preferences are on the hub as {name} (private); the same files are in {folder.name}."


def _fill(folder: Path, name: str, exported: Exported) -> None:
    import datasets

    splits = datasets.load_from_disk(str(exported.path))
    assert isinstance(splits, datasets.DatasetDict)
    (folder / "data").mkdir()
    for split, rows in splits.items():
        rows.to_parquet(str(folder / "data" / f"{split}.parquet"))
    (folder / "preferences.loss.json").write_text(json_text(exported.loss), encoding="utf-8")
    sizes = {str(split): len(rows) for split, rows in splits.items()}
    (folder / "README.md").write_text(card(name, sizes, exported.loss), encoding="utf-8")


def card(name: str, sizes: dict[str, int], loss: dict[str, Any]) -> str:
    """Return the card of a data set: what the columns are, how many rows, and what was left out."""
    files = "\n".join(f"      - split: {split}\n        path: data/{split}.parquet" for split in sizes)
    rows = "\n".join(f"| {split} | {count:,} |" for split, count in sizes.items())
    left = "\n".join(
        f"| {fact} | {count:,} |" for fact, count in (loss["rows_dropped"] | loss["facts_dropped"]).items()
    )
    return (
        f"---\nconfigs:\n  - config_name: default\n    data_files:\n{files}\ntags:\n  - preference\n  - rlhf\n---\n\n"
        f"# {name.partition('/')[2]}\n\nHuman preferences, collected with RLHF Studio.\n\n"
        "`prompt`, `chosen` and `rejected` are lists of messages, as TRL takes them; `strength` is 1 (slightly) to 3 (much "
        "better) where it was given; `split` is the split of the row.\n\n"
        f"| split | rows |\n|---|---|\n{rows}\n\n## Not in these files\n\n| what | number |\n|---|---|\n{left}\n"
    )


def _upload(name: str, folder: Path) -> None:
    import httpx2  # here: slow to import
    import huggingface_hub

    api = huggingface_hub.HfApi()
    try:
        api.create_repo(name, repo_type="dataset", private=True, exist_ok=True)
        api.upload_folder(repo_id=name, repo_type="dataset", folder_path=str(folder), commit_message="Add preferences")
    except (httpx2.HTTPError, OSError, ValueError) as error:
        cause = redaction.redact(str(error).strip().split("\n")[0])
        raise ExchangeError(
            f"The hub did not take {name}: {cause}. The files are in {folder.name}; log in with `hf auth login`, then try again."
        ) from error
