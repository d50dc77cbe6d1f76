"""Models: checkpoints, lineage, export."""
