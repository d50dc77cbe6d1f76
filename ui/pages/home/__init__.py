"""Home: the loop as a picture, one suggested next step, and when the database was last backed up."""
