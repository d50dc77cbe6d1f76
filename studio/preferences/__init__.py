"""What people said: prompts, responses, comparisons, ratings, edits and snapshots."""
