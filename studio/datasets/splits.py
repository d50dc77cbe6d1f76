"""Names of splits as data sets write them."""

import re
from typing import Any


def split_name(value: Any) -> str | None:
    """Return the studio's name of the split `value`: train_sft is train, dev is validation; None where unknown."""
    found = re.match(r"(train|test|val|dev)", value.lower()) if isinstance(value, str) else None
    return {"train": "train", "test": "test", "val": "validation", "dev": "validation"}[found[1]] if found else None
