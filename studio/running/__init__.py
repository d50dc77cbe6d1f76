"""What surrounds a run while it is made, waits and works: its folder, its processes, its turn, signals, a moved workspace."""
