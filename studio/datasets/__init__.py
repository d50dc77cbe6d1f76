"""Others' files in, ours out; the starter kit."""
