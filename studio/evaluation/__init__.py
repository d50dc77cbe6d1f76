"""Evaluation: suites, results, report."""
