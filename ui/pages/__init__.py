"""A package or a file for each page; its `build(ws)` places the components and returns a `Page`: how it is brought up to date."""
