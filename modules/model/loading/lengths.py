"""Checks that the texts of a run fit into the model's positions."""

from typing import Any

from modules.errors import DataError


def check_lengths(data: Any, positions: int, new_tokens: int = 0) -> None:
    """Refuse data with a text longer than the model has positions, before a step is taken.

    Args:
        data: A data module.
        positions: Of the model.
        new_tokens: Of the longest response to a prompt.

    Raises:
        DataError: There is such a text.
    """
    longest = max(map(_length, [*getattr(data, "rows", []), *getattr(data, "validation_rows", [])]), default=0)
    prompts = [*getattr(data, "prompts", []), *getattr(data, "validation_prompts", [])]
    answered = max(map(len, prompts), default=-new_tokens) + new_tokens
    if answered > positions:
        raise DataError(
            f"The longest prompt and response may have {answered:,} tokens together, but the model has {positions:,} positions: lower "
            "max_prompt_length or max_new_tokens."
        )
    if longest > positions:
        raise DataError(
            f"The longest text has {longest:,} tokens, but the model has {positions:,} positions: lower max_length, and longer texts "
            "are left out and counted."
        )


def _length(row: Any) -> int:
    """Count the tokens of a conversation or of a pair's longer side; prompts, the other rows, are counted apart."""
    if hasattr(row, "chosen"):
        return len(row.prompt) + max(len(row.chosen), len(row.rejected))
    return len(row.ids) if hasattr(row, "ids") else 0
