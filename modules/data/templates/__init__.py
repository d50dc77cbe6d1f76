"""A model's own chat template: tried, rendered, and searched for answers and control tokens."""
