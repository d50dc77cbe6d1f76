"""The starter kit (``starter/``), the program that builds it (``build_starter/``), the built-in suites (``evaluations/``) and the
install (``install/``)."""

from pathlib import Path

STARTER = Path(__file__).parent / "starter"
"""Folder of the starter kit: ``model/``, ``prompts.jsonl``, ``demonstrations.jsonl`` and the model card."""

EVALUATIONS = Path(__file__).parent / "evaluations"
"""Folder of the built-in suites, each a JSONL file as a user would write one."""
