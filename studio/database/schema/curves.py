"""The migration of the curves: triggers keep means of ever longer stretches of steps, so a long curve opens at once."""

SIZES = (16, 128, 1024, 8192)
"""Steps in a stretch, level by level."""

_LEVELS = "(" + " UNION ALL ".join(f"SELECT {size} AS size" for size in SIZES) + ")"

STATEMENTS = (
    """
CREATE TABLE metric_stretches (     -- metrics reads it; the trigger writes it
    run_id INTEGER NOT NULL REFERENCES runs(id),
    name TEXT NOT NULL,
    size INTEGER NOT NULL,          -- steps in a stretch
    stretch INTEGER NOT NULL,       -- step / size
    step INTEGER NOT NULL,          -- the last one in it
    num INTEGER NOT NULL,
    total REAL NOT NULL,
    low REAL NOT NULL,
    high REAL NOT NULL,
    PRIMARY KEY (run_id, name, size, stretch)
) STRICT, WITHOUT ROWID""",
    "INSERT INTO metric_stretches SELECT run_id, name, size, step / size, max(step), count(*), sum(value), min(value), max(value)"
    f" FROM metrics, {_LEVELS} WHERE value IS NOT NULL GROUP BY 1, 2, 3, 4",
    "CREATE TRIGGER metrics_stretch AFTER INSERT ON metrics WHEN new.value IS NOT NULL BEGIN"
    " INSERT INTO metric_stretches SELECT new.run_id, new.name, size, new.step / size, new.step, 1, new.value, new.value, new.value"
    f" FROM {_LEVELS} WHERE true"
    " ON CONFLICT DO UPDATE SET step = max(step, excluded.step), num = num + 1, total = total + excluded.total,"
    " low = min(low, excluded.low), high = max(high, excluded.high); END",
    "CREATE INDEX metrics_newest ON metrics(run_id)",  # with the row's id: the newest row of a run is one look-up
)
