"""Rate: pairs and rankings judged by keys, the session, the history of all ratings, the snapshots made of them."""
