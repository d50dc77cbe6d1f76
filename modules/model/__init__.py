"""The base model: found, checked, loaded, with the roles that share it; sampling, packing and checkpoints."""
