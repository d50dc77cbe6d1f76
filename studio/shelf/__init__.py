"""Runs and checkpoints where there are thousands: counts, pages and searches that read a few rows each.

The tables belong to `studio.runs` and `studio.checkpoints`; these modules only read them, for pages that are drawn often.
"""
