"""Measures a model on items."""
