"""A package for each page: `build(ws)` places its components and returns a `Page`."""
