"""Other people's files in and ours out: readers, row formats, the archive, exports, the starter kit."""
