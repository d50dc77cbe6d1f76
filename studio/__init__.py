"""The workbench: the database, what people said, models, runs, the worker and the command line. No widgets here."""

import sys


def _import_sqlite_utils_alone() -> None:
    """Import sqlite-utils without pandas and numpy, which it takes along where they are installed.

    It wants them for column types that are stored nowhere here; they are half a second and 75 MB of every command, and
    of each process that waits for its turn. A module that is None in `sys.modules` cannot be imported (the Python
    reference, 5.3.1).
    """
    hidden = [name for name in ("pandas", "numpy") if name not in sys.modules]
    sys.modules |= dict.fromkeys(hidden)
    try:
        import sqlite_utils  # noqa: F401  # imported for good, while they cannot be found
    finally:
        for name in hidden:
            del sys.modules[name]


_import_sqlite_utils_alone()
