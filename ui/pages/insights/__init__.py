"""Insights: what your ratings are worth."""
