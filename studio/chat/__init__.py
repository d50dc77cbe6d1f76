"""Answers of checkpoints, by one resident process."""
