"""Exports a checkpoint as a GGUF file, for llama.cpp and what is built on it, where its converter is installed.

The converter is llama.cpp's ``convert_hf_to_gguf.py``. The checkpoint is merged first; the file is read back and its logits are
compared with the merged model's before it gets its name.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from modules.model.files import stored_dtype
from studio import children
from studio.children import ChildError
from studio.errors import CheckpointError
from studio.files import whole
from studio.models import checkpoints, export
from studio.workspace import Workspace

CONVERTER = "convert_hf_to_gguf.py"
VARIABLE = "RLHF_STUDIO_GGUF_CONVERTER"
"""Environment variable that says where the converter is, if it is not on the PATH."""
OUTTYPES = {"float32": "f32", "float16": "f16", "bfloat16": "bf16"}
"""Number format of the merged model to the converter's name for it; others are left to the converter."""


def find_converter(given: str = "") -> Path | None:
    """Return the converter that is given, else the environment variable's, else that on the PATH; None without one.

    Raises:
        CheckpointError: the one that is named is not a file.
    """
    named = given or os.environ.get(VARIABLE, "")
    if named and not Path(named).is_file():
        raise CheckpointError(f"The converter {named} is not a file. Give the path of llama.cpp's {CONVERTER}.")
    found = named or shutil.which(CONVERTER) or ""
    return Path(found).resolve() if found else None


def export_gguf(ws: Workspace, name: str, device: str = "auto", converter: str = "") -> Iterator[str]:
    """Write `exports/NAME.gguf`; yields what is being done, and last what was written, in a sentence each.

    Without a converter the merged folder is written, and the last sentence is the line that converts it.

    Args:
        ws: the workspace.
        name: a checkpoint that gives answers, or a run for its newest one.
        device: where to merge, as in `export.export_checkpoint`.
        converter: path of the converter; empty to look for it, see `find_converter`.

    Raises:
        CheckpointError: it cannot be merged, the converter refuses it, or the file's logits are not the model's.
        WorkspaceError: the disk cannot be written.
    """
    with ws.read() as db:
        found = checkpoints.get(db, name)
    if found.stage not in checkpoints.POLICIES:
        raise CheckpointError(
            f"Checkpoint {found.name} is a {found.stage} model, and GGUF holds models that give answers. Export it without --gguf."
        )
    program = find_converter(converter)
    yield f"Merging {found.name} into its base model."
    folder = export.export_checkpoint(ws, found.name, is_merged=True, device=device)
    target = ws.exports / f"{found.name}.gguf"
    if program is None:
        line = shlex.join(["python", CONVERTER, *_arguments(folder, target)])
        yield f"The merged model is in {folder}. No GGUF converter is installed here; with llama.cpp's, this line makes the file: {line}"
        return
    with whole.exported(target) as part:
        yield from _convert(program, folder, part)
        yield "Reading the file back."
        said = _read_back(folder, part)
    yield f"Written to {target}. {said}\n{export.serving(target, found.name)}"


def _arguments(folder: Path, file: Path) -> list[str]:
    return [str(folder), "--outfile", str(file), "--outtype", OUTTYPES.get(stored_dtype(folder), "auto")]


def _convert(program: Path, folder: Path, file: Path) -> Iterator[str]:
    """Run the converter; yields how far it is."""
    start = [sys.executable, str(program)] if program.suffix == ".py" else [str(program)]
    lines: deque[str] = deque(maxlen=1)
    share = ""
    try:
        process = subprocess.Popen(
            [*start, *_arguments(folder, file)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=children.environment(),
        )
    except OSError as error:
        raise CheckpointError(f"The converter {program} could not be started: {error.strerror}.") from error
    with process:
        assert process.stdout is not None
        try:
            yield f"Converting with {program.name}."
            for line in process.stdout:  # a bar that is drawn again is a line as well
                lines.extend([line.strip()] if line.strip() else [])
                now = re.search(r"(\d+)%\|", line)
                if now and now[1] != share:
                    share = now[1]
                    yield f"Converting with {program.name}: {share} %."
        finally:
            process.kill()  # does nothing after its end
    if process.returncode != 0 or not file.is_file():
        why = lines[0] if lines else f"it ended with code {process.returncode}"
        raise CheckpointError(
            f"{program.name} did not convert the model: {why}. The merged model stays in {folder}; a newer llama.cpp may know it."
        )


def _read_back(folder: Path, file: Path) -> str:
    """Compare the file's logits with those of the merged model, in a child process; says what was found."""
    try:
        figures = children.ask("studio.worker.read_gguf", None, str(folder), str(file))
    except ChildError as error:
        raise CheckpointError(f"The GGUF file is not the model: {error} Nothing was written.") from error
    if why := figures.get("why_not"):
        return f"It was not read back: {why}"
    return f"Read back by transformers, its logits differ by {figures['max_logit_difference']:.2g} at most, where the largest is {figures['max_logit']:.3g}."
