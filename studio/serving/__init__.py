"""Checkpoints for other programs: OpenAI's HTTP API."""
