"""A model's own chat template: tried, rendered, and where in its text the answers, the thoughts and typed control tokens stand."""
