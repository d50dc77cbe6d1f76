"""One reader a family of formats."""
