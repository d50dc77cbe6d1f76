"""A run's curves as a table: a row a step, a column a metric."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from studio.errors import WorkspaceError
from studio.files import whole

Curves = Mapping[str, Sequence[tuple[int, float]]]
"""Metric to its steps and values."""


def rows(curves: Curves) -> Iterator[list[int | float | None]]:
    """Yield the step and the value of each metric, None where a step has none."""
    values = {name: dict(points) for name, points in curves.items()}
    for step in sorted({step for found in values.values() for step in found}):
        yield [step, *(found.get(step) for found in values.values())]


def write_parquet(curves: Curves, path: Path) -> None:
    """Write the table as a new Parquet file.

    Raises:
        WorkspaceError: its folder is missing, something is there already, or it cannot be written.
    """
    path = path.absolute()
    if not path.parent.is_dir():
        raise WorkspaceError(f"There is no folder {path.parent}. Make it, or give another file.")
    if os.path.lexists(path):
        raise WorkspaceError(f"{path.name} is there already, and is left as it is. Give another name.")
    import pyarrow
    from pyarrow import parquet

    columns = list(zip(*rows(curves), strict=True)) or [()] * (1 + len(curves))
    kinds = [pyarrow.int64(), *[pyarrow.float64()] * len(curves)]
    arrays = [pyarrow.array(column, kind) for column, kind in zip(columns, kinds, strict=True)]
    with whole.exported(path) as part:
        parquet.write_table(pyarrow.table(arrays, names=["step", *curves]), part)
