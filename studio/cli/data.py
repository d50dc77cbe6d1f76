"""Imports and exports data at the terminal: ``import`` and ``export``."""

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from string import ascii_uppercase
from typing import Any, get_args

from tqdm import tqdm

from studio.children import DEVICES
from studio.cli import arguments as takes
from studio.cli import labelling
from studio.datasets import archive, exporting, importing, mapping
from studio.datasets.formats.family import Kind
from studio.datasets.formats.table import NAMED
from studio.datasets.plan import Request
from studio.datasets.readers import MAX_GIB
from studio.datasets.sifting import Progress
from studio.exchange import hub, rating_formats, ratings_out
from studio.models import checkpoints, export, gguf
from studio.preferences import prompts, ratings, text_search
from studio.recovery import rescue
from studio.workspace import Workspace

FIRST_LETTERS = 100


def add(commands: Any) -> None:
    """Add ``import`` and ``export``."""
    summary = "Import prompts, demonstrations or preferences, or an archive into an empty workspace."
    command = commands.add_parser("import", help=summary, description=summary)
    command.add_argument(
        "source",
        help="a .jsonl, .json, .csv or .tsv file (or the same with .gz), a .parquet or .zip file, an archive, a folder, or a hub id "
        "owner/name[:config[:split]]",
    )
    command.add_argument("--kind", choices=["auto", *get_args(Kind)], default="auto", help="what it holds")
    command.add_argument(
        "--format",
        default="",
        choices=["", *NAMED],
        metavar="NAME",
        help=f"how to read it, where it is not clear: {', '.join(NAMED)}",
    )
    command.add_argument(
        "--map",
        default="",
        metavar="prompt=COLUMN,...",
        help=f"what its columns are, remembered for files of the same columns: {', '.join(mapping.TARGETS)}; a.b is a key in an object",
    )
    command.add_argument(
        "--axis",
        default="",
        metavar="NAME",
        help="go by what was said of this criterion (such as safety), where the source judges several; --preview names them",
    )
    command.add_argument("--category", default="", help="put all its prompts into this category")
    command.add_argument("--split", choices=prompts.SPLITS, help="put all its prompts into this split")
    command.add_argument(
        "--max-gib",
        type=takes.finite,
        default=MAX_GIB,
        help="refuse a file that holds more than this many GiB when unpacked (default: %(default)s)",
    )
    command.add_argument("--preview", action="store_true", help="only show what would be kept and dropped, and why")
    command.set_defaults(action=_import)
    _add_export(commands)


def _add_export(commands: Any) -> None:
    summary = "Export ratings, demonstrations or a model."
    command = commands.add_parser("export", help=summary, description=summary)
    what = command.add_subparsers(dest="what", metavar="WHAT", required=True)
    rated = what.add_parser("ratings", help="in one of many formats")
    rated.add_argument(
        "--format",
        choices=["native", "archive", *rating_formats.FORMATS],
        default="native",
        help="native: one comparison a line with its events; archive: every row of every table, to be imported into an "
        "empty workspace; the others hold less and say what they leave out",
    )
    rated.add_argument(
        "--push-to-hub",
        metavar="OWNER/NAME",
        help="upload the preferences to a private data set of the Hugging Face hub, with a card",
    )
    rated.set_defaults(action=_export_ratings)
    labelling.add_to_label(what)
    what.add_parser("demonstrations", help="as chat-message JSONL").set_defaults(action=_export_demonstrations)
    model = what.add_parser("model", help="a checkpoint as a folder for peft and transformers")
    model.add_argument("name", help="a checkpoint, or a run for its newest one")
    model.add_argument("--merged", action="store_true", help="merge the adapter into the base model")
    model.add_argument(
        "--gguf",
        action="store_true",
        help="merge, then write a GGUF file by llama.cpp's converter where it is installed",
    )
    model.add_argument(
        "--converter",
        metavar="FILE",
        default="",
        help=f"{gguf.CONVERTER} (default: ${gguf.VARIABLE}, else on the PATH)",
    )
    model.add_argument(
        "--device", choices=DEVICES, default="auto", help="where to merge: auto takes a free GPU, cpu none"
    )
    model.set_defaults(action=_export_model)


def _import(arguments: argparse.Namespace) -> int:
    if arguments.preview:
        return _preview(arguments)
    if not Workspace.place(arguments.workspace).exists():
        importing.check(arguments.source, _request(arguments))  # before a workspace is made for nothing
    ws = Workspace.open(arguments.workspace)
    with _progress() as progress:
        said = importing.take(ws, arguments.source, _request(arguments), progress=progress)
    print(said, flush=True)
    _index(ws)
    return 0


def _index(ws: Workspace) -> None:
    """Index the texts of a long import for the search, unless a server does it; Ctrl-C leaves the rest to the next one."""
    is_shown, form = sys.stderr.isatty(), "indexed for the search: {percentage:3.0f}% [{elapsed}<{remaining}]"
    with tqdm(total=1.0, bar_format=form, file=sys.stderr, delay=1.0, leave=False, disable=not is_shown) as bar:

        def show(share: float) -> None:
            bar.update(share - bar.n)

        try:
            text_search.catch_up(ws, show)
        except KeyboardInterrupt:
            bar.close()
            print(
                "The import is complete. A search reads the texts that are not indexed yet; the next import, or a server, indexes them."
            )


def _request(arguments: argparse.Namespace) -> Request:
    names = ("kind", "format", "map", "axis", "category", "split", "max_gib")
    return Request(**{name: getattr(arguments, name) for name in names})


@contextmanager
def _progress() -> Iterator[Progress | None]:
    """Show on a terminal how far a long import is. Ctrl-C ends it with nothing imported."""
    if not sys.stderr.isatty():
        yield None
        return
    with tqdm(unit=" rows", file=sys.stderr, delay=1.0, leave=False) as bar:

        def show(num_rows: int, share: float, doing: str) -> None:
            if doing == "read":
                bar.set_description(doing, refresh=False)
                bar.total = round(num_rows / share) if share > 0 else None
                bar.update(num_rows - bar.n)
            else:
                bar.set_description(f"{doing}: {share:.0%}")

        yield show


def _preview(arguments: argparse.Namespace) -> int:
    place = Workspace.place(arguments.workspace)
    ws = Workspace.existing(arguments.workspace) if (place / "studio.db").is_file() else None
    with _progress() as progress:
        found = importing.look(arguments.source, _request(arguments), ws=ws, progress=progress)
    print(found.sentence)
    if isinstance(found, archive.Contents):
        print("It goes into an empty workspace.")
        return 0
    for example in found.examples:
        print()
        sides = {name: example[name] for name in ("response", "chosen", "rejected") if name in example}
        ranked = [(f"rank {at}", text) for at, group in enumerate(example.get("groups", ()), 1) for text in group]
        undecided = zip(ascii_uppercase, example.get("sides", ()), strict=False)
        for name, text in [("prompt", example["messages"][-1]["content"]), *sides.items(), *undecided, *ranked]:
            _print_line(name, text)
        if example.get("outcome") not in (None, "left", "ranking"):
            _print_line("outcome", example["outcome"])
        if example.get("rater") not in (None, "import"):
            _print_line("rater", example["rater"])
    return 0


def _print_line(name: str, text: str) -> None:
    line = " ".join(text.split())
    print(f"  {name:>8}: {line[:FIRST_LETTERS]}{'…' if len(line) > FIRST_LETTERS else ''}")


def _export_ratings(arguments: argparse.Namespace) -> int:
    ws = Workspace.existing(arguments.workspace)
    rescue.check(ws)
    if arguments.format == "archive":
        found = archive.write(ws)
        print(f"{found.path}\n{found.sentence}")
        return 0
    if arguments.push_to_hub:
        print(hub.push(ws, arguments.push_to_hub))
        return 0
    if arguments.format != "native":
        exported = ratings_out.export(ws, arguments.format)
        print(f"{exported.path}\n{exported.sentence}")
        return 0
    path = exporting.export_ratings(ws)
    num = exporting.count_lines(path)
    with ws.read() as db:
        rated = ratings.summary(db)["rated"]
    print(f"{path}\n{num:,} comparison{'s' * (num != 1)}, {rated:,} judgements in the workspace.")
    return 0


def _export_demonstrations(arguments: argparse.Namespace) -> int:
    print(exporting.export_demonstrations(Workspace.existing(arguments.workspace)))
    return 0


def _export_model(arguments: argparse.Namespace) -> int:
    ws = Workspace.existing(arguments.workspace)
    if arguments.gguf:
        for said in gguf.export_gguf(ws, arguments.name, arguments.device, arguments.converter):
            print(said, flush=True)
        return 0
    folder = export.export_checkpoint(ws, arguments.name, arguments.merged, arguments.device)
    print(folder)
    with ws.read() as db:
        name = checkpoints.get(db, arguments.name).name
    print(
        f"The whole model. {export.serving(folder, name)}"
        if arguments.merged
        else "The adapter, for peft; its README.md shows the lines that load it. The whole model: --merged"
    )
    return 0
