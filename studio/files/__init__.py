"""Writes files and folders: whole or not at all, and never over what stands there."""
