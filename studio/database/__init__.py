"""The SQLite file: how it is opened, migrated, copied and checked, and what SQLite's errors mean."""
