"""The starter kit (``starter/``) and the program that builds it (``build_starter/``)."""

from pathlib import Path

STARTER = Path(__file__).parent / "starter"
"""Folder of the starter kit: ``model/``, ``prompts.jsonl``, ``demonstrations.jsonl`` and the model card."""
