"""The rating room: sessions, what is shown next, predictions, the guideline, the history."""
