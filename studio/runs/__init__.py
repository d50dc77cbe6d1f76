"""A run from its config to its last word: prepared, queued, launched, measured, ended."""
