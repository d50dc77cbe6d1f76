"""The process that computes: its device, the others of its run, its seeds, and the phase it is in."""
