"""Conversations with checkpoints. One resident process gives the answers."""
