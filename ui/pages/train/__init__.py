"""Train: the settings of a stage, what they would teach, whether it fits, and the start."""
