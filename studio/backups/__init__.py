"""Copies of the database: made by hand, before a migration and daily; restored; and what tells that a copy lacks something."""
