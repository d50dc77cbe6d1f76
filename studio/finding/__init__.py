"""Finding prompts and answers by a piece of their text."""
