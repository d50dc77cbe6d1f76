"""The starter kit (``starter/``), the program that builds it (``build_starter/``) and the install (``install/``)."""

from pathlib import Path

STARTER = Path(__file__).parent / "starter"
"""Folder of the starter kit: ``model/``, ``prompts.jsonl``, ``demonstrations.jsonl`` and the model card."""
