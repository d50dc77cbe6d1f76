"""Evaluation: suites, results item by item, and the alignment-tax report."""
