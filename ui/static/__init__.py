"""The page's own scripts and styles, read once and put into its head or its components as they are."""

from pathlib import Path


def read(name: str) -> str:
    """The text of a file in this folder, such as ``rate/keys.js``."""
    return (Path(__file__).parent / name).read_text(encoding="utf-8")
