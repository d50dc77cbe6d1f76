"""Base models and checkpoints: where they come from and what belongs to them."""
