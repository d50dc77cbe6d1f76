"""A run as one file, and run again from it."""
