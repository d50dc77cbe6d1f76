"""Base models and checkpoints: where they come from, what belongs to them, and a prompt tried on them."""
