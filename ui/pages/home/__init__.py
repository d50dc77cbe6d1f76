"""Home: the loop as a picture, one suggested next step, and the last backup."""
