"""A run's curves as a table: a row a step, a column a metric."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from studio.files import whole

Curves = Mapping[str, Sequence[tuple[int, float]]]
"""Metric to its steps and values."""


def rows(curves: Curves) -> Iterator[list[int | float | None]]:
    """Yield the step and the value of each metric, None where a step has none."""
    values = {name: dict(points) for name, points in curves.items()}
    for step in sorted({step for found in values.values() for step in found}):
        yield [step, *(found.get(step) for found in values.values())]


def write_parquet(curves: Curves, path: Path) -> None:
    """Write the table as Parquet; an earlier file that differs is put aside.

    Raises:
        WorkspaceError: it cannot be written.
    """
    import pyarrow
    from pyarrow import parquet

    columns = list(zip(*rows(curves), strict=True)) or [()] * (1 + len(curves))
    kinds = [pyarrow.int64(), *[pyarrow.float64()] * len(curves)]
    arrays = [pyarrow.array(column, kind) for column, kind in zip(columns, kinds, strict=True)]
    with whole.exported(path) as part:
        parquet.write_table(pyarrow.table(arrays, names=["step", *curves]), part)
