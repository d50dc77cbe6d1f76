"""Writes rows of ratings as JSONL, a JSON list, Parquet, or a folder of `datasets`, as the file's name says."""

import json
import tempfile
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from studio.exchange.files import write_folder, write_part, write_text

Row = dict[str, Any]
GROUP = 1000
"""Rows of Parquet held in memory at a time."""


def write(path: Path, rows: Iterable[Row]) -> Path:
    """Write the rows as they come; an earlier file that differs is put aside.

    Raises:
        WorkspaceError: it cannot be written.
    """
    if path.suffix == ".jsonl":
        return write_text(path, (f"{_json(row)}\n" for row in rows))
    if path.suffix == ".json":
        return write_text(path, _list(rows))
    if path.suffix == ".parquet":
        return write_part(path, lambda part: _parquet(part, rows))
    return write_folder(path, lambda part: _dataset(part, rows))


def _json(row: Row) -> str:
    return json.dumps(row, ensure_ascii=False)


def _list(rows: Iterable[Row]) -> Iterator[str]:
    before = "[\n"
    for row in rows:
        yield before + _json(row)
        before = ",\n"
    yield "\n]\n" if before == ",\n" else "[]\n"


def _parquet(path: Path, rows: Iterable[Row]) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    texts, turn = pa.list_(pa.string()), pa.struct([("role", pa.string()), ("content", pa.string())])
    kinds = {"messages": pa.list_(turn), "responses": texts, "models": texts, "ranks": pa.list_(pa.int64())}
    kinds |= dict.fromkeys(("comparison_id", "prompt_id", "strength", "elapsed_ms"), pa.int64())
    writer, left = None, iter(rows)
    try:
        while batch := list(islice(left, GROUP)):
            schema = pa.schema([(name, kinds.get(name, pa.string())) for name in batch[0]])
            writer = writer or parquet.ParquetWriter(path, schema)
            writer.write_table(pa.Table.from_pylist(batch, schema=schema))
    finally:
        if writer:
            writer.close()


def _dataset(folder: Path, rows: Iterable[Row]) -> None:
    """Save a DatasetDict with a data set for each split; of the rows only a batch is in memory.

    Each row names its split as well: an import does not go by the name of a data set that stands alone.
    """
    import datasets
    from datasets.arrow_writer import ArrowWriter

    turns = [{"role": datasets.Value("string"), "content": datasets.Value("string")}]
    features = datasets.Features(
        dict.fromkeys(("prompt", "chosen", "rejected"), turns)
        | {"category": datasets.Value("string"), "split": datasets.Value("string"), "strength": datasets.Value("int64")}
    )
    writers: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix=".rows-", dir=folder.parent) as written:
        for row in rows:
            values = {"category": "", "strength": None} | row
            split = values["split"]
            if split not in writers:
                path = str(Path(written, f"{split}.arrow"))
                writers[split] = ArrowWriter(features=features, path=path, writer_batch_size=GROUP)
            writers[split].write(values)
        for writer in writers.values():
            writer.finalize()
        found: dict[str | datasets.NamedSplit, datasets.Dataset] = {
            split: datasets.Dataset.from_file(str(Path(written, f"{split}.arrow"))) for split in writers
        }
        datasets.DatasetDict(found).save_to_disk(str(folder))
