"""Evaluate: measures checkpoints and shows what changed."""
