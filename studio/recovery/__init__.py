"""Backups of the database, and what to do when it and the folders beside it do not fit together."""
