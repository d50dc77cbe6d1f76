"""How files and folders are written: whole or not at all, on the disk itself, and never over what stands there."""
