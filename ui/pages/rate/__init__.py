"""Rate: pairs and rankings judged by keys, the session, the history, the snapshots."""
