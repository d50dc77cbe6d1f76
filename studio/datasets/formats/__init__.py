"""One reader a family of data formats: says whether a row is its own, and turns it into items."""
