"""Backups of the database, and what to do when it and the folders do not fit together."""
