"""Other tools: tasks for them to label, ratings in their formats."""
