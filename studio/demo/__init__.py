"""The whole loop with a scripted rater, and its report."""
