"""From conversations to batches: chat templates, which tokens are taught, the order of rows, what is left out."""
