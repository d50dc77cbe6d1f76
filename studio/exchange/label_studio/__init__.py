"""Label Studio: tasks to its server, judgements back."""
