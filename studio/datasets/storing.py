"""Brings items into the database, in the caller's transaction: prompts, responses, comparisons and judgements.

The hook where an item meets the database is `_place`: an item whose metadata names one of our comparisons joins it
(`returning.find`), any other finds or makes its comparison by prompt and texts.
"""
